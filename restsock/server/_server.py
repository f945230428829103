"""`Server`: accepts peers, finds them by id, name or metadata, and publishes their events."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import chain
from typing import Any

import trio

from restsock._addresses import is_loopback, unix_url, url_host
from restsock._exceptions import PeerUnavailable
from restsock._logging import LoggerLike, PartLog
from restsock._options import Options
from restsock.auth import Authenticator
from restsock.connection import (
    AccessControl,
    Connection,
    Exchange,
    Handler,
    Health,
    HealthReport,
    InstrumentLike,
    MessagingLike,
    check_close_code,
)
from restsock.endpoint import (
    Endpoint,
    ServerStatistics,
    State,
    documented_like,
)
from restsock.protocol import CloseCode
from restsock.tls import TLSLike

from ._accept import Listener, OpenListeners, PeerOf, open_listeners, peer_of
from ._by_name import RequestsByName
from ._connection_limiter import ConnectionLimiter
from ._events import EventHub, Subscription
from ._front_door import FrontDoor
from ._http_clients import HTTPClients
from ._listening import Bound, Listening
from ._newcomers import Newcomers
from ._peers import Peers
from ._proxies import ProxiesLike, TrustedProxies
from ._registrar import Registrar
from ._route import Route

__all__ = ["Server"]

_log = PartLog("restsock.server")


class Server(RequestsByName):
    """Listens for dialing peers. Made by `listen`.

        async with restsock.listen("0.0.0.0", 8443, ssl_context=context) as server:
            response = await server.request("edge-1", "GET", "/pets")

    Entering binds the sockets. Leaving closes all connections with 1001, after the requests in
    flight (`Timeouts.grace`); clients then dial again, in case this is a restart. After an
    exception, leaving does not wait for requests in flight; a cancellation waits for nothing.

    Every new connection has its own task: one that is slow, silent, hostile or broken does not
    delay the others, and its failure is only logged (`restsock.server`). If there is no room for it
    (`Limits.max_connections`), it is refused with 503 or 429 before the upgrade.

    Two peers never have the same name unless they share it; `names` decides what happens to the
    second one. With `"replace"` it gets the name at once, and the older one is closed with 4004;
    the client of that one does not dial again. With `"reject"` the second one is closed in its
    handshake with 4006, and its client tries again with its backoff. With `"share"` each request
    goes to one of them: see `Connections.pick`. With authentication, only the principal that has a
    name can take it over or share it, as long as there is a connection of that name, even one that
    is ending.

    Args:
        handler: Serves the requests of the peers; without it they are refused.
        open_listeners: Opens the listeners, given host, port and socket options: TCP sockets, by
            default. TLS comes on top.
        shared: Whether other processes accept from the same sockets, now or soon. Then the server
            leaves new connections to them as soon as it begins to close, and refuses none.
        peer_of: Returns the address of a newcomer.
        ping_frames: Whether WebSocket Pings cannot be sent: then PING frames of restsock.v1 are
            used.
        front_door: Answers clients of plain HTTP; without it they get a 426.

    The other arguments are those of `listen`.
    """

    def __init__(
        self,
        host: str | None,
        port: int,
        *,
        handler: Handler | None = None,
        ssl_context: TLSLike | None = None,
        auth: Authenticator | None = None,
        origins: str | Collection[str] | None = None,
        trusted_proxies: ProxiesLike = (),
        name: str = "listener",
        names: str = "replace",
        options: Options | None = None,
        instrument: InstrumentLike | None = None,
        open_listeners: OpenListeners = open_listeners,
        shared: bool = False,
        peer_of: PeerOf = peer_of,
        ping_frames: bool = False,
        front_door: FrontDoor | None = None,
        messaging: MessagingLike | None = None,
        logger: LoggerLike | None = None,
    ) -> None:
        self._endpoint = endpoint = Endpoint(
            "listener", _log, handler, options, instrument, messaging, logger
        )
        self.limit_log = endpoint.limit_log
        self.instrument = endpoint.instrument
        self._limiter = ConnectionLimiter(self.options.limits, self.limit_log)
        self._hub = EventHub()
        self._registrar = Registrar(names, self._hub, self.limit_log)
        self.connections = self._registrar.connections
        self._access_control = AccessControl(
            auth=auth,
            origins=origins,
            name=name,
            threads=self.options.limits.max_handshakes,
            limit_log=self.limit_log,
        )
        self._front_door = front_door
        self._http_clients = HTTPClients(endpoint, front_door, serves_late=shared)
        self._newcomers = Newcomers(
            endpoint,
            ssl_context,
            self._access_control,
            TrustedProxies(trusted_proxies),
            peer_of,
            self._limiter,
            self._registrar.claim,
            ping_frames,
            self._http_clients,
        )
        if front_door is not None:
            front_door.bind(self, loopback=is_loopback(host))
        scheme = "http" if self._http_clients.alone else "ws"
        self._scheme = scheme if ssl_context is None else f"{scheme}s"
        self._listening = Listening(
            host, port, open_listeners, shared=shared, on_accept=self._on_accept
        )
        self._nursery: trio.Nursery | None = None
        self._connected = Peers(endpoint, self._registrar, self._limiter)

    # --- state ----------------------------------------------------------------------------

    @property
    def options(self) -> Options:
        """Limits, timeouts, heartbeat and socket options for new connections."""
        return self._endpoint.options

    @property
    def address(self) -> tuple[str, int]:
        """The host and the actual port that it listens on; of several addresses, the first.

        For a Unix socket, its path and 0.

        Raises:
            RuntimeError: The server was not entered yet.
        """
        if self._listening.address is None:
            raise RuntimeError('it does not listen yet: use "async with restsock.listen(...)"')
        return self._listening.address

    @property
    def url(self) -> str:
        """The URL for clients on the same network; with `peers=False` it begins with `http`."""
        host, port = self.address
        if host.startswith(("/", "@")):
            return unix_url(self._scheme, host)
        return f"{self._scheme}://{url_host(host)}:{port}/"

    @property
    def closed(self) -> bool:
        """Whether the server accepts no new connections and requests."""
        return self._endpoint.life.ending

    def __repr__(self) -> str:
        listens = self._listening.address is not None and not self.closed
        where = self.url if listens else "not listening"
        return f"<Server, {where}, {len(self.connections)} connections>"

    def statistics(self) -> ServerStatistics:
        """Counters over the whole life of this server, for all its connections. On the loop.

        It looks at every connection: some milliseconds for a thousand of them.
        """
        return ServerStatistics(
            connections=len(self.connections),
            handshakes=self._endpoint.counters.begun,
            handshakes_failed=self._endpoint.counters.failed,
            handshaking=len(self._newcomers),
            waiting=len(self._endpoint.pending),
            queued=self._endpoint.queued,
            limits=self.limit_log.counts,
            traffic=self._endpoint.counters.statistics(self.connections),
            http_clients=len(self._http_clients),
            http_clients_total=self._http_clients.counters.begun,
            http_traffic=self._http_clients.counters.statistics(self._http_clients),
        )

    def health(self) -> Health:
        """Whether peers can connect and requests can be served now, and if not, why.

        Peers that are away or slow do not count here: see `Connection.health`.
        """
        report = HealthReport()
        limits = self.options.limits
        if self.closed:
            ended = self._endpoint.life.state is State.CLOSED
            report.error("the server is closed" if ended else "it is draining")
        elif self._listening.address is None:
            report.error("the server does not listen yet")
        elif len(self.connections) >= limits.max_connections:
            report.error(f"no more than {limits.max_connections} peers can be connected")
        if self._newcomers.full:
            report.warning(f"handshakes under way: {len(self._newcomers)}, the most there may be")
        return self._endpoint.complete(report, "peers who are away")

    # --- events ---------------------------------------------------------------------------

    def events(
        self, *, capacity: int = 1000, wake: Callable[[], object] | None = None
    ) -> Subscription:
        """The connection events from this call on, even if they are read later.

        A subscriber never slows the server. If it has `capacity` unread events, it misses those
        that follow, and is told how many.

        Args:
            capacity: How many unread events may wait, at least 1.
            wake: See `Subscription`; for reading from a thread.

        Raises:
            ValueError: The capacity is less than 1.
        """
        return self._hub.subscribe(capacity, wake)

    # --- requests -------------------------------------------------------------------------

    def route(self, name: str) -> Route:
        """A way to send requests to the peer of this name, connected now or not.

        Raises:
            RuntimeError: The server was not entered yet.
        """
        if self._endpoint.life.token is None:
            raise RuntimeError('it does not listen yet: use "async with restsock.listen(...)"')
        return Route(
            name,
            token=self._endpoint.life.token,
            options=self.options,
            instrument=self.instrument,
            limit_log=self.limit_log,
            submit=self.submit,
            connections=self.connections,
        )

    def submit(self, name: str, exchange: Exchange) -> None:
        """Submits an exchange to the peer's connection, or queues it for one. On the loop."""
        connection = self.connections.pick(name)
        # A connection that is about to close accepts no more; the peer's next one will.
        if connection is None or not connection.offer(exchange):
            clock = trio.lowlevel.current_clock()
            begun = clock.current_time()
            self._endpoint.pending.add(
                name, exchange, lambda: self.connections.absence(name, clock.current_time() - begun)
            )

    # --- identity -------------------------------------------------------------------------

    def revoke(self, principal: str) -> int:
        """Closes all connections of the principal with this name, with 4005.

        Its clients dial again, so the authenticator has to refuse them from now on. The
        authenticators of `restsock.auth` that read a file do all this automatically when the file
        has changed.

        Args:
            principal: The name of the principal, which may differ from the names of its peers.

        Returns:
            How many connections were closed.
        """
        return self._registrar.revoke(principal)

    # --- life cycle -----------------------------------------------------------------------

    def serve_here(self, face: Callable[[Connection], Any]) -> None:
        """Makes the app and `auth` run on the asyncio loop that runs here. Call before entering.

        Args:
            face: Wraps a connection in the class that a function app sees on that loop.
        """
        self._endpoint.serve_here(face)
        if self._front_door is not None:
            self._front_door.serve_here(face, self._endpoint.asyncio_loop)
        self._access_control.asyncio_loop = self._endpoint.asyncio_loop

    def keep_apart(self, fold: Callable[[str], str]) -> None:
        """Refuses a name that differs from a connected one, but is equal to it after folding.

        This is for finding peers by host names, which are case-insensitive: `fold` maps names that
        are treated as equal to the same text. Call before entering.
        """
        self._registrar.fold = fold

    def tell_urls(self, urls_of: Callable[[str], Sequence[str]]) -> None:
        """Sets the function that returns a peer's URLs by its name: at most 8, the best first.

        The peers are told their URLs: see `Connection.urls`.
        """
        self._newcomers.urls_of = urls_of

    def accept_from(self, open_listeners: OpenListeners) -> None:
        """Makes it accept from something other than TCP. Call before entering."""
        self._listening.open_listeners = open_listeners

    # --- while it runs --------------------------------------------------------------------

    def use(self, options: Options) -> None:
        """Uses other options for new connections.

        Existing connections, apps and listening sockets keep theirs. Limits on how many there may
        be apply at once, but no connection is dropped for them.

        Raises:
            ValueError: This system has no such socket option; nothing was changed.
        """
        self._endpoint.use(options)
        self._limiter.limits = options.limits
        self._access_control.allow(options.limits.max_handshakes)
        self._http_clients.use(options)

    async def bind(self, host: str | None, port: int | None) -> Bound:
        """Binds other sockets, for `listen_at`; host and port are those of `listen`.

        If cancelled, none is left open.

        Raises:
            OSError: An address cannot be bound; the server's own sockets may be in use there.
            ValueError: The address is not valid; or only one of the old and the new address is on
                loopback; or the sockets were handed over.
            RuntimeError: The server is not running.
        """
        self._check_running()
        return await self._listening.bind(host, port, self.options.sockets)

    def listen_at(self, bound: Bound) -> None:
        """Accepts from these sockets from now on; the old ones close, and connections stay.

        Raises:
            RuntimeError: The server is not running.
        """
        self._check_running()
        self._listening.move(bound)
        self._endpoint.log.info("listening on %s", self.url)

    def _check_running(self) -> None:
        if self.closed or self._nursery is None:
            raise RuntimeError("it does not listen, so it cannot listen elsewhere")

    async def wait_closed(self) -> None:
        """Waits until the server is closed and no connection is left. Raises no errors."""
        await self._endpoint.life.wait_closed()

    @documented_like(Endpoint.drain)
    async def aclose(
        self, code: int = CloseCode.GOING_AWAY, reason: str = "", *, grace: float | None = None
    ) -> None:
        """Closes all connections after the requests in flight, stops listening, ends subscriptions.

        Clients of plain HTTP are closed first, while peers still answer their requests; idle ones
        at once, or half a second after their latest response. From then on neither side starts a
        request on any connection; requests that wait for a peer fail. Requests in flight continue,
        in both directions. A connection closes after its last request, or when the grace period is
        over. Then this waits up to `Timeouts.close` seconds for the peers' halves of the closing
        handshakes, and drops the rest. If cancelled, everything is dropped at once.

        Meanwhile, new connections are answered with 503 and Retry-After; then the sockets close.
        Sockets that were handed over close at once: new connections wait there for the next
        process, and those that were accepted before are served once.

        A second call waits for the first; if its grace period is shorter, that applies.
        """
        check_close_code(code)
        if self._endpoint.life.state is State.NEW:
            self._finish()
        if self._endpoint.life.state is State.CLOSED:
            return
        self._endpoint.life.to(State.DRAINING)
        self._close_pending()
        try:
            if self._listening.shared:
                await self._listening.aclose()
            begun = trio.current_time()
            grace = self.options.timeouts.grace if grace is None else grace
            newcomers = self._newcomers.wait_empty if self._listening.shared else None
            await self._http_clients.drain(grace, code, reason, newcomers)
            left = max(0.0, begun + grace - trio.current_time())
            await self._endpoint.drain(self._living, self._wait_empty, code, reason, left)
            if len(self.connections):
                self._endpoint.log.warning(
                    "%d connections did not close in time", len(self.connections)
                )
        finally:
            # The sockets close, and the rest is dropped; its tasks still publish events.
            if self._nursery is not None:
                self._nursery.cancel_scope.cancel()
        await self._endpoint.life.wait_closed()

    def _living(self) -> Iterable[Connection]:
        """All connections, of peers and of clients of plain HTTP."""
        return chain(self.connections, self._http_clients)

    async def _wait_empty(self) -> None:
        await self._registrar.wait_empty()
        await self._http_clients.wait_empty()

    async def __aenter__(self) -> Server:
        endpoint = self._endpoint
        handlers = [endpoint.handler, self._front_door]
        await endpoint.life.enter(handlers, self._start, self.aclose, self._finish)
        return self

    async def __aexit__(self, *exc: Any) -> bool | None:
        return await self._endpoint.life.leave(*exc)

    async def _start(self, nursery: trio.Nursery) -> None:
        self._endpoint.check_messaging()
        await nursery.start(self._serve, await self._listening.open(self.options.sockets))
        self._endpoint.log.info("listening on %s", self.url)

    async def _serve(
        self, listeners: Sequence[Listener], task_status: trio.TaskStatus[None]
    ) -> None:
        try:
            # Its own nursery, which `aclose` cancels: the caller's block is outside of it.
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                self._connected.start(nursery)
                self._http_clients.start(nursery)
                self._listening.start(nursery, listeners)
                nursery.start_soon(self._registrar.revoke_forever, self._access_control)
                task_status.started()
                try:
                    await trio.sleep_forever()
                finally:
                    self._connected.drop_all()
                    self._http_clients.tasks.drop_all(self._http_clients)
        finally:
            self._finish()

    def _finish(self) -> None:
        self._endpoint.life.to(State.CLOSED)
        self._close_pending()
        self._hub.end()

    def _close_pending(self) -> None:
        self._endpoint.pending.close(lambda: PeerUnavailable("the server has closed"))

    # --- a connection ---------------------------------------------------------------------

    def _on_accept(self, stream: trio.abc.Stream) -> None:
        assert self._nursery is not None
        self._nursery.start_soon(self._handle, stream, self._newcomers.admit())

    async def _handle(self, stream: trio.abc.Stream, scope: trio.CancelScope) -> None:
        """Makes a connection and starts it. Raises nothing, so that the others continue."""
        if (connection := await self._newcomers.handshake(stream, scope)) is not None:
            self._connected.add(connection)
