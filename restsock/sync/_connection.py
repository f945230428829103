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

    Its requests go over this connection only, and fail after it has ended; those of a `Client` or a
    `Route` also use the next connection. Two objects are equal if they stand for the same
    connection.
    """

    def __init__(self, portal: Portal, connection: AsyncConnection) -> None:
        ConnectionView.__init__(self, connection)
        BlockingRequester.__init__(self, portal, connection)

    def statistics(self) -> Statistics:
        """The current counters of the connection.

        Raises:
            ConnectionClosed: The client or server of the connection was closed.
        """
        return self._portal.call(self._connection.statistics)

    def wait_closed(self, timeout: float | None = None) -> Closed | None:
        """Wait until the connection has ended.

        Args:
            timeout: Seconds; `None` waits indefinitely.

        Returns:
            How it ended, or `None` if it did not end in time.

        Raises:
            ConnectionClosed: The client or server of the connection was closed meanwhile.
            RestsockError: This was called after a fork, or on the background thread.
        """
        if self.closed is not None:
            return self.closed
        return self._portal.wait(timeout, self._connection.wait_closed)

    @documented_like(AsyncConnection.aclose)
    def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Close the connection, and wait until it is closed. A second call is harmless."""
        if self.closed is None:
            self._portal.run(self._connection.aclose, code, reason)

    @documented_like(AsyncConnection.drain)
    def drain(
        self, grace: float | None = None, code: int = CloseCode.GOING_AWAY, reason: str = ""
    ) -> Closed:
        """Close the connection after the requests in flight; return how it ended."""
        if self.closed is not None:
            return self.closed
        return self._portal.run(self._connection.drain, grace, code, reason)
