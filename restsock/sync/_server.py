"""The listening side, for threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from restsock.protocol import CloseCode
from restsock.server import Route as AsyncRoute
from restsock.server import Server as AsyncServer

from ._connection import Connection, Connections
from ._endpoint import BlockingEndpoint
from ._events import Events
from ._requests import BlockingRequester

if TYPE_CHECKING:
    from requests.adapters import BaseAdapter

    from restsock.connection import FieldsLike, Response
    from restsock.openapi import ContractLike
    from restsock.server import ServerStatistics
    from restsock.threads import Portal

    from ._requests import BodyLike

__all__ = ["Route", "Server"]


class Route(BlockingRequester):
    """Sends requests to the peer of one name, over whichever connection it has at the moment.

    A request made while the peer is away waits for it, up to its connect timeout.
    """

    def __init__(self, portal: Portal, route: AsyncRoute) -> None:
        super().__init__(portal, route)
        self._route = route

    @property
    def name(self) -> str:
        """The peer's name."""
        return self._route.name

    @property
    def connection(self) -> Connection | None:
        """The peer's present connection, or None."""
        connection = self._route.connection
        return None if connection is None else Connection(self._portal, connection)

    def __repr__(self) -> str:
        return repr(self._route)


class Server(BlockingEndpoint[AsyncServer]):
    """A `restsock.Server` for threads: accepts peers and knows them. Made by `listen`.

        with restsock.sync.listen("0.0.0.0", 8443, ssl_context=context) as server:
            response = server.request("edge-1", "GET", "/pets", timeout=10)
            for event in server.events(): ...

    It listens when it exists, and serves its app in the background. Any number of threads may share
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
        """Host and port that it listens on."""
        return self._server.address

    @property
    def url(self) -> str:
        """What a client on the same network dials."""
        return self._server.url

    def statistics(self) -> ServerStatistics:
        """Numbers of the whole life of this server, all its connections together."""
        return self._look_up(self._server.statistics)

    def events(self, *, capacity: int = 1000) -> Events:
        """What happens to the connections, from this call on.

        A subscriber never slows the server. One that has `capacity` events unread misses those
        that follow, and is told how many.

        Args:
            capacity: Events that may wait unread, 1 or more.

        Raises:
            ConnectionClosed: The server was closed.
        """
        server = self._server
        return Events(self._portal, lambda wake: server.events(capacity=capacity, wake=wake))

    def route(self, name: str) -> Route:
        """A way to send requests to the peer of this name, connected now or not."""
        return Route(self._portal, self._server.route(name))

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
        """Send a request to the peer of this name; see `Route` and `BlockingRequester.request`.

        Args:
            name: The peer's.
            method: In capitals.
            target: Path and query, percent-encoded.
            headers: Fields; Host and Content-Length are added when they are missing.
            body: Bytes, text, an iterable of bytes or a file, read as it is sent.
            timeout: Seconds for all of it.
            scheme: `"http"` or `"https"`, of the target's URL; see `BlockingRequester.request`.

        Raises:
            PeerNotFound: No peer of that name was ever here, and none came in time.
            PeerUnavailable: It was here, and did not come back in time.
            RestsockError: As with `BlockingRequester.request`.
        """
        route = self.route(name)
        return route.request(
            method, target, headers=headers, body=body, timeout=timeout, scheme=scheme
        )

    def adapter(
        self, name: str, *, openapi: ContractLike | None = None, **options: Any
    ) -> BaseAdapter:
        """A transport adapter for `requests` to the peer of this name.

            session.mount("http://edge-1/", server.adapter("edge-1"))

        Both `openapi` and the options are those of `Client.adapter`.

        Raises:
            SpecError: The document cannot be read or used.
        """
        return self.route(name).adapter(openapi=openapi, **options)

    def transport(self, name: str) -> Any:
        """A transport for the clients of httpx and httpx2 to the peer of this name.

            with httpx.Client(transport=server.transport("edge-1")) as http:
                http.get("http://edge-1/pets")

        Raises:
            ImportError: Neither of the two is installed (`pip install 'restsock[httpx]'`).
        """
        return self.route(name).transport()

    def revoke(self, principal: str) -> int:
        """Close all connections of the principal of this name with 4005, and what is on them.

        Its clients dial again, and it is for the authenticator to refuse them then.

        Args:
            principal: Its name, which need not be the name that it has dialed in under.

        Returns:
            How many connections that were.

        Raises:
            ConnectionClosed: The server was closed.
        """
        return self._portal.call(self._server.revoke, principal)

    def wait_closed(self, timeout: float | None = None) -> bool:
        """Wait until the server is closed.

        Args:
            timeout: Seconds; None waits as long as it takes.

        Returns:
            Whether it is.
        """
        self._wait_closed(timeout)
        return self._context.closed or self._server.closed

    def close(
        self, code: int = CloseCode.GOING_AWAY, reason: str = "", *, grace: float | None = None
    ) -> None:
        """Close all connections, stop listening, end all subscriptions, and wait for that.

        No further request is started; what is in flight, both ways, goes on for the grace, while
        newcomers are answered with 503. Then waits up to `Timeouts.close` seconds for the peers'
        halves of the closing handshakes. The background thread ends with the last client or server.
        Twice is harmless. A `KeyboardInterrupt` ends the wait and drops all connections.

        Args:
            code: The close code for the peers. After 1001 and 1012 clients dial again, after 1000
                not.
            reason: For people, at most 123 bytes of UTF-8.
            grace: Seconds for what is in flight; None is `Timeouts.grace`, 0 cuts it off. Leaving a
                `with` block by an exception has 0.
        """
        self._close(code, reason, grace=grace)
