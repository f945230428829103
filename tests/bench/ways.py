"""The ways from a caller to an app that are compared, and what it takes to open one."""

from __future__ import annotations

import contextlib
import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench import certificates, peers
from tests.bench.caller import NAME
from tests.bench.certificates import Certificates
from tests.bench.peers import Peer
from tests.bench.processes import cpu_seconds, hear, python, running, tell


class Way(NamedTuple):
    """A kind of caller (see `caller`), what serves it, and which app.

    `serving` is the name of a peer, or for restsock which side dials: `edge dials` is the usual
    case, an app behind NAT that is called by the listener; `caller dials` the opposite. With `tls`
    it is https or wss.
    """

    caller: str
    serving: str
    app: str
    c_masking: bool = False
    tls: bool = False


LOCALTUNNEL = "localtunnel"
INGRESS = "requests, restsock's ingress"
ADAPTER = "restsock, requests + adapter"
SESSION = "restsock.Session"
TRIO = "restsock, trio API"
ADAPTER_TLS = "restsock, requests + adapter, wss"
SESSION_TLS = "restsock.Session, wss"
ADAPTER_FASTAPI = "restsock, requests + adapter, FastAPI"
SESSION_FASTAPI = "restsock.Session, FastAPI"
SESSION_FASTAPI_TLS = "restsock.Session, FastAPI, wss"
GUNICORN_TLS = "gunicorn, https"
UVICORN_TLS = "uvicorn, https"

# In the order of the tables. An ASGI app runs on asyncio in all of them.
WAYS = {
    "waitress": Way("requests", "waitress", "flask"),
    "gunicorn": Way("requests", "gunicorn", "flask"),
    "nginx": Way("requests", "nginx", "flask"),
    "ssh -R": Way("requests", "ssh", "flask"),
    LOCALTUNNEL: Way("requests", "localtunnel", "flask"),
    INGRESS: Way("requests", "ingress", "flask"),
    ADAPTER: Way("adapter", "edge dials", "flask"),
    SESSION: Way("session", "edge dials", "flask"),
    TRIO: Way("trio", "edge dials", "flask"),
    GUNICORN_TLS: Way("requests", "gunicorn", "flask", tls=True),
    ADAPTER_TLS: Way("adapter", "edge dials", "flask", tls=True),
    SESSION_TLS: Way("session", "edge dials", "flask", tls=True),
    "uvicorn": Way("requests", "uvicorn", "fastapi"),
    ADAPTER_FASTAPI: Way("adapter", "edge dials", "fastapi"),
    SESSION_FASTAPI: Way("session", "edge dials", "fastapi"),
    UVICORN_TLS: Way("requests", "uvicorn", "fastapi", tls=True),
    SESSION_FASTAPI_TLS: Way("session", "edge dials", "fastapi", tls=True),
}


# From tasks of one asyncio loop, and from threads to a listener inside a web server.
HTTPX = "httpx.AsyncClient"
AIOHTTP = "aiohttp.ClientSession"
AIO = "restsock.aio"
AIO_DIALED = "restsock.aio, caller dials"
HTTPX_TUNNEL = "restsock, httpx.AsyncClient + transport"
NATIVE = "restsock.Session, FastAPI, C masking"
MOUNTED = "restsock.Session, FastAPI, C masking, asgi.Listener in uvicorn"

ASYNCIO_WAYS = {
    HTTPX: Way("httpx", "uvicorn", "fastapi"),
    AIOHTTP: Way("aiohttp", "uvicorn", "fastapi"),
    AIO: Way("aio", "edge dials", "fastapi"),
    AIO_DIALED: Way("aio", "caller dials", "fastapi"),
    HTTPX_TUNNEL: Way("transport", "edge dials", "fastapi"),
    NATIVE: Way("session", "edge dials", "fastapi", c_masking=True),
    MOUNTED: Way("mounted", "edge dials", "fastapi", c_masking=True),
}


def reference(way: Way) -> str:
    """What a way is compared with: the same app served without restsock, TLS with TLS.

    waitress has no TLS, so over https it is gunicorn with as many threads. A caller on asyncio is
    compared with httpx, and a mounted listener with one that has a port of its own.
    """
    if way in ASYNCIO_WAYS.values():
        return NATIVE if way.c_masking else HTTPX
    if way.app == "flask":
        return GUNICORN_TLS if way.tls else "waitress"
    return UVICORN_TLS if way.tls else "uvicorn"


# For large bodies; the dialer masks what it sends, so the direction matters.
BULK_DIALED = "restsock, caller dials"
BULK_DIALED_C = "restsock, caller dials, C masking"
BULK_LISTENED = "restsock, app dials"
BULK_LISTENED_C = "restsock, app dials, C masking"
BULK_DIALED_TLS = "restsock, caller dials, wss"
BULK_DIALED_TLS_C = "restsock, caller dials, wss, C masking"
BULK_LISTENED_TLS = "restsock, app dials, wss"
BULK_WAYS = {
    "waitress": WAYS["waitress"],
    "uvicorn": WAYS["uvicorn"],
    GUNICORN_TLS: WAYS[GUNICORN_TLS],
    "ssh -R": WAYS["ssh -R"],
    BULK_DIALED: Way("adapter", "caller dials", "flask"),
    BULK_DIALED_C: Way("adapter", "caller dials", "flask", c_masking=True),
    BULK_LISTENED: Way("adapter", "edge dials", "flask"),
    BULK_LISTENED_C: Way("adapter", "edge dials", "flask", c_masking=True),
    BULK_DIALED_TLS: Way("adapter", "caller dials", "flask", tls=True),
    BULK_DIALED_TLS_C: Way("adapter", "caller dials", "flask", c_masking=True, tls=True),
    BULK_LISTENED_TLS: Way("adapter", "edge dials", "flask", tls=True),
}


def skipped(way: Way) -> str | None:
    """Why a way cannot be measured here and what helps; `None` when it can."""
    behind = ("nginx", "ssh", "localtunnel")
    for peer in ("waitress", way.serving) if way.serving in behind else (way.serving,):
        if why := peers.missing(peer):
            return why
    modules = {"httpx": "httpx", "transport": "httpx", "aiohttp": "aiohttp", "mounted": "uvicorn"}
    for module in (way.app, modules.get(way.caller, way.app)):
        if importlib.util.find_spec(module) is None:
            return f"no module {module}: pip install {module}"
    if way.c_masking and importlib.util.find_spec("websockets") is None:
        return "no C masking: pip install websockets"
    if way.tls and importlib.util.find_spec("trustme") is None:
        return "no certificate: pip install trustme"
    return None


class Line:
    """An open way: orders for its caller, and the CPU time that they cost elsewhere."""

    def __init__(
        self, caller: subprocess.Popen[str], server: list[int], between: list[int]
    ) -> None:
        self._caller = caller
        self.caller_pid = caller.pid
        self.server_pids = server
        self._between = between

    def order(self, do: str, **arguments: Any) -> dict[str, Any]:
        """What the caller measured, with `server_cpu` and `between_cpu` in seconds."""
        before = cpu_seconds(self.server_pids), cpu_seconds(self._between)
        tell(self._caller, {"do": do, **arguments})
        figures = hear(self._caller)
        after = cpu_seconds(self.server_pids), cpu_seconds(self._between)
        for name, old, new in zip(("server_cpu", "between_cpu"), before, after, strict=True):
            figures[name] = None if old is None or new is None else new - old
        return figures


class Lines:
    """Opens ways; those that go to the same peer share it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = contextlib.ExitStack()
        self._peers: dict[tuple[str, bool], Peer] = {}
        self._files: Certificates | None = None

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def open(self, way: Way) -> Line:
        """Starts what is needed, and waits until the first answer has come through."""
        line = self._tunnel(way) if way.serving.endswith("dials") else self._direct(way)
        if way.caller in ("trio", "aio") or way.serving == "caller dials":
            line.order("spell", workload="small", threads=1, seconds=0.05)
        return line

    def _direct(self, way: Way) -> Line:
        peer = self._peer(way.serving, way.tls)
        caller = self._start("caller", way.caller, peer.url, way=way)
        hear(caller)
        return Line(caller, peer.server, peer.between)

    def _tunnel(self, way: Way) -> Line:
        if way.serving == "edge dials":
            caller = self._start("caller", way.caller, "listen", way=way)
            server = self._start("serve", "dial", hear(caller)["url"], NAME, way.app, way=way)
        else:
            server = self._start("serve", "listen", way.app, way=way)
            caller = self._start("caller", way.caller, hear(server)["url"], way=way)
        hear(caller)
        return Line(caller, [server.pid], [])

    def _start(self, module: str, *words: str, way: Way) -> subprocess.Popen[str]:
        tls = [str(self._certificates().ca.parent)] if way.tls else []
        command = python(module, *words, *tls)
        return self._stack.enter_context(running(command, c_masking=way.c_masking))

    def _certificates(self) -> Certificates:
        if self._files is None:
            self._files = certificates.issue(self._folder / "certificates")
        return self._files

    def _peer(self, name: str, tls: bool = False) -> Peer:
        key = name, tls
        if key not in self._peers:
            folder = self._folder / (f"{name}-tls" if tls else name)
            folder.mkdir(parents=True, exist_ok=True)
            files = self._certificates() if tls else None
            starters: dict[str, Callable[[], contextlib.AbstractContextManager[Peer]]] = {
                "waitress": lambda: peers.waitress(folder),
                "gunicorn": lambda: peers.gunicorn(folder, files),
                "uvicorn": lambda: peers.uvicorn(folder, files),
                "nginx": lambda: peers.nginx(folder, self._peer("waitress")),
                "ingress": lambda: peers.ingress(folder),
                "localtunnel": lambda: peers.localtunnel(folder, self._peer("waitress")),
                "ssh": lambda: peers.ssh(folder, self._peer("waitress")),
            }
            self._peers[key] = self._stack.enter_context(starters[name]())
        return self._peers[key]


@contextlib.contextmanager
def opened(ways: dict[str, Way], folder: Path) -> Iterator[tuple[dict[str, Line], list[str]]]:
    """All ways that can be opened, and a line about each that cannot."""
    with Lines(folder) as lines:
        found: dict[str, Line] = {}
        skips = []
        for name, way in ways.items():
            why = skipped(way)
            if why is None:
                found[name] = lines.open(way)
            else:
                skips.append(f"SKIP {name}: {why}")
                print(skips[-1], file=sys.stderr, flush=True)
        yield found, skips
