"""An asyncio event loop in a thread of its own beside trio, and the way from one to the other.

Rules:

- Neither loop ever waits for the other one's thread. Each leaves what it wants done in the other
  one's box, and wakes it unless that has been done already; a box is emptied in one go.
- What asyncio leaves in the box of trio while one turn of its loop lasts wakes trio once, and what
  then goes out on a connection leaves together. So a small request costs one wake-up each way.
- What is left in a box must not raise. What does is logged, and the rest is done.
- The thread ends with `running`. Code that blocks the loop can make it late: then it is named in
  the log, left alone, and ends when it can. It is a daemon, since it must not keep the process.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import logging
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import trio

from restsock._blocked import watched

if TYPE_CHECKING:
    from restsock.connection import Carrier

__all__ = ["AsyncioCall", "AsyncioThread"]

_log = logging.getLogger("restsock.apps")

_numbers = itertools.count(1)

T = TypeVar("T")


class _Performer(Protocol):
    """What steps on trio belong to: it deals with their errors."""

    @property
    def connection(self) -> Carrier: ...

    def perform(self, function: Callable[..., object], args: tuple[Any, ...]) -> None: ...


class AsyncioThread:
    """The thread, while `running` is open.

    Args:
        grace: seconds that tasks may take to their end once they are cancelled.
    """

    def __init__(self, *, grace: float) -> None:
        self._grace = grace
        self._name = f"restsock-asyncio-{next(_numbers)}"
        self._token: trio.lowlevel.TrioToken | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context = contextvars.Context()
        self._stopping: asyncio.Event | None = None
        self._started = trio.Event()
        self._ended = trio.Event()
        # Each box with a flag, whether the other side has been woken for it. It is taken down in
        # front of the emptying: what comes in between wakes once too often, and is never missed.
        self._to_asyncio: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._asyncio_woken = False
        self._to_trio: deque[tuple[_Performer | None, Callable[..., object], tuple[Any, ...]]]
        self._to_trio = deque()
        self._trio_woken = False
        self._flush_due = False

    # --- on trio --------------------------------------------------------------------------

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Lets the loop run.

        At the end the tasks, the async generators and the threads of the app have the grace each,
        whatever cancels it.
        """
        self._token = trio.lowlevel.current_trio_token()
        # Two copies: one is the thread's as long as that lives, and cannot be entered once more.
        self._context = contextvars.copy_context()
        # Made here, so that what goes wrong with it is the caller's error.
        loop = self._loop = asyncio.new_event_loop()
        thread = threading.Thread(
            target=contextvars.copy_context().run,
            args=(self._main, loop),
            name=self._name,
            daemon=True,
        )
        try:
            thread.start()
        except RuntimeError:  # the system has no thread to give
            loop.close()
            raise
        try:
            with trio.CancelScope(shield=True):  # a moment, in which it cannot be told to stop
                await self._started.wait()
            if self._ended.is_set():
                raise RuntimeError("the asyncio loop did not start; the log tells why")
            assert thread.ident is not None
            name = f"the asyncio loop of the app (thread {self._name})"
            with watched(name, thread.ident, loop.call_soon_threadsafe):
                yield
        finally:
            self.tell(self._stop)
            with trio.CancelScope(shield=True):
                with trio.move_on_after(3 * self._grace + 1):
                    await self._ended.wait()
            if self._ended.is_set():
                thread.join()  # all that it did was done; a moment
            else:
                _log.error(
                    "the asyncio loop of the app is blocked; its thread %s is left alone",
                    self._name,
                )

    def tell(self, function: Callable[..., object], *args: Any) -> None:
        """Has a function called on the asyncio loop."""
        self._to_asyncio.append((function, args))
        if not self._asyncio_woken:
            self._asyncio_woken = True
            assert self._loop is not None
            try:
                self._loop.call_soon_threadsafe(self._empty_to_asyncio, context=self._context)
            except RuntimeError:
                pass  # it is closed: whatever this was for is over

    async def run(self, function: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        """Awaits a coroutine function on the asyncio loop.

        If cancelled, its task there is cancelled too, and not waited for.
        """
        done = trio.Event()
        tasks: list[asyncio.Task[T]] = []

        def begin() -> None:
            task = asyncio.ensure_future(function(*args))
            tasks.append(task)
            task.add_done_callback(lambda _: self.tell_trio(None, done.set))

        self.tell(begin)
        try:
            await done.wait()
        except trio.Cancelled:
            self.tell(lambda: tasks[0].cancel())  # noqa: PLW0108  # there is none here yet
            raise
        return tasks[0].result()

    def _empty_to_trio(self) -> None:
        self._trio_woken = False
        box = self._to_trio
        held: set[Carrier] = set()
        for _ in range(len(box)):  # what comes in meanwhile has its own turn
            performer, function, args = box.popleft()
            if performer is None:
                function(*args)
                continue
            connection = performer.connection
            if connection not in held:
                held.add(connection)
                connection.writer.cork()
            performer.perform(function, args)
        for connection in held:
            connection.writer.uncork()

    # --- on asyncio -----------------------------------------------------------------------

    def tell_trio(
        self, performer: _Performer | None, function: Callable[..., object], *args: Any
    ) -> None:
        """Has a function called on trio, soon behind the present turn of this loop.

        Args:
            performer: whose step this is, if it is one of an exchange.
            function: what to call.
            args: its arguments.
        """
        self._to_trio.append((performer, function, args))
        if not self._flush_due:
            self._flush_due = True
            assert self._loop is not None
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        if self._to_trio and not self._trio_woken:
            self._trio_woken = True
            assert self._token is not None
            try:
                self._token.run_sync_soon(self._empty_to_trio)
            except trio.RunFinishedError:
                self._stop()  # there was no orderly end, and there is nobody left to serve

    def _empty_to_asyncio(self) -> None:
        self._asyncio_woken = False
        box = self._to_asyncio
        for _ in range(len(box)):
            function, args = box.popleft()
            try:
                function(*args)
            except Exception:  # noqa: BLE001  # a bug here must not cost the others their turn
                _log.exception("a step on the asyncio loop failed")

    def _stop(self) -> None:
        assert self._stopping is not None
        self._stopping.set()

    def _main(self, loop: asyncio.AbstractEventLoop) -> None:
        # Of our own, for the names of its threads and so that it is known when they end.
        executor = ThreadPoolExecutor(thread_name_prefix=f"{self._name}-executor")
        loop.set_default_executor(executor)
        try:
            main = loop.create_task(self._live())
            while not main.done():
                try:
                    loop.run_until_complete(main)
                except (SystemExit, KeyboardInterrupt, RuntimeError):
                    # Out of a task of the app's own it ends asyncio's loop, which is not the
                    # program's here; so does a `loop.stop()`, by the RuntimeError.
                    if loop.is_closed():
                        raise
                    _log.exception("a task of the app tried to end its loop")
            self._end_executor(executor)
        except BaseException:  # noqa: BLE001  # a bug here; nobody above could do more
            _log.exception("the asyncio loop of the app failed")
        finally:
            loop.close()
            self._to_trio.append((None, self._ended.set, ()))
            self._to_trio.append((None, self._started.set, ()))  # nobody waits for it in vain
            assert self._token is not None
            try:
                self._token.run_sync_soon(self._empty_to_trio)
            except trio.RunFinishedError:
                pass  # there is nobody left to be told

    async def _live(self) -> None:
        self._stopping = asyncio.Event()
        self.tell_trio(None, self._started.set)
        await self._stopping.wait()
        loop = asyncio.get_running_loop()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            done, left = await asyncio.wait(tasks, timeout=self._grace)
            for task in done:
                if not task.cancelled() and task.exception() is not None:
                    _log.error("a task of the app failed at the end", exc_info=task.exception())
            for task in left:
                _log.error("a task of the app ignores that it is cancelled: %r", task)
        try:
            await asyncio.wait_for(loop.shutdown_asyncgens(), self._grace)
        except asyncio.TimeoutError:
            _log.error("an async generator of the app does not end")

    def _end_executor(self, executor: ThreadPoolExecutor) -> None:
        # A thread waits for the threads, since a wait for them has no time limit.
        waiter = threading.Thread(target=executor.shutdown, daemon=True)
        waiter.start()
        waiter.join(self._grace)
        if waiter.is_alive():
            _log.error("a call that the app has sent to a thread does not end; it is left alone")


class AsyncioCall:
    """An `AppCall` on asyncio. May be made anywhere.

    Attributes:
        begun: whether the task that it belongs to has had its first turn.
        aborted: whether the end of serving cancels that task.
    """

    __slots__ = ("_cancelled", "_task", "_timer", "_waiters", "aborted", "begun")

    loop = "asyncio"

    def __init__(self) -> None:
        self.begun = False
        self.aborted = False
        self._task: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._cancelled = False
        self._waiters: set[asyncio.Future[None]] = set()

    async def run(self, call: Awaitable[None]) -> None:
        """See `AppCall`."""
        task = self._task = asyncio.current_task()
        assert task is not None
        try:
            await call
        except asyncio.CancelledError:
            if not self._cancelled:
                raise
        finally:
            self._task = None
            if self._timer is not None:
                self._timer.cancel()
            if self._cancelled and hasattr(task, "uncancel"):  # Python 3.11
                task.uncancel()

    def cancel_after(self, seconds: float) -> None:
        """See `AppCall`."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._cancel)

    def _cancel(self) -> None:
        if self._task is not None:
            self._cancelled = True
            self._task.cancel()

    def is_for_the_loop(self, error: BaseException) -> bool:
        """See `AppCall`. An app may raise `CancelledError` by itself, and then it has failed."""
        return self.aborted and isinstance(error, asyncio.CancelledError)

    def wake(self) -> None:
        """See `AppCall`."""
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self) -> None:
        """See `AppCall`."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)  # an app may ask, and be cancelled, again and again

    async def wait_until(self, done: Callable[[], bool], timeout: float) -> bool:
        """See `AppCall`."""
        expired = False

        def expire() -> None:
            nonlocal expired
            expired = True
            self.wake()

        timer = asyncio.get_running_loop().call_later(timeout, expire)
        try:
            while not (expired or done()):
                await self.wait()
        finally:
            timer.cancel()
        return done()

    async def checkpoint(self) -> None:
        """See `AppCall`."""
        await asyncio.sleep(0)
