"""`Endpoint`: plain WebSockets on the port of a listener."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

import trio

from restsock._options import Heartbeat
from restsock.apps import TaskHandler
from restsock.auth import Authenticator, Refused
from restsock.connection import Connection, Exchange, call_user_function, check_asyncio, is_async
from restsock.protocol import CloseCode, Deflate
from restsock.threads import LoopPortal

from ._admission import Admission, Admitted, ResponseFields
from ._call import Call, Settings
from ._checks import checked_deflate, positive, whole
from ._faces import AsyncioServerWebSocket, BlockingServerWebSocket
from ._server_websocket import ServerWebSocket

if TYPE_CHECKING:
    import asyncio

    from restsock.server import ProxiesLike

__all__ = ["Endpoint", "EndpointOptions", "Serve"]

Serve: TypeAlias = Callable[[Any], Awaitable[None] | None]
"""Serves one WebSocket, from its opening to its end: a function, async or not."""

Served: TypeAlias = Callable[[ServerWebSocket], Awaitable[None]]


class EndpointOptions(TypedDict, total=False):
    """Arguments of `Endpoint` for whoever serves its WebSockets in a way of his own."""

    auth: Authenticator | None
    origins: str | Collection[str] | None
    subprotocols: Sequence[str]
    browser_token: str | None
    headers: ResponseFields
    heartbeat: Heartbeat
    idle: float | None
    compression: bool | Deflate
    max_connections: int
    max_message: int | None
    grace: float | None
    path: str | None
    trusted_proxies: ProxiesLike


# How often files of credentials are looked at. Seconds.
_REFRESH = 1.0
# Seconds that functions whose WebSockets are closed have to end.
_LAST = 1.0


class Endpoint:
    """Plain WebSockets on the port of a listener, each served by a function.

        async def serve(websocket: ServerWebSocket) -> None:
            async for message in websocket:
                await websocket.send(message)

        restsock.listen("0.0.0.0", 8443, endpoints={"/ingest": Endpoint(serve, auth=tokens)})

    The function is called once for each client. When it returns, the WebSocket is closed with 1000;
    after an exception, which is logged (`restsock.apps`), with 1011. `WebSocketClosed`, because the
    client has left, does not count as a failure. A plain function runs in a thread, with a
    `BlockingServerWebSocket`. With `restsock.aio.listen`, an async function runs on the loop of the
    program, with an `AsyncioServerWebSocket`.

    When the listener closes, nothing more is received (see `ServerWebSocket.draining`), and each
    function has its grace to finish. Then the WebSockets are closed with the code of the listener,
    by default 1001.

    It is a `Handler`, so it can also be served to a peer: `connect(app=Endpoint(serve))`. One
    endpoint serves one listener at a time.

    Args:
        serve: Serves one WebSocket.
        auth: Authenticates clients, as with `restsock.listen`: `restsock.auth.BearerTokens`, a
            function, and so on. Unknown clients get a 401 before there is a WebSocket. Without it,
            anybody may connect.
        origins: The web origins whose pages may connect: one, several, or `"*"` for any. `None`
            allows pages of the host and port that they connect to. Others get a 403. Only browsers
            send an origin.
        subprotocols: The subprotocols of this side, the preferred one first: the first that the
            client offers is chosen. Without a match, the client is served without a subprotocol.
        browser_token: Lets browsers, which cannot set an Authorization field, send a token among
            their subprotocols. With `"bearer"`, a page connects by `new WebSocket(url, ["bearer",
            "bearer." + base64url(token)])`, and `auth` sees the token as that of `Authorization:
            Bearer`. The second name is never shown to anybody else.
        headers: Further fields of the response that accepts a WebSocket, or a function that returns
            them for a `Request`.
        heartbeat: When to ask a client for a sign of life. One that gives none is closed.
        idle: Seconds without a message in either direction, after which a WebSocket is closed with
            1001; `None` sets no bound.
        compression: Whether to compress (permessage-deflate, RFC 7692) for clients that offer it,
            or a `Deflate` that says how.
        max_connections: WebSockets at a time. Further clients get a 503.
        max_message: Bytes of the largest message to receive; a larger one closes the WebSocket with
            1009. `None` is `Limits.max_websocket_message` of the listener.
        max_queue: Messages that may wait for a client that does not read; see
            `ServerWebSocket.send_nowait`.
        max_queue_bytes: Bytes of these.
        grace: Seconds that functions may go on when the listener closes; `None` is the listener's.
        path: The one path that it serves; others get a 404. `None` serves all paths below its own.
        name: Its name for `Principal.may_call`.
        trusted_proxies: As with `restsock.listen`: the proxies that are trusted to tell the address
            of a client.

    Attributes:
        asyncio_loop: The loop of its functions, if these are for asyncio.

    Raises:
        TypeError: An argument is of a wrong type.
        ValueError: A number, a name, an origin, a network or a field is not valid.
    """

    def __init__(
        self,
        serve: Serve,
        *,
        auth: Authenticator | None = None,
        origins: str | Collection[str] | None = None,
        subprotocols: Sequence[str] = (),
        browser_token: str | None = None,
        headers: ResponseFields = (),
        heartbeat: Heartbeat = Heartbeat(),  # noqa: B008  # it is frozen
        idle: float | None = None,
        compression: bool | Deflate = False,
        max_connections: int = 1000,
        max_message: int | None = None,
        max_queue: int = 1000,
        max_queue_bytes: int = 1024 * 1024,
        grace: float | None = None,
        path: str | None = None,
        name: str = "listener",
        trusted_proxies: ProxiesLike = (),
    ) -> None:
        if not callable(serve):
            raise TypeError(f"serve has to be a function, not {type(serve).__name__}")
        self._serve = serve
        self.admission = Admission(
            auth=auth,
            origins=origins,
            subprotocols=subprotocols,
            browser_token=browser_token,
            headers=headers,
            path=path,
            name=name,
            trusted_proxies=trusted_proxies,
        )
        self.settings = Settings(
            heartbeat=heartbeat,
            idle=positive("idle", idle),
            deflate=checked_deflate(compression),
            max_message=None if max_message is None else whole("max_message", max_message),
            max_queue=whole("max_queue", max_queue),
            max_queue_bytes=whole("max_queue_bytes", max_queue_bytes),
        )
        self._max_connections = whole("max_connections", max_connections)
        self._grace = grace if not grace else positive("grace", grace)
        self._calls: set[Call] = set()
        self._emptied = trio.lowlevel.ParkingLot()
        self._farewell: tuple[int, str] | None = None  # once it drains
        self.asyncio_loop: asyncio.AbstractEventLoop | None = None  # of the function
        self._nursery: trio.Nursery | None = None
        self._portal: LoopPortal | None = None
        self._limiter: trio.CapacityLimiter | None = None
        self._tasks = TaskHandler(self._make_call, grace=_LAST, around=self._around)

    @property
    def websockets(self) -> list[ServerWebSocket]:
        """The open WebSockets. On the loop."""
        return [call.websocket for call in self._calls if call.websocket is not None]

    @property
    def draining(self) -> bool:
        """Whether nobody is accepted any more, since the listener closes."""
        return self._farewell is not None

    # --- as a handler -----------------------------------------------------------------------

    def on_asyncio(self, face: Callable[[Connection], Any]) -> Endpoint:
        """The same, with its function on the loop of asyncio that runs here; see `on_asyncio`."""
        self.asyncio_loop = check_asyncio("this", "the API for trio")
        self.admission.control.asyncio_loop = self.asyncio_loop
        return self

    def handle(self, exchange: Exchange) -> None:
        """Takes over a request; see `Handler`."""
        self._tasks.handle(exchange)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Lets requests be served; see `Handler`.

        Raises:
            RuntimeError: it is running already.
        """
        async with self._tasks.running():
            yield

    @asynccontextmanager
    async def _around(self) -> AsyncIterator[None]:
        self._farewell = None
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._portal = LoopPortal(nursery)
            self._limiter = trio.CapacityLimiter(self._max_connections)
            nursery.start_soon(self._revoke_forever)
            try:
                yield
            finally:
                self._portal.end()
                self._nursery = None
                self.asyncio_loop = self.admission.control.asyncio_loop = None
                nursery.cancel_scope.cancel()

    def drain_soon(self, grace: float, code: int, reason: str) -> None:
        """Accepts nobody any more, and has its WebSockets end within so many seconds."""
        self._farewell = code, reason or "the listener is going away"
        grace = grace if self._grace is None else min(self._grace, grace)
        self.begin_drain(grace, *self._farewell)

    def begin_drain(self, grace: float, code: int, reason: str) -> None:
        """Has each WebSocket that is open come to its end within so many seconds."""
        for websocket in self.websockets:
            websocket.drain_soon(code, reason)
        if self._nursery is not None:
            self._nursery.start_soon(self._close_all, grace, code, reason)

    async def _close_all(self, grace: float, code: int, reason: str) -> None:
        await trio.sleep(grace)
        for websocket in self.websockets:
            websocket.close_soon(code, reason)

    async def _revoke_forever(self) -> None:
        """Closes WebSockets whose credentials are withdrawn, as far as the authenticator tells."""
        control = self.admission.control
        while control.refresh():
            for websocket in self.websockets:
                principal = websocket.principal
                if principal is not None and not control.still_accepts(principal):
                    self.revoke(websocket)
            await trio.sleep(_REFRESH)

    def revoke(self, websocket: ServerWebSocket) -> None:
        """Closes a WebSocket whose credentials are not valid any more."""
        websocket.close_soon(CloseCode.POLICY_VIOLATION, "the credentials are not valid any more")

    async def wait_drained(self) -> None:
        """Waits until there is no WebSocket. Can be cancelled; raises no error."""
        while self._calls:
            await self._emptied.park()

    # --- a client ---------------------------------------------------------------------------

    def _make_call(self, exchange: Exchange) -> Call:
        return Call(self, exchange)

    @asynccontextmanager
    async def visit(self, exchange: Exchange, admitted: Admitted) -> AsyncIterator[Served]:
        """What is around a client that has a place, from before its 101 to its end.

        Entering it gives what serves its WebSocket, or raises `Refused`.
        """
        yield self._call

    async def _call(self, websocket: ServerWebSocket) -> None:
        """Calls the function, where it is to be called."""
        portal, serve = self._portal, self._serve
        assert portal is not None
        if not is_async(serve):
            blocking = BlockingServerWebSocket(websocket, portal)
            await trio.to_thread.run_sync(
                serve, blocking, abandon_on_cancel=True, limiter=self._limiter
            )
        elif self.asyncio_loop is not None:
            other = AsyncioServerWebSocket(websocket, portal)
            await call_user_function(serve, other, loop=self.asyncio_loop)
        else:
            result = serve(websocket)
            assert result is not None
            await result

    def check_open(self) -> None:
        """Raises `Refused` where nobody is accepted any more."""
        if self._farewell is not None:
            raise Refused(503, "This listener is about to close.", headers={"Retry-After": "1"})

    def check_room(self) -> None:
        """Raises `Refused` where there is no room for one more."""
        self.check_open()
        if len(self._calls) >= self._max_connections:
            refused = Refused(503, "There are too many WebSockets.", headers={"Retry-After": "5"})
            refused.limit = "max_websockets"
            raise refused

    def enter(self, call: Call) -> None:
        """Takes a place for one more, or raises `Refused`."""
        self.check_room()
        self._calls.add(call)

    def leave(self, call: Call) -> None:
        """Counts one less."""
        self._calls.discard(call)
        if not self._calls:
            self._emptied.unpark_all()

    def refused(self, refused: Refused) -> None:
        """A client gets no WebSocket, but this answer. For subclasses, which may count it."""
