"""`GRIP` and a real Pushpin before the same backend: clients and backend see the same."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import gripcontrol
import pytest
import trio

import restsock
from restsock import WebSocketClosed, WebSocketRefused
from restsock.gateway import GRIP, Channel, Gateway, Pipe, RawDialect
from restsock.websockets import connect
from tests.ports import free_port
from tests.waiting import until

pytestmark = [
    # Of gripcontrol.
    pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning"),
    pytest.mark.timeout(180),
    pytest.mark.skipif(
        shutil.which("pushpin") is None or shutil.which("condure") is None,
        reason="there is no Pushpin: apt-get install pushpin",
    ),
]

EVENT = gripcontrol.WebSocketEvent
KEY = "0123456789abcdef0123456789abcdef"
CONFIG = """
[global]
include={folder}/internal.conf
rundir={folder}
ipc_prefix=p-
port_offset=0
[runner]
services=condure,zurl,pushpin-proxy,pushpin-handler
http_port=127.0.0.1:{port}
logdir={folder}
log_level=2
client_buffer_size=8192
client_maxconn=100
[proxy]
routesfile={folder}/routes
sig_iss=restsock
sig_key={key}
[handler]
push_in_spec=ipc://{folder}/push
push_in_sub_specs=ipc://{folder}/subs
push_in_http_addr=127.0.0.1
push_in_http_port={publish}
stats_spec=ipc://{folder}/stats
command_spec=ipc://{folder}/commands
message_rate=2500
message_hwm=25000
connection_subscription_max=20
"""


class Handler(BaseHTTPRequestHandler):
    """What a message says is what is answered."""

    protocol_version = "HTTP/1.1"
    server: Backend

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        events = gripcontrol.decode_websocket_events(
            self.rfile.read(int(self.headers["Content-Length"]))
        )
        self.server.see(self.path, self.headers, events)
        status, out = 200, []
        headers = {"Content-Type": "application/websocket-events"}
        for event in events:
            if event.type == "OPEN":
                status = 403 if "refuse" in self.path else 200
                headers |= {"Sec-WebSocket-Extensions": "grip", "Set-Meta-User": "ann"}
                out += [EVENT("OPEN"), self.control("subscribe", channel="news")]
                if "greet" in self.path:
                    out.append(EVENT("TEXT", b"m:welcome"))
            elif event.type == "CLOSE":
                out.append(event)
            elif event.type in ("TEXT", "BINARY"):
                out += self.say(event, headers)
        content = gripcontrol.encode_websocket_events(out)
        content = content.encode() if isinstance(content, str) else content
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def say(self, event: Any, headers: dict[str, str]) -> list[Any]:
        text = (event.content or b"").decode("latin-1")
        if text == "bye":
            return [EVENT("TEXT", b"m:last"), EVENT("CLOSE", b"\x0f\xa1so long")]
        if text == "end":
            return [EVENT("CLOSE")]
        if text == "bob":
            headers["Set-Meta-User"] = "bob"
        if text == "nobody":
            headers["Set-Meta-User"] = ""
        if text == "none":
            return []
        if text == "leave":
            return [self.control("unsubscribe", channel="news"), EVENT("TEXT", b"m:left")]
        if text == "detach":
            return [self.control("detach")]
        return [EVENT(event.type, b"m:" + (event.content or b"")), EVENT("TEXT", b"m:more")]

    @staticmethod
    def control(kind: str, **args: Any) -> Any:
        return EVENT("TEXT", "c:" + gripcontrol.websocket_control_message(kind, args))


class Backend(ThreadingHTTPServer):
    """A backend that was written for Pushpin.

    Attributes:
        seen: What it was asked: path, event and content, and what it had wanted to be told.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[Any, ...]] = []

    def see(self, path: str, headers: Any, events: list[Any]) -> None:
        assert gripcontrol.validate_sig(headers["Grip-Sig"], KEY, "restsock")
        assert headers["Accept"] == "application/websocket-events"
        assert headers["Sec-WebSocket-Extensions"] == "grip"
        assert headers["Connection-Id"]
        assert (headers["Cookie"], headers["Origin"]) == ("a=1", "http://a.example")
        for event in events:
            self.seen.append((path, event.type, event.content or b"", headers["Meta-User"]))


@contextmanager
def running() -> Iterator[Backend]:
    with Backend() as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


@contextmanager
def pushpin(backend: Backend) -> Iterator[tuple[int, int]]:
    """Its ports, for clients and to publish."""
    with tempfile.TemporaryDirectory(prefix="pp") as name:  # names of sockets are short
        folder, port, publish = Path(name), free_port(), free_port()
        internal = Path("/usr/lib/pushpin/internal.conf").read_text("utf-8")
        # As the package has it, zurl is a service of the system.
        internal = internal.replace("ipc:///var/run/zurl/", "ipc://{rundir}/{ipc_prefix}")
        (folder / "internal.conf").write_text(internal, "utf-8")
        (folder / "routes").write_text(f"* 127.0.0.1:{backend.server_port},over_http\n", "utf-8")
        config = CONFIG.format(folder=folder, port=port, publish=publish, key=KEY)
        (folder / "pushpin.conf").write_text(config, "utf-8")
        command = ["pushpin", f"--config={folder}/pushpin.conf"]
        with (folder / "output").open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            for end in (port, publish):
                _wait_for(end, process, folder / "output")
            yield port, publish
        finally:
            process.terminate()
            process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], output: Path) -> None:
    for _ in range(200):
        assert process.poll() is None, output.read_text("utf-8", "replace")
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(output.read_text("utf-8", "replace"))


@asynccontextmanager
async def gateway(backend: Backend) -> AsyncIterator[int]:
    """Its port for clients."""
    channels = []
    for path in ("/ws", "/greet", "/refuse"):
        grip = GRIP(f"http://127.0.0.1:{backend.server_port}{path}", key=KEY)
        channels.append(
            Channel(
                path,
                RawDialect(),
                Pipe(grip),
                on_connect=grip.connect,
                on_disconnect=grip.disconnect,
                origins=["http://a.example"],
            )
        )
    async with restsock.listen("127.0.0.1", 0, endpoints=Gateway(channels)) as server:
        yield server.address[1]


async def talk(port: int, path: str, *said: str | bytes) -> list[Any]:
    """What a client hears: until it is silent, after each message, and how it ends."""
    heard: list[Any] = []
    try:
        async with connect(
            f"ws://127.0.0.1:{port}{path}",
            headers={"Cookie": "a=1", "Origin": "http://a.example"},
        ) as ws:
            try:
                for message in ("", *said):
                    if message:
                        await ws.send(message)
                    with trio.move_on_after(0.4):
                        while True:
                            heard.append(await ws.receive())
            except WebSocketClosed as exc:
                heard.append((exc.code, exc.reason))
    except WebSocketRefused as exc:
        heard.append(exc.status)
    return heard


TALKS: list[tuple[str, tuple[str | bytes, ...]]] = [
    ("/ws?room=7&b=%20", ("hi", b"\x00\xff", "ä")),
    ("/greet", ("hi",)),
    ("/refuse", ("hi",)),
    ("/ws", ("none", "hi")),
    ("/ws", ("bob", "hi", "nobody", "hi")),
    ("/ws", ("bye",)),
    ("/ws", ("end",)),
    ("/ws", ("detach", "hi")),
]


async def test_clients_and_backend_see_the_same() -> None:
    async def talks(port: int, backend: Backend, found: list[Any]) -> None:
        for path, said in TALKS:
            heard = await talk(port, path, *said)
            # Pushpin tells the backend of the close that it has asked for itself.
            ended = {"bye", "end"} & {*map(str, said)}
            if not ended and "/refuse" not in path:
                await until(lambda: any(kind == "CLOSE" for _, kind, *_ in backend.seen))
            await trio.sleep(0.2)
            asked = [one for one in backend.seen if not (ended and one[1] == "CLOSE")]
            backend.seen.clear()
            found.append((path, said, heard, asked))

    there: list[Any] = []
    here: list[Any] = []
    with running() as one, running() as other, pushpin(one) as (port, _):
        async with gateway(other) as own_port, trio.open_nursery() as nursery:
            nursery.start_soon(talks, port, one, there)
            nursery.start_soon(talks, own_port, other, here)
    for ours, theirs in zip(here, there, strict=True):
        assert ours == theirs
