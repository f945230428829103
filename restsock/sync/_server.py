"""The listening side, for threads."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from restsock.endpoint import AdaptersByName, documented_like
from restsock.protocol import CloseCode
from restsock.server import Connections as AsyncConnections
from restsock.server import ConnectionsView, RouteView
from restsock.server import Route as AsyncRoute
from restsock.server import Server as AsyncServer

from ._connection import Connection
from ._endpoint import BlockingEndpoint
from ._events import Events
from ._requests import BlockingRequester

if TYPE_CHECKING:
    from restsock._options import Options
    from restsock.connection import FieldsLike, Response
    from restsock.server import ServerStatistics
    from restsock.threads import Portal

    from ._requests import BodyLike

__all__ = ["Connections", "Route", "Server"]


class Connections(ConnectionsView[Connection]):
    """The connections of a server whose handshake is complete, for threads.

    Iteration goes over a snapshot, oldest first. Looking up what is not there never raises.
    """

    def __init__(self, portal: Portal, registry: AsyncConnections) -> None:
        super().__init__(registry, partial(Connection, portal))


class Route(RouteView[Connection], BlockingRequester):
    """Sends requests to the peer of one name, over whichever connection it has at the moment.

    A request made while the peer is away waits for it, up to its connect timeout.
    """

    def __init__(self, portal: Portal, route: AsyncRoute) -> None:
        RouteView.__init__(self, route, partial(Connection, portal))
        BlockingRequester.__init__(self, portal, route)


class Server(BlockingEndpoint[AsyncServer], AdaptersByName):
    """A `restsock.Server` for threads: accepts peers and knows them. Made by `listen`.

        with restsock.sync.listen("0.0.0.0", 8443, ssl_context=context) as server:
            response = server.request("edge-1", "GET", "/pets", timeout=10)
            for event in server.events(): ...

    It listens from the start, and serves its app in the background. Any number of threads may share
    it. `close` it, or use `with`.

    Attributes:
        connections: Who is connected now; look peers up by id, name or metadata.
    """

    def __init__(self, server: AsyncServer) -> None:
        super().__init__(server)
        self._server = server
        self._portal = self._context.portal
        self.connections = Connections(self._portal, server.connections)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that it listens on; of a Unix socket its path, and 0."""
        return self._server.address

    @property
    def url(self) -> str:
        """What a client on the same network dials; with `peers=False` it begins with `http`."""
        return self._server.url

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
        """A way to send requests to the peer of this name, connected now or not."""
        return Route(self._portal, self._server.route(name))

    @documented_like(AsyncServer.request)
    def request(
        self,
        name: str,
        method: str,
        target: str,
        *,
        headers: FieldsLike = (),
        body: BodyLike = b"",
        timeout: float | None = None,
        scheme: str | None = None,
    ) -> Response:
        """Send a request to the peer of this name and read the whole response.

        Raises:
            KeyboardInterrupt: The stream was reset, and the peer's app learns of it.
        """
        route = self.route(name)
        return route.request(
            method, target, headers=headers, body=body, timeout=timeout, scheme=scheme
        )

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

    def wait_closed(self, timeout: float | None = None) -> bool:
        """Wait until the server is closed.

        Args:
            timeout: Seconds; `None` waits as long as it takes.

        Returns:
            Whether it is.

        Raises:
            RestsockError: After a fork, or on the background thread.
        """
        self._wait_closed(timeout)
        return self._context.closed or self._server.closed

    @documented_like(AsyncServer.aclose)
    def close(
        self, code: int = CloseCode.GOING_AWAY, reason: str = "", *, grace: float | None = None
    ) -> None:
        """Close all connections, stop listening, end all subscriptions, and wait for that.

        No further request is started; what is in flight, both ways, goes on for the grace, while
        newcomers are answered with 503. Then waits up to `Timeouts.close` seconds for the peers'
        halves of the closing handshakes. The background thread ends with the last client or server.
        Twice is harmless. A `KeyboardInterrupt` ends the wait and drops all connections. Leaving a
        `with` block by an exception has no grace.
        """
        self._close(code, reason, grace=grace)
