"""The ways from a caller to an app that are compared, and what it takes to open one."""

from __future__ import annotations

import contextlib
import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import restsock
from tests.bench import peers
from tests.bench.caller import NAME
from tests.bench.peers import Peer
from tests.bench.processes import cpu_seconds, hear, python, running, tell


class Way(NamedTuple):
    """A kind of caller (see `caller`), what serves it, and which app.

    `serving` is the name of a peer, or for restsock which side dials: `edge dials` is the usual
    case, an app behind NAT that is called by the listener; `caller dials` the opposite.
    """

    caller: str
    serving: str
    app: str
    c_masking: bool = False


ADAPTER = "restsock, requests + adapter"
SESSION = "restsock.Session"
TRIO = "restsock, trio API"
ADAPTER_FASTAPI = "restsock, requests + adapter, FastAPI"
SESSION_FASTAPI = "restsock.Session, FastAPI"

# In the order of the tables. The first of each app is what the others are compared with.
WAYS = {
    "waitress": Way("requests", "waitress", "flask"),
    "gunicorn": Way("requests", "gunicorn", "flask"),
    "nginx": Way("requests", "nginx", "flask"),
    "ssh -R": Way("requests", "ssh", "flask"),
    ADAPTER: Way("adapter", "edge dials", "flask"),
    SESSION: Way("session", "edge dials", "flask"),
    TRIO: Way("trio", "edge dials", "flask"),
    "uvicorn": Way("requests", "uvicorn", "fastapi"),
    ADAPTER_FASTAPI: Way("adapter", "edge dials", "fastapi"),
    SESSION_FASTAPI: Way("session", "edge dials", "fastapi"),
}
REFERENCE = {"flask": "waitress", "fastapi": "uvicorn"}

# For large bodies; the dialer masks what it sends, so the direction matters.
BULK_DIALED = "restsock, caller dials"
BULK_DIALED_C = "restsock, caller dials, C masking"
BULK_LISTENED = "restsock, app dials"
BULK_LISTENED_C = "restsock, app dials, C masking"
BULK_WAYS = {
    "waitress": WAYS["waitress"],
    "uvicorn": WAYS["uvicorn"],
    "ssh -R": WAYS["ssh -R"],
    BULK_DIALED: Way("adapter", "caller dials", "flask"),
    BULK_DIALED_C: Way("adapter", "caller dials", "flask", c_masking=True),
    BULK_LISTENED: Way("adapter", "edge dials", "flask"),
    BULK_LISTENED_C: Way("adapter", "edge dials", "flask", c_masking=True),
}


def skipped(way: Way) -> str | None:
    """Why a way cannot be measured here and what helps; `None` when it can."""
    needs = {"nginx": ["waitress", "nginx"], "ssh": ["waitress", "ssh"]}
    for peer in needs.get(way.serving, [way.serving]):
        if why := peers.missing(peer):
            return why
    if importlib.util.find_spec(way.app) is None:
        return f"no module {way.app}: pip install {way.app}"
    if way.caller == "session" and not hasattr(restsock, "Session"):
        return "this restsock has no Session"
    if way.c_masking and importlib.util.find_spec("websockets") is None:
        return "no C masking: pip install websockets"
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
        self._peers: dict[str, Peer] = {}

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def open(self, way: Way) -> Line:
        """Starts what is needed, and waits until the first answer has come through."""
        line = self._tunnel(way) if way.serving.endswith("dials") else self._direct(way)
        if way.caller == "trio" or way.serving == "caller dials":
            line.order("spell", workload="small", threads=1, seconds=0.05)
        return line

    def _direct(self, way: Way) -> Line:
        peer = self._peer(way.serving)
        caller = self._start(python("caller", way.caller, peer.url), way)
        hear(caller)
        return Line(caller, peer.server, peer.between)

    def _tunnel(self, way: Way) -> Line:
        if way.serving == "edge dials":
            caller = self._start(python("caller", way.caller, "listen"), way)
            url = hear(caller)["url"]
            server = self._start(python("serve", "dial", url, NAME, way.app), way)
        else:
            server = self._start(python("serve", "listen", way.app), way)
            caller = self._start(python("caller", way.caller, hear(server)["url"]), way)
        hear(caller)
        return Line(caller, [server.pid], [])

    def _start(self, command: list[str], way: Way) -> subprocess.Popen[str]:
        return self._stack.enter_context(running(command, c_masking=way.c_masking))

    def _peer(self, name: str) -> Peer:
        if name not in self._peers:
            folder = self._folder / name
            folder.mkdir(parents=True, exist_ok=True)
            starters: dict[str, Callable[[], contextlib.AbstractContextManager[Peer]]] = {
                "waitress": lambda: peers.waitress(folder),
                "gunicorn": lambda: peers.gunicorn(folder),
                "uvicorn": lambda: peers.uvicorn(folder),
                "nginx": lambda: peers.nginx(folder, self._peer("waitress")),
                "ssh": lambda: peers.ssh(folder, self._peer("waitress")),
            }
            self._peers[name] = self._stack.enter_context(starters[name]())
        return self._peers[name]


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
