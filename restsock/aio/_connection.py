"""One connection, seen from asyncio."""

from __future__ import annotations

from typing import TYPE_CHECKING

from restsock.connection import Connection as AsyncConnection
from restsock.endpoint import ConnectionView, documented_like
from restsock.protocol import CloseCode
from restsock.threads import run_from_asyncio

from ._requests import AsyncioRequester

if TYPE_CHECKING:
    from restsock.connection import Closed, Statistics
    from restsock.threads import Portal

__all__ = ["Connection"]


class Connection(ConnectionView, AsyncioRequester):
    """A connection: what is known of the peer, and requests to it.

    Its requests go over this connection only, and fail after it has ended; those of a `Client` or a
    `Route` also use the next connection. Two objects are equal if they stand for the same
    connection.
    """

    def __init__(self, portal: Portal, connection: AsyncConnection) -> None:
        ConnectionView.__init__(self, connection)
        AsyncioRequester.__init__(self, connection)
        self._portal = portal

    def statistics(self) -> Statistics:
        """The current counters of the connection.

        Raises:
            ConnectionClosed: The client or server of the connection was closed.
        """
        return self._portal.call(self._connection.statistics)

    async def wait_closed(self) -> Closed:
        """Wait until the connection has ended; return how it ended. Can be cancelled.

        Raises:
            ConnectionClosed: The client or server of the connection was closed meanwhile.
        """
        if self.closed is not None:
            return self.closed
        return await run_from_asyncio(self._portal, self._connection.wait_closed)

    @documented_like(AsyncConnection.aclose)
    async def aclose(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Close the connection. If cancelled, it is dropped. A second call is harmless."""
        if self.closed is None:
            await run_from_asyncio(self._portal, self._connection.aclose, code, reason)

    @documented_like(AsyncConnection.drain)
    async def drain(
        self, grace: float | None = None, code: int = CloseCode.GOING_AWAY, reason: str = ""
    ) -> Closed:
        """Close the connection after the requests in flight; return how it ended."""
        if self.closed is not None:
            return self.closed
        return await run_from_asyncio(self._portal, self._connection.drain, grace, code, reason)
