"""An asyncio event loop in its own thread, for an app without a caller's loop.

The thread ends with `running`. If code blocks the loop, the thread is named in the log, and ends
later. It is a daemon thread, since it must not keep the process alive.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import trio

from restsock._blocked import watched
from restsock._logging import PartLog

from ._asyncio_loop import AsyncioLoop

__all__ = ["AsyncioThread"]

_log = PartLog("restsock.apps")

_numbers = itertools.count(1)


class AsyncioThread(AsyncioLoop):
    """The thread, while `running` is open.

    Args:
        grace: Seconds that tasks may take to end after they are cancelled.
    """

    def __init__(self, *, grace: float) -> None:
        super().__init__()
        self._grace = grace
        self._name = f"restsock-asyncio-{next(_numbers)}"
        self._stopping: asyncio.Event | None = None
        self._started = trio.Event()
        self._ended = trio.Event()

    # --- on trio --------------------------------------------------------------------------

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs the loop while the block runs.

        At the end the tasks, the async generators and the threads of the app have the grace period
        each, even if this is cancelled.
        """
        self._token = trio.lowlevel.current_trio_token()
        # Two copies: one belongs to the thread for its lifetime, and cannot be entered again.
        self._context = contextvars.copy_context()
        # Made here, so that an error is raised to the caller.
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
            with trio.CancelScope(shield=True):  # short; meanwhile it cannot be told to stop
                await self._started.wait()
            if self._ended.is_set():
                raise RuntimeError("the asyncio loop did not start; the log says why")
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
                thread.join()  # short: its work is done
            else:
                _log.error(
                    "the asyncio loop of the app is blocked; its thread %s is left alone",
                    self._name,
                )

    # --- on asyncio -----------------------------------------------------------------------

    def _trio_ended(self) -> None:
        self._stop()

    def _stop(self) -> None:
        assert self._stopping is not None
        self._stopping.set()

    def _main(self, loop: asyncio.AbstractEventLoop) -> None:
        # Our own executor, for the names of its threads, and to know when they end.
        executor = ThreadPoolExecutor(thread_name_prefix=f"{self._name}-executor")
        loop.set_default_executor(executor)
        try:
            main = loop.create_task(self._live())
            while not main.done():
                try:
                    loop.run_until_complete(main)
                except (SystemExit, KeyboardInterrupt, RuntimeError):
                    # From a task of the app it ends the asyncio loop, which is not the program's
                    # loop here; so does a `loop.stop()`, with a RuntimeError.
                    if loop.is_closed():
                        raise
                    _log.exception("a task of the app tried to end its loop")
            self._end_executor(executor)
        except BaseException:  # noqa: BLE001  # a bug here; there is no caller above a thread
            _log.exception("the asyncio loop of the app failed")
        finally:
            loop.close()
            self._to_trio.append((None, self._ended.set, ()))
            self._to_trio.append((None, self._started.set, ()))  # so that the wait ends
            self._flush()

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
        # A thread waits for the threads, since that wait has no time limit.
        waiter = threading.Thread(target=executor.shutdown, daemon=True)
        waiter.start()
        waiter.join(self._grace)
        if waiter.is_alive():
            _log.error("a call that the app has sent to a thread does not end; it is left alone")
