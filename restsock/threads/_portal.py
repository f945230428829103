"""A trio loop in a background thread, and how other threads and loops use it.

- The loop never waits for the caller. The caller waits in its own way: a thread in
  `queue.SimpleQueue.get`, which a signal interrupts. So Ctrl-C reaches the caller, cancels what it
  was waiting for on the loop, and affects nothing else.
- A call to a loop that has ended, or that belongs to another process (after a fork), or from the
  loop's own thread, raises at once. Nothing waits for an answer that cannot come.
"""

from __future__ import annotations

import math
import os
import queue
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Generic, Protocol, TypeAlias, TypeVar, cast

import trio

from restsock._exceptions import ConnectionClosed, RestsockError, fork_error, without_frames
from restsock._logging import PartLog

__all__ = ["Answer", "Context", "Job", "LoopPortal", "Portal", "unwrap"]

_log = PartLog("restsock.sync")

T = TypeVar("T")

Answer: TypeAlias = tuple[T | None, Exception | None]
"""The result of a function, or the error that it raised."""


class Context(Protocol):
    """Something that is kept open on a loop."""

    def close_soon(self) -> None:
        """Begin to close, without waiting."""


class LoopPortal:
    """A trio loop, for callers in other threads and on asyncio loops."""

    _nursery: trio.Nursery | None  # for what is run; none is started once there is none
    _token: trio.lowlevel.TrioToken | None
    _failure: BaseException | None = None
    _thread_id: int | None  # of the loop

    def __init__(self, nursery: trio.Nursery) -> None:
        """Makes a portal to the loop that runs here; functions run in the nursery."""
        self._pid = os.getpid()
        self._nursery = nursery
        self._token = trio.lowlevel.current_trio_token()
        self._thread_id = threading.get_ident()

    def end(self) -> None:
        """Stops accepting calls. On the loop."""
        self._nursery = None
        self._thread_id = None  # after the thread has ended, another may have the same id

    @property
    def usable(self) -> bool:
        """Whether the loop runs, in this process."""
        return self._nursery is not None and self._pid == os.getpid()

    @property
    def foreign(self) -> bool:
        """Whether the loop stayed in the parent of a fork."""
        return self._pid != os.getpid()

    @property
    def inside(self) -> bool:
        """Whether this is the loop's own thread, which must never block."""
        return threading.get_ident() == self._thread_id

    def check(self) -> None:
        """Check that the calling thread may call the loop and wait for it.

        Raises:
            RestsockError: See `check_caller`; also when the loop has ended.
        """
        self.check_caller()
        if self._nursery is None:
            raise closed_error() from self._failure

    def check_caller(self) -> None:
        """Check that the calling thread may wait for the loop.

        Raises:
            RestsockError: This was called after a fork, or on the loop's own thread.
        """
        if self.foreign:
            raise fork_error("client or server", self._pid)
        if self.inside:
            raise RestsockError(
                "a blocking call on restsock's own loop thread would wait for itself: "
                "call it from another thread, or use the async API here"
            )

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """Run a quick synchronous function on the loop and return what it returns."""
        self.check()
        answers: queue.SimpleQueue[Answer[T]] = queue.SimpleQueue()

        def run() -> None:
            try:
                answers.put((function(*args), None))
            except Exception as error:  # noqa: BLE001  # raised again in the calling thread
                answers.put((None, error))

        self.post(run)
        return unwrap(answers.get())

    def call_anywhere(self, function: Callable[..., T], *args: Any) -> T:
        """Like `call`, but also on the loop's own thread: there it calls at once."""
        if self.inside and not self.foreign:
            return function(*args)
        return self.call(function, *args)

    def run(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Run an async function on the loop and return its result.

        If a `KeyboardInterrupt` ends the wait, the function is cancelled first.

        Raises:
            RestsockError: See `check`; also when the loop ends meanwhile.
        """
        self.check()
        answers: queue.SimpleQueue[Answer[T]] = queue.SimpleQueue()
        job = Job(self, partial(function, *args), answers.put)
        try:
            job.post()
            answer = answers.get()
        except KeyboardInterrupt:
            job.withdraw()
            # It may have come right after the answer: then there is no other answer.
            self.post(lambda: answers.put((None, None)) if job.answered else None)
            answers.get()  # a second Ctrl-C leaves without waiting
            raise
        return unwrap(answer)

    def wait(
        self, timeout: float | None, function: Callable[..., Awaitable[T]], *args: Any
    ) -> T | None:
        """Like `run`, for at most `timeout` seconds; then cancels the function, returns `None`."""

        async def wait() -> T | None:
            with trio.move_on_after(math.inf if timeout is None else timeout):
                return await function(*args)
            return None

        return self.run(wait)

    def post(self, function: Callable[[], object]) -> None:
        """Run a function on the loop soon, without waiting.

        Raises:
            RestsockError: The loop has ended.
        """
        token = self._token
        if token is None:
            raise closed_error() from self._failure
        try:
            token.run_sync_soon(function)
        except trio.RunFinishedError:
            raise closed_error() from self._failure

    def start_soon(self, task: Callable[[], Awaitable[None]]) -> bool:
        """Start a task, on the loop; return whether the loop still accepts tasks."""
        if self._nursery is None:
            return False
        self._nursery.start_soon(task)
        return True


class Portal(LoopPortal):
    """A trio loop in its own thread, for callers in other threads.

    Made by `acquire`, released with `release`.
    """

    def __init__(self) -> None:
        self.owners = 0
        self.contexts: set[Context] = set()  # touched on the loop only
        self._pid = os.getpid()
        self._emptied = trio.lowlevel.ParkingLot()
        self._nursery = None
        self._token = None
        self._failure = None
        self._ended = False
        self._when_ended: list[Callable[[], object]] = []
        started: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._thread = threading.Thread(
            target=self._run_loop, args=(started,), name="restsock.sync", daemon=True
        )
        self._thread.start()
        self._thread_id = self._thread.ident
        started.get()

    def stop(self) -> None:
        """End the loop. The thread ends soon; `join` waits for it."""
        try:
            self.post(self._cancel)
        except RestsockError:
            pass  # it has ended already

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end of the thread, except on the thread itself."""
        if not self.inside and not self.foreign:
            self._thread.join(timeout)

    def when_ended(self, function: Callable[[], object]) -> None:
        """Calls a function, once or twice, at the end of the thread, or here if it has ended.

        This is for callers that do not want to block in `join`.
        """
        self._when_ended.append(function)
        if self._ended:
            function()

    def discard(self, context: Context) -> None:
        """Note, on the loop, that a context has ended."""
        self.contexts.discard(context)
        if not self.contexts:
            self._emptied.unpark_all()

    async def wait_empty(self, timeout: float | None = None) -> bool:
        """Wait, on the loop, until all contexts have ended; return whether they have, in time."""
        with trio.move_on_after(math.inf if timeout is None else timeout):
            while self.contexts:
                await self._emptied.park()
        return not self.contexts

    def _cancel(self) -> None:
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    def _run_loop(self, started: queue.SimpleQueue[None]) -> None:
        try:
            trio.run(self._main, started)
        except BaseException as error:  # noqa: BLE001  # there is no caller above a thread
            self._failure = error
            _log.exception("the background loop has failed")
        finally:
            self._nursery = self._token = None
            self._ended = True
            for function in self._when_ended:
                function()
            self._thread_id = None  # the next thread may have the same

    async def _main(self, started: queue.SimpleQueue[None]) -> None:
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                self._token = trio.lowlevel.current_trio_token()
                started.put(None)
                await trio.sleep_forever()
        finally:
            # From here on nothing can be started; posted callbacks still run.
            self._nursery = None


class Job(Generic[T]):
    """An async function that another thread runs on the loop, and can withdraw.

    Posted functions run in order, so `withdraw` knows whether the start came before it or will
    never come: a `KeyboardInterrupt` may come before, in, or after the call that posts it.

    Args:
        portal: The portal of the loop.
        function: The function.
        done: Called once, on the loop, with the answer. It has to wake the other thread or loop.

    Attributes:
        answered: Whether `done` was called. Read it on the loop.
    """

    def __init__(
        self,
        portal: LoopPortal,
        function: Callable[[], Awaitable[T]],
        done: Callable[[Answer[T]], object],
    ) -> None:
        self._portal = portal
        self._function = function
        self._done = done
        self._scope = trio.CancelScope()
        self._posted = False  # whether the loop has received it
        self.answered = False

    def post(self) -> None:
        """Starts the function. For any thread."""
        self._portal.post(self._start)

    def withdraw(self) -> None:
        """Cancels the function, or prevents its start. For any thread."""
        self._portal.post(self._withdraw)

    def _start(self) -> None:
        self._posted = True
        if not self._portal.start_soon(self._run):
            self._answer((None, closed_error()))

    def _withdraw(self) -> None:
        self._scope.cancel()
        if not self._posted:
            self._answer((None, closed_error()))

    async def _run(self) -> None:
        answer: Answer[T] = (None, closed_error())
        try:
            with self._scope:
                answer = (await self._function(), None)
        except Exception as error:  # noqa: BLE001  # raised again in the calling thread
            answer = (None, error)
        finally:
            self._answer(answer)

    def _answer(self, answer: Answer[T]) -> None:
        self.answered = True
        self._done(answer)


def closed_error() -> ConnectionClosed:
    return ConnectionClosed("this was closed", code=1000, may_have_run=False)


def unwrap(answer: Answer[T]) -> T:
    """Returns the result of a function, or raises its error."""
    value, error = answer
    if error is not None:
        try:
            # Its traceback on the loop is of no use to the caller, unless it is a bug.
            raise without_frames(error) if isinstance(error, RestsockError) else error
        finally:
            # Otherwise the traceback, which refers to this frame, would be in a cycle.
            del error, answer
    return cast("T", value)
