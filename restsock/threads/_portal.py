"""The one background trio thread that all blocking clients and servers share.

Rules:

- The thread starts with its first owner and ends, joined, with its last. It is a daemon, so a
  forgotten close does not keep the process alive; at exit what is still open is closed in order.
- A blocked caller waits in `queue.SimpleQueue.get`, which a signal interrupts: Ctrl-C reaches the
  caller, cancels what it waited for on the loop, and leaves everything else alone.
- Whatever is asked of a loop that has ended, or that belongs to another process (after a fork), or
  from the loop's own thread, raises at once. Nothing waits for an answer that cannot come.
"""

from __future__ import annotations

import atexit
import logging
import math
import os
import queue
import threading
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, TypeVar, cast

import trio

from restsock._exceptions import ConnectionClosed, RestsockError, fork_error, without_frames

_log = logging.getLogger("restsock.sync")

T = TypeVar("T")
# What a function gave, or the error that it raised.
_Answer = tuple[T | None, Exception | None]
_Answers = queue.SimpleQueue[_Answer[T]]

# At exit, what was not closed gets this many seconds to close its connections.
_EXIT_GRACE = 2.0


class Portal:
    """A trio loop in a thread of its own, for callers in other threads.

    Made by `acquire`, given back with `release`.
    """

    def __init__(self) -> None:
        self.owners = 0
        self.contexts: set[BlockingContext[Any]] = set()  # touched on the loop only
        self._pid = os.getpid()
        self._emptied = trio.lowlevel.ParkingLot()
        self._nursery: trio.Nursery | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._failure: BaseException | None = None
        started: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._thread = threading.Thread(
            target=self._run_loop, args=(started,), name="restsock.sync", daemon=True
        )
        self._thread.start()
        started.get()

    @property
    def usable(self) -> bool:
        """Whether the loop runs, in this process."""
        return self._nursery is not None and self._pid == os.getpid()

    @property
    def foreign(self) -> bool:
        """Whether the loop stayed behind in the parent of a fork."""
        return self._pid != os.getpid()

    @property
    def inside(self) -> bool:
        """Whether this is the loop's own thread, which must never block."""
        return threading.current_thread() is self._thread

    def check(self) -> None:
        """Make sure that the calling thread may ask something of the loop, and wait for it.

        Raises:
            RestsockError: See `check_caller`; also when the loop has ended.
        """
        self.check_caller()
        if self._nursery is None:
            raise _closed_error() from self._failure

    def check_caller(self) -> None:
        """Make sure that the calling thread is one that may wait for the loop.

        Raises:
            RestsockError: After a fork, or on the loop's own thread.
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
        answers: _Answers[T] = queue.SimpleQueue()

        def run() -> None:
            try:
                answers.put((function(*args), None))
            except Exception as error:  # noqa: BLE001  # raised again in the calling thread
                answers.put((None, error))

        self.post(run)
        return _unwrap(answers.get())

    def run(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Run an async function on the loop and wait for what it returns.

        When a `KeyboardInterrupt` ends the wait, the function is cancelled first.

        Raises:
            RestsockError: See `check`; also when the loop ends meanwhile.
        """
        self.check()
        answers: _Answers[T] = queue.SimpleQueue()
        scope = trio.CancelScope()

        async def task() -> None:
            answer: _Answer[T] = (None, _closed_error())
            try:
                with scope:
                    answer = (await function(*args), None)
            except Exception as error:  # noqa: BLE001  # raised again in the calling thread
                answer = (None, error)
            finally:
                answers.put(answer)

        job = _Job(self, task, scope, lambda: answers.put((None, _closed_error())))
        try:
            self.post(job.start)
            answer = answers.get()
        except KeyboardInterrupt:
            self.post(job.withdraw)
            answers.get()  # a second Ctrl-C leaves without waiting
            raise
        return _unwrap(answer)

    def wait(
        self, timeout: float | None, function: Callable[..., Awaitable[T]], *args: Any
    ) -> T | None:
        """As `run`, for so many seconds at most: then the function is cancelled; `None`."""

        async def wait() -> T | None:
            with trio.move_on_after(math.inf if timeout is None else timeout):
                return await function(*args)
            return None

        return self.run(wait)

    def post(self, function: Callable[[], object]) -> None:
        """Run a function on the loop soon, without waiting.

        Raises:
            RestsockError: When the loop has ended.
        """
        token = self._token
        if token is None:
            raise _closed_error() from self._failure
        try:
            token.run_sync_soon(function)
        except trio.RunFinishedError:
            raise _closed_error() from self._failure

    def stop(self) -> None:
        """End the loop. The thread ends soon; `join` waits for it."""
        try:
            self.post(self._cancel)
        except RestsockError:
            pass  # it has ended by itself

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end of the thread, except on the thread itself."""
        if not self.inside and not self.foreign:
            self._thread.join(timeout)

    def discard(self, context: BlockingContext[Any]) -> None:
        """Note, on the loop, that a context has ended."""
        self.contexts.discard(context)
        if not self.contexts:
            self._emptied.unpark_all()

    async def wait_empty(self, timeout: float | None = None) -> bool:
        """Wait, on the loop, until every context has ended; whether they have, in time."""
        with trio.move_on_after(math.inf if timeout is None else timeout):
            while self.contexts:
                await self._emptied.park()
        return not self.contexts

    def _cancel(self) -> None:
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    def start_soon(self, task: Callable[[], Awaitable[None]]) -> bool:
        """Start a task, on the loop; whether the loop still takes any."""
        if self._nursery is None:
            return False
        self._nursery.start_soon(task)
        return True

    def _run_loop(self, started: queue.SimpleQueue[None]) -> None:
        try:
            trio.run(self._main, started)
        except BaseException as error:  # noqa: BLE001  # there is no caller above a thread
            self._failure = error
            _log.exception("the background loop has failed")
        finally:
            self._nursery = self._token = None

    async def _main(self, started: queue.SimpleQueue[None]) -> None:
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                self._token = trio.lowlevel.current_trio_token()
                started.put(None)
                await trio.sleep_forever()
        finally:
            # From here on nothing can be started; callbacks that were posted still run.
            self._nursery = None


class _Job:
    """A task that a thread wants on the loop, until it thinks better of it.

    What is posted runs in order, so `withdraw` knows whether `start` came before it or never will:
    a `KeyboardInterrupt` may hit the thread before, in, or after the call that posts it.
    """

    def __init__(
        self,
        portal: Portal,
        task: Callable[[], Awaitable[None]],
        scope: trio.CancelScope,
        refused: Callable[[], object],
    ) -> None:
        self._portal = portal
        self._task = task
        self._scope = scope
        self._refused = refused
        self._started = False

    def start(self) -> None:
        self._started = self._portal.start_soon(self._task)
        if not self._started:
            self._refused()

    def withdraw(self) -> None:
        self._scope.cancel()
        if not self._started:
            self._refused()


class BlockingContext(Generic[T]):
    """An async context manager that is kept open on the loop, and is closed by any thread.

    Attributes:
        portal: The loop it lives on.
        value: What entering it gave.
    """

    value: T

    def __init__(self, make: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        """Enter what `make` returns (it is called on the loop) and wait until that is done.

        Raises:
            Exception: Whatever making or entering raises; nothing is left open then.
        """
        self.portal = acquire()
        self._make = make
        self._opened: _Answers[T] = queue.SimpleQueue()
        self._done = threading.Event()
        self._close_requested: trio.Event | None = None
        self._scope = trio.CancelScope()
        self._error: Exception | None = None
        self._lock = threading.Lock()
        self._released = False
        self._abandoned = False
        job = _Job(self.portal, self._task, self._scope, self._refused)
        try:
            self.portal.check()
            try:
                self.portal.post(job.start)
                answer = self._opened.get()
            except KeyboardInterrupt:
                self.portal.post(job.withdraw)
                self._done.wait()
                raise
            self.value = _unwrap(answer)
        except BaseException:
            self._release()
            raise

    @property
    def closed(self) -> bool:
        """Whether it was closed, or has ended by itself."""
        return self._done.is_set()

    def close(self) -> None:
        """Leave the context manager, wait for that, and give the loop back.

        A second call, or one in the child of a fork, does nothing.

        Raises:
            Exception: What leaving raises, once.
        """
        if self.portal.foreign:
            return  # the parent's connection is the parent's to close
        if not self._done.is_set():
            self.portal.check()
            self.close_soon()
            self._done.wait()
        self._release()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def close_soon(self) -> None:
        """Begin to close, and do not wait."""
        try:
            self.portal.post(self._request_close)
        except RestsockError:
            self._done.set()

    def abandon(self) -> None:
        """Close in the background: for an owner that was dropped without a close.

        Takes no lock: the garbage collector calls it anywhere, in the middle of anything.
        """
        if not self.portal.foreign and not self._released:
            try:
                self.portal.post(self._abandon)
            except RestsockError:
                pass  # the loop has ended, and this with it

    def wait(self, timeout: float | None) -> bool:
        """Wait until it is closed; whether it is, in time."""
        return self._done.wait(timeout)

    def _abandon(self) -> None:  # on the loop
        self._abandoned = True
        self._request_close()
        if self.closed:
            self._release()

    def _request_close(self) -> None:
        if self._close_requested is not None:
            self._close_requested.set()

    def _refused(self) -> None:
        self._opened.put((None, _closed_error()))
        self._done.set()

    async def _task(self) -> None:
        self._close_requested = trio.Event()
        self.portal.contexts.add(self)
        opened = False
        try:
            with self._scope:
                async with self._make() as value:
                    self._opened.put((value, None))
                    opened = True
                    await self._close_requested.wait()
        except Exception as error:  # noqa: BLE001  # raised again where it is opened or closed
            if opened:
                self._error = error
            else:
                self._opened.put((None, error))
                opened = True
        finally:
            if not opened:
                self._opened.put((None, _closed_error()))
            self.portal.discard(self)
            self._done.set()
            if self._abandoned:
                self._release()

    def _release(self) -> None:
        with self._lock:
            if self._released:
                return
            self._released = True
        release(self.portal)


def _closed_error() -> ConnectionClosed:
    return ConnectionClosed("this was closed", code=1000, may_have_run=False)


def _unwrap(answer: _Answer[T]) -> T:
    value, error = answer
    if error is not None:
        try:
            # Where on the loop it was raised is of no use to the caller, unless it is a bug.
            raise without_frames(error) if isinstance(error, RestsockError) else error
        finally:
            # Else the traceback, which holds this frame, would hold the error in a cycle.
            del error, answer
    return cast("T", value)


# ---- the shared portal

_lock = threading.Lock()
_portal: Portal | None = None


def acquire() -> Portal:
    """The shared loop, started if it does not run; one more owner."""
    global _portal  # noqa: PLW0603  # one loop for the whole process is what this module is for
    with _lock:
        if _portal is None or not _portal.usable:
            _portal = Portal()
        _portal.owners += 1
        return _portal


def release(portal: Portal) -> None:
    """Give the loop back. The last owner ends it, and waits for the end of its thread."""
    global _portal  # noqa: PLW0603
    with _lock:
        portal.owners -= 1
        last = portal.owners == 0
        if last and _portal is portal:
            _portal = None
    if last:
        portal.stop()
        portal.join()


def _forget_after_fork() -> None:
    global _lock, _portal  # noqa: PLW0603
    # Another thread may have held the lock at the moment of the fork; here it has no owner.
    _lock = threading.Lock()
    _portal = None


def _tidy_at_exit() -> None:
    portal = _portal
    if portal is None or not portal.usable:
        return
    try:
        contexts = portal.call(lambda: list(portal.contexts))
        for context in contexts:
            context.close_soon()
        if not portal.run(portal.wait_empty, _EXIT_GRACE):
            _log.warning("at exit, %d connections did not close in time", len(contexts))
    except RestsockError:
        pass  # it has just ended by itself
    portal.stop()
    portal.join(_EXIT_GRACE)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
atexit.register(_tidy_at_exit)
