"""ASGI apps on an asyncio loop beside trio: requests, WebSockets, failures, a peer that leaves."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
import trio.lowlevel
import trio.testing
from starlette.requests import Request

from restsock import Limits, LocalProtocolError, Options, StreamRefused, StreamReset, Timeouts
from restsock.apps import Disconnected
from restsock.apps.asgi._asyncio_thread import AsyncioThread
from restsock.connection import AsyncExchange, Connection, Exchange
from restsock.protocol import (
    CloseReceived,
    RequestHead,
    ResetCode,
    TextMessage,
    WebSocket,
)
from tests.apps.asgi.on_asyncio import (
    HOST,
    PATIENCE,
    SOON,
    Loop,
    Mark,
    Receive,
    Send,
    http,
    linked,
    ok,
    read,
    serving,
    threads,
)


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Any:
    yield
    assert threads() == set()


# --- requests -------------------------------------------------------------------------------------


async def test_an_app_that_awaits_asyncio() -> None:
    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        await asyncio.create_task(queue.put(await read(receive)))
        assert threading.current_thread() in threads()
        await ok(send, await queue.get() + scope["restsock"].name.encode())

    async with serving(app, name="edge-1") as (dialer, _):
        for number in range(3):
            response = await dialer.request("POST", "/", body=b"%d " % number)
            assert (response.status, response.content) == (200, b"%d edge-1" % number)
            assert response.header("content-length") == "8"


async def test_many_at_once() -> None:
    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0)
        await ok(send, scope["query_string"] + await read(receive))

    async with serving(app) as (dialer, _):

        async def ask(number: int) -> None:
            for _ in range(5):
                response = await dialer.request("POST", f"/?{number}", body=b"x" * number * 100)
                assert response.content == b"%d" % number + b"x" * number * 100

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(ask, number)


async def test_a_small_request_wakes_each_side_once(monkeypatch: pytest.MonkeyPatch) -> None:
    wakes = {"_empty_to_trio": 0, "_empty_to_asyncio": 0}
    for name in wakes:
        original = getattr(AsyncioThread, name)

        def counting(self: Any, name: str = name, original: Any = original) -> None:
            wakes[name] += 1
            original(self)

        monkeypatch.setattr(AsyncioThread, name, counting)

    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await ok(send, await read(receive))

    async with serving(app) as (dialer, _):
        await dialer.request("GET", "/")
        before = dict(wakes)
        for _ in range(100):
            await dialer.request("GET", "/")
        # The other thread may be so fast that it finds a part of a request first.
        assert 100 <= wakes["_empty_to_asyncio"] - before["_empty_to_asyncio"] <= 200
        assert 99 <= wakes["_empty_to_trio"] - before["_empty_to_trio"] <= 120


async def test_both_bodies_stream() -> None:
    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        while True:
            message = await receive()
            more = message["more_body"]
            await send({"type": "http.response.body", "body": message["body"], "more_body": more})
            if not more:
                return

    to_send, to_body = trio.open_memory_channel[bytes](0)

    async def body() -> AsyncIterator[bytes]:
        async for piece in to_body:
            yield piece

    async with serving(app) as (dialer, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(to_send.send, b"one")
            async with dialer.stream("POST", "/", body=body()) as response:
                assert await response.receive() == b"one"
                await to_send.send(b"two")
                assert await response.receive() == b"two"
                await to_send.aclose()
                assert await response.receive() == b""


async def test_an_app_that_does_not_receive_stops_its_peer() -> None:
    loop = Loop()
    reached, go_on = Mark(), Mark()
    limits = Limits(initial_window=16384, max_window=16384, send_buffer=1024)

    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        loop.note()
        reached.set()
        await go_on.wait_on_asyncio()
        await ok(send, b"%d" % len(await read(receive)))

    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(200):
            sent += 1000
            yield b"x" * 1000

    async with serving(app, options=Options(limits=limits)) as (dialer, _):
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                response = await dialer.request("POST", "/", body=body())
                assert response.content == b"200000"

            nursery.start_soon(ask)
            await reached.wait()
            await loop.settle(lambda: sent)
            assert 16384 <= sent <= 16384 + 3000
            go_on.set()
    assert sent == 200_000


async def test_send_waits_for_a_peer_that_does_not_read() -> None:
    loop = Loop()
    count = 0
    limits = Limits(initial_window=16384, max_window=16384, send_buffer=4096)

    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        nonlocal count
        loop.note()
        await send({"type": "http.response.start", "status": 200})
        for _ in range(100):
            await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})
            count += 1
        await send({"type": "http.response.body"})

    async with serving(app, options=Options(limits=limits)) as (dialer, _):
        async with dialer.stream("GET", "/") as response:
            await loop.settle(lambda: count)
            # The window, and at most twice the send buffer.
            assert 20 <= count <= 16 + 8 + 2
            assert len(await response.read()) == 100_000


async def test_big_parts_get_through() -> None:
    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        for _ in range(5):
            part = {"type": "http.response.body", "body": b"x" * 500_000, "more_body": True}
            await send(part)
        await send({"type": "http.response.body", "body": b"y" * 500_000})

    async with serving(app) as (dialer, _):
        assert len((await dialer.request("GET", "/")).content) == 3_000_000


async def test_trailers_and_early_hints() -> None:
    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]})
        await send({"type": "http.response.start", "status": 200, "trailers": True})
        await send({"type": "http.response.body", "body": b"x"})
        await send({"type": "http.response.trailers", "headers": [(b"x-a", b"1")]})

    async with serving(app) as (dialer, _):
        exchange = AsyncExchange.open(dialer, RequestHead(b"GET", b"/", [HOST]))
        hint = await exchange.receive_head(interim=True)
        assert (hint.status, list(hint.headers)) == (103, [(b"Link", b"</a.css>; rel=preload")])
        assert (await exchange.receive_head()).status == 200
        assert await exchange.receive_data() == b"x"
        assert await exchange.receive_data() == b""
        assert list(exchange.trailers) == [(b"x-a", b"1")]


async def test_a_continue_is_sent_when_the_app_reads() -> None:
    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await ok(send, await read(receive))

    async with serving(app) as (dialer, _):
        headers = [HOST, (b"Expect", b"100-continue"), (b"Content-Length", b"3")]
        exchange = AsyncExchange.open(dialer, RequestHead(b"PUT", b"/", headers), end=False)
        assert (await exchange.receive_head(interim=True)).status == 100
        await exchange.send_data(b"abc")
        exchange.send_end()
        assert (await exchange.receive_head()).status == 200
        assert await exchange.receive_data() == b"abc"


async def test_each_request_has_a_context_of_its_own() -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("outside")

    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        before = variable.get()
        variable.set("inside")
        await ok(send, before.encode())

    async with serving(app) as (dialer, _):
        for _ in range(2):
            assert (await dialer.request("GET", "/")).text == "outside"


# --- the peer leaves ------------------------------------------------------------------------------


async def test_the_app_learns_that_the_peer_has_left(caplog: pytest.LogCaptureFixture) -> None:
    reached, ended = Mark(), Mark()
    seen: list[Any] = []

    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await receive()
        reached.set()
        seen.append(await receive())
        seen.append(await receive())
        try:
            await ok(send)
        finally:
            ended.set()

    async with serving(app) as (dialer, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dialer.request, "GET", "/")
            await reached.wait()
            nursery.cancel_scope.cancel()
        await ended.wait()
    assert seen == [{"type": "http.disconnect"}] * 2
    assert not [r for r in caplog.records if r.levelno > logging.INFO]


async def test_an_app_may_ask_whether_the_peer_has_left() -> None:
    reached, ended = Mark(), Mark()

    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        await request.body()
        assert not await request.is_disconnected()
        reached.set()
        while not await request.is_disconnected():  # noqa: ASYNC110  # what apps do
            await asyncio.sleep(0.001)
        ended.set()

    async with serving(app) as (dialer, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dialer.request, "GET", "/")
            await reached.wait()
            nursery.cancel_scope.cancel()
        await ended.wait()


async def test_a_wait_that_is_cancelled_leaves_nothing_behind() -> None:
    left: list[int] = []

    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await read(receive)
        for _ in range(100):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(receive(), 0.0001)
        left.append(len([o for o in gc.get_objects() if type(o) is asyncio.Future]))
        await ok(send)

    async with serving(app) as (dialer, _):
        assert (await dialer.request("GET", "/")).status == 200
    assert left[0] < 50


async def test_a_send_that_waits_learns_that_the_peer_has_left() -> None:
    errors: list[BaseException] = []
    ended = Mark()

    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x" * 9999, "more_body": True})
        except OSError as exc:
            errors.append(exc)
        ended.set()

    async with serving(app) as (dialer, _):
        async with dialer.stream("GET", "/") as response:
            await response.receive()
        await ended.wait()
    assert isinstance(errors[0], Disconnected)


async def test_an_app_that_goes_on_is_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    reached, ended = Mark(), Mark()
    cancelled = 0

    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        nonlocal cancelled
        reached.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled += 1
            raise
        finally:
            ended.set()

    async with serving(app, options=Options(timeouts=Timeouts(disconnect=SOON))) as (dialer, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dialer.request, "GET", "/")
            await reached.wait()
            nursery.cancel_scope.cancel()
        await ended.wait()
    assert cancelled == 1
    assert not [r for r in caplog.records if r.levelno > logging.INFO]


async def test_a_background_task_is_left_in_peace() -> None:
    go_on, ended = Mark(), Mark()
    messages = []

    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await ok(send)
        messages.append(await receive())
        await go_on.wait_on_asyncio()
        await asyncio.sleep(2 * SOON)
        ended.set()

    async with serving(app, options=Options(timeouts=Timeouts(disconnect=SOON))) as (dialer, _):
        assert (await dialer.request("GET", "/")).content == b"ok"
        await dialer.aclose()
        assert not ended.is_set()
        go_on.set()
        await ended.wait()
    assert messages == [{"type": "http.disconnect"}]


async def test_abandoned_requests_count_until_their_calls_end() -> None:
    loop = Loop()
    running = 0

    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        nonlocal running
        loop.note()
        running += 1
        await asyncio.sleep(3600)

    timeouts = Timeouts(close=SOON, connect=SOON, disconnect=9.0)
    options = Options(limits=Limits(max_streams=4), timeouts=timeouts)
    async with serving(app, options=options) as (dialer, _):
        for _ in range(10):
            exchange = AsyncExchange.open(dialer, RequestHead(b"GET", b"/", [HOST]))
            await trio.testing.wait_all_tasks_blocked()
            exchange.close()
        with pytest.raises(StreamRefused, match="still running"):
            await dialer.request("GET", "/")
        await loop.settle(lambda: running)
        assert running == 4


async def test_abandoned_requests_count_no_longer_once_they_were_cancelled() -> None:
    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        if scope["path"] == "/":
            await asyncio.sleep(3600)
        await ok(send)

    limits, timeouts = Limits(max_streams=2), Timeouts(disconnect=SOON)
    async with serving(app, options=Options(limits=limits, timeouts=timeouts)) as (dialer, _):
        for _ in range(2):
            exchange = AsyncExchange.open(dialer, RequestHead(b"GET", b"/", [HOST]))
            await trio.testing.wait_all_tasks_blocked()
            exchange.close()
        while True:  # until the news has come; `serving` has a time limit
            try:
                assert (await dialer.request("GET", "/short")).content == b"ok"
                break
            except StreamRefused:
                await trio.sleep(SOON / 5)


async def test_the_background_of_a_complete_response_does_not_count() -> None:
    running = 0

    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        nonlocal running
        await ok(send)
        running += 1
        await asyncio.sleep(3600)

    options = Options(limits=Limits(max_streams=1), timeouts=Timeouts(close=SOON))
    async with serving(app, options=options) as (dialer, _):
        for _ in range(3):
            assert (await dialer.request("GET", "/")).content == b"ok"
        assert running == 3


# --- the app fails --------------------------------------------------------------------------------


async def raises(scope: Any, receive: Receive, send: Send) -> None:
    raise ZeroDivisionError


async def exits(scope: Any, receive: Receive, send: Send) -> None:
    raise SystemExit(1)


async def interrupts(scope: Any, receive: Receive, send: Send) -> None:
    raise KeyboardInterrupt


async def cancels(scope: Any, receive: Receive, send: Send) -> None:
    raise asyncio.CancelledError


async def returns(scope: Any, receive: Receive, send: Send) -> None:
    pass


async def text(scope: Any, receive: Receive, send: Send) -> None:
    await ok(send, "text")  # type: ignore[arg-type]  # on purpose


async def bad_hint(scope: Any, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.early_hint", "links": [b"a\r\nb"]})


@pytest.mark.parametrize("app", [raises, exits, interrupts, cancels, returns, text, bad_hint])
async def test_an_apps_failure_is_a_500(app: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(http(app)) as (dialer, _):
        for _ in range(2):
            response = await dialer.request("GET", "/x?y")
            assert (response.status, response.text) == (500, "Internal Server Error\n")
    failed = [r for r in caplog.records if r.message == "the app failed at GET /x"]
    assert len(failed) == 2
    assert all(r.name == "restsock.apps" and r.exc_info for r in failed)


async def test_a_failure_behind_the_head_is_a_reset() -> None:
    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"abc", "more_body": True})
        raise ZeroDivisionError

    async with serving(app) as (dialer, _):
        for _ in range(2):  # the connection lives
            with pytest.raises(StreamReset) as caught:
                await dialer.request("GET", "/")
            assert caught.value.code == ResetCode.INTERNAL


@pytest.mark.parametrize("error", [ZeroDivisionError, LocalProtocolError])
async def test_a_step_that_fails_on_the_other_loop_fails_the_request(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[Exception] = []

    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x", "more_body": True})
        except OSError as exc:
            errors.append(exc)
            raise

    def fail(self: Exchange, data: bytes) -> None:
        raise error("a bug")

    async with serving(app) as (dialer, _):
        monkeypatch.setattr(Exchange, "send_data", fail)
        for _ in range(2):  # the loop lives
            with pytest.raises(StreamReset) as caught:
                await dialer.request("GET", "/")
            assert caught.value.code == ResetCode.INTERNAL
    assert len(errors) == 2


async def test_a_task_of_the_apps_does_not_end_the_loop(caplog: pytest.LogCaptureFixture) -> None:
    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        async def end() -> None:
            raise SystemExit(1)

        tasks.append(asyncio.create_task(end()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await ok(send)

    tasks: list[asyncio.Task[None]] = []
    async with serving(app) as (dialer, _):
        for _ in range(2):
            assert (await dialer.request("GET", "/")).status == 200
    assert isinstance(tasks[0].exception(), SystemExit)
    assert isinstance(tasks[1].exception(), SystemExit)
    assert "tried to end its loop" in caplog.text


async def test_an_app_does_not_stop_the_loop() -> None:
    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        asyncio.get_running_loop().stop()
        await ok(send)

    async with serving(app) as (dialer, _):
        for _ in range(2):
            assert (await dialer.request("GET", "/")).status == 200


async def test_an_app_that_needs_trio_is_told_so(caplog: pytest.LogCaptureFixture) -> None:
    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await trio.lowlevel.checkpoint()

    async with serving(app) as (dialer, _):
        assert (await dialer.request("GET", "/")).status == 500
    assert 'serve it with loop="trio"' in caplog.text


# --- WebSocket ------------------------------------------------------------------------------------


class Client:
    """A WebSocket client in a stream."""

    def __init__(self, exchange: AsyncExchange) -> None:
        self.exchange = exchange
        self.websocket = WebSocket(client=True, max_message=10_000_000)

    async def send(self, text: str) -> None:
        self.websocket.send_text(text)
        await self.flush()

    async def flush(self) -> None:
        await self.exchange.send_data(self.websocket.data_to_send())

    async def receive(self) -> Any:
        while (event := self.websocket.next_event()) is None:
            self.websocket.receive_data(await self.exchange.receive_data())
        return event


def upgrade(dialer: Connection) -> AsyncExchange:
    headers = [
        HOST,
        (b"Connection", b"upgrade"),
        (b"Upgrade", b"websocket"),
        (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
        (b"Sec-WebSocket-Version", b"13"),
    ]
    return AsyncExchange.open(dialer, RequestHead(b"GET", b"/", headers))


async def test_a_websocket() -> None:
    messages: list[Any] = []
    ended = Mark()

    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        assert scope["type"] == "websocket"
        assert await receive() == {"type": "websocket.connect"}
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await asyncio.sleep(0)
            await send({"type": "websocket.send", "text": message["text"].upper()})
        messages.append(message)
        ended.set()

    async with serving(app) as (dialer, _):
        exchange = upgrade(dialer)
        assert (await exchange.receive_head()).status == 101
        client = Client(exchange)
        for text in ["hello", "a" * 500_000, ""]:
            await client.send(text)
            assert await client.receive() == TextMessage(text.upper())
        client.websocket.close(3001, "enough")
        await client.flush()
        assert await client.receive() == CloseReceived(3001, "")
        exchange.send_end()
        await ended.wait()
    assert messages == [{"type": "websocket.disconnect", "code": 3001, "reason": "enough"}]


@pytest.mark.parametrize(
    ("app", "status"),
    [(raises, 500), (lambda scope, receive, send: send({"type": "websocket.close"}), 403)],
)
async def test_a_websocket_that_is_not_accepted(app: Any, status: int) -> None:
    async with serving(http(app)) as (dialer, _):
        assert (await upgrade(dialer).receive_head()).status == status


async def test_a_websocket_ends_with_the_serving() -> None:
    reached, cancelled = Mark(), Mark()

    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        reached.set()
        try:
            await receive()
            await receive()
        finally:
            cancelled.set()

    async with linked(app, Options(timeouts=Timeouts(close=SOON))) as (handler, dialer):
        async with handler.running():
            exchange = upgrade(dialer)
            assert (await exchange.receive_head()).status == 101
            await reached.wait()
        with pytest.raises(StreamReset, match="going away"):
            await exchange.receive_data()
    assert cancelled.is_set()


async def test_small_pieces_are_held_as_one() -> None:
    """While the loop is busy, a peer that sends byte by byte does not fill the memory."""
    reached, release = threading.Event(), threading.Event()
    sizes: list[int] = []

    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        reached.set()
        release.wait(PATIENCE)
        await ok(send, await read(receive))

    async with serving(app) as (dialer, listener):
        exchange = AsyncExchange.open(dialer, RequestHead(b"PUT", b"/", [HOST]), end=False)
        await trio.to_thread.run_sync(reached.wait)
        (served,) = listener.exchange_table._exchanges.values()
        for _ in range(3000):
            await exchange.send_data(b"x")
            await trio.testing.wait_all_tasks_blocked()
        proxy: Any = served.observer.__self__  # type: ignore[attr-defined]  # a bound method
        sizes.append(len(proxy._coming.pieces))
        exchange.send_end()
        release.set()
        assert await exchange.receive_data() == b"x" * 3000
    assert sizes == [1]
