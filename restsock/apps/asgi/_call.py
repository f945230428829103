"""The call of an app for one request, on either kind of event loop.

Serving a request needs little from a loop: run the app so that it can be cancelled, and wait until
something has happened. That is `AppCall`; the rest of serving is written once, for this interface.
`TrioCall` is here; `AsyncioCall` is in `_asyncio_call`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import trio

from restsock.apps._errors import is_for_the_loop

__all__ = ["AppCall", "TrioCall"]


class AppCall(Protocol):
    """One call of an app. Everything but `run` may be used before and after it.

    Attributes:
        loop: `"trio"` or `"asyncio"`.
    """

    @property
    def loop(self) -> str: ...

    async def run(self, call: Awaitable[None]) -> None:
        """Awaits the app. Returns when it does, or when `cancel_after` has cancelled it."""

    def cancel_after(self, seconds: float) -> None:
        """Cancels `run` unless it ends within this time."""

    def is_for_the_loop(self, error: BaseException) -> bool:
        """Whether an exception that left the app is for the loop or the user."""

    def wake(self) -> object:
        """Wakes every waiting task."""

    def call_soon(self, function: Callable[[], object]) -> None:
        """Calls a function, which must not raise, after other tasks have had their turn."""

    async def wait(self) -> None:
        """Waits for the next `wake`. A cancellation loses nothing."""

    async def wait_until(self, done: Callable[[], bool], timeout: float) -> bool:
        """Waits until `done()` is true, at most `timeout` seconds; returns whether it is."""

    async def checkpoint(self) -> None:
        """Lets other tasks run, and sends what is queued."""


class TrioCall:
    """An `AppCall` on trio.

    Args:
        shield: Whether only `cancel_after` cancels it.
    """

    __slots__ = ("_lot", "_scope", "wait", "wake")

    loop = "trio"

    def __init__(self, *, shield: bool = False) -> None:
        self._scope = trio.CancelScope(shield=shield)
        self._lot = trio.lowlevel.ParkingLot()
        # Bound here, which saves a call for each event.
        self.wait = self._lot.park
        self.wake: Callable[[], object] = self._lot.unpark_all

    async def run(self, call: Awaitable[None]) -> None:
        """See `AppCall`."""
        with self._scope:
            await call

    def cancel_after(self, seconds: float) -> None:
        """See `AppCall`."""
        self._scope.deadline = trio.current_time() + seconds

    def is_for_the_loop(self, error: BaseException) -> bool:
        """See `AppCall`."""
        return is_for_the_loop(error)

    def call_soon(self, function: Callable[[], object]) -> None:
        """See `AppCall`."""
        trio.lowlevel.current_trio_token().run_sync_soon(function)

    async def wait_until(self, done: Callable[[], bool], timeout: float) -> bool:
        """See `AppCall`."""
        with trio.move_on_after(timeout):
            while not done():
                await self._lot.park()
        return done()

    async def checkpoint(self) -> None:
        """See `AppCall`."""
        await trio.lowlevel.checkpoint()
