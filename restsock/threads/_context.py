"""Keeps context managers open on the background loop, for owners elsewhere."""

from __future__ import annotations

import queue
import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, TypeVar

import trio

from restsock._exceptions import RestsockError

from ._background import acquire, release
from ._portal import Answer, Job, unwrap

__all__ = ["BlockingContext", "OpenContext", "abandon_unclosed"]

T = TypeVar("T")


class OpenContext(ABC, Generic[T]):
    """An async context manager that is kept open on the loop, and is closed from elsewhere.

    The subclass posts the job, and determines how its owner waits.

    Attributes:
        portal: The loop that it runs on.
        value: The result of entering it.
    """

    value: T

    def __init__(self, make: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        """Acquire the loop on which the result of `make` will be entered."""
        self.portal = acquire()
        self._make = make
        self._done = threading.Event()
        self._close_requested: trio.Event | None = None
        self._error: Exception | None = None
        self._lock = threading.Lock()
        self._released = False
        self._abandoned = False
        self._job = Job(self.portal, self._live, self._end)

    @abstractmethod
    def _tell_opened(self, answer: Answer[T]) -> None:
        """Tells the owner the result of entering; only the first call counts. On the loop."""

    def _tell_done(self) -> None:
        """Tells the owner that it has ended. On the loop."""

    @property
    def closed(self) -> bool:
        """Whether it was closed, or has ended by itself."""
        return self._done.is_set()

    def close_soon(self) -> None:
        """Begin to close, without waiting."""
        try:
            self.portal.post(self._request_close)
        except RestsockError:
            self._done.set()

    def abandon(self) -> None:
        """Close in the background: for an owner that was dropped without a close.

        Takes no lock, because the garbage collector may call it at any point.
        """
        if not self.portal.foreign and not self._released:
            try:
                self.portal.post(self._abandon)
            except RestsockError:
                pass  # the loop has ended, and this with it

    def _abandon(self) -> None:  # on the loop
        self._abandoned = True
        self._request_close()
        if self.closed:
            self._release()

    def _request_close(self) -> None:
        if self._close_requested is not None:
            self._close_requested.set()

    async def _live(self) -> None:
        self._close_requested = trio.Event()
        self.portal.contexts.add(self)
        opened = False
        try:
            async with self._make() as value:
                self._tell_opened((value, None))
                opened = True
                await self._close_requested.wait()
        except Exception as error:
            if not opened:
                raise
            self._error = error  # raised again by the close
        finally:
            self.portal.discard(self)

    def _end(self, answer: Answer[None]) -> None:  # on the loop
        self._tell_opened((None, answer[1]))  # ignored if it was opened
        self._done.set()
        self._tell_done()
        if self._abandoned:
            self._release()

    def _release(self) -> None:
        if self._release_soon():
            self.portal.join()

    def _release_soon(self) -> bool:
        """Releases the loop, once; returns whether its thread ends now, and must be joined."""
        with self._lock:
            if self._released:
                return False
            self._released = True
        return release(self.portal)

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error


class BlockingContext(OpenContext[T]):
    """An `OpenContext` whose owner is a thread."""

    def __init__(self, make: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        """Enter the context manager that `make` returns, and wait for that.

        `make` is called on the loop.

        Raises:
            Exception: Whatever making or entering raises. Then nothing is left open.
        """
        super().__init__(make)
        self._opened: queue.SimpleQueue[Answer[T]] = queue.SimpleQueue()
        try:
            self.portal.check()
            try:
                self._job.post()
                answer = self._opened.get()
            except KeyboardInterrupt:
                self._job.withdraw()
                self._done.wait()
                raise
            self.value = unwrap(answer)
        except BaseException:
            self._release()
            raise

    def _tell_opened(self, answer: Answer[T]) -> None:
        self._opened.put(answer)

    def close(self) -> None:
        """Leave the context manager, wait for that, and release the loop.

        A second call, or one in the child of a fork, does nothing.

        Raises:
            Exception: Whatever leaving raises; raised only once.
        """
        if self.portal.foreign:
            return  # the parent's connection is the parent's to close
        if not self._done.is_set():
            self.portal.check_caller()
            self.close_soon()
            self._done.wait()
        self._release()
        self._raise_error()

    def wait(self, timeout: float | None) -> bool:
        """Wait until it is closed; return whether it is, in time."""
        return self._done.wait(timeout)


def abandon_unclosed(owner: object, context: OpenContext[Any] | None) -> None:
    """Closes what an owner has left open, who is dropped; it is warned of. For its `__del__`."""
    if context is not None and not context.closed and not context.portal.foreign:
        warnings.warn(f"{owner!r} was never closed", ResourceWarning, source=owner, stacklevel=3)
        context.abandon()
