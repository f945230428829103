"""The events of a server, for asyncio."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from restsock.server import SubscriptionView
from restsock.threads import TaskSleeper

if TYPE_CHECKING:
    from restsock.server import ConnectionEvent, Server
    from restsock.threads import Portal

__all__ = ["Events"]


class Events(SubscriptionView):
    """The connection events of a server, from its creation on.

        async with server.events() as events:        # or without `async with`
            async for event in events: ...

    It ends after the last event when the server has closed, or when it is closed itself. Several
    tasks of one loop may share it; each event goes to one of them.
    """

    def __init__(self, portal: Portal, server: Server, capacity: int) -> None:
        self._sleeper = TaskSleeper()
        super().__init__(portal, server, capacity, self._sleeper.wake)

    async def receive(self) -> ConnectionEvent:
        """Wait for the next event. If cancelled, no event is lost.

        Raises:
            EOFError: There are no more events: the server or this subscription was closed.
        """
        while True:
            self._sleeper.asleep = True  # before the look: from here on it is woken
            event = self._next()
            if event is not None:
                return event
            await self._sleeper.sleep(math.inf)

    async def aclose(self) -> None:
        """End the subscription; waiting tasks see the end. Raises nothing; may be repeated."""
        self._close()

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
