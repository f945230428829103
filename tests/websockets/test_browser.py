"""A page in a real Chromium: its token, its origin, acknowledgements, and a hub that starts again.

There is no driver: the page says what it sees in messages to the hub.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

import restsock
from restsock.auth import BearerTokens
from restsock.messaging import Message, Messaging, Raw, Semstreams
from restsock.websockets import ServerWebSocket
from tests.chromium import PATIENCE, chromium, needs_chromium

pytestmark = [needs_chromium, pytest.mark.timeout(2 * PATIENCE)]

_PAGE = """<!doctype html><meta charset="utf-8"><title>page</title><script>
const settings = new URLSearchParams(location.search);
const hub = "ws://127.0.0.1:" + settings.get("port");
const protocols = ["bearer", "bearer." + settings.get("token")];
const report = [];
const envelope = (id, payload) =>
  JSON.stringify({type: "data", id, timestamp: Date.now(), payload});

// One that its origin does not let in.
const refused = new WebSocket(hub + "/closed");
refused.onclose = (event) => { report.push(["closed", event.code, event.wasClean]); raw(); };

// Text and bytes, there and back.
function raw() {
  const socket = new WebSocket(hub + "/raw");
  socket.binaryType = "arraybuffer";
  socket.onopen = () => {
    socket.send("gr\\u00fc\\u00df \\ud83d\\ude00");
    socket.send(new Uint8Array([0, 255]));
  };
  socket.onmessage = ({data}) => {
    report.push(typeof data === "string" ? ["text", data] : ["bytes", [...new Uint8Array(data)]]);
    if (report.at(-1)[0] === "bytes") { socket.close(4001, "bye"); }
  };
  socket.onclose = (event) => { report.push(["raw", event.code, event.wasClean]); connect(1); };
}

// Messages with acknowledgements; connects again whenever the hub has gone.
function connect(number) {
  const socket = new WebSocket(hub + "/ws", protocols);
  socket.onopen = () =>
    socket.send(envelope("page-" + number, {protocol: socket.protocol, report}));
  socket.onmessage = ({data}) => {
    const {type, id, payload} = JSON.parse(data);
    if (type === "ack") { report.push(["ack", id]); }
    if (type === "data") {
      report.push(["data", payload]);
      socket.send(JSON.stringify({type: "ack", id, timestamp: Date.now()}));
      socket.send(envelope("after-" + payload, {report}));
    }
  };
  socket.onclose = () => setTimeout(connect, 50, number + 1);
}
</script>"""


@asynccontextmanager
async def serving(page: str) -> AsyncIterator[int]:
    """Serves a page to whoever asks; gives the port."""
    body = page.encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(body)}"

    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            received = b""
            while b"\r\n\r\n" not in received:
                received += (data := bytes(await stream.receive_some()))
                if not data:
                    return
            await stream.send_all(f"{head}\r\nConnection: close\r\n\r\n".encode() + body)

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, answer, 0, host="127.0.0.1"))
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


def _name_of(websocket: ServerWebSocket) -> str:
    assert websocket.principal is not None
    return websocket.principal.name


class Hub:
    """A hub that can be started again on its port; the messaging goes on."""

    def __init__(self, origin: str) -> None:
        self.messaging = Messaging()
        self.port = 0
        self.stopped = trio.Event()
        self._seen: deque[Message] = deque()
        self._changed = trio.Event()
        self.messaging.on("page")(self._keep)
        self.messaging.on("echo")(self._echo)
        tokens = BearerTokens({"s3cret": "page"})
        self._endpoints = {
            "/ws": self.messaging.endpoint(
                Semstreams(channel="page"),
                auth=tokens,
                browser_token="bearer",
                origins=[origin],
                name=_name_of,
            ),
            "/raw": self.messaging.endpoint(Raw(channel="echo"), origins=[origin]),
            "/closed": self.messaging.endpoint(
                Raw(channel="echo"), origins=["https://other.example"]
            ),
        }

    async def _keep(self, message: Message) -> None:
        self._seen.append(message)
        self._changed.set()

    async def _echo(self, message: Message) -> None:
        await message.reply(message.body)

    async def wait(self, id: str) -> Message:
        """The next message with this id, or with one that begins so."""
        while True:
            self._changed = trio.Event()
            while self._seen:
                message = self._seen.popleft()
                if message.id.startswith(id):
                    return message
            await self._changed.wait()

    async def listen(
        self, *, task_status: trio.TaskStatus[trio.CancelScope] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Listens, until the scope that it gives is cancelled."""
        with trio.CancelScope() as scope:
            listening = restsock.listen("127.0.0.1", self.port, endpoints=self._endpoints)
            async with listening as server:
                self.port = server.address[1]
                task_status.started(scope)
                await trio.sleep_forever()
        self.stopped.set()


async def test_a_page_sends_receives_and_connects_again(tmp_path: Path) -> None:
    token = base64.urlsafe_b64encode(b"s3cret").decode().rstrip("=")
    with trio.fail_after(PATIENCE):
        async with serving(_PAGE) as port:
            hub = Hub(f"http://127.0.0.1:{port}")
            commands = hub.messaging.channel("commands", delivery="at_least_once", to="page")
            async with hub.messaging, trio.open_nursery() as nursery:
                scope = await nursery.start(hub.listen)
                url = f"http://127.0.0.1:{port}/?port={hub.port}&token={token}"
                async with chromium(url, tmp_path):
                    first = (await hub.wait("page-1")).body
                    assert first["protocol"] == "bearer"
                    assert first["report"] == [
                        ["closed", 1006, False],  # its origin is another one
                        ["text", "gr\u00fc\u00df \U0001f600"],
                        ["bytes", [0, 255]],
                        ["raw", 4001, True],
                    ]
                    await commands.send("one")
                    await commands.drain()
                    report = (await hub.wait("after-one")).body["report"]
                    assert report[4:] == [["ack", "page-1"], ["data", "one"]]
                    scope.cancel()
                    await hub.stopped.wait()
                    await commands.send("two")  # while nobody is there
                    await nursery.start(hub.listen)
                    assert (await hub.wait("page-")).session.name == "page"
                    await commands.drain()
                    report = (await hub.wait("after-two")).body["report"]
                    assert ["data", "two"] in report
                    assert report.count(["data", "one"]) == 1
                nursery.cancel_scope.cancel()
