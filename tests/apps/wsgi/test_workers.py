"""Peers that would keep a WSGI worker, and what the workers' handler does about them."""

from __future__ import annotations

import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from restsock import ConnectionClosed, Limits, Options, RequestTimeout, StreamReset, Timeouts
from restsock.apps import Disconnected, make_handler
from restsock.apps.wsgi._handler import WsgiHandler
from restsock.connection import AsyncExchange, Connection, Handler
from restsock.protocol import RequestHead, ResetCode
from restsock.testing import connected_pair
from restsock.threads import ThreadExchange, WorkerPool
from tests.apps.serving import linked, served
from tests.connection.peers import handshake
from tests.connection.sockets import socket_streams

Start = Callable[..., Callable[[bytes], None]]
Environ = dict[str, Any]

HOST = (b"Host", b"edge")
# Seconds that a test waits for a worker before it takes it for stuck.
PATIENCE = 10


class Outcome:
    """What a worker came to, handed to the test's loop."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[object] = queue.SimpleQueue()
        self.put = self._queue.put

    async def get(self) -> object:
        return await trio.to_thread.run_sync(lambda: self._queue.get(timeout=PATIENCE))


class ReadsAtClose:
    """One chunk, behind which the rest of the request is read."""

    def __init__(self, environ: Environ, outcome: Outcome) -> None:
        self.body = environ["wsgi.input"]
        self.outcome = outcome

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"hello"])

    def __len__(self) -> int:
        return 1

    def close(self) -> None:
        try:
            self.outcome.put(self.body.read())
        except OSError as exc:
            self.outcome.put(exc)


async def unending() -> AsyncIterator[bytes]:
    yield b"x" * 10
    await trio.sleep_forever()


async def test_reading_behind_a_complete_response_does_not_wait() -> None:
    outcome = Outcome()

    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        start_response("200 OK", [])
        return ReadsAtClose(environ, outcome)

    async with connected_pair(app_b=app, workers=1) as (dialer, _):
        async with dialer.stream("POST", "/", body=unending()) as response:
            assert await response.read() == b"hello"
        assert isinstance(await outcome.get(), Disconnected)
        # The one worker is free again.
        assert (await dialer.request("POST", "/")).content == b"hello"


async def test_what_came_before_the_response_can_be_read_behind_it() -> None:
    outcome = Outcome()

    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        start_response("200 OK", [])
        return ReadsAtClose(environ, outcome)

    async with connected_pair(app_b=app) as (dialer, _):
        assert (await dialer.request("POST", "/", body=b"abc")).content == b"hello"
        assert await outcome.get() == b"abc"


@pytest.mark.parametrize("size", [0, 1])
async def test_a_peer_that_does_not_go_on_with_its_body_loses_its_worker(size: int) -> None:
    outcome = Outcome()

    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "PUT":
            for _ in range(2):  # the second time without waiting
                try:
                    environ["wsgi.input"].read()
                except OSError as exc:
                    outcome.put(exc)
        start_response("200 OK", [])
        return [b"ok"]

    options = Options(timeouts=Timeouts(idle=0.05))
    async with connected_pair(app_b=app, options=options, workers=1) as (dialer, listener):
        exchange = AsyncExchange.open(dialer, RequestHead(b"PUT", b"/", [HOST]), end=False)
        await exchange.send_data(b"x" * size)
        with trio.fail_after(PATIENCE), pytest.raises(StreamReset) as caught:
            await exchange.receive_head()
        assert caught.value.code == ResetCode.TIMEOUT
        for _ in range(2):
            error = await outcome.get()
            assert isinstance(error, Disconnected)
            assert isinstance(error.__cause__, RequestTimeout)
        assert (await dialer.request("GET", "/")).content == b"ok"
        assert listener.multiplexer.open_streams == 0


async def test_a_peer_that_does_not_take_its_response_loses_its_worker() -> None:
    closed = threading.Event()

    def endless() -> Iterator[bytes]:
        try:
            while True:
                yield b"x" * 1000
        finally:
            closed.set()

    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        start_response("200 OK", [])
        return endless() if environ["PATH_INFO"] == "/endless" else [b"ok"]

    limits = Limits(initial_window=16384, max_window=16384, send_buffer=4096)
    options = Options(limits=limits, timeouts=Timeouts(idle=0.05))
    async with connected_pair(app_b=app, options=options, workers=1) as (dialer, _):
        async with dialer.stream("GET", "/endless") as response:
            assert await trio.to_thread.run_sync(closed.wait, PATIENCE)
            assert (await dialer.request("GET", "/")).content == b"ok"
            with pytest.raises(StreamReset) as caught:
                await response.read()
            assert caught.value.code == ResetCode.TIMEOUT


async def test_a_slow_peer_is_not_an_idle_one() -> None:
    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [environ["wsgi.input"].read()]

    async def body() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b"x"
            await trio.sleep(0.2)

    options = Options(timeouts=Timeouts(idle=0.8))
    async with connected_pair(app_b=app, options=options) as (dialer, _):
        assert (await dialer.request("PUT", "/", body=body())).content == b"xxxxx"


async def test_the_send_buffer_is_that_of_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Limits] = []
    accept = ThreadExchange.accept

    def spy(exchange: Any, *, token: Any, limits: Limits) -> ThreadExchange:
        seen.append(limits)
        return accept(exchange, token=token, limits=limits)

    monkeypatch.setattr(ThreadExchange, "accept", spy)

    def app(environ: Environ, start_response: Start) -> Iterator[bytes]:
        start_response("200 OK", [])
        for _ in range(100):
            yield b"x" * 3000

    # The handler is told other limits than the connection that it serves.
    own = Options(limits=Limits(send_buffer=2048))
    async with served(make_handler(app, interface="wsgi", options=own)) as dialer:
        assert len((await dialer.request("GET", "/", timeout=PATIENCE)).content) == 300_000
    assert seen == [Limits()]


@pytest.mark.parametrize("idle", [0, -1, float("inf"), True])
def test_the_idle_time_is_a_number_of_seconds(idle: float) -> None:
    with pytest.raises(ValueError, match=r"Timeouts\.idle must be"):
        Timeouts(idle=idle)


# --- who is called, and how many ----------------------------------------------------------------


@asynccontextmanager
async def plugged(handler: Handler) -> AsyncIterator[Connection]:
    """Like `served`, over a socket: the workers send their answers themselves."""
    dialer, listener = await handshake(*socket_streams())
    async with handler.running(), trio.open_nursery() as nursery:
        nursery.start_soon(dialer.run)
        nursery.start_soon(listener.run, handler)
        assert listener.can_run_here
        yield dialer
        await dialer.aclose()


@pytest.mark.parametrize(("workers", "queue_size"), [(1, 0), (3, 2), (4, 1000)])
@pytest.mark.parametrize("over", [served, plugged])
async def test_a_burst_stays_within_the_bounds(
    workers: int, queue_size: int, over: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: set[str] = set()
    running = most = 0
    counting = threading.Lock()

    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        nonlocal running, most
        with counting:
            running += 1
            most = max(most, running)
            names.add(threading.current_thread().name)
        start_response("200 OK", [])
        with counting:
            running -= 1
        return [b"ok"]

    given: list[int] = []
    give = WorkerPool.give

    def spy(pool: WorkerPool[Any], request: ThreadExchange, owner: Any) -> None:
        with pool._lock:  # nobody finishes while it is counted
            counted = pool.items
        give(pool, request, owner)
        given.append(counted + 1)

    monkeypatch.setattr(WorkerPool, "give", spy)
    options = Options()
    handler = make_handler(
        app, interface="wsgi", options=options, workers=workers, queue_size=queue_size
    )
    assert isinstance(handler, WsgiHandler)
    statuses: list[int] = []
    async with over(handler) as dialer:

        async def ask() -> None:
            statuses.append((await dialer.request("GET", "/")).status)

        for burst in range(1, 31):
            async with trio.open_nursery() as nursery:
                for _ in range(burst):
                    nursery.start_soon(ask)
        pool = handler._pool
        assert pool is not None
        assert len(pool.workers) <= workers
    for worker in pool.workers:
        worker.thread.join(PATIENCE)
    assert pool.items == 0  # none was counted twice, or forgotten
    assert len(statuses) == sum(range(1, 31))
    assert statuses.count(200) == len(given)
    assert set(statuses) <= {200, 503}
    assert (503 in statuses) is (queue_size < 30 - workers)
    assert most <= len(names) <= workers
    assert max(given) <= workers + queue_size


class Stuck:
    """An app whose first request hangs until it is let go.

    Attributes:
        threads: by path, who served it.
    """

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.go_on = threading.Event()
        self.threads: dict[str, threading.Thread] = {}

    def __call__(self, environ: Environ, start_response: Start) -> Iterable[bytes]:
        self.threads[environ["PATH_INFO"]] = threading.current_thread()
        if environ["PATH_INFO"] == "/stuck":
            self.entered.set()
            assert self.go_on.wait(PATIENCE)
        start_response("200 OK", [])
        return [b"ok"]


async def test_a_worker_that_is_stuck_is_not_of_the_next_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = Stuck()
    options = Options(timeouts=Timeouts(close=0.05))
    handler = make_handler(app, interface="wsgi", options=options, workers=1)

    async def ask(dialer: Connection) -> None:
        with pytest.raises(ConnectionClosed):
            await dialer.request("GET", "/stuck")

    async with trio.open_nursery() as nursery:
        async with linked(handler) as dialer:
            async with handler.running():
                nursery.start_soon(ask, dialer)
                assert await trio.to_thread.run_sync(app.entered.wait, PATIENCE)
    assert "is left alone" in caplog.text
    async with served(handler) as dialer:
        assert (await dialer.request("GET", "/1")).content == b"ok"
        app.go_on.set()
        stuck = app.threads["/stuck"]
        await trio.to_thread.run_sync(stuck.join, PATIENCE)
        assert not stuck.is_alive()  # it found that its pool is closed
        assert (await dialer.request("GET", "/2")).content == b"ok"
    assert app.threads["/1"] is app.threads["/2"]
    assert app.threads["/1"] is not stuck
