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
    """A `restsock.Client` for threads: one connection to a listener, kept alive. Made by `connect`.

        with restsock.sync.connect("wss://hub.example/", app=app, name="edge-1") as client:
            response = client.request("GET", "/pets", timeout=10)

    It is connected from the start, dials again automatically, and serves its app in the background.
    Any number of threads may share it. `close` it, or use `with`.
    """

    def __init__(self, client: AsyncClient) -> None:
        BlockingEndpoint.__init__(self, client)
        BlockingRequester.__init__(self, self._context.portal, client)
        self._client = client

    @property
    def connection(self) -> Connection | None:
        """The present connection, or `None` while there is none."""
        connection = self._client.connection
        return None if connection is None else Connection(self._portal, connection)

    @property
    def urls(self) -> tuple[str, ...]:
        """Where plain HTTP reaches this peer, the best first, as the listener's ingress tells.

        Empty while there is no connection, and where the listener tells none.
        """
        return self._client.urls

    @property
    def closed(self) -> bool:
        """Whether it has ended for good, whichever side ended it."""
        return self._client.closed

    def wait_connected(self, timeout: float | None = None) -> Connection | None:
        """Wait until there is a connection.

        Args:
            timeout: Seconds; `None` waits as long as it takes.

        Returns:
            The connection, or `None` when there was none in time.

        Raises:
            ConnectionClosed: The client has ended.
        """
        found = self._portal.wait(timeout, self._client.wait_connected)
        return None if found is None else Connection(self._portal, found)

    def wait_closed(self, timeout: float | None = None) -> Closed | None:
        """Wait until the client has ended for good.

        Args:
            timeout: Seconds; `None` waits as long as it takes.

        Returns:
            How it ended, or `None` when it did not in time.

        Raises:
            RestsockError: After a fork, or on the background thread.
        """
        outcome: Closed | None = self._wait_closed(timeout)
        return outcome

    def statistics(self) -> ClientStatistics:
        """Counters since this client was made, over all its connections."""
        return self._look_up(self._client.statistics)

    @documented_like(AsyncClient.aclose)
    def close(
        self, code: int = CloseCode.NORMAL, reason: str = "", *, grace: float | None = None
    ) -> None:
        """End the client for good, wait for it, and end the background thread after the last one.

        No further request is started; what is in flight, both ways, goes on for the grace. Then
        waits up to `Timeouts.close` seconds for the peer's half of the closing handshake. Twice is
        harmless. A `KeyboardInterrupt` ends the wait and drops the connection. Leaving a `with`
        block by an exception has no grace.
        """
        self._close(code, reason, grace=grace)
