"""The two boxes between trio and an asyncio loop in a thread: order, wake-ups, errors, the end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from restsock.apps.asgi._asyncio_call import AsyncioCall
from restsock.apps.asgi._asyncio_thread import AsyncioThread

PATIENCE = 20


class Blocked:
    """Keeps the asyncio loop busy until it is let go."""

    def __init__(self) -> None:
        self.reached, self.release = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.reached.set()
        assert self.release.wait(PATIENCE)


async def test_a_busy_loop_is_woken_once(monkeypatch: pytest.MonkeyPatch) -> None:
    thread = AsyncioThread(grace=1)
    seen: list[int] = []
    async with thread.running():
        blocked = Blocked()
        thread.tell(blocked)
        await trio.to_thread.run_sync(blocked.reached.wait)
        loop: Any = thread._loop
        wakes: list[None] = []
        wake = loop.call_soon_threadsafe

        def counting(*args: Any, **options: Any) -> None:
            wakes.append(None)
            wake(*args, **options)

        monkeypatch.setattr(loop, "call_soon_threadsafe", counting)
        for number in range(100):
            thread.tell(seen.append, number)
        assert len(wakes) == 1
        assert seen == []
        blocked.release.set()
        await thread.run(asyncio.sleep, 0)
    assert seen == list(range(100))


async def test_one_turn_of_asyncio_wakes_trio_once(monkeypatch: pytest.MonkeyPatch) -> None:
    thread = AsyncioThread(grace=1)
    seen: list[int] = []
    turns: list[int] = []
    done = trio.Event()
    empty = AsyncioThread._empty_to_trio

    def counting(self: AsyncioThread) -> None:
        before = len(seen)
        empty(self)
        if len(seen) > before:
            turns.append(len(seen) - before)

    monkeypatch.setattr(AsyncioThread, "_empty_to_trio", counting)

    def speak() -> None:
        for number in range(100):
            thread.tell_trio(None, seen.append, number)
        thread.tell_trio(None, done.set)

    async with thread.running():
        thread.tell(speak)
        await done.wait()
    assert seen == list(range(100))
    assert turns == [100]


@pytest.mark.parametrize("here", [True, False], ids=["sent here", "sent by trio"])
async def test_what_goes_out_on_a_connection_leaves_together(here: bool) -> None:
    steps: list[str] = []

    class FakeWriter:
        def cork(self) -> None:
            steps.append("cork")

        def uncork(self) -> None:
            steps.append("uncork")

        def run_here(self, function: Callable[..., None], *args: Any) -> None:
            steps.append(threading.current_thread().name.rpartition("-")[0])
            function(*args)

    class FakeConnection:
        writer = FakeWriter()
        can_run_here = here

    performer: Any = SimpleNamespace(
        connection=FakeConnection(), perform=lambda function, args: function(*args)
    )
    thread = AsyncioThread(grace=1)
    done = trio.Event()

    def speak() -> None:
        for number in range(3):
            thread.tell_trio(performer, steps.append, str(number))
        thread.tell_trio(None, done.set)

    async with thread.running():
        thread.tell(speak)
        await done.wait()
    there = ["restsock-asyncio", "0", "1", "2"]
    assert steps == (there if here else ["cork", "0", "1", "2", "uncork"])


async def test_an_error_in_the_box_costs_the_others_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    seen: list[int] = []
    thread = AsyncioThread(grace=1)
    async with thread.running():
        blocked = Blocked()
        thread.tell(blocked)
        thread.tell(fail)
        thread.tell(seen.append, 1)
        blocked.release.set()
        await thread.run(asyncio.sleep, 0)
        assert seen == [1]
    assert "a step on the asyncio loop failed" in caplog.text


async def test_run_gives_what_the_coroutine_gives() -> None:
    async def give() -> int:
        return 7

    async def fail() -> None:
        raise ZeroDivisionError

    thread = AsyncioThread(grace=1)
    async with thread.running():
        assert await thread.run(give) == 7
        with pytest.raises(ZeroDivisionError):
            await thread.run(fail)


async def test_a_run_that_is_cancelled_is_cancelled_there() -> None:
    reached, ended = threading.Event(), threading.Event()

    async def wait() -> None:
        reached.set()
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    thread = AsyncioThread(grace=1)
    async with thread.running():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(thread.run, wait)
            await trio.to_thread.run_sync(reached.wait)
            nursery.cancel_scope.cancel()
        assert await trio.to_thread.run_sync(ended.wait, PATIENCE)


async def test_a_word_behind_the_end_is_lost_quietly() -> None:
    thread = AsyncioThread(grace=1)
    async with thread.running():
        pass
    thread.tell(pytest.fail)


async def test_a_task_that_ignores_its_cancellation_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                if released:
                    raise

    def begin() -> None:
        tasks.append(asyncio.ensure_future(stubborn()))

    released: list[bool] = []
    tasks: list[asyncio.Task[None]] = []
    thread = AsyncioThread(grace=0.05)
    async with thread.running():
        thread.tell(begin)
        await thread.run(asyncio.sleep, 0)
    assert "ignores that it is cancelled" in caplog.text
    assert not any(t.name.startswith("restsock-asyncio") for t in threading.enumerate())
    tasks[0]._log_destroy_pending = False  # type: ignore[attr-defined]  # it is, and was named
    caplog.clear()  # the record holds the task


async def test_a_call_in_a_thread_that_does_not_end_is_left_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    blocked = Blocked()
    thread = AsyncioThread(grace=0.05)
    calls: list[Any] = []

    async def begin() -> None:
        calls.append(asyncio.get_running_loop().run_in_executor(None, blocked))

    async with thread.running():
        await thread.run(begin)
        await trio.to_thread.run_sync(blocked.reached.wait)
    assert "sent to a thread does not end" in caplog.text
    blocked.release.set()
    for other in threading.enumerate():
        if "executor" in other.name:
            await trio.to_thread.run_sync(other.join, PATIENCE)


async def test_the_thread_ends_when_trio_has_ended_without_a_word() -> None:
    async def other_run() -> trio.lowlevel.TrioToken:
        return trio.lowlevel.current_trio_token()

    thread = AsyncioThread(grace=0.01)
    async with thread.running():
        (running,) = [t for t in threading.enumerate() if t.name == thread._name]
        thread._token = await trio.to_thread.run_sync(trio.run, other_run)
        thread.tell(thread.tell_trio, None, pytest.fail)
        await trio.to_thread.run_sync(running.join, PATIENCE)
        assert not running.is_alive()


async def test_a_wait_with_a_limit() -> None:
    call = AsyncioCall()
    thread = AsyncioThread(grace=1)
    async with thread.running():
        assert not await thread.run(call.wait_until, lambda: False, 0.01)
        assert await thread.run(call.wait_until, lambda: True, 3600)
        happened: list[bool] = []
        thread.tell(happened.append, True)
        thread.tell(call.wake)
        assert await thread.run(call.wait_until, lambda: bool(happened), 3600)
