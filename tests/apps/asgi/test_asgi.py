"""A bare ASGI app behind a real connection in memory."""

from __future__ import annotations

import gc
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
import trio.testing
from starlette.requests import Request
from trio.testing import MockClock

from restsock import Limits, Options, StreamRefused, StreamReset
from restsock.apps import (
    AppStartupError,
    BadResponseError,
    ConnectionInfo,
    Disconnected,
    make_handler,
)
from restsock.apps.asgi._http import HttpRequest
from restsock.connection import AsyncExchange
from restsock.protocol import RequestHead, ResetCode
from restsock.testing import connected_pair
from tests.apps.asgi.on_asyncio import HOST, Receive, Send, http, ok, read
from tests.connection.peers import handshake


class Seen:
    """What an app has seen, and events by which it tells how far it is."""

    def __init__(self) -> None:
        self.scope: dict[str, Any] = {}
        self.messages: list[Any] = []
        self.error: BaseException | None = None
        self.reached = trio.Event()
        self.ended = trio.Event()


async def test_the_scope() -> None:
    seen = Seen()

    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        seen.scope = scope
        await ok(send)

    async with connected_pair(loop_b="trio", app_b=app, name="edge-1", metadata={"a": [1]}) as (
        dialer,
        _,
    ):
        headers = [("Host", "api.test:8080"), ("X-Mixed", "1"), ("x-mixed", "2")]
        await dialer.request("GET", "/a%20b/%C3%A4%2Fc?q=%20&r", headers=headers)
        scope = seen.scope
        assert scope["restsock"] == ConnectionInfo(dialer.id, "edge-1", {"a": [1]}, None)
    del scope["restsock"]
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/a b/ä/c",
        "raw_path": b"/a%20b/%C3%A4%2Fc",
        "query_string": b"q=%20&r",
        "root_path": "",
        "headers": [(b"host", b"api.test:8080"), (b"x-mixed", b"1"), (b"x-mixed", b"2")],
        "client": ("memory", 0),
        "server": ("api.test", 8080),
        "extensions": {"http.response.trailers": {}, "http.response.early_hint": {}},
    }


@pytest.mark.parametrize(
    ("host", "server"),
    [
        ("edge", ("edge", 80)),
        ("edge:", ("edge", 80)),
        ("[::1]", ("::1", 80)),
        ("[::1]:99", ("::1", 99)),
    ],
)
async def test_the_server_is_whom_the_host_names(host: str, server: tuple[str, int]) -> None:
    seen = Seen()

    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        seen.scope = scope
        await ok(send)

    async with connected_pair(loop_b="trio", app_b=app) as (dialer, _):
        await dialer.request("GET", "/", headers=[("Host", host)])
    assert seen.scope["server"] == server


async def test_an_answer_has_date_and_length() -> None:
    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await ok(send, b"hello", [(b"x-a", b"1"), (b"x-a", b"2")])

    async with connected_pair(loop_b="trio", app_b=app) as (dialer, _):
        response = await dialer.request("GET", "/")
        assert (response.status, response.content) == (200, b"hello")
        assert response.header("content-length") == "5"
        assert response.header("date")
        assert [v for n, v in response.headers if n == b"x-a"] == [b"1", b"2"]
        head = await dialer.request("HEAD", "/")
        assert (head.header("content-length"), head.content) == ("5", b"")


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

    async with connected_pair(loop_b="trio", app_b=app) as (dialer, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(to_send.send, b"one")
            async with dialer.stream("POST", "/", body=body()) as response:
                assert await response.receive() == b"one"
                await to_send.send(b"two")
                assert await response.receive() == b"two"
                await to_send.aclose()
                assert await response.receive() == b""


async def test_an_app_that_does_not_receive_stops_its_peer() -> None:
    seen = Seen()
    go_on = trio.Event()
    limits = Limits(initial_window=16384, max_window=16384, send_buffer=1024)

    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await go_on.wait()
        await ok(send, b"%d" % len(await read(receive)))

    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(200):
            sent += 1000
            yield b"x" * 1000

    async with connected_pair(loop_b="trio", app_b=app, options=Options(limits=limits)) as (
        dialer,
        _,
    ):
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                response = await dialer.request("POST", "/", body=body())
                assert response.content == b"200000"

            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            assert 16384 <= sent <= 16384 + 3000
            go_on.set()
    assert sent == 200_000
    assert not seen.messages


async def test_send_waits_for_a_peer_that_does_not_read() -> None:
    count = 0
    limits = Limits(initial_window=16384, max_window=16384, send_buffer=4096)

    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        nonlocal count
        await send({"type": "http.response.start", "status": 200})
        for _ in range(100):
            await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})
            count += 1
        await send({"type": "http.response.body"})

    async with connected_pair(loop_b="trio", app_b=app, options=Options(limits=limits)) as (
        dialer,
        _,
    ):
        async with dialer.stream("GET", "/") as response:
            await trio.testing.wait_all_tasks_blocked()
            assert 20 <= count <= 23
            assert len(await response.read()) == 100_000


async def test_the_head_waits_for_the_first_part_of_the_body() -> None:
    go_on = trio.Event()

    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        await go_on.wait()
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        await trio.sleep_forever()

    async with connected_pair(loop_b="trio", app_b=app) as (dialer, _):
        with trio.move_on_after(0):
            async with dialer.stream("GET", "/"):
                pytest.fail("the head came too early")
        go_on.set()
        async with dialer.stream("GET", "/") as response:
            assert response.status == 200


async def test_trailers() -> None:
    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "trailers": True})
        await send({"type": "http.response.body", "body": b"x"})
        part = {
            "type": "http.response.trailers",
            "headers": [(b"x-a", b"1")],
            "more_trailers": True,
        }
        await send(part)
        await send({"type": "http.response.trailers", "headers": [(b"x-b", b"2")]})

    async with connected_pair(loop_b="trio", app_b=app) as (dialer, _):
        response = await dialer.request("GET", "/")
        assert list(response.trailers) == [(b"x-a", b"1"), (b"x-b", b"2")]


async def test_a_continue_is_sent_when_the_app_reads() -> None:
    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await ok(send, await read(receive) if scope["path"] == "/read" else b"")

    async with connected_pair(loop_b="trio", app_b=app) as (dialer, _):

        async def ask(path: bytes) -> tuple[int, AsyncExchange]:
            headers = [HOST, (b"Expect", b"100-continue"), (b"Content-Length", b"3")]
            exchange = AsyncExchange.open(dialer, RequestHead(b"PUT", path, headers), end=False)
            return (await exchange.receive_head(interim=True)).status, exchange

        status, exchange = await ask(b"/read")
        assert status == 100
        await exchange.send_data(b"abc")
        exchange.send_end()
        assert (await exchange.receive_head()).status == 200
        assert await exchange.receive_data() == b"abc"

        status, exchange = await ask(b"/")
        assert status == 200
        exchange.close()


async def test_what_is_not_read_of_a_request_is_stopped() -> None:
    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await ok(send, b"enough")

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 10_000

    async with connected_pair(loop_b="trio", app_b=app) as (dialer, listener):
        response = await dialer.request("POST", "/", body=endless())
        assert response.content == b"enough"
        assert dialer.multiplexer.open_streams == listener.multiplexer.open_streams == 0


# --- the peer leaves ------------------------------------------------------------------------------


async def test_the_app_learns_that_the_peer_has_left(autojump_clock: MockClock) -> None:
    seen = Seen()

    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "http.request"
        seen.reached.set()
        seen.messages.append(await receive())
        seen.messages.append(await receive())
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        except OSError as exc:
            seen.error = exc
        seen.ended.set()

    async with (
        connected_pair(loop_b="trio", app_b=app) as (dialer, _),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(dialer.request, "GET", "/")
        await seen.reached.wait()
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await seen.ended.wait()
    assert [m["type"] for m in seen.messages] == ["http.disconnect"] * 2
    assert isinstance(seen.error, Disconnected)
    assert isinstance(seen.error.__cause__, StreamReset)


@pytest.mark.parametrize("asks", [True, False])
async def test_an_app_that_goes_on_is_cancelled(
    asks: bool, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    seen = Seen()
    ended_at = 0.0

    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        nonlocal ended_at
        seen.reached.set()
        try:
            while True:
                if asks:
                    await receive()
                else:
                    await trio.sleep(0.3)
        finally:
            ended_at = trio.current_time()
            seen.ended.set()

    async with connected_pair(loop_b="trio", app_b=app) as (dialer, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dialer.request, "GET", "/")
            await seen.reached.wait()
            left_at = trio.current_time()
            nursery.cancel_scope.cancel()
        if asks:
            # A loop that never sleeps stands still in the clock's time: it is moved on by hand.
            while not seen.ended.is_set():
                await trio.lowlevel.checkpoint()
                autojump_clock.jump(0.1)
        await seen.ended.wait()
        # By hand, the clock also moves while the news of the leaving is on its way.
        assert 1.0 <= ended_at - left_at < (5.0 if asks else 1.1)
    assert not caplog.records


async def test_an_app_may_ask_whether_the_peer_has_left(autojump_clock: MockClock) -> None:
    seen = Seen()

    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        await request.body()
        assert not await request.is_disconnected()
        seen.reached.set()
        while not await request.is_disconnected():  # noqa: ASYNC110  # what apps do
            await trio.sleep(0.1)
        seen.ended.set()

    async with connected_pair(loop_b="trio", app_b=app) as (dialer, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dialer.request, "GET", "/")
            await seen.reached.wait()
            nursery.cancel_scope.cancel()
        with trio.fail_after(0.5):
            await seen.ended.wait()


async def test_a_background_task_is_left_in_peace(autojump_clock: MockClock) -> None:
    seen = Seen()

    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await ok(send)
        seen.messages.append(await receive())
        await trio.sleep(3)
        seen.ended.set()

    async with connected_pair(loop_b="trio", app_b=app) as (dialer, _):
        assert (await dialer.request("GET", "/")).content == b"ok"
        await dialer.aclose()
        assert not seen.ended.is_set()
        await seen.ended.wait()
    assert seen.messages == [{"type": "http.disconnect"}]


async def test_a_send_that_waits_learns_that_the_peer_has_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen = Seen()

    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x" * 9999, "more_body": True})
        finally:
            seen.ended.set()

    async with connected_pair(loop_b="trio", app_b=app) as (dialer, _):
        async with dialer.stream("GET", "/") as response:
            await response.receive()
            await trio.testing.wait_all_tasks_blocked()
        await seen.ended.wait()
    assert not [r for r in caplog.records if r.levelno > logging.DEBUG]


# --- the app fails --------------------------------------------------------------------------------


async def raises(scope: Any, receive: Receive, send: Send) -> None:
    raise ZeroDivisionError("on purpose")


async def exits(scope: Any, receive: Receive, send: Send) -> None:
    raise SystemExit(1)


async def raises_a_group(scope: Any, receive: Receive, send: Send) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(raises, scope, receive, send)
        await trio.sleep_forever()


async def returns(scope: Any, receive: Receive, send: Send) -> None:
    pass


async def returns_halfway(scope: Any, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200})


async def bad_header(scope: Any, receive: Receive, send: Send) -> None:
    await ok(send, b"", [(b"a\r\nb", b"c")])


async def text(scope: Any, receive: Receive, send: Send) -> None:
    await ok(send, "text")  # type: ignore[arg-type]  # on purpose


async def wrong_length(scope: Any, receive: Receive, send: Send) -> None:
    await ok(send, b"abc", [(b"content-length", b"2")])


async def unknown_message(scope: Any, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.pathsend", "path": "/"})


async def unannounced_trailers(scope: Any, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.trailers"})


@pytest.mark.parametrize(
    "app",
    [
        raises,
        exits,
        raises_a_group,
        returns,
        returns_halfway,
        bad_header,
        text,
        wrong_length,
        unknown_message,
        unannounced_trailers,
    ],
)
async def test_an_apps_failure_is_a_500(app: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with connected_pair(loop_b="trio", app_b=app) as (dialer, _):
        for _ in range(2):
            response = await dialer.request("GET", "/x?y")
            assert response.status == 500
            assert response.header("content-type") == "text/plain; charset=utf-8"
            assert response.text == "Internal Server Error\n"
    failed = [r for r in caplog.records if r.message == "the app failed at GET /x"]
    assert len(failed) == 2
    assert all(r.name == "restsock.apps" and r.exc_info for r in failed)


@pytest.mark.parametrize("what", ["raises", "returns", "text", "too long", "too short"])
async def test_a_failure_behind_the_head_is_a_reset(
    what: str, caplog: pytest.LogCaptureFixture
) -> None:
    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"5")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"abc", "more_body": True})
        if what == "raises":
            raise ZeroDivisionError
        if what == "text":
            await send({"type": "http.response.body", "body": "x", "more_body": True})
        elif what == "too long":
            await send({"type": "http.response.body", "body": b"defg"})
        elif what == "too short":
            await send({"type": "http.response.body", "body": b"d"})

    async with connected_pair(loop_b="trio", app_b=app) as (dialer, _):
        for _ in range(2):  # the connection lives
            with pytest.raises(StreamReset) as caught:
                await dialer.request("GET", "/")
            assert caught.value.code == ResetCode.INTERNAL
    assert any(r.exc_info for r in caplog.records)


async def test_an_app_may_make_good_for_a_bad_message() -> None:
    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        with pytest.raises(BadResponseError):
            await send({"type": "http.response.start", "status": 20})
        await ok(send)

    async with connected_pair(loop_b="trio", app_b=app) as (dialer, _):
        assert (await dialer.request("GET", "/")).status == 200


# --- lifespan -------------------------------------------------------------------------------------


def lifespan_app(log: list[str], *, startup: str = "complete", shutdown: str = "complete") -> Any:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            assert (await receive()) == {"type": "lifespan.startup"}
            log.append("startup")
            scope["state"]["n"] = 1
            await send({"type": f"lifespan.startup.{startup}", "message": "no database"})
            if startup == "failed":
                raise RuntimeError("no database")
            assert (await receive()) == {"type": "lifespan.shutdown"}
            log.append("shutdown")
            if shutdown == "never":
                await trio.sleep_forever()
            if shutdown == "raise":
                raise ZeroDivisionError
            await send({"type": f"lifespan.shutdown.{shutdown}", "message": "disk full"})
        else:
            log.append("request")
            scope["state"]["n"] += 1
            await ok(send, b"%d" % scope["state"]["n"])

    return app


async def test_a_lifespan() -> None:
    log: list[str] = []
    async with connected_pair(loop_b="trio", app_b=lifespan_app(log)) as (dialer, _):
        for _ in range(2):  # each request has a copy of the state
            assert (await dialer.request("GET", "/")).content == b"2"
    assert log == ["startup", "request", "request", "shutdown"]


async def test_a_failed_startup_is_an_error_of_running() -> None:
    handler = make_handler(lifespan_app([], startup="failed"), loop="trio")
    with pytest.raises(AppStartupError, match="no database"):
        async with handler.running():
            pytest.fail("it runs")


@pytest.mark.parametrize("shutdown", ["failed", "raise", "never"])
async def test_a_failed_shutdown_is_logged(
    shutdown: str, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    start = trio.current_time()
    async with make_handler(lifespan_app([], shutdown=shutdown), loop="trio").running():
        pass
    assert trio.current_time() - start == (5.0 if shutdown == "never" else 0.0)
    assert [r.levelname for r in caplog.records] == ["ERROR"]


async def test_the_app_is_shut_down_when_all_is_cancelled() -> None:
    log: list[str] = []
    with trio.CancelScope() as scope:
        async with make_handler(lifespan_app(log), loop="trio").running():
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert log == ["startup", "shutdown"]


async def refuses_lifespan(scope: Any, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"
    assert "state" not in scope
    await ok(send)


async def ignores_lifespan(scope: Any, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await refuses_lifespan(scope, receive, send)


@pytest.mark.parametrize("app", [refuses_lifespan, ignores_lifespan])
async def test_an_app_without_lifespan(app: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with connected_pair(loop_b="trio", app_b=app) as (dialer, _):
        assert (await dialer.request("GET", "/")).status == 200
    assert not [r for r in caplog.records if r.levelno > logging.INFO]


async def test_a_handler_runs_once_at_a_time_and_again() -> None:
    handler = make_handler(refuses_lifespan, loop="trio")
    for _ in range(2):
        async with handler.running():
            pass
    async with handler.running():
        with pytest.raises(RuntimeError, match="running already"):
            async with handler.running():
                pass


async def test_errors_of_the_block_come_out_as_they_are() -> None:
    with pytest.raises(ZeroDivisionError):
        async with make_handler(refuses_lifespan, loop="trio").running():
            raise ZeroDivisionError


# --- the end of serving ---------------------------------------------------------------------------


async def test_requests_under_way_get_their_grace(autojump_clock: MockClock) -> None:
    reached = trio.Event()

    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        reached.set()
        await trio.sleep(float(scope["path"][1:]))
        await ok(send)

    statuses: list[Any] = []
    handler = make_handler(app, loop="trio")
    near, far = trio.testing.memory_stream_pair()
    dialer, listener = await handshake(near, far)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dialer.run)
        nursery.start_soon(listener.run, handler)

        async def ask(seconds: int) -> None:
            try:
                statuses.append((await dialer.request("GET", f"/{seconds}")).status)
            except Exception as exc:  # noqa: BLE001  # looked at below
                statuses.append(type(exc))

        async with handler.running():
            nursery.start_soon(ask, 4)
            nursery.start_soon(ask, 6)
            await reached.wait()
            await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(StreamRefused):
            await dialer.request("GET", "/0")
        await dialer.aclose()
    assert statuses == [200, StreamReset]


async def test_a_request_is_freed_with_its_end() -> None:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await receive()
        await ok(send)

    async with connected_pair(loop_b="trio", app_b=http(app)) as (dialer, _):
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                await dialer.request("POST", "/", body=b"abc")
            await trio.testing.wait_all_tasks_blocked()
            left = [o for o in gc.get_objects() if type(o) is HttpRequest]
        finally:
            gc.enable()
        assert len(left) <= 1
