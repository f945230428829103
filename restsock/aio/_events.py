"""The events of a server, for asyncio."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import trio

from restsock._exceptions import RestsockError
from restsock.threads import TaskSleeper

if TYPE_CHECKING:
    from restsock.server import ConnectionEvent, Subscription
    from restsock.threads import Portal

__all__ = ["Events"]


class Events:
    """What happens to a server's connections from now on.

        async with server.events() as events:        # or without `async with`
            async for event in events: ...

    It ends when the server has closed, after the last event, or when it is closed itself. Several
    tasks of one loop may read it; each event goes to one of them.
    """

    def __init__(self, portal: Portal, subscribe: Callable[..., Subscription]) -> None:
        self._portal = portal
        self._sleeper = TaskSleeper()
        # The background loop knows the sleeper only, so an iterator that is dropped is collected.
        wake = self._sleeper.wake
        self._subscription: Subscription = portal.call(lambda: subscribe(wake=wake))

    async def receive(self) -> ConnectionEvent:
        """Wait for the next event. Cancelled, it takes none.

        Raises:
            EOFError: There are no more: the server or this was closed.
        """
        while True:
            self._sleeper.asleep = True  # before the look: from here on it is woken
            try:
                return self._subscription.receive_nowait()
            except trio.EndOfChannel:
                raise EOFError("there are no more events") from None
            except trio.WouldBlock:
                await self._sleeper.sleep(math.inf)

    async def aclose(self) -> None:
        """End the subscription: tasks that wait see the end. Raises nothing; twice is harmless."""
        self._close()

    def _close(self) -> None:
        if self._portal.foreign:
            return  # the parent's
        try:
            self._portal.post(self._subscription.close)
        except RestsockError:
            pass  # the loop has ended, and all subscriptions with it

    def __aiter__(self) -> Events:
        return self

    async def __anext__(self) -> ConnectionEvent:
        try:
            return await self.receive()
        except EOFError:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Events:
        return self

    async def __aexit__(self, *exc: Any) -> None:
        self._close()

    def __del__(self) -> None:
        if hasattr(self, "_subscription"):
            self._close()
