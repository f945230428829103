"""`Server`: accepts peers, knows them by id, name and metadata, tells what happens to them."""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import trio

from restsock._config import Options
from restsock._exceptions import HandshakeError, PeerNotFound, PeerUnavailable, RestsockError
from restsock.connection import (
    Closed,
    Connection,
    Exchange,
    FieldsLike,
    Handler,
    Lobby,
    Pulse,
    Response,
    check_close_code,
    open_accepted,
)
from restsock.protocol import CloseCode

from ._accept import (
    Listener,
    OpenListeners,
    accept_forever,
    address_of,
    open_listeners,
    peer_of,
)
from ._events import ConnectionEvent, EventHub, Subscription
from ._registry import Registry
from ._route import Route

if TYPE_CHECKING:
    from types import TracebackType

    from requests.adapters import BaseAdapter

    from restsock.openapi import ContractLike

__all__ = ["Server"]

_log = logging.getLogger("restsock.server")


class Server:
    """Listens for dialing peers. Made by `listen`.

        async with restsock.listen("0.0.0.0", 8443, ssl_context=context) as server:
            response = await server.request("edge-1", "GET", "/pets")

    Entering binds the sockets. Leaving closes all connections with 1001, upon which clients
    dial again, for the case that this is a restart. A cancellation drops them.

    Every newcomer is served by a task of its own: one that is slow, silent, hostile or broken
    delays nobody, and its failure is a line in the log (`restsock.server`). Of two peers of one
    name the newer is kept and the older closed with 4004.

    Args:
        host: Where to listen: an address, a name (then on all its addresses), or `None` for
            everywhere.
        port: 0 lets the system choose.
        handler: Serves the requests of the peers; without it they are refused.
        ssl_context: Speaks TLS with it; `None` speaks plain TCP.
        options: Limits, timeouts and heartbeat of each connection.
        backlog: Newcomers that the kernel may hold; `None` for as many as it likes.
        open_listeners: Opens what to accept from: TCP sockets, by default. TLS comes on top.
    """

    def __init__(
        self,
        host: str | None,
        port: int,
        *,
        handler: Handler | None = None,
        ssl_context: ssl.SSLContext | None = None,
        options: Options | None = None,
        backlog: int | None = None,
        open_listeners: OpenListeners = open_listeners,
    ) -> None:
        self.options = Options() if options is None else options
        self.connections = Registry()
        self._where = (host, port)
        self._handler = handler
        self._ssl_context = ssl_context
        self._backlog = backlog
        self._open_listeners = open_listeners
        self._hub = EventHub()
        self._lobby = Lobby()
        self._listeners: Sequence[Listener] = ()
        self._address: tuple[str, int] | None = None
        # Newcomers in the middle of their handshakes, the oldest first.
        self._newcomers: dict[trio.CancelScope, None] = {}
        self._pulse = Pulse()
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
            raise RuntimeError("a server has an address once it was entered")
        return self._address

    @property
    def url(self) -> str:
        """What a client on the same network dials."""
        host, port = self.address
        scheme = "ws" if self._ssl_context is None else "wss"
        return f"{scheme}://[{host}]:{port}/" if ":" in host else f"{scheme}://{host}:{port}/"

    @property
    def closed(self) -> bool:
        """Whether it takes no more newcomers and requests."""
        return self._closing

    def __repr__(self) -> str:
        where = "not listening" if self._address is None or self._closing else self.url
        return f"<Server, {where}, {len(self.connections)} connections>"

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
            raise RuntimeError("a server has routes once it was entered")
        return Route(
            name,
            token=self._token,
            options=self.options,
            submit=self._submit,
            find=self.connections.by_name,
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
    ) -> Response:
        """Sends a request to the peer of this name and reads the whole response.

        Args:
            name: The peer's.
            method: In capitals.
            target: Path and query, percent-encoded.
            headers: Fields; Host and Content-Length are added when they are missing.
            body: At once, or in pieces as they come.
            timeout: Seconds for all of it.

        Raises:
            PeerNotFound: No peer of that name was ever here, and none came in time.
            PeerUnavailable: It was, and did not come back in time.
            RestsockError: As with `Dispatcher.request`.

        If cancelled, the stream is reset and the peer's app learns of it.
        """
        route = self.route(name)
        return await route.request(method, target, headers=headers, body=body, timeout=timeout)

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
        connection = self.connections.by_name(name)
        # A connection that is about to close takes no more, and the peer's next one will.
        if (
            connection is not None
            and connection.closed is None
            and connection.session.accepts_streams
        ):
            connection.submit(exchange)
        else:
            self._lobby.enter(name, exchange, lambda: self._absent(name))

    def _absent(self, name: str) -> RestsockError:
        if self.connections.was_seen(name):
            return PeerUnavailable(f"the peer {name!r} has gone and did not come back in time")
        return PeerNotFound(f"no peer {name!r} was ever here, and none came in time")

    # --- life -----------------------------------------------------------------------------

    async def wait_closed(self) -> None:
        """Waits until the server is closed and no connection is left."""
        await self._closed.wait()

    async def aclose(self, code: int = CloseCode.GOING_AWAY, reason: str = "") -> None:
        """Stops listening, closes all connections and ends all subscriptions.

        Waits up to `Timeouts.close` seconds for the peers' halves of the closing handshakes, and
        drops what is left then, or at once when it is cancelled. A second call waits for the first.

        Args:
            code: The close code for the peers. Behind 1001 clients dial again, behind 1000 not.
            reason: For people, at most 123 bytes of UTF-8.

        Raises:
            ValueError: The code cannot be sent; nothing was changed. Those that can are 1000, 1001,
                1011 to 1013 and 3000 to 4999.
        """
        check_close_code(code)
        if self._manager is None:
            self._closing = True
            self._finish()
        if self._closing:
            await self._closed.wait()
            return
        self._closing = True
        try:
            await self._stop_listening()
            for scope in self._newcomers:
                scope.cancel()
            self._lobby.close(lambda: PeerUnavailable("the server has closed"))
            with trio.move_on_after(self.options.timeouts.close):
                for connection in self.connections:
                    connection.close_soon(code, reason)
                while len(self.connections):
                    await self._idle.park()
            if len(self.connections):
                _log.warning("%d connections did not close in time", len(self.connections))
        finally:
            # What is left is dropped; its tasks still report it to the subscribers.
            assert self._nursery is not None
            self._nursery.cancel_scope.cancel()
        await self._closed.wait()

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
                self._listeners = await self._open_listeners(*self._where, self._backlog)
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
                    await self.aclose()
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
                nursery.start_soon(self._pulse.run)
                for listener in self._listeners:
                    nursery.start_soon(accept_forever, listener, self._greet)
                task_status.started()
        finally:
            self._finish()

    async def _stop_listening(self) -> None:
        for listener in self._listeners:
            await listener.aclose()

    def _finish(self) -> None:
        self._lobby.close(lambda: PeerUnavailable("the server has closed"))
        self._hub.end()
        self._closed.set()

    # --- a connection ---------------------------------------------------------------------

    def _greet(self, stream: trio.abc.Stream) -> None:
        assert self._nursery is not None
        if len(self._newcomers) >= self.options.limits.max_handshakes:
            # The oldest had the most time; who floods the server loses its own.
            oldest = next(iter(self._newcomers))
            del self._newcomers[oldest]  # now: it would be the oldest until its task has ended
            oldest.cancel()
            _log.warning("too many handshakes at once: dropped the oldest")
        scope = trio.CancelScope(deadline=trio.current_time() + self.options.timeouts.handshake)
        self._newcomers[scope] = None
        self._nursery.start_soon(self._host, stream, scope)

    async def _host(self, stream: trio.abc.Stream, scope: trio.CancelScope) -> None:
        """The life of one connection. Raises nothing: whatever happens, the others go on."""
        try:
            connection = await self._receive(stream, scope)
        finally:
            self._newcomers.pop(scope, None)
        if connection is None:
            return
        closed = Closed(False, CloseCode.ABNORMAL, "dropped", by_peer=False)
        self._enter(connection)
        connection.pulse = self._pulse
        try:
            closed = await connection.run(self._handler)
        except Exception:  # noqa: BLE001  # a bug of ours must not end the server
            _log.exception("connection %s has failed in an unforeseen way", connection.id)
            closed = Closed(False, CloseCode.INTERNAL_ERROR, "an internal error", by_peer=False)
        finally:
            self._leave(connection, closed)

    async def _receive(self, stream: trio.abc.Stream, scope: trio.CancelScope) -> Connection | None:
        """TLS and the handshakes. `None` when there is no connection; then the socket is closed."""
        who = "somebody"
        connection: Connection | None = None
        try:
            peer = peer_of(stream, tls=self._ssl_context is not None)
            who = f"{peer.host}:{peer.port}"
            # The scope has the deadline for TLS and the handshakes together.
            with scope:
                if self._ssl_context is not None:
                    stream = await self._secure(stream, self._ssl_context)
                connection = await open_accepted(stream, peer=peer, options=self.options)
            if connection is None:
                _log.info("%s: dropped: its handshake took too long", who)
        except (HandshakeError, OSError, trio.BrokenResourceError) as exc:
            # Trio wraps what the ssl module raises.
            why = exc.__cause__ if isinstance(exc.__cause__, ssl.SSLError) else exc
            _log.info("%s: no connection: %s", who, why)
        except Exception:  # noqa: BLE001  # a bug of ours must not end the server
            _log.exception("%s: the handshake failed in an unforeseen way", who)
        finally:
            if connection is None:
                with trio.CancelScope(shield=True):
                    await trio.aclose_forcefully(stream)
        return connection

    @staticmethod
    async def _secure(
        transport: trio.abc.Stream, context: ssl.SSLContext
    ) -> trio.SSLStream[trio.abc.Stream]:
        # https_compatible: the end of a WebSocket is in its close frame, TLS adds nothing to it.
        stream = trio.SSLStream(transport, context, server_side=True, https_compatible=True)
        await stream.do_handshake()
        return stream

    def _enter(self, connection: Connection) -> None:
        older = self.connections.add(connection)
        _log.info(
            "connection %s (name %r) from %s:%d",
            connection.id,
            connection.name,
            connection.peer.host,
            connection.peer.port,
        )
        self._hub.publish(
            ConnectionEvent(
                type="ConnectionReceived",
                connection_id=connection.id,
                name=connection.name,
                metadata=connection.metadata,
            )
        )
        assert self._nursery is not None
        if older is not None:
            _log.info("connection %s takes over the name of %s", connection.id, older.id)
            self._nursery.start_soon(
                older.aclose, CloseCode.REPLACED, "a newer connection has this name"
            )
        if self._closing:
            connection.close_soon(CloseCode.GOING_AWAY)
        elif connection.name is not None:
            self._lobby.leave(connection.name, connection)

    def _leave(self, connection: Connection, closed: Closed) -> None:
        self.connections.remove(connection)
        level = logging.INFO if closed.clean else logging.WARNING
        _log.log(
            level,
            "connection %s (name %r) has ended %s: %s (%d)",
            connection.id,
            connection.name,
            "cleanly" if closed.clean else "in failure",
            closed.reason or "no reason given",
            closed.code,
        )
        self._hub.publish(
            ConnectionEvent(
                type="ConnectionClosed" if closed.clean else "ConnectionFailure",
                connection_id=connection.id,
                name=connection.name,
                metadata=connection.metadata,
                reason=closed.reason,
                code=closed.code,
            )
        )
        if not len(self.connections):
            self._idle.unpark_all()
