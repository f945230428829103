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

    Iteration goes over a snapshot, oldest first. Looking up what is not there never raises.
    """

    def __init__(self, portal: Portal, registry: AsyncConnections) -> None:
        super().__init__(registry, partial(Connection, portal))


class Route(RouteView[Connection], AsyncioRequester):
    """Sends requests to the peer of one name, over whichever connection it has at the moment.

    A request made while the peer is away waits for it, up to its connect timeout, and then fails
    with `PeerNotFound` or `PeerUnavailable`. Both are safe to retry.
    """

    def __init__(self, portal: Portal, route: AsyncRoute) -> None:
        RouteView.__init__(self, route, partial(Connection, portal))
        AsyncioRequester.__init__(self, route)


class Server(AsyncioEndpoint[AsyncServer], RequestsByName):
    """A `restsock.Server` for asyncio: accepts peers and knows them. Made by `listen`.

        async with restsock.aio.listen("0.0.0.0", 8443, ssl_context=context) as server:
            response = await server.request("edge-1", "GET", "/pets", timeout=10)
            async for event in server.events(): ...

    Entering binds the sockets. It serves its app on the loop that it was entered on; its requests
    may be sent from any task of any loop.

    Leaving the block closes all connections after what is in flight (`Timeouts.grace`). Leaving it
    by an exception does not wait for that, and a cancellation drops the connections.
    """

    _maker = "listen"

    def __init__(self, server: AsyncServer) -> None:
        super().__init__(server)
        self._server = server

    @property
    def connections(self) -> Connections:
        """Who is connected now; look peers up by id, name or metadata.

        Raises:
            RuntimeError: It was not entered yet.
        """
        return Connections(self._portal, self._server.connections)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that it listens on; of a Unix socket its path, and 0.

        Raises:
            RuntimeError: It was not entered yet.
        """
        return self._server.address

    @property
    def url(self) -> str:
        """What a client on the same network dials; with `peers=False` it begins with `http`."""
        return self._server.url

    @property
    def closed(self) -> bool:
        """Whether it accepts no new connections and requests any more."""
        return self._server.closed

    def statistics(self) -> ServerStatistics:
        """Counters since this server was made, over all its connections."""
        return self._look_up(self._server.statistics)

    @documented_like(AsyncServer.events)
    def events(self, *, capacity: int = 1000) -> Events:
        """Subscribe to what happens to the connections from now on.

        A subscriber never slows the server. One that has `capacity` events unread misses those
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
        """Replace the options, for new connections and requests.

        Open connections keep theirs, and so do apps and listening sockets. New limits on how many
        there may be apply at once; no connection is closed because of them.

        Raises:
            ConnectionClosed: The server was closed.
        """
        self._portal.call(self._server.use, options)

    @documented_like(AsyncServer.revoke)
    def revoke(self, principal: str) -> int:
        """Close all connections of the principal of this name with 4005; return how many.

        Its clients dial again, and the authenticator has to refuse them then.

        Raises:
            ConnectionClosed: The server was closed.
        """
        return self._portal.call(self._server.revoke, principal)

    async def wait_closed(self) -> None:
        """Wait until the server is closed and no connection is left. Can be cancelled.

        Raises:
            RuntimeError: It was not entered.
        """
        await self._wait_closed()

    @documented_like(AsyncServer.aclose)
    async def aclose(
        self, code: int = CloseCode.GOING_AWAY, reason: str = "", *, grace: float | None = None
    ) -> None:
        """Close all connections, stop listening, end all subscriptions, and wait for that.

        No further request is started; what is in flight, both ways, goes on for the grace, while
        newcomers are answered with 503. Then waits up to `Timeouts.close` seconds for the peers'
        halves of the closing handshakes. If cancelled, all connections are dropped at once. Twice
        is harmless.
        """
        await self._close(code, reason, grace=grace)
