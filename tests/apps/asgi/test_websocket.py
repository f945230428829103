"""An ASGI WebSocket behind a real connection in memory."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from restsock import Limits, Options
from restsock.apps import Disconnected
from restsock.connection import AsyncExchange, Connection
from restsock.protocol import (
    BinaryMessage,
    CloseReceived,
    Pong,
    RequestHead,
    ResponseHead,
    TextMessage,
    WebSocket,
    WebSocketEvent,
)
from restsock.testing import connected_pair

Receive = Any
Send = Any

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, section 1.3
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def upgrade(*fields: tuple[bytes, bytes], target: bytes = b"/chat?x=1") -> RequestHead:
    headers = [
        (b"Host", b"edge"),
        (b"Connection", b"upgrade"),
        (b"Upgrade", b"websocket"),
        (b"Sec-WebSocket-Key", KEY),
        (b"Sec-WebSocket-Version", b"13"),
    ]
    replaced = {name.lower() for name, _ in fields}
    kept = [field for field in headers if field[0].lower() not in replaced]
    return RequestHead(b"GET", target, [*kept, *(f for f in fields if f[1])])


class Client:
    """A WebSocket client on the raw bytes of an exchange."""

    def __init__(self, exchange: AsyncExchange, head: ResponseHead) -> None:
        self.exchange = exchange
        self.head = head
        self.websocket = WebSocket(client=True, max_message=2**20)

    def header(self, name: bytes) -> bytes | None:
        return {n.lower(): v for n, v in self.head.headers}.get(name)

    async def flush(self) -> None:
        await self.exchange.send_data(self.websocket.data_to_send())

    async def send(self, message: str | bytes) -> None:
        if isinstance(message, str):
            self.websocket.send_text(message)
        else:
            self.websocket.send_binary(message)
        await self.flush()

    async def next(self) -> WebSocketEvent:
        while (event := self.websocket.next_event()) is None:
            data = await self.exchange.receive_data()
            if not data:
                raise EOFError
            self.websocket.receive_data(data)
        return event


@asynccontextmanager
async def websocket(dialer: Connection, head: RequestHead | None = None) -> AsyncIterator[Client]:
    exchange = AsyncExchange.open(dialer, head or upgrade())
    try:
        yield Client(exchange, await exchange.receive_head())
    finally:
        exchange.close()


def only_websocket(app: Any) -> Any:
    async def wrapper(scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await app(scope, receive, send)

    return wrapper


async def echo(scope: Any, receive: Receive, send: Send) -> None:
    assert (await receive()) == {"type": "websocket.connect"}
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})


async def test_the_handshake_and_the_scope() -> None:
    scopes = []

    @only_websocket
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await receive()
        headers = [(b"x-a", b"1")]
        await send({"type": "websocket.accept", "subprotocol": "b", "headers": headers})
        await send({"type": "websocket.close", "code": 3000, "reason": "enough"})

    head = upgrade((b"Sec-WebSocket-Protocol", b"a, b"))
    async with (
        connected_pair(loop_b="trio", app_b=app) as (dialer, _),
        websocket(dialer, head) as client,
    ):
        assert client.head.status == 101
        assert client.header(b"sec-websocket-accept") == ACCEPT
        assert client.header(b"sec-websocket-protocol") == b"b"
        assert client.header(b"upgrade") == b"websocket"
        assert client.header(b"x-a") == b"1"
        assert await client.next() == CloseReceived(3000, "enough")
        await client.flush()
        client.exchange.send_end()
        assert await client.exchange.receive_data() == b""
    (scope,) = scopes
    assert scope["type"] == "websocket"
    assert scope["scheme"] == "ws"
    assert (scope["path"], scope["query_string"]) == ("/chat", b"x=1")
    assert scope["subprotocols"] == ["a", "b"]
    assert "method" not in scope
    assert scope["extensions"] == {"websocket.http.response": {}}


async def test_messages_both_ways() -> None:
    async with connected_pair(loop_b="trio", app_b=echo) as (dialer, listener):
        async with websocket(dialer) as client:
            for message in ("text ä", b"\x00\xff", "", b"", b"x" * 300_000):
                await client.send(message)
                event = await client.next()
                assert isinstance(event, (TextMessage, BinaryMessage))
                assert event.data == message
            client.websocket.close(1000, "bye")
            await client.flush()
            client.exchange.send_end()
            assert await client.next() == CloseReceived(1000, "")
            assert await client.exchange.receive_data() == b""
        await trio.testing.wait_all_tasks_blocked()
        assert listener.multiplexer.open_streams == 0


@pytest.mark.parametrize(
    ("field", "status"),
    [
        ((b"Sec-WebSocket-Key", b""), 400),
        ((b"Sec-WebSocket-Key", b"short"), 400),
        ((b"Sec-WebSocket-Key", base64.b64encode(b"x" * 15)), 400),
        ((b"Sec-WebSocket-Version", b"8"), 426),
        ((b"Sec-WebSocket-Version", b""), 426),
    ],
)
async def test_a_wrong_handshake_never_reaches_the_app(
    field: tuple[bytes, bytes], status: int
) -> None:
    async with connected_pair(loop_b="trio", app_b=echo) as (dialer, _):
        async with websocket(dialer, upgrade(field)) as client:
            assert client.head.status == status
            assert client.header(b"sec-websocket-version") == b"13"


async def test_other_upgrades_are_plain_requests() -> None:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        assert (b"upgrade", b"h2c") in scope["headers"]
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"plain"})

    async with connected_pair(loop_b="trio", app_b=app) as (dialer, _):
        async with websocket(dialer, upgrade((b"Upgrade", b"h2c"))) as client:
            assert client.head.status == 200
            assert await client.exchange.receive_data() == b"plain"


async def test_a_refusal_is_a_403() -> None:
    later = []

    @only_websocket
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.close"})
        later.append(await receive())

    async with connected_pair(loop_b="trio", app_b=app) as (dialer, _), websocket(dialer) as client:
        assert client.head.status == 403
        assert await client.exchange.receive_data() == b"Forbidden\n"
    assert later == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]


async def test_a_refusal_of_the_apps_own() -> None:
    @only_websocket
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        headers = [(b"x-why", b"tired")]
        await send({"type": "websocket.http.response.start", "status": 429, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": b"one ", "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"two"})

    async with connected_pair(loop_b="trio", app_b=app) as (dialer, _), websocket(dialer) as client:
        assert client.head.status == 429
        assert client.header(b"x-why") == b"tired"
        body = b""
        while data := await client.exchange.receive_data():
            body += data
        assert body == b"one two"


async def test_a_ping_is_answered_while_the_app_is_busy() -> None:
    @only_websocket
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await trio.sleep_forever()

    async with connected_pair(loop_b="trio", app_b=app) as (dialer, _), websocket(dialer) as client:
        await client.send("nobody takes this")
        client.websocket.send_ping(b"there?")
        await client.flush()
        assert await client.next() == Pong(b"there?")


async def test_an_app_that_does_not_receive_stops_its_peer() -> None:
    go_on = trio.Event()
    received = 0

    @only_websocket
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        nonlocal received
        await receive()
        await send({"type": "websocket.accept"})
        await go_on.wait()
        while (message := await receive())["type"] == "websocket.receive":
            received += len(message["bytes"])

    limits = Limits(initial_window=16384, max_window=16384, send_buffer=1024)
    sent = 0
    async with connected_pair(loop_b="trio", app_b=app, options=Options(limits=limits)) as (
        dialer,
        _,
    ):
        async with websocket(dialer) as client, trio.open_nursery() as nursery:

            async def flood() -> None:
                nonlocal sent
                for _ in range(100):
                    sent += 1000
                    await client.send(b"x" * 1000)
                client.websocket.close()
                await client.flush()
                assert await client.next() == CloseReceived(1000, "")

            nursery.start_soon(flood)
            await trio.testing.wait_all_tasks_blocked()
            assert 16000 <= sent <= 19000
            go_on.set()
    assert received == 100_000


async def test_send_waits_for_a_peer_that_does_not_read() -> None:
    count = 0

    @only_websocket
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        nonlocal count
        await receive()
        await send({"type": "websocket.accept"})
        for _ in range(100):
            await send({"type": "websocket.send", "bytes": b"x" * 1000})
            count += 1

    limits = Limits(initial_window=16384, max_window=16384, send_buffer=4096)
    async with connected_pair(loop_b="trio", app_b=app, options=Options(limits=limits)) as (
        dialer,
        _,
    ):
        async with websocket(dialer) as client:
            await trio.testing.wait_all_tasks_blocked()
            assert 18 <= count <= 23
            for _ in range(100):
                assert await client.next() == BinaryMessage(b"x" * 1000)
            assert await client.next() == CloseReceived(1000, "")


async def test_a_flood_of_pings_does_not_pile_up_pongs() -> None:
    limits = Limits(initial_window=16384, max_window=16384, send_buffer=4096)
    async with connected_pair(loop_b="trio", app_b=echo, options=Options(limits=limits)) as (
        dialer,
        listener,
    ):
        async with websocket(dialer) as client:
            for _ in range(3000):
                client.websocket.send_ping(b"x" * 100)
                with trio.move_on_after(0.001):
                    await client.flush()
            await trio.testing.wait_all_tasks_blocked()
            # Those that waited while it was write_paused leave together once it is not.
            most = 4096 + 128 * (100 + 2)
            assert listener.multiplexer.buffered(client.exchange.exchange.id) <= most + 300


# --- ends -----------------------------------------------------------------------------------------


class Ended:
    """An app that tells how its WebSocket ended."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.error: BaseException | None = None
        self.accepted = trio.Event()
        self.done = trio.Event()

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            return
        await receive()
        await send({"type": "websocket.accept"})
        self.accepted.set()
        while (message := await receive())["type"] == "websocket.receive":
            self.messages.append(message)
        self.messages.append(message)
        assert await receive() == message
        try:
            await send({"type": "websocket.send", "text": "late"})
        except OSError as exc:
            self.error = exc
        await send({"type": "websocket.close"})  # harmless
        self.done.set()


@pytest.mark.parametrize(
    ("how", "code"),
    [("close", 4321), ("no code", 1005), ("end", 1006), ("cut", 1006), ("garbage", 1002)],
)
async def test_the_app_learns_of_the_end(how: str, code: int) -> None:
    app = Ended()
    async with connected_pair(loop_b="trio", app_b=app) as (dialer, listener):
        async with websocket(dialer) as client:
            await client.send("last words")
            await app.accepted.wait()
            if how == "close":
                client.websocket.close(4321, "so long")
                await client.flush()
            elif how == "no code":
                await client.exchange.send_data(b"\x88\x80\x00\x00\x00\x00")
            elif how == "end":
                client.exchange.send_end()
            elif how == "cut":
                await trio.testing.wait_all_tasks_blocked()
                client.exchange.close()
            else:
                await client.exchange.send_data(b"\xff" * 20)
            await app.done.wait()
            if how == "garbage":
                closed = await client.next()
                assert isinstance(closed, CloseReceived)
                assert closed.code == 1002
        first, last = app.messages
        assert first["text"] == "last words"
        assert (last["type"], last["code"]) == ("websocket.disconnect", code)
        assert last["reason"] == "so long" if how == "close" else True
        assert isinstance(app.error, Disconnected)
        await trio.testing.wait_all_tasks_blocked()
        assert listener.multiplexer.open_streams == 0


async def test_a_message_above_the_limit_is_a_1009() -> None:
    async with connected_pair(loop_b="trio", app_b=echo, max_websocket_message=1000) as (dialer, _):
        async with websocket(dialer) as client:
            await client.send(b"x" * 1000)
            assert isinstance(await client.next(), BinaryMessage)
            await client.send(b"x" * 1001)
            closed = await client.next()
            assert isinstance(closed, CloseReceived)
            assert closed.code == 1009


async def test_an_app_that_goes_on_is_cancelled(autojump_clock: MockClock) -> None:
    ended_at = 0.0
    accepted, ended = trio.Event(), trio.Event()

    @only_websocket
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        nonlocal ended_at
        await receive()
        await send({"type": "websocket.accept"})
        accepted.set()
        try:
            await trio.sleep_forever()
        finally:
            ended_at = trio.current_time()
            ended.set()

    async with connected_pair(loop_b="trio", app_b=app) as (dialer, _):
        async with websocket(dialer):
            await accepted.wait()
        left_at = trio.current_time()
        await ended.wait()
        assert ended_at - left_at == pytest.approx(1.0)


async def test_a_peer_that_never_ends_is_reset(autojump_clock: MockClock) -> None:
    @only_websocket
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})

    async with connected_pair(loop_b="trio", app_b=app) as (dialer, listener):
        async with websocket(dialer) as client:
            assert await client.next() == CloseReceived(1000, "")
            assert await client.exchange.receive_data() == b""
            assert listener.multiplexer.open_streams == 1
            await trio.sleep(5.1)
            assert listener.multiplexer.open_streams == 0


# --- the app fails --------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["raises", "returns", "sends first", "bad header", "our header"])
async def test_a_failure_before_the_answer_is_a_500(
    what: str, caplog: pytest.LogCaptureFixture
) -> None:
    @only_websocket
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await receive()
        if what == "raises":
            raise ZeroDivisionError
        if what == "sends first":
            await send({"type": "websocket.send", "text": "x"})
        elif what == "bad header":
            await send({"type": "websocket.accept", "headers": [(b"a b", b"c")]})
        elif what == "our header":
            fields = [(b"Sec-WebSocket-Accept", b"x")]
            await send({"type": "websocket.accept", "headers": fields})

    async with connected_pair(loop_b="trio", app_b=app) as (dialer, _), websocket(dialer) as client:
        assert client.head.status == 500
    assert [r for r in caplog.records if r.exc_info]


@pytest.mark.parametrize("what", ["raises", "accepts twice", "text is bytes", "both", "http"])
async def test_a_failure_behind_the_accept_is_a_1011(
    what: str, caplog: pytest.LogCaptureFixture
) -> None:
    @only_websocket
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        if what == "raises":
            raise ZeroDivisionError
        messages = {
            "accepts twice": {"type": "websocket.accept"},
            "text is bytes": {"type": "websocket.send", "text": b"x"},
            "both": {"type": "websocket.send", "text": "x", "bytes": b"x"},
            "http": {"type": "websocket.http.response.start", "status": 200},
        }
        await send(messages[what])

    async with connected_pair(loop_b="trio", app_b=app) as (dialer, _), websocket(dialer) as client:
        assert client.head.status == 101
        assert await client.next() == CloseReceived(1011, "")
    assert [r for r in caplog.records if r.exc_info]
