"""What a thread keeps open on the background loop."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Generic, TypeVar

import trio

from restsock._exceptions import RestsockError

from ._background import acquire, release
from ._portal import Answer, Job, unwrap

__all__ = ["BlockingContext"]

T = TypeVar("T")


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
        self._opened: queue.SimpleQueue[Answer[T]] = queue.SimpleQueue()
        self._done = threading.Event()
        self._close_requested: trio.Event | None = None
        self._error: Exception | None = None
        self._lock = threading.Lock()
        self._released = False
        self._abandoned = False
        job = Job(self.portal, self._live, self._end)
        try:
            self.portal.check()
            try:
                job.post()
                answer = self._opened.get()
            except KeyboardInterrupt:
                job.withdraw()
                self._done.wait()
                raise
            self.value = unwrap(answer)
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

    async def _live(self) -> None:
        self._close_requested = trio.Event()
        self.portal.contexts.add(self)
        opened = False
        try:
            async with self._make() as value:
                self._opened.put((value, None))
                opened = True
                await self._close_requested.wait()
        except Exception as error:
            if not opened:
                raise
            self._error = error  # raised again where it is closed
        finally:
            self.portal.discard(self)

    def _end(self, answer: Answer[None]) -> None:  # on the loop
        self._opened.put((None, answer[1]))  # for nobody, once it was opened
        self._done.set()
        if self._abandoned:
            self._release()

    def _release(self) -> None:
        with self._lock:
            if self._released:
                return
            self._released = True
        release(self.portal)
