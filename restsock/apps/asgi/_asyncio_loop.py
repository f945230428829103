"""Connects the trio loop of the connections with an asyncio loop.

Rules:

- Neither loop ever waits for the thread of the other. Each puts functions into the queue of the
  other, and wakes it unless it was woken already; a queue is emptied at once.
- What asyncio queues during one iteration of its loop wakes trio once. What it sends on a
  connection in that iteration is sent together: by asyncio itself, as a thread does, or by trio if
  it cannot.
- A queued function must not raise. If it does, that is logged, and the others still run.

The loop is the caller's own (`CallersLoop`), or one in a thread (`AsyncioThread`).
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

import trio

from restsock._blocked import watched
from restsock._logging import PartLog

if TYPE_CHECKING:
    from restsock.connection import Carrier

__all__ = ["AsyncioLoop", "CallersLoop"]

_log = PartLog("restsock.apps")

T = TypeVar("T")


class _Performer(Protocol):
    """The owner of steps on trio, which handles their errors."""

    @property
    def connection(self) -> Carrier: ...

    def perform(self, function: Callable[..., object], args: tuple[Any, ...]) -> None: ...


_Step: TypeAlias = tuple[_Performer | None, Callable[..., object], tuple[Any, ...]]


class AsyncioLoop(ABC):
    """An asyncio loop, while `running` is open."""

    def __init__(self) -> None:
        self._token: trio.lowlevel.TrioToken | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context = contextvars.Context()  # in which functions are called there
        # Each queue has a flag: whether the other side was woken for it. The flag is cleared before
        # the queue is emptied: a function that comes in between may wake it once too often, but is
        # never missed.
        self._to_asyncio: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._asyncio_woken = False
        self._to_trio: deque[_Step] = deque()
        # The steps of this iteration of the asyncio loop, for each connection.
        self._steps: dict[Carrier, list[_Step]] = {}
        self._trio_woken = False
        self._flush_due = False

    @abstractmethod
    def running(self) -> AbstractAsyncContextManager[None]:
        """Makes the loop usable while the block runs. On trio."""

    @property
    def closed(self) -> bool:
        """Whether nothing can be called there any longer."""
        return self._loop is None or self._loop.is_closed()

    # --- on trio --------------------------------------------------------------------------

    def tell(self, function: Callable[..., object], *args: Any) -> None:
        """Calls a function on the asyncio loop, without waiting."""
        self._to_asyncio.append((function, args))
        if not self._asyncio_woken:
            self._asyncio_woken = True
            assert self._loop is not None
            try:
                self._loop.call_soon_threadsafe(self._empty_to_asyncio, context=self._context)
            except RuntimeError:
                pass  # it is closed, and so is whatever this was for

    async def run(self, function: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        """Runs a coroutine function on the asyncio loop, and waits for its result.

        If cancelled, its task there is cancelled, too, but not waited for.
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
        for _ in range(len(box)):  # later ones have their own turn
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
        """Calls a function on trio, soon after the current iteration of this loop.

        Args:
            performer: The owner of the step, if it belongs to an exchange.
            function: The function.
            args: Its arguments.
        """
        if performer is None:
            self._to_trio.append((None, function, args))
        else:
            steps = self._steps.setdefault(performer.connection, [])
            steps.append((performer, function, args))
        if not self._flush_due:
            self._flush_due = True
            assert self._loop is not None
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        all_steps, self._steps = self._steps, {}
        for connection, steps in all_steps.items():
            if connection.can_run_here:
                connection.writer.run_here(_perform, steps)
            else:
                self._to_trio.extend(steps)
        if self._to_trio and not self._trio_woken:
            self._trio_woken = True
            assert self._token is not None
            try:
                self._token.run_sync_soon(self._empty_to_trio)
            except trio.RunFinishedError:
                self._trio_ended()

    def _empty_to_asyncio(self) -> None:
        self._asyncio_woken = False
        box = self._to_asyncio
        for _ in range(len(box)):
            function, args = box.popleft()
            try:
                function(*args)
            except Exception:  # noqa: BLE001  # a bug here must not stop the others
                _log.exception("a step on the asyncio loop failed")

    def _trio_ended(self) -> None:  # noqa: B027  # a loop that is not ours goes on
        """Called if the trio loop has crashed: there is nothing left to serve."""


def _perform(steps: list[_Step]) -> None:
    for performer, function, args in steps:
        assert performer is not None
        performer.perform(function, args)


class CallersLoop(AsyncioLoop):
    """The loop of the caller that passed the app. It is never ended here. Make it on that loop."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._thread = threading.current_thread()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """See `AsyncioLoop`."""
        self._token = trio.lowlevel.current_trio_token()
        assert self._loop is not None
        assert self._thread.ident is not None
        name = f"the asyncio loop of the program (thread {self._thread.name})"
        with watched(name, self._thread.ident, self._loop.call_soon_threadsafe):
            yield
