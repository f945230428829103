"""The listening side, for asyncio."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from restsock.endpoint import documented_like
from restsock.protocol import CloseCode
from restsock.server import Connections as AsyncConnections
from restsock.server import ConnectionsView, RequestsByName, RouteView
from restsock.server import Route as AsyncRoute
from restsock.server import Server as AsyncServer

from ._connection import Connection
from ._endpoint import AsyncioEndpoint
from ._events import Events
from ._requests import AsyncioRequester

if TYPE_CHECKING:
    from restsock._options import Options
    from restsock.server import ServerStatistics
    from restsock.threads import Portal

__all__ = ["Connections", "Route", "Server"]


class Connections(ConnectionsView[Connection]):
    """The connections of a server whose handshake is complete, for asyncio.

    Iteration goes over a snapshot, oldest first. A lookup that finds nothing does not raise.
    """

    def __init__(self, portal: Portal, registry: AsyncConnections) -> None:
        super().__init__(registry, partial(Connection, portal))


class Route(RouteView[Connection], AsyncioRequester):
    """Sends requests to the peer of one name, over its current connection.

    While the peer is away, a request waits for it, up to its connect timeout. Then it fails with
    `PeerNotFound` or `PeerUnavailable`. Both are safe to retry.
    """

    def __init__(self, portal: Portal, route: AsyncRoute) -> None:
        RouteView.__init__(self, route, partial(Connection, portal))
        AsyncioRequester.__init__(self, route)


class Server(AsyncioEndpoint[AsyncServer], RequestsByName):
    """A `restsock.Server` for asyncio: accepts peers and finds them by name. Made by `listen`.

        async with restsock.aio.listen("0.0.0.0", 8443, ssl_context=context) as server:
            response = await server.request("edge-1", "GET", "/pets", timeout=10)
            async for event in server.events(): ...

    Entering binds the sockets. The server serves its app on the loop on which it was entered; its
    requests may be sent from any task of any loop.

    Leaving the block closes all connections after the requests in flight (`Timeouts.grace`).
    Leaving it by an exception does not wait for them, and a cancellation drops the connections.
    """

    _maker = "listen"

    def __init__(self, server: AsyncServer) -> None:
        super().__init__(server)
        self._server = server

    @property
    def connections(self) -> Connections:
        """The connected peers; look them up by id, name or metadata.

        Raises:
            RuntimeError: The server was not entered yet.
        """
        return Connections(self._portal, self._server.connections)

    @property
    def address(self) -> tuple[str, int]:
        """The host and port that it listens on; for a Unix socket, its path and 0.

        Raises:
            RuntimeError: The server was not entered yet.
        """
        return self._server.address

    @property
    def url(self) -> str:
        """The URL for clients on the same network; with `peers=False` it begins with `http`."""
        return self._server.url

    @property
    def closed(self) -> bool:
        """Whether the server accepts no new connections and requests."""
        return self._server.closed

    def statistics(self) -> ServerStatistics:
        """Counters over the whole life of this server, for all its connections."""
        return self._look_up(self._server.statistics)

    @documented_like(AsyncServer.events)
    def events(self, *, capacity: int = 1000) -> Events:
        """The connection events from this call on.

        A subscriber never slows the server. If it has `capacity` unread events, it misses those
        that follow, and is told how many.

        Raises:
            ConnectionClosed: The server was closed.
        """
        return Events(self._portal, self._server, capacity)

    def route(self, name: str) -> Route:
        """A way to send requests to the peer of this name, connected now or not.

        Raises:
            RuntimeError: The server was not entered yet.
        """
        return Route(self._portal, self._server.route(name))

    @documented_like(AsyncServer.use)
    def use(self, options: Options) -> None:
        """Use other options for new connections.

        Existing connections, apps and listening sockets keep theirs. Limits on how many there may
        be apply at once, but no connection is dropped for them.

        Raises:
            ConnectionClosed: The server was closed.
        """
        self._portal.call(self._server.use, options)

    @documented_like(AsyncServer.revoke)
    def revoke(self, principal: str) -> int:
        """Close all connections of the principal with this name, with 4005; return how many.

        Its clients dial again, so the authenticator has to refuse them from now on.

        Raises:
            ConnectionClosed: The server was closed.
        """
        return self._portal.call(self._server.revoke, principal)

    async def wait_closed(self) -> None:
        """Wait until the server is closed and no connection is left. Can be cancelled.

        Raises:
            RuntimeError: The server was not entered.
        """
        await self._wait_closed()

    @documented_like(AsyncServer.aclose)
    async def aclose(
        self, code: int = CloseCode.GOING_AWAY, reason: str = "", *, grace: float | None = None
    ) -> None:
        """Close all connections, stop listening, end all subscriptions, and wait for that.

        No more requests are started. Requests in flight, in both directions, may finish within
        `grace`, while new connections are answered with 503. Then this waits up to `Timeouts.close`
        seconds for the peers' halves of the closing handshakes. If cancelled, all connections are
        dropped at once. A second call is harmless.
        """
        await self._close(code, reason, grace=grace)
