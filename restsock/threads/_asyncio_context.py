"""How an asyncio loop waits for the background loop, without blocking.

A cancellation is passed on to the function there, and is raised when that has ended, so nothing
outlives the task that started it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Generic, TypeVar

from ._context import OpenContext
from ._portal import Answer, Job, LoopPortal, unwrap

__all__ = ["AsyncioContext", "run_from_asyncio"]

T = TypeVar("T")


class _Reply(Generic[T]):
    """A value for which a task waits, and which another thread provides."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[T] = self._loop.create_future()

    def put(self, value: T) -> None:
        """Provides the value; only the first call counts. For any thread."""
        try:
            self._loop.call_soon_threadsafe(self._set, value)
        except RuntimeError:
            pass  # the loop is closed, and nothing waits there

    def _set(self, value: T) -> None:
        if not self._future.done():
            self._future.set_result(value)

    async def get(self) -> T:
        """Waits for the value. If cancelled, the value is not lost."""
        return await asyncio.shield(self._future)

    async def get_at_last(self) -> T:
        """Waits for the value even if cancelled; raises the cancellation after that."""
        cancelled: asyncio.CancelledError | None = None
        while not self._future.done():
            try:
                await asyncio.wait([self._future])
            except asyncio.CancelledError as exc:
                cancelled = exc
        if cancelled is not None:
            raise cancelled
        return self._future.result()


async def run_from_asyncio(
    portal: LoopPortal, function: Callable[..., Awaitable[T]], *args: Any
) -> T:
    """Runs an async function on a trio loop and returns its result. For asyncio.

    If cancelled, the function is cancelled.

    Raises:
        RestsockError: This is the thread of that loop, or the child of a fork.
        ConnectionClosed: The loop has ended, or ends meanwhile.
    """
    portal.check()
    reply: _Reply[Answer[T]] = _Reply()
    job = Job(portal, partial(function, *args), reply.put)
    job.post()
    try:
        answer = await reply.get()
    except asyncio.CancelledError:
        job.withdraw()
        await reply.get_at_last()
        raise
    return unwrap(answer)


class AsyncioContext(OpenContext[T]):
    """Keeps a context manager open on the background loop, for an owner on an asyncio loop."""

    def __init__(self, make: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        super().__init__(make)
        self._opened: _Reply[Answer[T]] = _Reply()
        self._ended: _Reply[None] | None = None

    async def open(self) -> None:
        """Enters the context manager that `make` returns; `make` is called on the background loop.

        If cancelled, nothing is left open.

        Raises:
            Exception: Whatever making or entering raises. Then nothing is left open.
        """
        try:
            self.portal.check()
            self._job.post()
            try:
                answer = await self._opened.get()
            except asyncio.CancelledError:
                await self._drop()
                raise
            self.value = unwrap(answer)
        except BaseException:
            self._done.set()
            await self._give_back()
            raise

    def _tell_opened(self, answer: Answer[T]) -> None:
        self._opened.put(answer)

    def _tell_done(self) -> None:
        if self._ended is not None:
            self._ended.put(None)

    async def close(self, *, drop: bool = False) -> None:
        """Leaves the context manager and releases the loop. A second call does nothing.

        A cancellation does not shorten this.

        Args:
            drop: Whether to leave it by a cancellation.

        Raises:
            Exception: Whatever leaving raises; raised only once.
        """
        if self.portal.foreign:
            return  # the parent's connection is the parent's to close
        try:
            if not self.closed:
                self.portal.check()
                if drop:
                    await self._drop()
                else:
                    self.close_soon()
                    await self._wait_done()
        finally:
            await self._give_back()
        self._raise_error()

    async def wait(self) -> None:
        """Waits until it is closed."""
        await self._wait_done()

    async def _drop(self) -> None:
        self._job.withdraw()
        await self._wait_done()

    async def _wait_done(self) -> None:
        if self._ended is None:
            self._ended = _Reply()
        if self.closed:  # checked last: from here on the end is reported
            self._ended.put(None)
        await self._ended.get_at_last()

    async def _give_back(self) -> None:
        if self._release_soon():
            ended: _Reply[None] = _Reply()
            self.portal.when_ended(partial(ended.put, None))
            await ended.get_at_last()
            self.portal.join()  # short: its work is done
