"""The call of an app on asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

__all__ = ["AsyncioCall"]


class AsyncioCall:
    """An `AppCall` on asyncio. May be made anywhere.

    Attributes:
        begun: Whether the task that it belongs to has had its first turn.
        aborted: Whether the end of serving cancels that task.
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
        if self._cancelled:  # before this began
            task.cancel()
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
        self._cancelled = True
        if self._task is not None:
            self._task.cancel()

    def is_for_the_loop(self, error: BaseException) -> bool:
        """See `AppCall`. If an app raises `CancelledError` itself, it has failed."""
        return self.aborted and isinstance(error, asyncio.CancelledError)

    def wake(self) -> None:
        """See `AppCall`."""
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def call_soon(self, function: Callable[[], object]) -> None:
        """See `AppCall`."""
        asyncio.get_running_loop().call_soon(function)

    async def wait(self) -> None:
        """See `AppCall`."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)  # an app may wait and be cancelled repeatedly

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
