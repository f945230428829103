"""The dialing side, for asyncio."""

from __future__ import annotations

from typing import TYPE_CHECKING

from restsock.client import Client as AsyncClient
from restsock.endpoint import documented_like
from restsock.protocol import CloseCode
from restsock.threads import run_from_asyncio

from ._connection import Connection
from ._endpoint import AsyncioEndpoint
from ._requests import AsyncioRequester

if TYPE_CHECKING:
    from restsock.client import ClientStatistics
    from restsock.connection import Closed

__all__ = ["Client"]


class Client(AsyncioRequester, AsyncioEndpoint[AsyncClient]):
    """A `restsock.Client` for asyncio: one connection to a listener, kept alive. Made by `connect`.

        async with restsock.aio.connect("wss://hub.example/", app=app, name="edge-1") as client:
            response = await client.request("GET", "/pets", timeout=10)

    Entering waits for the first connection; cancelled, it stops dialing. From then on it dials
    again automatically, and serves its app on the loop that it was entered on. Its requests may be
    sent from any task of any loop.

    Leaving the block closes it after what is in flight (`Timeouts.grace`). Leaving it by an
    exception does not wait for that, and a cancellation drops the connection.
    """

    _maker = "connect"

    def __init__(self, client: AsyncClient) -> None:
        AsyncioEndpoint.__init__(self, client)
        AsyncioRequester.__init__(self, client)
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

    async def wait_connected(self) -> Connection:
        """Wait until there is a connection that takes requests. Can be cancelled.

        Raises:
            ConnectionClosed: The client has ended, or is about to.
            RuntimeError: It was not entered.
        """
        return Connection(
            self._portal, await run_from_asyncio(self._portal, self._client.wait_connected)
        )

    async def wait_closed(self) -> Closed:
        """Wait until the client has ended for good, and tell how. Can be cancelled.

        Raises:
            RuntimeError: It was not entered.
        """
        outcome: Closed = await self._wait_closed()
        return outcome

    def statistics(self) -> ClientStatistics:
        """Counters since this client was made, over all its connections."""
        return self._look_up(self._client.statistics)

    @documented_like(AsyncClient.aclose)
    async def aclose(
        self, code: int = CloseCode.NORMAL, reason: str = "", *, grace: float | None = None
    ) -> None:
        """End the client for good, after what is in flight.

        No further request is started; what is in flight, both ways, goes on for the grace. Then
        waits up to `Timeouts.close` seconds for the peer's half of the closing handshake. If
        cancelled, the connection is dropped at once. Twice is harmless.
        """
        await self._close(code, reason, grace=grace)
