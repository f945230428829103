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

    Iteration goes over a snapshot, oldest first. A lookup that finds nothing does not raise.
    """

    def __init__(self, portal: Portal, registry: AsyncConnections) -> None:
        super().__init__(registry, partial(Connection, portal))


class Route(RouteView[Connection], BlockingRequester):
    """Sends requests to the peer of one name, over its current connection.

    While the peer is away, a request waits for it, up to its connect timeout. Then it fails with
    `PeerNotFound` or `PeerUnavailable`. Both are safe to retry.
    """

    def __init__(self, portal: Portal, route: AsyncRoute) -> None:
        RouteView.__init__(self, route, partial(Connection, portal))
        BlockingRequester.__init__(self, portal, route)


class Server(BlockingEndpoint[AsyncServer], AdaptersByName):
    """A `restsock.Server` for threads: accepts peers and finds them by name. Made by `listen`.

        with restsock.sync.listen("0.0.0.0", 8443, ssl_context=context) as server:
            response = server.request("edge-1", "GET", "/pets", timeout=10)
            for event in server.events(): ...

    `listen` returns it listening. It serves its app in the background. Any number of threads may
    share it. Close it with `close` or `with`.

    Attributes:
        connections: The connected peers; look them up by id, name or metadata.
    """

    def __init__(self, server: AsyncServer) -> None:
        super().__init__(server)
        self._server = server
        self._portal = self._context.portal
        self.connections = Connections(self._portal, server.connections)

    @property
    def address(self) -> tuple[str, int]:
        """The host and port that it listens on; for a Unix socket, its path and 0."""
        return self._server.address

    @property
    def url(self) -> str:
        """The URL for clients on the same network; with `peers=False` it begins with `http`."""
        return self._server.url

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
            KeyboardInterrupt: It was interrupted. The stream was reset, and the peer's app learns
                of it.
        """
        route = self.route(name)
        return route.request(
            method, target, headers=headers, body=body, timeout=timeout, scheme=scheme
        )

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

    def wait_closed(self, timeout: float | None = None) -> bool:
        """Wait until the server is closed.

        Args:
            timeout: Seconds; `None` waits indefinitely.

        Returns:
            Whether it is closed.

        Raises:
            RestsockError: This was called after a fork, or on the background thread.
        """
        self._wait_closed(timeout)
        return self._context.closed or self._server.closed

    @documented_like(AsyncServer.aclose)
    def close(
        self, code: int = CloseCode.GOING_AWAY, reason: str = "", *, grace: float | None = None
    ) -> None:
        """Close all connections, stop listening, end all subscriptions, and wait for that.

        No more requests are started. Requests in flight, in both directions, may finish within
        `grace`, while new connections are answered with 503. Then this waits up to `Timeouts.close`
        seconds for the peers' halves of the closing handshakes. A `KeyboardInterrupt` ends the wait
        and drops all connections. Leaving a `with` block by an exception allows no grace. A second
        call is harmless. The background thread ends with the last client or server.
        """
        self._close(code, reason, grace=grace)
