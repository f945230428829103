"""The background loop: who starts it, who ends it, and that no caller waits for ever."""

from __future__ import annotations

import contextlib
import gc
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

import restsock
from restsock._exceptions import RestsockError
from restsock.threads import BlockingContext, _background

# So that a script finds the package whether or not it is installed.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(restsock.__file__).parent.parent)}


def loop_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "restsock.sync"]


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    assert not loop_threads()
    yield
    assert not loop_threads()


class Thing:
    """An async context manager that says what happened to it."""

    def __init__(self) -> None:
        self.log: list[str] = []

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Thing]:
        self.log.append("open")
        try:
            yield self
        finally:
            with trio.CancelScope(shield=True):
                await trio.lowlevel.checkpoint()
            self.log.append("close")


def test_a_context_opens_and_closes_on_the_loop() -> None:
    thing = Thing()
    context = BlockingContext(thing.open)
    assert context.value is thing
    assert thing.log == ["open"]
    assert not context.wait(0)
    context.close()
    assert thing.log == ["open", "close"]
    assert context.wait(0)
    context.close()


def test_one_thread_for_all_and_it_ends_with_the_last() -> None:
    first, second = BlockingContext(Thing().open), BlockingContext(Thing().open)
    assert first.portal is second.portal
    assert len(loop_threads()) == 1
    first.close()
    assert len(loop_threads()) == 1
    second.close()
    assert not loop_threads()
    third = BlockingContext(Thing().open)
    assert third.portal is not first.portal
    third.close()


def test_many_threads_open_and_close() -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(30):
                context = BlockingContext(Thing().open)
                assert context.portal.call(lambda: 5) == 5
                context.close()
        except BaseException as error:  # noqa: BLE001  # reported by the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_an_error_while_opening_is_the_callers_and_leaves_no_thread() -> None:
    @contextlib.asynccontextmanager
    async def fails() -> AsyncIterator[None]:
        raise OSError("address in use")
        yield

    with pytest.raises(OSError, match="address in use"):
        BlockingContext(fails)


def test_an_error_while_making_is_the_callers() -> None:
    def make() -> contextlib.AbstractAsyncContextManager[None]:
        raise ValueError("bad url")

    with pytest.raises(ValueError, match="bad url"):
        BlockingContext(make)


def test_an_error_while_closing_is_raised_once() -> None:
    @contextlib.asynccontextmanager
    async def fails() -> AsyncIterator[None]:
        yield
        raise OSError("disk full")

    context = BlockingContext(fails)
    with pytest.raises(OSError, match="disk full"):
        context.close()
    context.close()


def test_run_returns_and_raises() -> None:
    context = BlockingContext(Thing().open)

    async def double(number: int) -> int:
        await trio.lowlevel.checkpoint()
        if number < 0:
            raise ValueError("negative")
        return 2 * number

    assert context.portal.run(double, 21) == 42
    with pytest.raises(ValueError, match="negative"):
        context.portal.run(double, -1)
    with pytest.raises(ZeroDivisionError):
        context.portal.call(lambda: 1 // 0)
    context.close()


def test_an_interrupt_right_after_the_answer_ends_the_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Interrupted(queue.SimpleQueue[Any]):
        interrupted = False

        def get(self, block: bool = True, timeout: float | None = None) -> Any:
            answer = super().get(block, 10)
            if not self.interrupted:
                self.interrupted = True
                raise KeyboardInterrupt  # the answer was taken, and is lost
            return answer

    context = BlockingContext(Thing().open)
    with monkeypatch.context() as patch:
        patch.setattr(queue, "SimpleQueue", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            context.portal.run(trio.lowlevel.checkpoint)
    context.close()


def test_a_call_in_flight_ends_with_the_loop() -> None:
    context = BlockingContext(Thing().open)
    begun = threading.Event()
    seen: list[str] = []

    async def forever() -> None:
        begun.set()
        await trio.sleep_forever()

    def wait() -> None:
        try:
            context.portal.run(forever)
        except RestsockError as error:
            seen.append(str(error))

    thread = threading.Thread(target=wait)
    thread.start()
    begun.wait()
    context.close()
    thread.join()
    assert seen == ["this was closed"]


def test_calls_after_the_end_raise() -> None:
    context = BlockingContext(Thing().open)
    context.close()
    with pytest.raises(RestsockError, match="closed"):
        context.portal.call(lambda: None)
    with pytest.raises(RestsockError, match="closed"):
        context.portal.run(trio.sleep, 0)
    with pytest.raises(RestsockError, match="closed"):
        context.portal.post(lambda: None)


def test_a_thread_with_the_number_of_one_that_has_ended_is_not_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    context = BlockingContext(contextlib.nullcontext)
    portal = context.portal
    number = portal.call(threading.get_ident)
    assert not portal.inside
    context.close()
    monkeypatch.setattr(threading, "get_ident", lambda: number)
    assert not portal.inside
    portal.check_caller()


def test_a_blocking_call_on_the_loops_own_thread_raises() -> None:
    context = BlockingContext(Thing().open)

    async def inside() -> None:
        with pytest.raises(RestsockError, match="own loop thread"):
            context.portal.run(trio.sleep, 0)
        with pytest.raises(RestsockError, match="own loop thread"):
            context.close()
        with pytest.raises(RestsockError, match="own loop thread"):
            BlockingContext(Thing().open)

    context.portal.run(inside)
    context.close()


@pytest.mark.skipif(sys.platform == "win32", reason="signals to a thread are POSIX")
def test_keyboard_interrupt_reaches_the_caller_and_cancels_the_call() -> None:
    context = BlockingContext(Thing().open)
    cancelled = threading.Event()

    async def forever() -> None:
        # Only now does the main thread wait for sure: its request is being served.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    with pytest.raises(KeyboardInterrupt):
        context.portal.run(forever)
    assert cancelled.is_set()
    assert context.portal.call(lambda: "alive") == "alive"
    context.close()


@pytest.mark.skipif(sys.platform == "win32", reason="signals to a thread are POSIX")
def test_keyboard_interrupt_while_opening_leaves_nothing() -> None:
    closed: list[bool] = []

    @contextlib.asynccontextmanager
    async def slow() -> AsyncIterator[None]:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        try:
            await trio.sleep_forever()
            yield
        finally:
            closed.append(True)

    with pytest.raises(KeyboardInterrupt):
        BlockingContext(slow)
    assert closed == [True]


def test_an_abandoned_context_closes_in_the_background() -> None:
    thing = Thing()
    context = BlockingContext(thing.open)
    portal = context.portal
    context.abandon()
    assert context.wait(5)
    context.abandon()
    portal.join(5)
    assert thing.log == ["open", "close"]


def test_the_loop_keeps_nothing_of_what_is_closed() -> None:
    keeper = BlockingContext(Thing().open)
    for _ in range(20):
        BlockingContext(Thing().open).close()
    gc.collect()
    assert keeper.portal.call(lambda: len(keeper.portal.contexts)) == 1
    assert sum(type(thing) is BlockingContext for thing in gc.get_objects()) == 1
    keeper.close()
    assert _background._portal is None


FORGOTTEN = """
import contextlib, trio
from restsock.threads import BlockingContext

@contextlib.asynccontextmanager
async def thing():
    try:
        yield
    finally:
        print("closed in order", flush=True)

context = BlockingContext(thing)
print("opened", flush=True)
"""

STUCK = FORGOTTEN.replace(
    'print("closed in order", flush=True)',
    "\n        with trio.CancelScope(shield=True):\n            await trio.sleep_forever()",
)

FORKED = """
import contextlib, os, sys, warnings
from restsock.threads import BlockingContext
from restsock._exceptions import RestsockError
warnings.simplefilter("ignore", DeprecationWarning)

@contextlib.asynccontextmanager
async def thing():
    yield "value"

context = BlockingContext(thing)
child = os.fork()
if not child:
    try:
        context.portal.call(lambda: None)
    except RestsockError as error:
        assert "fork" in str(error), error
    context.close()
    with contextlib.closing(BlockingContext(thing)) as own:
        assert own.portal.call(lambda: 7) == 7
    print("child done", flush=True)
    sys.exit(0)
_, status = os.waitpid(child, 0)
assert status == 0, status
assert context.portal.call(lambda: 7) == 7
context.close()
print("parent done", flush=True)
"""


def run_script(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=ENVIRONMENT,
    )


def test_a_forgotten_close_is_made_up_for_at_exit() -> None:
    done = run_script(FORGOTTEN)
    assert (done.returncode, done.stdout, done.stderr) == (0, "opened\nclosed in order\n", "")


def test_what_does_not_close_does_not_keep_the_process() -> None:
    done = run_script(STUCK.replace("from restsock.threads import BlockingContext", (
        "from restsock.threads import BlockingContext, _background\n"
        "_background._EXIT_GRACE = 0.1"
    )))  # fmt: skip
    assert done.returncode == 0
    assert done.stdout == "opened\n"
    assert "did not close in time" in done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_fork_gets_a_clear_error_and_may_open_its_own() -> None:
    done = run_script(FORKED)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.splitlines()) == ["child done", "parent done"]
