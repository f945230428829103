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
    """A `restsock.Client` for asyncio: keeps one connection to a listener. Made by `connect`.

        async with restsock.aio.connect("wss://hub.example/", app=app, name="edge-1") as client:
            response = await client.request("GET", "/pets", timeout=10)

    Entering waits for the first connection; if cancelled, it stops dialing. From then on the client
    dials again automatically, and serves its app on the loop on which it was entered. Its requests
    may be sent from any task of any loop.

    Leaving the block closes it after the requests in flight (`Timeouts.grace`). Leaving it by an
    exception does not wait for them, and a cancellation drops the connection.
    """

    _maker = "connect"

    def __init__(self, client: AsyncClient) -> None:
        AsyncioEndpoint.__init__(self, client)
        AsyncioRequester.__init__(self, client)
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

    async def wait_connected(self) -> Connection:
        """Wait until there is a connection that accepts requests. Can be cancelled.

        Raises:
            ConnectionClosed: The client has ended, or is about to.
            RuntimeError: The client was not entered.
        """
        return Connection(
            self._portal, await run_from_asyncio(self._portal, self._client.wait_connected)
        )

    async def wait_closed(self) -> Closed:
        """Wait until the client has ended permanently; return how it ended. Can be cancelled.

        Raises:
            RuntimeError: The client was not entered.
        """
        outcome: Closed = await self._wait_closed()
        return outcome

    def statistics(self) -> ClientStatistics:
        """Counters over the whole life of this client, for all its connections."""
        return self._look_up(self._client.statistics)

    @documented_like(AsyncClient.aclose)
    async def aclose(
        self, code: int = CloseCode.NORMAL, reason: str = "", *, grace: float | None = None
    ) -> None:
        """End the client permanently, after the requests in flight.

        No more requests are started. Requests in flight, in both directions, may finish within
        `grace`. Then this waits up to `Timeouts.close` seconds for the peer's half of the closing
        handshake. If cancelled, the connection is dropped at once. A second call is harmless.
        """
        await self._close(code, reason, grace=grace)
