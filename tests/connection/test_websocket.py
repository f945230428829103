"""The WebSocket of a caller against raw bytes of its peer, over a connection in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from restsock import Options, StreamReset, Timeouts, WebSocketClosed, WebSocketRefused
from restsock.connection import AsyncExchange, Connection, Exchange, Handler
from restsock.protocol import (
    BinaryMessage,
    CloseReceived,
    Pong,
    ResetCode,
    ResponseHead,
    TextMessage,
    WebSocket,
    WebSocketEvent,
    generate_accept_token,
    websocket_key,
)
from restsock.testing import connected_pair

Serve = Callable[["Server"], Awaitable[None]]


class Server:
    """The other end of a WebSocket, in the hands of a test."""

    def __init__(self, exchange: AsyncExchange) -> None:
        self.exchange = exchange
        self.websocket = WebSocket(client=False, max_message=2**20)

    def accept(self) -> None:
        key = websocket_key(self.exchange.exchange.request.headers)
        assert key is not None
        head = [
            (b"Connection", b"upgrade"),
            (b"Upgrade", b"websocket"),
            (b"Sec-WebSocket-Accept", generate_accept_token(key)),
        ]
        self.exchange.send_head(ResponseHead(101, head, b"Switching Protocols"))

    async def flush(self) -> None:
        await self.exchange.send_data(self.websocket.data_to_send())

    async def next(self) -> WebSocketEvent | None:
        """The next event; `None` at the end of the bytes."""
        while (event := self.websocket.next_event()) is None:
            data = await self.exchange.receive_data()
            if not data:
                return None
            self.websocket.receive_data(data)
        return event


class Serving:
    """A handler that gives each request to the test."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve

    def handle(self, exchange: Exchange) -> None:
        driver = AsyncExchange.accept(exchange, limit=65536)
        self._nursery.start_soon(self._serve, Server(driver))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as self._nursery:
            yield
            self._nursery.cancel_scope.cancel()


@asynccontextmanager
async def dialed(serve: Serve, **timeouts: float) -> AsyncIterator[Connection]:
    handler: Handler = Serving(serve)
    options = Options(timeouts=Timeouts(**timeouts))
    async with connected_pair(app_b=handler, options=options) as (dialer, _):
        yield dialer


async def test_pings_are_answered_while_nobody_receives() -> None:
    ponged = trio.Event()

    async def serve(server: Server) -> None:
        server.accept()
        for number in range(3):
            server.websocket.send_text(str(number))
        server.websocket.send_ping(b"there?")
        await server.flush()
        assert await server.next() == Pong(b"there?")
        ponged.set()
        assert await server.next() == CloseReceived(1000, "")
        await server.flush()
        server.exchange.send_end()

    async with dialed(serve) as dialer, dialer.websocket("/") as websocket:
        await ponged.wait()
        assert [await websocket.receive() for _ in range(3)] == ["0", "1", "2"]


async def test_what_the_app_sends_before_its_close_is_received() -> None:
    async def serve(server: Server) -> None:
        server.accept()
        server.websocket.send_text("last words")
        server.websocket.close(4000, "gone")
        await server.flush()
        assert await server.next() == CloseReceived(4000, "")
        assert await server.next() is None
        server.exchange.send_end()

    async with dialed(serve) as dialer, dialer.websocket("/") as websocket:
        await trio.testing.wait_all_tasks_blocked()
        assert websocket.close_code == 4000
        assert await websocket.receive() == "last words"
        for _ in range(2):
            with pytest.raises(WebSocketClosed, match="4000, closed by the app: gone"):
                await websocket.receive()


@pytest.mark.parametrize(
    ("how", "code"), [("end", 1006), ("cut", 1006), ("garbage", 1002), ("no code", 1005)]
)
async def test_ends_that_are_no_good_close(how: str, code: int) -> None:
    seen: list[WebSocketEvent | None] = []

    async def serve(server: Server) -> None:
        server.accept()
        if how == "end":
            server.exchange.send_end()
        elif how == "cut":
            await trio.testing.wait_all_tasks_blocked()
            server.exchange.close(ResetCode.INTERNAL, "broken")
            return
        elif how == "garbage":
            await server.exchange.send_data(b"\xff" * 20)
        else:
            await server.exchange.send_data(b"\x88\x00")
        while (event := await server.next()) is not None:
            seen.append(event)
        server.exchange.send_end()

    async with dialed(serve) as dialer, dialer.websocket("/") as websocket:
        with pytest.raises(WebSocketClosed) as caught:
            await websocket.receive()
        assert (caught.value.code, websocket.close_code) == (code, code)
        assert caught.value.clean is (code == 1005)
        assert isinstance(caught.value.__cause__, StreamReset) is (how == "cut")
        with pytest.raises(WebSocketClosed):
            await websocket.send("late")
    if how == "garbage":
        (closed,) = seen
        assert isinstance(closed, CloseReceived)
        assert closed.code == 1002


async def test_a_cancelled_receive_loses_nothing() -> None:
    go_on = trio.Event()

    async def serve(server: Server) -> None:
        server.accept()
        await go_on.wait()
        server.websocket.send_text("kept")
        await server.flush()
        await server.next()
        await server.flush()
        server.exchange.send_end()

    async with dialed(serve) as dialer, dialer.websocket("/") as websocket:
        with trio.move_on_after(0) as scope:
            await websocket.receive()
        assert scope.cancelled_caught
        go_on.set()
        await trio.testing.wait_all_tasks_blocked()
        with trio.CancelScope() as scope:  # though there is a message by now
            scope.cancel()
            await websocket.receive()
        assert scope.cancelled_caught
        assert await websocket.receive() == "kept"


async def test_a_cancelled_block_resets_the_stream() -> None:
    ended = trio.Event()

    async def serve(server: Server) -> None:
        server.accept()
        with pytest.raises(StreamReset):
            await server.next()
        ended.set()

    async with dialed(serve) as dialer:
        with trio.CancelScope() as scope:
            async with dialer.websocket("/"):
                scope.cancel()
                await trio.sleep_forever()
        await ended.wait()
        assert dialer.multiplexer.open_streams == 0


async def test_an_app_that_does_not_close_is_given_a_time(autojump_clock: MockClock) -> None:
    async def serve(server: Server) -> None:
        server.accept()
        await trio.sleep_forever()

    async with dialed(serve, close=7) as dialer:
        async with dialer.websocket("/") as websocket:
            begun = trio.current_time()
            await websocket.aclose(3000)
            assert trio.current_time() - begun == pytest.approx(7)
        assert trio.current_time() - begun == pytest.approx(7)
        assert websocket.close_code == 3000
        await trio.testing.wait_all_tasks_blocked()
        assert dialer.multiplexer.open_streams == 0


async def test_a_close_gives_up_what_was_not_received() -> None:
    async def serve(server: Server) -> None:
        server.accept()
        for _ in range(100):
            server.websocket.send_binary(bytes(10_000))
            await server.flush()
        while not isinstance(event := await server.next(), CloseReceived):
            assert isinstance(event, BinaryMessage)
        assert (event.code, event.reason) == (1001, "enough")
        await server.flush()
        server.exchange.send_end()

    async with dialed(serve) as dialer, dialer.websocket("/") as websocket:
        await trio.testing.wait_all_tasks_blocked()
        await websocket.send(b"x")
        await websocket.aclose(1001, "enough")
        with pytest.raises(WebSocketClosed, match="1001, closed by this side: enough"):
            await websocket.receive()


async def test_each_message_goes_to_one_of_several_receivers() -> None:
    async def serve(server: Server) -> None:
        server.accept()
        while isinstance(event := await server.next(), TextMessage):
            server.websocket.send_text(event.data)
            await server.flush()
        await server.flush()
        server.exchange.send_end()

    received: list[str | bytes] = []
    async with dialed(serve) as dialer, dialer.websocket("/") as websocket:
        async with trio.open_nursery() as nursery:

            async def receive() -> None:
                received.append(await websocket.receive())

            async def send(number: int) -> None:
                await websocket.send(str(number))

            for number in range(20):
                nursery.start_soon(receive)
                nursery.start_soon(send, number)
    assert sorted(map(int, received)) == list(range(20))


async def test_a_flood_of_pings_does_not_pile_up_pongs() -> None:
    async def serve(server: Server) -> None:
        server.accept()
        for _ in range(3000):
            server.websocket.send_ping(bytes(100))
        await server.flush()
        await trio.sleep_forever()  # and takes no pong

    async with dialed(serve, close=0.01) as dialer, dialer.websocket("/") as websocket:
        await trio.testing.wait_all_tasks_blocked()
        raw = websocket._raw
        assert isinstance(raw, AsyncExchange)
        assert raw.exchange.buffered <= 65536 + 128 * 110 + 300


async def test_only_so_much_of_a_refusal_is_kept(autojump_clock: MockClock) -> None:
    async def serve(server: Server) -> None:
        server.exchange.send_head(ResponseHead(404, [(b"Content-Type", b"text/html")]))
        await server.exchange.send_data(b"<html>" + bytes(100_000))
        await trio.sleep_forever()

    async with dialed(serve) as dialer:
        with pytest.raises(WebSocketRefused) as caught:
            async with dialer.websocket("/missing"):
                pass
        assert str(caught.value) == "the WebSocket was not accepted, but answered with 404"
        assert caught.value.response.header("Content-Type") == "text/html"
        assert len(caught.value.response.content) == 65536
        await trio.testing.wait_all_tasks_blocked()
        assert dialer.multiplexer.open_streams == 0
