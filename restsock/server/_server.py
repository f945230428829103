"""`Server`: accepts peers, knows them by id, name and metadata, tells what happens to them."""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import trio

from restsock._addresses import url_host
from restsock._buffered import Buffered
from restsock._exceptions import (
    HandshakeError,
    PeerNotFound,
    PeerUnavailable,
    RemoteProtocolError,
    RestsockError,
)
from restsock._limit_log import LimitLog
from restsock._logging import about
from restsock._options import Options
from restsock.auth import Authenticator, Refused
from restsock.connection import (
    AccessControl,
    Closed,
    Connection,
    Exchange,
    FieldsLike,
    Handler,
    Health,
    HealthReport,
    HeartbeatTimer,
    InstrumentLike,
    Peer,
    Response,
    TLSStream,
    check_close_code,
    instruments_of,
    load_of,
    open_accepted,
)
from restsock.endpoint import (
    EndpointCounters,
    PendingRequests,
    apply_socket_options,
    check_socket_options,
)
from restsock.protocol import CloseCode, UpgradeRequest
from restsock.tls import TLSLike, context_of, explain

from ._accept import (
    Listener,
    OpenListeners,
    accept_forever,
    address_of,
    open_listeners,
    peer_of,
)
from ._connection_limiter import ConnectionLimiter
from ._events import ConnectionEvent, EventHub, Subscription
from ._names import check_names, objection
from ._proxies import TrustedProxies
from ._registry import Connections
from ._revocation import revoke, revoke_forever
from ._route import Route
from ._statistics import ServerStatistics

if TYPE_CHECKING:
    from types import TracebackType

    from requests.adapters import BaseAdapter

    from restsock.openapi import ContractLike

__all__ = ["Server"]

_log = logging.getLogger("restsock.server")

# Seconds that newcomers are told to wait while the server closes. Whoever takes its place may be
# there at any moment, and our clients have a backoff of their own.
_RETRY_AFTER = "1"

# Levels of lines about newcomers that did not get in, by what was in the way; others are warnings.
# Of a fault of the authenticator there is a line already.
_QUIET: dict[str | None, int] = {
    None: logging.INFO,
    "refused": logging.INFO,
    "auth_failed": logging.DEBUG,
}
# Lines that may follow each other at once when many peers come, or go, together.
_BURST = 20


class Server:
    """Listens for dialing peers. Made by `listen`.

        async with restsock.listen("0.0.0.0", 8443, ssl_context=context) as server:
            response = await server.request("edge-1", "GET", "/pets")

    Entering binds the sockets. Leaving closes all connections with 1001, behind what is in flight
    (`Timeouts.grace`), upon which clients dial again, for the case that this is a restart. Leaving
    by an exception does not wait for what is in flight, and a cancellation waits for nothing.

    Every newcomer is served by a task of its own: one that is slow, silent, hostile or broken
    delays nobody, and its failure is a line in the log (`restsock.server`). One that there is no
    room for (`Limits.max_connections`) is refused with 503 or 429 before the upgrade.

    Never do two peers have one name unless they are to share it. What happens to the second is said
    by `names`: with `"replace"` it has the name at once, and the older one is closed with 4004,
    behind which its client does not dial again; with `"reject"` it is closed in its handshake with
    4006, and its client tries again with its backoff, so it gets the name once the older one has
    gone or its silence was noticed; with `"share"` each request goes to one of them: to the one
    with the fewest under way, leaving out those that just refused one, and of equals in turn. With
    authentication a name can be taken over and shared only by the principal that has it; any other
    is turned away as with `"reject"`, as long as a connection of that name is there, be it ending.

    Args:
        host: Where to listen: an address, a name (then on all its addresses), or `None` for
            everywhere.
        port: 0 lets the system choose.
        handler: Serves the requests of the peers; without it they are refused.
        ssl_context: Speaks TLS with it; `None` speaks plain TCP. Those of `restsock.tls` follow
            their files.
        auth: Tells who dials in, or refuses.
        origins: The web origins that may dial in.
        trusted_proxies: Whose word about where a dialer is counts.
        name: What `Principal.may_call` calls the app of this side.
        names: `"replace"`, `"reject"` or `"share"`: what happens when a peer comes under a name
            that another one has.
        options: Limits, timeouts and heartbeat of each connection.
        instrument: Is told what happens; see `Instrument`.
        open_listeners: Opens what to accept from: TCP sockets, by default. TLS comes on top.
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
        trusted_proxies: str | Collection[str] = (),
        name: str = "listener",
        names: str = "replace",
        options: Options | None = None,
        instrument: InstrumentLike | None = None,
        open_listeners: OpenListeners = open_listeners,
    ) -> None:
        self.options = Options() if options is None else options
        self.connections = Connections()
        self.limit_log = LimitLog(_log)
        self.instrument = instruments_of(instrument)
        self._counters = EndpointCounters("listener", self.instrument, self.limit_log)
        self._names = check_names(names)
        self._proxies = TrustedProxies(trusted_proxies)
        self._limiter = ConnectionLimiter(self.options.limits, self.limit_log)
        self._buffered = Buffered(self.options.limits.buffered_total)
        self._where = (host, port)
        self._handler = handler
        self._ssl_context = ssl_context
        self._access_control = AccessControl(
            auth=auth,
            origins=origins,
            name=name,
            threads=self.options.limits.max_handshakes,
            limit_log=self.limit_log,
        )
        check_socket_options(self.options.sockets)
        self._open_listeners = open_listeners
        self._hub = EventHub()
        self._pending = PendingRequests()
        self._listeners: Sequence[Listener] = ()
        self._address: tuple[str, int] | None = None
        # Newcomers in the middle of their handshakes, the oldest first.
        self._newcomers: dict[trio.CancelScope, None] = {}
        self._heartbeat_timer = HeartbeatTimer()
        self._manager: AbstractAsyncContextManager[Server] | None = None
        self._nursery: trio.Nursery | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._closing = False
        self._closed = trio.Event()
        self._idle = trio.lowlevel.ParkingLot()

    # --- what it is -----------------------------------------------------------------------

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that it listens on, the chosen port for 0. The first of several addresses.

        Raises:
            RuntimeError: It was not entered yet.
        """
        if self._address is None:
            raise RuntimeError('it does not listen yet: use "async with restsock.listen(...)"')
        return self._address

    @property
    def url(self) -> str:
        """What a client on the same network dials."""
        host, port = self.address
        scheme = "ws" if self._ssl_context is None else "wss"
        return f"{scheme}://{url_host(host)}:{port}/"

    @property
    def closed(self) -> bool:
        """Whether it takes no more newcomers and requests."""
        return self._closing

    def __repr__(self) -> str:
        where = "not listening" if self._address is None or self._closing else self.url
        return f"<Server, {where}, {len(self.connections)} connections>"

    def statistics(self) -> ServerStatistics:
        """Numbers of the whole life of this server, all its connections together. On the loop.

        It looks at every connection: some milliseconds for a thousand of them.
        """
        load = load_of(self._handler)
        return ServerStatistics(
            connections=len(self.connections),
            handshakes=self._counters.handshakes,
            handshakes_failed=self._counters.handshakes_failed,
            handshaking=len(self._newcomers),
            waiting=len(self._pending),
            queued=None if load is None else load.waiting,
            limits=self.limit_log.counts,
            traffic=self._counters.statistics(self.connections),
        )

    def health(self) -> Health:
        """Whether peers can connect and requests have a fair chance now, and if not, why.

        Peers that are away, or slow, are no fault of the server: see `Connection.health`.
        """
        report = HealthReport()
        limits = self.options.limits
        if self._closing:
            report.error("the server is closed" if self._closed.is_set() else "it is draining")
        elif self._address is None:
            report.error("the server does not listen yet")
        elif len(self.connections) >= limits.max_connections:
            report.error(f"no more than {limits.max_connections} peers can be connected")
        if len(self._newcomers) >= limits.max_handshakes:
            report.warning(
                f"{len(self._newcomers)} handshakes are under way, the most there may be"
            )
        if len(self._pending):
            report.warning(f"{len(self._pending)} requests wait for peers who are away")
        report.load(load_of(self._handler))
        report.limits(self.limit_log.last_hit, time.monotonic())
        return report.health()

    # --- events ---------------------------------------------------------------------------

    def events(
        self, *, capacity: int = 1000, wake: Callable[[], object] | None = None
    ) -> Subscription:
        """What happens to the connections, from this call on, whenever it is read first.

        A subscriber never slows the server. One that has `capacity` events unread misses those that
        follow, and is told how many.

        Args:
            capacity: Events that may wait unread, 1 or more.
            wake: See `Subscription`; for those who read from a thread.
        """
        return self._hub.subscribe(capacity, wake)

    # --- requests -------------------------------------------------------------------------

    def route(self, name: str) -> Route:
        """A way to send requests to the peer of this name, connected now or not.

        Raises:
            RuntimeError: The server was not entered yet.
        """
        if self._token is None:
            raise RuntimeError('it does not listen yet: use "async with restsock.listen(...)"')
        return Route(
            name,
            token=self._token,
            options=self.options,
            instrument=self.instrument,
            submit=self._submit,
            connections=self.connections,
        )

    async def request(
        self,
        name: str,
        method: str,
        target: str,
        *,
        headers: FieldsLike = (),
        body: bytes | str | AsyncIterable[bytes] = b"",
        timeout: float | None = None,
        scheme: str | None = None,
    ) -> Response:
        """Sends a request to the peer of this name and reads the whole response.

        Args:
            name: The peer's.
            method: In capitals.
            target: Path and query, percent-encoded.
            headers: Fields; Host and Content-Length are added when they are missing.
            body: At once, or in pieces as they come.
            timeout: Seconds for all of it.
            scheme: `"http"` or `"https"`, of the target's URL; see `Requester.request`.

        Raises:
            PeerNotFound: No peer of that name was ever here, and none came in time.
            PeerUnavailable: It was, and did not come back in time.
            RestsockError: As with `Requester.request`.

        If cancelled, the stream is reset and the peer's app learns of it.
        """
        route = self.route(name)
        return await route.request(
            method, target, headers=headers, body=body, timeout=timeout, scheme=scheme
        )

    def adapter(
        self, name: str, *, openapi: ContractLike | None = None, **options: Any
    ) -> BaseAdapter:
        """A transport adapter for `requests` to the peer of this name.

            session.mount("http://edge-1/", server.adapter("edge-1"))

        Args:
            name: The peer's.
            openapi: Holds calls to an OpenAPI document: the name of its file, a mapping, its path
                on the peer (`"/openapi.json"`), `True` to look for it there, or a
                `restsock.openapi.Contract` with options.
            options: Those of `TunnelAdapter`: `max_retries`, for example.

        Raises:
            SpecError: The document cannot be read or used.
        """
        return self.route(name).adapter(openapi=openapi, **options)

    def transport(self, name: str) -> Any:
        """A transport for the async clients of httpx and httpx2, on trio, to the peer of this name.

            async with httpx.AsyncClient(transport=server.transport("edge-1")) as http:
                await http.get("http://edge-1/pets")

        `restsock.adapters.HTTPXTransport(server.route(name))` is the blocking one, for threads.

        Args:
            name: The peer's.

        Raises:
            ImportError: Neither of the two is installed (`pip install 'restsock[httpx]'`).
        """
        return self.route(name).transport()

    def _submit(self, name: str, exchange: Exchange) -> None:
        connection = self.connections.pick(name)
        # A connection that is about to close takes no more, and the peer's next one will.
        if connection is not None and connection.takes_requests:
            connection.submit(exchange)
        else:
            clock = trio.lowlevel.current_clock()
            begun = clock.current_time()
            self._pending.add(
                name, exchange, lambda: self._absent(name, clock.current_time() - begun)
            )

    def _absent(self, name: str, waited: float) -> RestsockError:
        seen = self.connections.was_seen(name)
        before = "it was, and has gone" if seen else "never was"
        text = f"peer {name!r} is not connected ({before}); waited {round(waited, 1):g} s"
        return PeerUnavailable(text) if seen else PeerNotFound(text)

    # --- identity -------------------------------------------------------------------------

    def revoke(self, principal: str) -> int:
        """Closes all connections of the principal of this name with 4005, and what is on them.

        Its clients dial again, and it is for the authenticator to refuse them then. With one of
        `restsock.auth` whose file has changed, all this happens by itself.

        Args:
            principal: Its name, which need not be the name that it has dialed in under.

        Returns:
            How many connections that were.
        """
        return revoke(self.connections, principal)

    # --- life -----------------------------------------------------------------------------

    async def wait_closed(self) -> None:
        """Waits until the server is closed and no connection is left."""
        await self._closed.wait()

    async def aclose(
        self, code: int = CloseCode.GOING_AWAY, reason: str = "", *, grace: float | None = None
    ) -> None:
        """Closes all connections behind what is in flight, stops listening, ends all subscriptions.

        From the call on no request is started on any connection, by neither side; those that wait
        for a peer fail. Requests in flight go on, both ways. A connection closes behind its last
        one, at once if it has none, or when the grace is over. Then this waits up to
        `Timeouts.close` seconds for the peers' halves of the closing handshakes, and drops what is
        left. When it is cancelled, all is dropped at once.

        Until then newcomers are answered with 503 and Retry-After; then the sockets close.

        A second call waits for the first; one with a shorter grace shortens it.

        Args:
            code: The close code for the peers. Behind 1001 and 1012 (a restart) clients dial again,
                behind 1000 not.
            reason: For people, at most 123 bytes of UTF-8.
            grace: Seconds for what is in flight; `None` is `Timeouts.grace`, 0 cuts it off.

        Raises:
            ValueError: The code cannot be sent; nothing was changed. Those that can are 1000, 1001,
                1011 to 1013 and 3000 to 4999.
        """
        check_close_code(code)
        if self._manager is None:
            self._closing = True
            self._finish()
        if self._closed.is_set():
            return
        timeouts = self.options.timeouts
        self._closing = True
        self._pending.close(lambda: PeerUnavailable("the server has closed"))
        try:
            for connection in self.connections:
                connection.drain_soon(code, reason)
            await self._wait_idle(timeouts.grace if grace is None else grace)
            for connection in self.connections:
                connection.close_soon(code, reason)
            await self._wait_idle(timeouts.close)
            if len(self.connections):
                _log.warning("%d connections did not close in time", len(self.connections))
        finally:
            with trio.CancelScope(shield=True):
                await self._stop_listening()
            # What is left is dropped; its tasks still report it to the subscribers.
            if self._nursery is not None:
                self._nursery.cancel_scope.cancel()
        await self._closed.wait()

    async def _wait_idle(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            while len(self.connections):
                await self._idle.park()

    async def __aenter__(self) -> Server:
        if self._manager is not None or self._closing:
            raise RuntimeError("a server can be entered once; make another one")
        self._manager = self._run()
        return await self._manager.__aenter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        assert self._manager is not None
        return await self._manager.__aexit__(exc_type, exc, traceback)

    @asynccontextmanager
    async def _run(self) -> AsyncIterator[Server]:
        self._token = trio.lowlevel.current_trio_token()
        error: BaseException | None = None
        running = nullcontext() if self._handler is None else self._handler.running()
        try:
            async with running:
                self._listeners = await self._open_listeners(*self._where, self.options.sockets)
                self._address = address_of(self._listeners[0])
                _log.info("listening on %s", self.url)
                # The block of the caller is outside of the nursery that `aclose` cancels.
                async with trio.open_nursery() as outer:
                    await outer.start(self._serve)
                    try:
                        yield self
                    # Kept from the nursery, which would wrap it in a group.
                    except (Exception, KeyboardInterrupt, SystemExit) as exc:  # noqa: BLE001  # raised below
                        error = exc
                    await self.aclose(grace=None if error is None else 0)
        finally:
            self._closing = True
            with trio.CancelScope(shield=True):
                await self._stop_listening()
            self._finish()
        if error is not None:
            raise error

    async def _serve(self, task_status: trio.TaskStatus[None]) -> None:
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._heartbeat_timer.run)
                for listener in self._listeners:
                    nursery.start_soon(accept_forever, listener, self._on_accept)
                nursery.start_soon(revoke_forever, self._access_control, self.connections)
                task_status.started()
        finally:
            self._finish()

    async def _stop_listening(self) -> None:
        for listener in self._listeners:
            await listener.aclose()

    def _finish(self) -> None:
        self._pending.close(lambda: PeerUnavailable("the server has closed"))
        self._hub.end()
        self._closed.set()

    # --- a connection ---------------------------------------------------------------------

    def _on_accept(self, stream: trio.abc.Stream) -> None:
        assert self._nursery is not None
        if len(self._newcomers) >= self.options.limits.max_handshakes:
            # The oldest had the most time; who floods the server loses its own.
            oldest = next(iter(self._newcomers))
            del self._newcomers[oldest]  # now: it would be the oldest until its task has ended
            oldest.cancel()
            self.limit_log.note("max_handshakes", "too many handshakes at once: dropped the oldest")
        scope = trio.CancelScope(deadline=trio.current_time() + self.options.timeouts.handshake)
        self._newcomers[scope] = None
        self._nursery.start_soon(self._handle, stream, scope)

    async def _handle(self, stream: trio.abc.Stream, scope: trio.CancelScope) -> None:
        """Handles one connection to its end. Raises nothing: whatever happens, the others go on."""
        try:
            connection = await self._handshake(stream, scope)
        finally:
            self._newcomers.pop(scope, None)
        if connection is None:
            self._counters.fail()
            return
        self._counters.begin(connection)
        closed = Closed(False, CloseCode.ABNORMAL, "dropped", by_peer=False)
        # Once more, in one step with its entry: another one may have been quicker meanwhile.
        problem = self._objection(connection.name, connection.principal)
        if problem is None:
            self._register(connection)
        else:
            self.limit_log.note(
                "names", "connection %s: %s", connection.id, problem, extra=about(connection)
            )
            connection.close_soon(CloseCode.NAME_TAKEN, problem)
        connection.heartbeat_timer = self._heartbeat_timer
        try:
            closed = await connection.run(self._handler)
        except Exception:  # noqa: BLE001  # a bug of ours must not end the server
            _log.exception(
                "connection %s has failed in an unforeseen way",
                connection.id,
                extra=about(connection),
            )
            closed = Closed(False, CloseCode.INTERNAL_ERROR, "an internal error", by_peer=False)
        finally:
            self._limiter.release(connection.peer.host)
            self._counters.end(connection)
            if problem is None:
                self._unregister(connection, closed)

    async def _handshake(
        self, stream: trio.abc.Stream, scope: trio.CancelScope
    ) -> Connection | None:
        """TLS and the handshakes. `None` when there is no connection; then the socket is closed."""
        peer, who = Peer("", 0), "somebody"
        connection: Connection | None = None
        acquired = False

        def locate(request: UpgradeRequest) -> Peer:
            nonlocal peer, who
            try:
                peer = self._proxies.locate(peer, request.headers)
            except Refused:
                self.limit_log.count("refused")
                raise
            who = f"{peer.host}:{peer.port}"
            return peer

        def room() -> Refused | None:
            nonlocal acquired
            refused = self._refusal() or self._limiter.acquire(peer.host)
            acquired = refused is None
            return refused

        def claim(name: str | None, principal: Any) -> None:
            nonlocal who
            who += f" (name {name!r})"
            self._claim(name, principal)

        try:
            peer = peer_of(stream, tls=self._ssl_context is not None)
            who = f"{peer.host}:{peer.port}"  # until its request says more
            apply_socket_options(stream, self.options.sockets)
            # The scope has the deadline for TLS and the handshakes together.
            with scope:
                if self._ssl_context is not None:
                    context = context_of(self._ssl_context)
                    stream = secured = TLSStream(stream, context, server_side=True)
                    await secured.do_handshake()
                connection = await open_accepted(
                    stream,
                    peer=peer,
                    options=self.options,
                    access_control=self._access_control,
                    locate=locate,
                    room=room,
                    claim=claim,
                    limit_log=self.limit_log,
                    buffered=self._buffered,
                )
            if connection is None:
                self.limit_log.note(
                    "handshake", "%s: dropped: its handshake took too long", who, level=logging.INFO
                )
        except (HandshakeError, OSError, trio.BrokenResourceError) as exc:
            # The stream wraps what the ssl module raises.
            why = exc.__cause__ if isinstance(exc.__cause__, ssl.SSLError) else exc
            limit = getattr(exc, "limit", None)
            self.limit_log.say(
                limit or "handshakes",
                "%s: no connection: %s",
                who,
                explain(why, "the dialer") or why,
                level=_QUIET.get(limit, logging.WARNING),
            )
        except Exception:  # noqa: BLE001  # a bug of ours must not end the server
            _log.exception("%s: the handshake failed in an unforeseen way", who)
        finally:
            if connection is None:
                if acquired:
                    self._limiter.release(peer.host)
                with trio.CancelScope(shield=True):
                    await trio.aclose_forcefully(stream)
        return connection

    def _refusal(self) -> Refused | None:
        """What to answer newcomers with while the server is about to close."""
        if not self._closing:
            return None
        text = "This listener is about to close."
        return Refused(503, text, headers={"Retry-After": _RETRY_AFTER})

    def _claim(self, name: str | None, principal: Any) -> None:
        problem = self._objection(name, principal)
        if problem is not None:
            raise RemoteProtocolError(problem, close_code=CloseCode.NAME_TAKEN, limit="names")

    def _objection(self, name: str | None, principal: Any) -> str | None:
        """Why a newcomer cannot have this name, if it cannot."""
        holders = () if name is None else self.connections.holders(name)
        return objection(holders, principal, self._names)

    def _register(self, connection: Connection) -> None:
        older = self.connections.add(connection, share=self._names == "share")
        away = self.connections.time_away(connection.name, trio.current_time())
        self.limit_log.say(
            "connected" if away is None else "back",
            "connection %s (name %r, principal %r) from %s:%d%s",
            connection.id,
            connection.name,
            _principal_of(connection),
            connection.peer.host,
            connection.peer.port,
            "" if away is None else f", back after {away:.1f} s",
            # Whoever has read of the failure is to read of its end.
            level=logging.INFO if away is None else logging.WARNING,
            extra=about(connection),
            burst=_BURST,
        )
        self._hub.publish(
            ConnectionEvent(
                type="ConnectionReceived",
                connection_id=connection.id,
                name=connection.name,
                metadata=connection.metadata,
                principal=_principal_of(connection),
            )
        )
        assert self._nursery is not None
        if older is not None:
            _log.info(
                "connection %s takes over the name of %s",
                connection.id,
                older.id,
                extra=about(connection),
            )
            # One that has been announced to close carries what its peer still has in flight.
            grace = None if older.leaving else 0
            why = "a newer connection has this name"
            self._nursery.start_soon(older.drain, grace, CloseCode.REPLACED, why)
        if self._closing:
            connection.close_soon(CloseCode.GOING_AWAY)
        elif connection.name is not None:
            self._pending.submit_all(connection.name, connection)

    def _unregister(self, connection: Connection, closed: Closed) -> None:
        self.connections.remove(connection)
        if not closed.clean:
            self.connections.note_failure(connection.name, trio.current_time())
        self.limit_log.say(
            "ended" if closed.clean else "failed",
            "connection %s (name %r) has ended %s: %s (%d)",
            connection.id,
            connection.name,
            "cleanly" if closed.clean else "in failure",
            closed.reason or "no reason given",
            closed.code,
            level=logging.INFO if closed.clean else logging.WARNING,
            extra=about(connection),
            burst=_BURST,
        )
        self._hub.publish(
            ConnectionEvent(
                type="ConnectionClosed" if closed.clean else "ConnectionFailure",
                connection_id=connection.id,
                name=connection.name,
                metadata=connection.metadata,
                principal=_principal_of(connection),
                reason=closed.reason,
                code=closed.code,
            )
        )
        if not len(self.connections):
            self._idle.unpark_all()


def _principal_of(connection: Connection) -> str | None:
    return None if connection.principal is None else connection.principal.name
