"""The threads that validate: results on the loop, errors too, none left behind."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trio

from restsock.openapi.checks._threads import Job, Threads, beside_the_loop
from restsock.openapi.document._work import TooMuchWork, spend


def names() -> list[str]:
    found = [thread.name for thread in threading.enumerate()]
    return [name for name in found if name.startswith("restsock-openapi")]


def left_over() -> list[str]:
    """Those that do not end by themselves; what has said so may take a moment."""
    for thread in threading.enumerate():
        if thread.name in names():
            thread.join(5)
    return names()


def double(number: int) -> int:
    return number * 2


def fail(number: int) -> int:
    return number // 0


async def test_results_come_to_the_loop() -> None:
    done: list[Any] = []
    threads = Threads(number=2, grace=5)
    async with threads.running():
        for number in range(50):
            work = partial(double if number % 2 == 0 else fail, number)
            threads.submit(Job(work, lambda *outcome: done.append(outcome)))
        assert len(names()) == 2
    # Leaving has waited for all of them.
    assert sorted(result for result, error in done if error is None) == list(range(0, 100, 4))
    assert sum(isinstance(error, ZeroDivisionError) for _, error in done) == 25
    assert left_over() == []


async def test_there_are_no_more_threads_than_jobs() -> None:
    threads = Threads(number=4, grace=5)
    async with threads.running():
        assert names() == []
        for _ in range(3):
            event = trio.Event()
            threads.submit(Job(lambda: None, partial(lambda event, *outcome: event.set(), event)))
            await event.wait()
        assert len(names()) == 1


async def test_a_forgotten_job_is_not_done() -> None:
    threads = Threads(number=1, grace=5)
    block = threading.Event()
    seen: list[str] = []
    async with threads.running():
        threads.submit(Job(block.wait, lambda result, error: seen.append("first")))
        job = Job(lambda: seen.append("work"), lambda result, error: seen.append("done"))
        threads.submit(job)
        job.forget()
        block.set()
    assert seen == ["first"]


async def test_a_failing_step_does_not_end_the_loop(caplog: pytest.LogCaptureFixture) -> None:
    def fail(result: Any, error: Any) -> None:
        raise ValueError("on purpose")

    threads = Threads(number=1, grace=5)
    async with threads.running():
        threads.submit(Job(lambda: None, fail))
    assert "a step after a validation failed" in caplog.text


async def test_a_cancellation_waits_for_what_is_under_way() -> None:
    seen: list[Any] = []
    threads = Threads(number=1, grace=5)
    with trio.CancelScope() as scope:
        async with threads.running():
            threads.submit(Job(lambda: 5, lambda result, error: seen.append(result)))
            scope.cancel()
            await trio.sleep_forever()
    assert seen == [5]


async def test_a_thread_that_is_stuck_is_left_behind(caplog: pytest.LogCaptureFixture) -> None:
    block = threading.Event()
    threads = Threads(number=1, grace=0.05)
    async with threads.running():
        threads.submit(Job(block.wait, lambda result, error: None))
    assert "stuck" in caplog.text
    (left,) = (found for found in threading.enumerate() if found.name in names())
    # It can run again, with threads of its own; what the old one says then counts for nothing.
    seen: list[Any] = []
    threads._grace = 5
    async with threads.running():
        threads.submit(Job(lambda: 5, lambda result, error: seen.append(result)))
        block.set()
        await trio.to_thread.run_sync(left.join)
    assert seen == [5]
    assert left_over() == []


async def test_nothing_is_taken_while_it_does_not_run() -> None:
    threads = Threads(number=1, grace=5)
    with pytest.raises(RuntimeError):
        threads.submit(Job(lambda: None, lambda result, error: None))
    async with threads.running():
        with pytest.raises(RuntimeError, match="already"):
            async with threads.running():
                pass


async def test_connections_have_their_turns() -> None:
    """However many jobs one has, another's waits for one of them, and not for all."""
    done: list[str] = []
    ended = trio.Event()
    threads = Threads(number=2, grace=5)
    permits = threading.Semaphore(0)  # one for each job, so that no thread gets ahead of the other

    def after(name: str) -> Callable[[Any, BaseException | None], None]:
        def note(result: object, error: BaseException | None) -> None:
            done.append(name)
            ended.set()

        return note

    async with threads.running():
        for _ in range(20):
            threads.submit(Job(permits.acquire, after("hostile")), key="hostile")
        # The half of the threads is all it has.
        assert len(names()) == 1
        event = trio.Event()
        threads.submit(Job(lambda: None, lambda result, error: event.set()), key="honest")
        with trio.fail_after(10):
            await event.wait()
        for name in ("a", "b"):
            for _ in range(2):
                threads.submit(Job(permits.acquire, after(name)), key=name)
        for count in range(24):
            permits.release()
            with trio.fail_after(10):
                while len(done) == count:
                    await ended.wait()
                    ended = trio.Event()
    assert len(done) == 24
    assert done.index("a") < 8
    assert done.index("b") < 8


async def test_one_connection_alone_has_half_of_them() -> None:
    threads = Threads(number=4, grace=5)
    block = threading.Event()
    async with threads.running():
        for _ in range(8):
            threads.submit(Job(block.wait, lambda result, error: None), key="one")
        assert len(names()) == 2
        block.set()


async def test_a_job_that_is_forgotten_stops() -> None:
    threads = Threads(number=1, grace=5)
    ended: list[str] = []
    begun = threading.Event()

    def work() -> None:
        try:
            while True:
                begun.set()
                spend(100)
        except TooMuchWork:
            ended.append("stopped")

    async with threads.running():
        job = Job(work, lambda result, error: ended.append("done"))
        threads.submit(job)
        await trio.to_thread.run_sync(begun.wait)
        job.forget()
    assert ended == ["stopped"]


async def test_what_is_under_way_beyond_the_grace_stops(caplog: pytest.LogCaptureFixture) -> None:
    threads = Threads(number=1, grace=0.05, seconds=1000)
    left: list[threading.Thread] = []

    def work() -> None:
        left.append(threading.current_thread())
        while True:
            spend(100)

    async with threads.running():
        threads.submit(Job(work, lambda result, error: None))
    await trio.to_thread.run_sync(left[0].join)
    assert left_over() == []


async def test_beside_the_loop() -> None:
    assert await beside_the_loop(double, 4) == 8
    stopped = threading.Event()

    def work() -> None:
        try:
            while True:
                spend(100)
        except TooMuchWork:
            stopped.set()

    with trio.move_on_after(0.05) as scope:
        await beside_the_loop(work, seconds=1000)
    assert scope.cancelled_caught  # without waiting for the thread
    await trio.to_thread.run_sync(stopped.wait)
    with pytest.raises(TooMuchWork, match=r"0\.05 s"):
        await beside_the_loop(forever, seconds=0.05)


def forever() -> None:
    while True:
        spend(100)
