"""How tasks of any loop, asyncio or trio, wait for events from other threads.

Waking a loop is expensive. So all tasks that wait on one loop share a queue: the first event wakes
the loop, and further events until the loop runs cost nothing.
"""

from __future__ import annotations

import math
import threading
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Any

import trio

from ._loop_poll import LoopPoll

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from restsock.connection import Borrower

__all__ = ["TaskSleeper", "borrower_here"]


class _Loop(ABC):
    """The queue of one loop.

    Attributes:
        borrower: With this the loop reads sockets itself; `None` if it cannot.
    """

    def __init__(self) -> None:
        self._box: deque[TaskSleeper] = deque()
        self.borrower: Borrower | None = None
        # Whether the loop was woken for it. It is cleared before the queue is emptied: an event in
        # between may wake it once too often, but is never missed.
        self._woken = False

    def add(self, sleeper: TaskSleeper) -> None:
        """Wakes the tasks that wait in a sleeper. For any thread."""
        self._box.append(sleeper)
        if not self._woken:
            self._woken = True
            try:
                self._wake()
            except RuntimeError:  # from either kind of loop
                pass  # it is closed, and so are the tasks that waited

    def _empty(self) -> None:
        self._woken = False
        box = self._box
        for _ in range(len(box)):
            box.popleft().rouse()

    @abstractmethod
    def _wake(self) -> None:
        """Makes the loop call `_empty`."""

    @abstractmethod
    async def wait(self, waiters: list[Any], seconds: float) -> None:
        """Adds an object with `set()` to the list; waits for that, at most this many seconds."""


class _Trio(_Loop):
    def __init__(self, token: trio.lowlevel.TrioToken) -> None:
        super().__init__()
        self._token = token

    def _wake(self) -> None:
        self._token.run_sync_soon(self._empty)

    async def wait(self, waiters: list[Any], seconds: float) -> None:
        event = trio.Event()
        waiters.append(event)
        with trio.move_on_after(seconds):
            await event.wait()


class _Asyncio(_Loop):
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop
        self.borrower = LoopPoll(loop, self._read)

    def _wake(self) -> None:
        self._loop.call_soon_threadsafe(self._empty)

    def _read(self, read: Callable[[], None]) -> None:
        """Reads on the loop, which need not be woken for the resulting events."""
        self._woken = True
        try:
            read()
        finally:
            self._empty()

    async def wait(self, waiters: list[Any], seconds: float) -> None:
        waiter = _Future(self._loop.create_future())
        waiters.append(waiter)
        timer = None if seconds == math.inf else self._loop.call_later(seconds, waiter.set)
        try:
            await waiter.future
        finally:
            if timer is not None:
                timer.cancel()


class _Future:
    __slots__ = ("future",)

    def __init__(self, future: asyncio.Future[None]) -> None:
        self.future = future

    def set(self) -> None:
        if not self.future.done():
            self.future.set_result(None)


_here = threading.local()


def _loop_here() -> _Loop:
    """The queue of the loop that runs here."""
    loop: Any
    if trio.lowlevel.in_trio_task():
        loop = trio.lowlevel.current_trio_token()
        kind: Any = _Trio
    else:
        import asyncio  # already loaded if it runs

        loop = asyncio.get_running_loop()
        kind = _Asyncio
    if getattr(_here, "loop", None) is not loop:
        _here.loop = loop
        _here.box = kind(loop)
    box: _Loop = _here.box
    return box


def borrower_here() -> Borrower | None:
    """The borrower of the loop that runs here; `None` if it cannot read sockets itself."""
    return _loop_here().borrower


class TaskSleeper:
    """Lets tasks wait for other threads. Belongs to the loop on which it is made.

    Attributes:
        asleep: Whether any task waits, or is about to; then `wake()` is needed.
    """

    __slots__ = ("_loop", "_waiters", "asleep")

    def __init__(self) -> None:
        self.asleep = False
        self._loop = _loop_here()
        self._waiters: list[Any] = []

    def wake(self) -> None:
        """Ends the waits. For any thread."""
        self.asleep = False  # waiting tasks check again, and set it again
        self._loop.add(self)

    def rouse(self) -> None:
        """Ends the waits, on the loop."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.set()

    async def sleep(self, seconds: float) -> None:
        """Waits until `wake()`, at most this many seconds. The caller sets `asleep`."""
        await self._loop.wait(self._waiters, seconds)
