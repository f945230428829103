"""One connection, seen from threads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from restsock.connection import Connection as AsyncConnection
from restsock.endpoint import ConnectionView, documented_like
from restsock.protocol import CloseCode

from ._requests import BlockingRequester

if TYPE_CHECKING:
    from restsock.connection import Closed, Statistics
    from restsock.threads import Portal

__all__ = ["Connection"]


class Connection(ConnectionView, BlockingRequester):
    """A connection: what is known of the peer, and requests to it.

    Its requests go over this very connection and fail when it has ended; those of a `Client` or a
    `Route` go over the next one, too. Two of these are equal when they mean the same connection.
    """

    def __init__(self, portal: Portal, connection: AsyncConnection) -> None:
        ConnectionView.__init__(self, connection)
        BlockingRequester.__init__(self, portal, connection)

    def statistics(self) -> Statistics:
        """Its counters now.

        Raises:
            ConnectionClosed: The client or server that it belonged to was closed.
        """
        return self._portal.call(self._connection.statistics)

    def wait_closed(self, timeout: float | None = None) -> Closed | None:
        """Wait for its end.

        Args:
            timeout: Seconds; `None` waits as long as it takes.

        Returns:
            How it ended, or `None` when it did not in time.

        Raises:
            ConnectionClosed: The client or server that it belonged to was closed meanwhile.
            RestsockError: After a fork, or on the background thread.
        """
        if self.closed is not None:
            return self.closed
        return self._portal.wait(timeout, self._connection.wait_closed)

    @documented_like(AsyncConnection.aclose)
    def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Close it, and wait until it is closed. Twice is harmless."""
        if self.closed is None:
            self._portal.run(self._connection.aclose, code, reason)

    @documented_like(AsyncConnection.drain)
    def drain(
        self, grace: float | None = None, code: int = CloseCode.GOING_AWAY, reason: str = ""
    ) -> Closed:
        """Close it after what is in flight, wait until it is closed, and tell how it ended."""
        if self.closed is not None:
            return self.closed
        return self._portal.run(self._connection.drain, grace, code, reason)
