"""`Listener`: the ASGI application that peers dial, and the API to call them."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import AsyncIterable, AsyncIterator, Collection
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import trio

from restsock._arguments import check_keywords
from restsock._exceptions import ConnectionClosed
from restsock._logging import LoggerLike, PartLog, owned_by
from restsock._options import Heartbeat, Options
from restsock.aio import Connection, Events, Route
from restsock.apps import make_handler, optional_handler
from restsock.auth import Authenticator
from restsock.connection import InstrumentLike, MessagingLike, Peer, check_asyncio
from restsock.endpoint import AdaptersByName, documented_like
from restsock.protocol import CloseCode
from restsock.server import HandedOver, ProxiesLike
from restsock.server import Server as AsyncServer
from restsock.sync import Server, drain_on_signal

from ._bridge import WHAT_THIS_IS, Receive, Scope, Send, bridge

if TYPE_CHECKING:
    from restsock.connection import Connection as TrioConnection
    from restsock.connection import FieldsLike, Response

__all__ = ["Listener"]

_log = PartLog("restsock.asgi")

_INSTEAD = "`sync` in a thread, or `transport` with httpx"


class Listener(AdaptersByName):
    """Accepts peers as an ASGI application, in the server that runs it.

        listener = restsock.asgi.Listener(auth=...)
        app = FastAPI(lifespan=listener.lifespan)
        app.router.routes.append(WebSocketRoute("/tunnel", listener))  # of starlette.routing

        @app.get("/stock/{shop}")
        async def stock(shop: str):
            response = await listener.request(shop, "GET", "/stock", timeout=10)
            return response.json()

    Peers dial `wss://hq.example/tunnel`; TLS, port and proxies are those of your web server. The
    listener starts with the lifespan, or else with the first peer. Each worker process can call
    only the peers that have dialed into it: run one worker, or see docs/existing-server.md.

    In async code use `request`, `route` and `events`, which need asyncio, or `transport`; in
    threads use `sync` and `adapter`. If `app` is an ASGI app or a function, it runs on the loop of
    your web server, provided that this is asyncio and has started the listener.

    The arguments are those of `restsock.listen`, without host, port and TLS.

    Args:
        app: Serves the peers' requests: an ASGI or WSGI application or a coroutine function.
        interface: `"asgi"`, `"wsgi"` or `"function"`, if that cannot be detected from the app.
        loop: The event loop of an ASGI app; see `restsock.listen`.
        auth: Authenticates dialers; without it, anyone may dial in.
        origins: The web origins whose pages may dial in; see `restsock.listen`.
        trusted_proxies: The proxies in front of your web server, unless the web server evaluates
            their fields itself, as uvicorn does with `--proxy-headers`.
        name: The name of this side's app, for `Principal.may_call`.
        names: `"replace"`, `"reject"` or `"share"`; see `restsock.listen`.
        options: Limits, timeouts and heartbeat. Socket options have no effect here, and the
            heartbeat cannot have `data` and `on_ping`, since your web server handles WebSocket
            pings.
        instrument: Metrics and traces of the connections.
        messaging: Receives and sends messages over the connections: the `Messaging` of
            `restsock.messaging.aio` or `.sync`. Enter it around the lifespan of the listener. It
            can be entered only once, so the listener can start only once.
        logger: Gets all log records of this listener and its connections; see `restsock.listen`.
        drain_on_signal: Whether to close the listener at SIGTERM and SIGINT, before your web server
            gets the signal. Applies from its lifespan on, in the main thread.
        app_options: Other options of `restsock.apps.make_handler`.

    Raises:
        ValueError: An argument is not valid.
        TypeError: An argument is unknown or has a wrong type.
    """

    def __init__(
        self,
        *,
        app: Any = None,
        interface: str | None = None,
        loop: str = "auto",
        auth: Authenticator | None = None,
        origins: str | Collection[str] | None = None,
        trusted_proxies: ProxiesLike = (),
        name: str = "listener",
        names: str = "replace",
        options: Options | None = None,
        instrument: InstrumentLike | None = None,
        messaging: MessagingLike | None = None,
        logger: LoggerLike | None = None,
        drain_on_signal: bool = False,
        **app_options: Any,
    ) -> None:
        check_keywords(Listener, app_options, make_handler)
        if options is not None:
            _check_heartbeat(options.heartbeat)

        def make() -> tuple[HandedOver, AsyncServer]:
            sockets = HandedOver()
            return sockets, AsyncServer(
                None,
                0,
                handler=optional_handler(app, interface, loop, options, app_options),
                auth=auth,
                origins=origins,
                trusted_proxies=trusted_proxies,
                name=name,
                names=names,
                options=options,
                instrument=instrument,
                messaging=messaging,
                logger=logger,
                open_listeners=sockets.open,
                peer_of=sockets.peer_of,
                ping_frames=True,
            )

        self._make = make
        self._drain_on_signal = drain_on_signal
        self._lock = threading.Lock()
        self._renew()

    # --- as an application ----------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one ASGI scope: a WebSocket is a peer; HTTP gets a 426."""
        if scope["type"] == "websocket":
            await self._start()
            await self._accept(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._serve_lifespan(receive, send)
        elif scope["type"] == "http":
            await _say_what_this_is(send)
        else:
            raise ValueError(f"a scope of ASGI that is not known here: {scope['type']!r}")

    @asynccontextmanager
    async def lifespan(self, app: Any = None) -> AsyncIterator[None]:
        """Starts the listener, and closes it at the end: `FastAPI(lifespan=listener.lifespan)`.

        Another lifespan after that starts it again, without its former peers, subscribers and
        routes.

        Args:
            app: The application, which frameworks pass; it is not used.

        Raises:
            AppStartupError: The app that peers call reports that it cannot start.
            RuntimeError: The messaging is not open.
        """
        with self._lock:
            if self._made.closed:
                self._renew()
        await self._start()
        with ExitStack() as stack:
            # Only the main thread gets signals; a web server for tests may run in another one.
            if self._drain_on_signal and threading.current_thread() is threading.main_thread():
                stack.enter_context(drain_on_signal(self.sync, raise_again=True))
            try:
                yield
            finally:
                await self.aclose()

    async def aclose(
        self, code: int = CloseCode.GOING_AWAY, reason: str = "", *, grace: float | None = None
    ) -> None:
        """Closes all connections after the requests in flight. A second call is harmless.

        From then on, peers that dial in are refused with 503. If cancelled, all connections are
        dropped.

        Args:
            code: The close code for the peers. After 1001 and 1012 they dial again.
            reason: A text for people, at most 123 bytes of UTF-8.
            grace: Seconds for requests in flight; `None` is `Timeouts.grace`, 0 ends them at once.

        Raises:
            ValueError: The code must not be sent.
        """
        with self._lock:
            server = self._server
        if server is not None:
            close = partial(server.close, code, reason)
            try:
                await anyio.to_thread.run_sync(partial(close, grace=grace), abandon_on_cancel=True)
            except anyio.get_cancelled_exc_class():
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(partial(close, grace=0))
                raise

    def _renew(self) -> None:
        """Makes the server, which can be entered once."""
        self._sockets, self._made = self._make()
        self._server: Server | None = None
        self._serves_here = False  # whether the app runs on the loop of the web server

    async def _start(self) -> None:
        if self._server is None:
            if not self._serves_here and not trio.lowlevel.in_trio_task():
                self._serves_here = True
                self._made.serve_here(self._show)
            await anyio.to_thread.run_sync(self._open)

    def _show(self, connection: TrioConnection) -> Connection:
        assert self._server is not None
        return Connection(self._server.portal, connection)

    def _open(self) -> Server:
        with self._lock:
            if self._server is None:
                try:
                    self._server = Server(self._made)
                except BaseException:
                    self._renew()
                    raise
                _log.info(
                    "accepting peers in process %d; each worker process holds its own",
                    os.getpid(),
                    extra=owned_by(self._made),
                )
            return self._server

    async def _accept(self, scope: Scope, receive: Receive, send: Send) -> None:
        host, port = (*(scope.get("client") or ("", 0)), 0)[:2]
        peer = Peer(str(host), int(port or 0), scope.get("scheme") in ("wss", "https"))
        here, there = socket.socketpair()
        here.setblocking(False)
        try:
            self.sync.portal.post(partial(self._sockets.hand_over, there, peer))
        except ConnectionClosed:
            there.close()  # the bridge sees the end, and refuses the dialer
        await bridge(scope, receive, send, here)

    async def _serve_lifespan(self, receive: Receive, send: Send) -> None:
        await receive()  # lifespan.startup
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(self.lifespan())
            except Exception as exc:  # whatever it is, the web server has to report it
                await send({"type": "lifespan.startup.failed", "message": str(exc)})
                raise
            await send({"type": "lifespan.startup.complete"})
            await receive()  # lifespan.shutdown
        await send({"type": "lifespan.shutdown.complete"})

    # --- for async code in the process ----------------------------------------------------

    @documented_like(AsyncServer.request)
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
        """Send a request to the peer of this name and read the whole response. On asyncio.

        If cancelled, the stream is reset and the peer's app is told.

        Raises:
            RestsockError: A retry is safe if `may_have_run` is false. Also raised if this is not
                asyncio.
        """
        check_asyncio("Listener.request", _INSTEAD)
        await self._start()
        return await self.route(name).request(
            method, target, headers=headers, body=body, timeout=timeout, scheme=scheme
        )

    def route(self, name: str) -> Route:
        """A way to send requests to the peer of this name, connected now or not. For asyncio."""
        return Route(self.sync.portal, self._made.route(name))

    @documented_like(AsyncServer.events)
    def events(self, *, capacity: int = 1000) -> Events:
        """The connection events from this call on. On asyncio.

            async for event in listener.events(): ...

        A subscriber never slows the listener. If it has `capacity` unread events, it misses those
        that follow, and is told how many.

        Raises:
            RestsockError: This is not asyncio.
        """
        check_asyncio("Listener.events", _INSTEAD)
        return Events(self.sync.portal, self._made, capacity)

    # --- for threads in the process -------------------------------------------------------

    @property
    def sync(self) -> Server:
        """The server for threads: `request`, `route`, `events`, `connections`, `statistics`.

        Starts the listener if it was not started yet. Do not use it on an event loop, which it
        would block.
        """
        return self._server or self._open()

    def __repr__(self) -> str:
        server = self._server
        state = "not started" if server is None else "closed" if server.closed else "accepting"
        return f"<restsock.asgi.Listener, {state}, {len(self._made.connections)} connections>"


def _check_heartbeat(heartbeat: Heartbeat) -> None:
    """Raises `ValueError` for options that need control over WebSocket pings."""
    if heartbeat.data != b"":
        raise ValueError("Heartbeat.data: the pings of a listener in a web server carry no data")
    if heartbeat.on_ping is not None:
        raise ValueError("Heartbeat.on_ping: a web server answers pings, and tells nobody of them")


async def _say_what_this_is(send: Send) -> None:
    fields = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(WHAT_THIS_IS)),
        (b"upgrade", b"websocket"),
        (b"sec-websocket-version", b"13"),
    ]
    await send({"type": "http.response.start", "status": 426, "headers": fields})
    await send({"type": "http.response.body", "body": WHAT_THIS_IS})
