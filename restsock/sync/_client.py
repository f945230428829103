"""The dialing side, for threads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from restsock.client import Client as AsyncClient
from restsock.endpoint import documented_like
from restsock.protocol import CloseCode

from ._connection import Connection
from ._endpoint import BlockingEndpoint
from ._requests import BlockingRequester

if TYPE_CHECKING:
    from restsock.client import ClientStatistics
    from restsock.connection import Closed

__all__ = ["Client"]


class Client(BlockingRequester, BlockingEndpoint[AsyncClient]):
    """A `restsock.Client` for threads: keeps one connection to a listener. Made by `connect`.

        with restsock.sync.connect("wss://hub.example/", app=app, name="edge-1") as client:
            response = client.request("GET", "/pets", timeout=10)

    `connect` returns it connected. It dials again automatically, and serves its app in the
    background. Any number of threads may share it. Close it with `close` or `with`.
    """

    def __init__(self, client: AsyncClient) -> None:
        BlockingEndpoint.__init__(self, client)
        BlockingRequester.__init__(self, self._context.portal, client)
        self._client = client

    @property
    def connection(self) -> Connection | None:
        """The current connection, or `None` while there is none."""
        connection = self._client.connection
        return None if connection is None else Connection(self._portal, connection)

    @property
    def urls(self) -> tuple[str, ...]:
        """The URLs at which plain HTTP reaches this peer, in order of preference.

        The listener's ingress sends them. Empty without a connection or an ingress.
        """
        return self._client.urls

    @property
    def closed(self) -> bool:
        """Whether the client has ended permanently, whichever side ended it."""
        return self._client.closed

    def wait_connected(self, timeout: float | None = None) -> Connection | None:
        """Wait until there is a connection.

        Args:
            timeout: Seconds; `None` waits indefinitely.

        Returns:
            The connection, or `None` if there was none in time.

        Raises:
            ConnectionClosed: The client has ended.
        """
        found = self._portal.wait(timeout, self._client.wait_connected)
        return None if found is None else Connection(self._portal, found)

    def wait_closed(self, timeout: float | None = None) -> Closed | None:
        """Wait until the client has ended permanently.

        Args:
            timeout: Seconds; `None` waits indefinitely.

        Returns:
            How it ended, or `None` if it did not end in time.

        Raises:
            RestsockError: This was called after a fork, or on the background thread.
        """
        outcome: Closed | None = self._wait_closed(timeout)
        return outcome

    def statistics(self) -> ClientStatistics:
        """Counters over the whole life of this client, for all its connections."""
        return self._look_up(self._client.statistics)

    @documented_like(AsyncClient.aclose)
    def close(
        self, code: int = CloseCode.NORMAL, reason: str = "", *, grace: float | None = None
    ) -> None:
        """End the client permanently, after the requests in flight, and wait until it has ended.

        No more requests are started. Requests in flight, in both directions, may finish within
        `grace`. Then this waits up to `Timeouts.close` seconds for the peer's half of the closing
        handshake. A `KeyboardInterrupt` ends the wait and drops the connection. Leaving a `with`
        block by an exception allows no grace. A second call is harmless. The background thread ends
        with the last client or server.
        """
        self._close(code, reason, grace=grace)
