"""The way to the loop of a messaging, for threads and for tasks of asyncio."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from restsock._exceptions import ConnectionClosed
from restsock.connection import failure_of
from restsock.threads import LoopPortal

from ._errors import MessagingClosed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from restsock._limit_log import LimitLog

__all__ = ["MessagingPortal"]

T = TypeVar("T")


class MessagingPortal:
    """See above. What is run there ends with the messaging, so nobody waits longer than that.

    Args:
        log: tells of functions of programs that have failed.
    """

    def __init__(self, log: LimitLog) -> None:
        self._log = log
        self._portal: LoopPortal | None = None

    def open(self, nursery: trio.Nursery) -> None:
        """The messaging has begun. On its loop.

        Args:
            nursery: for what is run.
        """
        self._portal = LoopPortal(nursery)

    def end(self) -> None:
        """It is over: nothing more is begun. On its loop."""
        if self._portal is not None:
            self._portal.end()

    def run(self, timeout: float | None, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Runs an async function there and waits for what it returns. For threads.

        When the time is over, or a `KeyboardInterrupt` ends the wait, the function is cancelled.

        Args:
            timeout: seconds; `None` waits as long as it takes.
            function: what to run.
            args: for it.

        Raises:
            TimeoutError: the time is over.
            MessagingClosed: the messaging is not open, or was closed meanwhile.
            RestsockError: this is the thread of its loop, or the child of a fork.
        """
        with self._errors() as portal:
            found: list[T] = []

            async def run() -> None:
                with trio.move_on_after(math.inf if timeout is None else timeout):
                    found.append(await function(*args))

            portal.run(run)
            if not found:
                raise TimeoutError(f"not done within {timeout} s")
            return found[0]

    async def run_from_asyncio(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        """The same for tasks of asyncio. If cancelled, the function is cancelled.

        Raises:
            MessagingClosed: as `run`.
            RestsockError: as `run`.
        """
        from restsock.threads import run_from_asyncio  # asyncio takes a while to load

        with self._errors() as portal:
            return await run_from_asyncio(portal, function, *args)

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """Calls a quick function there. For any thread, also that of the loop.

        Raises:
            MessagingClosed: the messaging is not open.
            RestsockError: this is the child of a fork.
        """
        with self._errors() as portal:
            return portal.call_anywhere(function, *args)

    def look_up(self, function: Callable[..., T], *args: Any) -> T:
        """The same; where the messaging is not open nothing changes, and it is called here.

        Raises:
            RestsockError: this is the child of a fork.
        """
        portal = self._portal
        if portal is None:
            return function(*args)
        try:
            return portal.call_anywhere(function, *args)
        except ConnectionClosed:
            return function(*args)

    def post(self, function: Callable[..., object], *args: Any) -> None:
        """Has a quick function called there, and does not wait; not at all where it is over.

        Takes no lock: for the garbage collector, too.
        """
        portal = self._portal
        if portal is None:
            function(*args)
        elif not portal.foreign:
            try:
                portal.post(lambda: function(*args))
            except ConnectionClosed:
                pass

    def hook(self, name: str, function: Callable[..., Awaitable[Any]]) -> Callable[..., None]:
        """Makes of an async function one that is called on the loop and does not wait.

        Args:
            name: for the log, which tells of its errors.
            function: the function.
        """

        def call(*args: Any) -> None:
            async def run() -> None:
                try:
                    await function(*args)
                except Exception as exc:  # noqa: BLE001  # of a program; the messages go on
                    self._log.say("hook", "%s failed: %s", name, failure_of(exc))

            if self._portal is not None:
                self._portal.start_soon(run)

        return call

    @contextmanager
    def _errors(self) -> Iterator[LoopPortal]:
        if self._portal is None:
            raise MessagingClosed("this messaging was not opened yet")
        try:
            yield self._portal
        except ConnectionClosed:
            raise MessagingClosed("this messaging was closed") from None
