"""The life of an asyncio loop beside trio: it starts and ends with the serving, come what may."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
import trio.testing

from restsock import Options, RequestTimeout, StreamRefused, StreamReset, Timeouts
from restsock.apps import AppStartupError, make_handler
from restsock.apps.asgi._asyncio_exchange import AsyncioExchange
from restsock.apps.asgi._http import HttpRequest
from restsock.protocol import (
    ResetCode,
)
from tests.apps.asgi.on_asyncio import (
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


# --- lifespan -------------------------------------------------------------------------------------


def lifespan_app(log: list[str], *, startup: str = "complete", shutdown: str = "complete") -> Any:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            assert (await receive()) == {"type": "lifespan.startup"}
            await asyncio.sleep(0)
            log.append("startup")
            scope["state"]["n"] = 1
            if startup == "raise":
                raise RuntimeError("no database")
            if startup == "never":
                await asyncio.sleep(3600)
            await send({"type": f"lifespan.startup.{startup}", "message": "no database"})
            if startup == "failed":
                raise RuntimeError("no database")
            assert (await receive()) == {"type": "lifespan.shutdown"}
            log.append("shutdown")
            if shutdown == "never":
                await asyncio.sleep(3600)
            if shutdown == "raise":
                raise ZeroDivisionError
            await send({"type": f"lifespan.shutdown.{shutdown}", "message": "disk full"})
        else:
            scope["state"]["n"] += 1
            await ok(send, b"%d" % scope["state"]["n"])

    return app


async def test_a_lifespan() -> None:
    log: list[str] = []
    async with serving(lifespan_app(log)) as (dialer, _):
        for _ in range(2):  # each request has a copy of the state
            assert (await dialer.request("GET", "/")).content == b"2"
    assert log == ["startup", "shutdown"]


async def test_a_failed_startup_is_an_error_of_running() -> None:
    handler = make_handler(lifespan_app([], startup="failed"), loop="asyncio")
    with pytest.raises(AppStartupError, match="no database"):
        async with handler.running():
            pytest.fail("it runs")


async def test_a_startup_can_be_cancelled() -> None:
    log: list[str] = []
    handler = make_handler(lifespan_app(log, startup="never"), loop="asyncio")
    with trio.move_on_after(SOON) as scope:
        async with handler.running():
            pytest.fail("it runs")
    assert scope.cancelled_caught


async def test_an_app_without_lifespan() -> None:
    async with serving(http(lambda scope, receive, send: ok(send))) as (dialer, _):
        assert (await dialer.request("GET", "/")).status == 200


@pytest.mark.parametrize("shutdown", ["failed", "raise", "never"])
async def test_a_failed_shutdown_is_logged(shutdown: str, caplog: pytest.LogCaptureFixture) -> None:
    app = lifespan_app([], shutdown=shutdown)
    options = Options(timeouts=Timeouts(close=SOON))
    async with make_handler(app, loop="asyncio", options=options).running():
        pass
    assert [r.levelname for r in caplog.records] == ["ERROR"]


async def test_the_app_is_shut_down_when_all_is_cancelled() -> None:
    log: list[str] = []
    with trio.CancelScope() as scope:
        async with make_handler(lifespan_app(log), loop="asyncio").running():
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert log == ["startup", "shutdown"]


async def nothing(scope: Any, receive: Receive, send: Send) -> None: ...


async def test_a_handler_runs_once_at_a_time_and_again() -> None:
    handler = make_handler(nothing, loop="asyncio")
    for _ in range(2):
        async with handler.running():
            assert len(threads()) == 1
            with pytest.raises(RuntimeError, match="running already"):
                async with handler.running():
                    pass
        assert threads() == set()


async def test_errors_of_the_block_come_out_as_they_are() -> None:
    with pytest.raises(ZeroDivisionError):
        async with make_handler(nothing, loop="asyncio").running():
            raise ZeroDivisionError


# --- the end of serving ---------------------------------------------------------------------------


async def test_requests_under_way_get_their_grace() -> None:
    reached, go_on = Mark(), Mark()
    outcomes: dict[str, Any] = {}
    cancelled = Mark()

    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        reached.set()
        try:
            if scope["path"] == "/short":
                await go_on.wait_on_asyncio()
            else:
                await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        await ok(send)

    async with linked(app, Options(timeouts=Timeouts(close=0.5))) as (handler, dialer):

        async def ask(path: str) -> None:
            try:
                outcomes[path] = (await dialer.request("GET", path)).status
            except StreamReset as exc:
                outcomes[path] = exc.code

        async with trio.open_nursery() as nursery:
            async with handler.running():
                nursery.start_soon(ask, "/short")
                nursery.start_soon(ask, "/long")
                await reached.wait()
                await trio.testing.wait_all_tasks_blocked()
                go_on.set()
        with pytest.raises((StreamRefused, RequestTimeout)):
            await dialer.request("GET", "/late", timeout=4 * SOON)
    assert outcomes == {"/short": 200, "/long": ResetCode.CANCEL}
    assert cancelled.is_set()


async def test_what_comes_while_serving_ends_is_refused() -> None:
    reached, go_on = Mark(), Mark()
    statuses: list[int] = []
    calls: list[str] = []

    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        calls.append(scope["path"])
        reached.set()
        await go_on.wait_on_asyncio()
        await ok(send)

    async with linked(app, Options()) as (handler, dialer):

        async def serve(task_status: trio.TaskStatus[trio.Event]) -> None:
            end = trio.Event()
            async with handler.running():
                task_status.started(end)
                await end.wait()

        async def ask() -> None:
            statuses.append((await dialer.request("GET", "/")).status)

        async with trio.open_nursery() as nursery:
            end = await nursery.start(serve)
            nursery.start_soon(ask)
            await reached.wait()
            end.set()
            await trio.testing.wait_all_tasks_blocked()
            try:
                # It is sent again until its time is over, and that may be in the middle of a try.
                with pytest.raises((StreamRefused, RequestTimeout)):
                    await dialer.request("GET", "/late", timeout=4 * SOON)
            finally:
                go_on.set()
    assert statuses == [200]
    assert calls == ["/"]


async def test_a_cancellation_cancels_requests_at_once() -> None:
    reached, cancelled = Mark(), Mark()

    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        reached.set()
        try:
            await asyncio.sleep(3600)
        finally:
            cancelled.set()

    async with linked(app, Options(timeouts=Timeouts(close=3600))) as (handler, dialer):
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(StreamReset, match="going away"):
                    await dialer.request("GET", "/")

            with trio.CancelScope() as scope:
                async with handler.running():
                    nursery.start_soon(ask)
                    await reached.wait()
                    scope.cancel()
                    await trio.sleep_forever()
    assert cancelled.is_set()


async def test_what_the_app_leaves_running_is_cancelled() -> None:
    ended: list[str] = []
    keep: list[Any] = []

    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        async def forever() -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                ended.append("task")

        async def numbers() -> AsyncIterator[int]:
            try:
                yield 1
            finally:
                await asyncio.sleep(0)
                ended.append("generator")

        generator = numbers()
        await generator.__anext__()
        keep.extend([asyncio.create_task(forever()), generator])
        await asyncio.sleep(0)
        await ok(send)

    async with serving(app) as (dialer, _):
        await dialer.request("GET", "/")
        assert ended == []
    assert ended == ["task", "generator"]


async def test_an_app_that_ignores_its_cancellation(caplog: pytest.LogCaptureFixture) -> None:
    reached, release = Mark(), Mark()

    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        reached.set()
        while not release.is_set():
            try:
                await asyncio.sleep(SOON)
            except asyncio.CancelledError:
                if release.is_set():
                    raise

    async with linked(app, Options(timeouts=Timeouts(close=4 * SOON))) as (handler, dialer):
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(StreamReset):
                    await dialer.request("GET", "/x")

            async with handler.running():
                nursery.start_soon(ask)
                await reached.wait()
                # The end begins while the app still ignores it, and lets go behind the first try.
                threading.Timer(10 * SOON, release.set).start()
    assert "GET /x ignores that it is cancelled" in caplog.text


async def test_a_loop_that_is_blocked_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    reached, release = threading.Event(), threading.Event()

    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        reached.set()
        release.wait(PATIENCE)

    async with linked(app, Options(timeouts=Timeouts(close=SOON))) as (handler, dialer):
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(StreamReset):
                    await dialer.request("GET", "/x")

            async with handler.running():
                nursery.start_soon(ask)
                await trio.to_thread.run_sync(reached.wait)
        (thread,) = threads()
        assert f"its thread {thread.name} is left alone" in caplog.text
        release.set()
        await trio.to_thread.run_sync(thread.join)


async def test_a_request_is_freed_with_its_end() -> None:
    loop = Loop()

    @http
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        loop.note()
        await ok(send, await read(receive))

    async with serving(app) as (dialer, _):
        await dialer.request("POST", "/", body=b"abc")
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                await dialer.request("POST", "/", body=b"abc")
            await loop.settle(lambda: 0)
            left = [type(o) for o in gc.get_objects() if type(o) in (HttpRequest, AsyncioExchange)]
        finally:
            gc.enable()
        assert left.count(HttpRequest) <= 1
        assert left.count(AsyncioExchange) <= 1
