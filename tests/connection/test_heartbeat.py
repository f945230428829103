"""The task that keeps the time for the heartbeats of many connections."""

from __future__ import annotations

import gc
import weakref
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio
import trio.lowlevel
import trio.testing

import restsock
from restsock.connection import HeartbeatTimer

from .test_life import BEATS, tasks_of

Clock = trio.testing.MockClock


@asynccontextmanager
async def running() -> AsyncGenerator[HeartbeatTimer, None]:
    async with trio.open_nursery() as nursery:
        heartbeat_timer = HeartbeatTimer()
        nursery.start_soon(heartbeat_timer.run)
        yield heartbeat_timer
        nursery.cancel_scope.cancel()


async def test_each_is_called_at_its_time(autojump_clock: Clock) -> None:
    calls: list[tuple[str, float]] = []
    start = trio.current_time()

    def every(seconds: float, name: str) -> float:
        calls.append((name, trio.current_time() - start))
        return trio.current_time() + seconds

    async with running() as heartbeat_timer:
        heartbeat_timer.add(start + 10, lambda: every(10, "a"))
        await trio.sleep(1)
        heartbeat_timer.add(start + 4, lambda: every(3, "b"))  # sooner than what it sleeps for
        await trio.sleep_until(start + 20.5)
    assert calls == [
        *[("b", 4.0), ("b", 7.0), ("a", 10.0), ("b", 10.0)],
        *[("b", 13.0), ("b", 16.0), ("b", 19.0), ("a", 20.0)],
    ]


async def test_what_was_stopped_is_not_called_and_not_kept(autojump_clock: Clock) -> None:
    class Looker:
        def look(self) -> float:
            raise AssertionError

    looker = Looker()
    known = weakref.ref(looker)
    async with running() as heartbeat_timer:
        scheduled = heartbeat_timer.add(trio.current_time() + 5, looker.look)
        scheduled.stop()
        scheduled.stop()
        del looker
        gc.collect()
        assert known() is None
        await trio.sleep(10)
        assert not heartbeat_timer._checks


async def test_a_time_that_has_passed_does_not_keep_the_loop(autojump_clock: Clock) -> None:
    calls: list[float] = []
    past = trio.current_time()

    def look() -> float:
        calls.append(trio.current_time())
        return past if len(calls) < 5 else past + 100

    async with running() as heartbeat_timer:
        heartbeat_timer.add(past, look)
        await trio.sleep(1)
        assert len(calls) == 5


async def test_the_connections_of_a_server_share_one() -> None:
    async with restsock.listen("127.0.0.1", 0, options=BEATS) as server:
        async with restsock.connect(server.url) as one, restsock.connect(server.url) as two:
            while len(server.connections) < 2:
                await trio.lowlevel.checkpoint()
            accepted = list(server.connections)
            await accepted[0].request("GET", "/")  # it runs
            await accepted[1].request("GET", "/")
            assert [tasks_of(connection) for connection in accepted] == [0, 0]
            assert one.connection is not None
            assert two.connection is not None
            assert tasks_of(one.connection) == 1
            checks = list(server._heartbeat_timer._checks)
        for connection in accepted:
            await connection.wait_closed()
        assert len(checks) == 2
        assert [scheduled.check() for scheduled in checks] == [None, None]
