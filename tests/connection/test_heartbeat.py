"""The task that keeps the time for the heartbeats of all connections of a loop."""

from __future__ import annotations

import gc
import weakref

import pytest
import trio
import trio.lowlevel
import trio.testing

import restsock
from restsock.connection._heartbeat import Check, heartbeat_timer

from .test_life import BEATS, tasks_of

Clock = trio.testing.MockClock


def tasks() -> int:
    """Those of the timers of this loop."""
    system = trio.lowlevel.current_root_task()
    assert system is not None
    names = [task.name for nursery in system.child_nurseries for task in nursery.child_tasks]
    return names.count("restsock-heartbeats")


async def test_each_is_called_at_its_time(autojump_clock: Clock) -> None:
    calls: list[tuple[str, float]] = []
    start = trio.current_time()

    def every(seconds: float, name: str) -> Check:
        def check(now: float) -> float:
            calls.append((name, now - start))
            return now + seconds

        return check

    timer = heartbeat_timer()
    first = timer.add(start + 10, every(10, "a"))
    await trio.sleep(1)
    second = timer.add(start + 4, every(3, "b"))  # sooner than what it sleeps for
    await trio.sleep_until(start + 20.5)
    timer.remove(first)
    timer.remove(second)
    assert calls == [
        *[("b", 4.0), ("b", 7.0), ("a", 10.0), ("b", 10.0)],
        *[("b", 13.0), ("b", 16.0), ("b", 19.0), ("a", 20.0)],
    ]


async def test_what_was_removed_is_not_called_and_not_kept(autojump_clock: Clock) -> None:
    class Looker:
        def __call__(self, now: float) -> float:
            raise AssertionError

    looker = Looker()
    known = weakref.ref(looker)
    timer = heartbeat_timer()
    timer.remove(timer.add(trio.current_time() + 5, looker))
    del looker
    gc.collect()
    assert known() is None


async def test_it_lives_while_there_is_something_to_call(autojump_clock: Clock) -> None:
    start = trio.current_time()
    for _ in range(2):
        timer = heartbeat_timer()
        assert timer is heartbeat_timer()
        entries = [timer.add(start + 1000, lambda now: now + 1) for _ in range(2)]
        await trio.testing.wait_all_tasks_blocked()
        for entry in entries:
            assert tasks() == 1
            timer.remove(entry)
        await trio.testing.wait_all_tasks_blocked()
        assert tasks() == 0
    assert trio.current_time() == start


async def test_the_last_may_leave_as_it_is_called(autojump_clock: Clock) -> None:
    timer = heartbeat_timer()

    def check(now: float) -> float:
        timer.remove(entry)
        return now

    entry = timer.add(trio.current_time(), check)
    await trio.sleep(1)
    assert tasks() == 0
    assert heartbeat_timer() is not timer


async def test_a_time_that_has_passed_does_not_keep_the_loop(autojump_clock: Clock) -> None:
    calls: list[float] = []
    past = trio.current_time()

    def check(now: float) -> float:
        calls.append(now)
        return past if len(calls) < 5 else past + 100

    timer = heartbeat_timer()
    entry = timer.add(past, check)
    await trio.sleep(1)
    timer.remove(entry)
    assert len(calls) == 5


async def test_many_that_are_due_at_once_do_not_keep_the_loop(autojump_clock: Clock) -> None:
    calls: list[float] = []
    due = trio.current_time() + 1
    timer = heartbeat_timer()

    def check(now: float) -> float:
        calls.append(now)
        return due + 1000

    entries = [timer.add(due, check) for _ in range(1000)]
    await trio.testing.wait_all_tasks_blocked()
    await trio.sleep_until(due)
    seen = []
    while len(calls) < len(entries):
        await trio.lowlevel.checkpoint()
        seen.append(len(calls))
    assert len(seen) > 10
    for entry in entries:
        timer.remove(entry)


@pytest.mark.parametrize("number", [40, 400])
async def test_of_many_some_leave_together(autojump_clock: Clock, number: int) -> None:
    calls: list[float] = []
    start = trio.current_time()

    def check(now: float) -> float:
        calls.append(now - start)
        return start + 1000

    timer = heartbeat_timer()
    dues = [start + 1 + 0.001 * min(turn, 39) for turn in range(number)]
    entries = [timer.add(due, check) for due in dues]
    await trio.sleep(2)
    assert len(calls) == number
    late = [call - due + start for call, due in zip(calls, dues, strict=True)]
    assert (max(late) < 1e-6) is (number == 40)
    assert max(late) <= 0.06
    for entry in entries:
        timer.remove(entry)


async def test_idle_connections_have_no_task() -> None:
    async with restsock.listen("127.0.0.1", 0, options=BEATS) as server:
        async with restsock.connect(server.url) as one, restsock.connect(server.url) as two:
            while len(server.connections) < 2:
                await trio.lowlevel.checkpoint()
            accepted = list(server.connections)
            await accepted[0].request("GET", "/")  # it runs
            await accepted[1].request("GET", "/")
            assert one.connection is not None
            assert two.connection is not None
            for connection in (*accepted, one.connection, two.connection):
                assert tasks_of(connection) == 0
            assert tasks() == 1
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert server._nursery is not None
            names = {task.name.rpartition(".")[2] for task in server._nursery.child_tasks}
            assert "_run_tasks" not in names
            assert "_handle" not in names
        for connection in accepted:
            await connection.wait_closed()
    await trio.testing.wait_all_tasks_blocked()
    assert tasks() == 0
