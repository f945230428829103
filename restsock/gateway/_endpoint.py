"""`ChannelEndpoint`: a channel on the port of a listener."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from random import uniform
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import trio

from restsock.auth import Refused
from restsock.connection import (
    answer,
    call_user_function,
    check_asyncio,
    heartbeat_timer,
    ignore,
)
from restsock.protocol import CloseCode, ResponseHead
from restsock.websockets import Endpoint

from ._contract import CONTRACT_PATH, asyncapi
from ._conversation import Conversation
from ._groups import Groups
from ._running import Pipeline, backend_behind
from ._session import Session
from ._sessions import Sessions
from ._statistics import ChannelCounters

if TYPE_CHECKING:
    import asyncio
    from contextlib import AbstractAsyncContextManager

    from restsock.connection import Connection, Exchange
    from restsock.server import PeersLike
    from restsock.websockets import ServerWebSocket

    from ._channel import Channel

__all__ = ["ChannelEndpoint", "ChannelHost"]

_log = logging.getLogger("restsock.gateway")

T = TypeVar("T")

# Seconds that `on_disconnect` has: nothing but it keeps a client's end waiting.
_DISCONNECT = 5.0
# Seconds that calls may go on in a session that is too old, where no grace is given.
_AGED = 10.0
# How much sooner or later than `max_age`.
_JITTER = 0.1
# Sessions that are closed within a second, on the average, when the listener closes; and the
# seconds that this may take.
_CLOSED_A_SECOND = 100.0
_SPREAD = 5.0


class ChannelHost(Protocol):
    """A gateway, as its channels know it."""

    sessions: Sessions

    @property
    def groups(self) -> Groups:
        """Who is in which group."""

    def call_here(self, function: Callable[..., T], *args: Any) -> T:
        """Calls a quick function on the loop, from any thread."""

    def bind_peers(self, server: PeersLike) -> None:
        """Learns whose peers backends call."""

    def use_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Learns on which loop functions of asyncio run."""

    @property
    def asyncio_loop(self) -> asyncio.AbstractEventLoop | None:
        """That loop."""

    def running_parts(self) -> AbstractAsyncContextManager[None]:
        """Runs backends and middleware, as long as any channel runs."""


class ChannelEndpoint(Endpoint):
    """Serves the clients of a channel: see `Gateway`, which makes it.

    Args:
        gateway: Whose channel it is.
        channel: The channel.
        counters: What has happened on it before.

    Attributes:
        channel: The channel.
        counters: What happens on it.
        pipeline: How it answers; another one once the channel is another one.
    """

    def __init__(
        self, gateway: ChannelHost, channel: Channel, counters: ChannelCounters | None = None
    ) -> None:
        super().__init__(
            self._not_called,
            **channel.endpoint_options(),
            name=channel.name,
            # Bounded by bytes alone, of which each message has some.
            max_queue=channel.max_queue,
            max_queue_bytes=channel.max_queue,
        )
        self.channel = channel
        self.counters = counters or ChannelCounters()
        self.in_flight = channel.in_flight
        self.max_faults = channel.max_faults
        self.max_queue = channel.max_queue
        self.pipeline = Pipeline(channel)
        self._gateway = gateway
        self._conversations: set[Conversation] = set()

    async def _not_called(self, websocket: ServerWebSocket) -> None:
        raise NotImplementedError  # `visit` says what serves

    @property
    def full(self) -> bool:
        """Whether there is no room for one more session."""
        return self.counters.sessions_active >= self.channel.max_sessions

    def use(self, channel: Channel) -> Pipeline | None:
        """Has another channel answer from the next message on, whose clients may stay.

        Returns:
            What has answered so far, if that is another one now.
        """
        before, old = self.channel, self.pipeline
        self.channel, self.in_flight = channel, channel.in_flight
        self.max_faults = channel.max_faults
        self._max_connections, self._grace = channel.max_sessions, channel.grace
        if channel.router is before.router and channel.middleware == before.middleware:
            return None
        self.pipeline = Pipeline(channel)
        return old

    # --- as a handler -----------------------------------------------------------------------

    def bind_peers(self, server: PeersLike) -> None:
        """See `restsock.server.CallsPeers`. Raises what `Gateway.bind_peers` does."""
        self._gateway.bind_peers(server)

    def on_asyncio(self, face: Callable[[Connection], Any]) -> Endpoint:
        """See `Endpoint`: its conversations are for trio, and its functions are not."""
        loop = check_asyncio("this", "the API for trio")
        self._gateway.use_loop(loop)
        self.use_loop(loop)
        return self

    def use_loop(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Has its authenticator run on this loop, if that is async."""
        self.admission.control.asyncio_loop = loop

    def handle(self, exchange: Exchange) -> None:
        """See `Endpoint`; also answers with the contract of the channel, if it shows that."""
        path = exchange.request.target.partition(b"?")[0]
        if self.channel.contract and path == f"{self.channel.path}{CONTRACT_PATH}".encode():
            self._tell_contract(exchange)
        else:
            super().handle(exchange)

    def _tell_contract(self, exchange: Exchange) -> None:
        exchange.observer = ignore
        if exchange.request.method not in (b"GET", b"HEAD"):
            answer(exchange, 405, "GET only.\n", ((b"Allow", b"GET, HEAD"),))
            return
        text = json.dumps(asyncapi(self.channel))
        body = b"" if exchange.request.method == b"HEAD" else text.encode()
        fields = [
            (b"Content-Type", b"application/json"),
            (b"Content-Length", b"%d" % len(text.encode())),
            (b"Cache-Control", b"no-cache"),
        ]
        exchange.respond(ResponseHead(200, fields), body)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """See `Endpoint`."""
        async with self._gateway.running_parts(), super().running():
            yield

    def drain_soon(self, grace: float, code: int, reason: str) -> None:
        """See `Endpoint`: clients learn that it pays to come back, unless another code says why."""
        if code == CloseCode.GOING_AWAY:
            code = CloseCode.SERVICE_RESTART
        super().drain_soon(grace, code, reason)

    def begin_drain(self, grace: float, code: int, reason: str) -> None:
        """See `Endpoint`. Those that have nothing to wait for are closed one after the other."""
        spread = min(_SPREAD, grace, len(self._conversations) / _CLOSED_A_SECOND)
        for conversation in self._conversations:
            conversation.drain_soon(code, reason, uniform(0, spread), grace)  # noqa: S311

    def refused(self, refused: Refused) -> None:
        """See `Endpoint`."""
        reason = "draining" if self.draining else refused.limit or str(refused.status)
        self.counters.turned_away[reason] += 1

    def revoke(self, websocket: ServerWebSocket) -> None:
        """See `Endpoint`."""
        websocket.close_soon(CloseCode.FORBIDDEN, "the credentials are not valid any more")

    # --- a client ---------------------------------------------------------------------------

    @asynccontextmanager
    async def visit(self, exchange: Exchange, admitted: Any) -> AsyncIterator[Any]:
        """See `Endpoint`: `on_connect` is before it, and `on_disconnect` behind."""
        assert exchange.connection is not None
        session = Session(
            self._gateway,
            self.channel.path,
            self.channel.dialect,
            self.counters,
            admitted.request,
            admitted.principal,
        )
        connected = False
        try:
            await self._connect(session, exchange.connection.timeouts.handshake)
            connected = True
            self.check_open()  # again: it may have begun to drain meanwhile
            yield partial(self._serve_session, session)
        finally:
            session.end()
            if session.began:
                self.counters.note_closed(session.ended_with[0])
            if connected:
                await self._disconnect(session)

    async def _connect(self, session: Session, seconds: float) -> None:
        """Asks `on_connect`, which is not cancelled if the client leaves.

        Raises:
            Refused: the client gets no WebSocket.
        """
        hook = self.channel.on_connect
        if hook is None:
            return
        done = False
        with trio.move_on_after(seconds):
            try:
                verdict = await self._call_hook(hook, session)
            except Refused:
                raise
            except Exception:  # noqa: BLE001  # of the program, and it must not let anybody in
                _log.exception("on_connect failed for %r", session)
                raise Refused(500, "The gateway cannot let you in.") from None
            if verdict is False:
                raise Refused(403, "You may not open this WebSocket.")
            done = True
        if not done:
            raise Refused(503, "It takes too long to let you in.", headers={"Retry-After": "5"})

    async def _disconnect(self, session: Session) -> None:
        hook = self.channel.on_disconnect
        if hook is None:
            return
        # Whatever has ended it, be it a cancellation: this comes, within its time.
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _DISCONNECT) as scope:
            try:
                await self._call_hook(hook, session, *session.ended_with)
            except Exception:  # noqa: BLE001  # of the program; others go on
                _log.exception("on_disconnect failed for %r", session)
        if scope.cancelled_caught:
            _log.error("on_disconnect of %r took more than %g s", session, _DISCONNECT)

    async def _call_hook(self, hook: Callable[..., Any], *args: Any) -> Any:
        # A backend is on the loop of trio, wherever functions are.
        loop = None if backend_behind(hook) is not None else self._gateway.asyncio_loop
        return await call_user_function(hook, *args, loop=loop)

    async def _serve_session(self, session: Session, websocket: ServerWebSocket) -> None:
        conversation = Conversation(self, self.channel.dialect, session, websocket)
        self._conversations.add(conversation)
        self._gateway.sessions.enter(session)
        self.counters.sessions_active += 1
        self.counters.sessions_total += 1
        try:
            with self._bounded(conversation, websocket):
                await conversation.run()
        finally:
            self._conversations.discard(conversation)
            self._gateway.sessions.leave(session)

    @contextmanager
    def _bounded(self, conversation: Conversation, websocket: ServerWebSocket) -> Iterator[None]:
        """Ends a session that gets too old, or whose credentials do, while the block runs."""
        session = conversation.session
        now = trio.current_time()
        aged = expired = math.inf
        if self.channel.max_age is not None:
            aged = now + self.channel.max_age * uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311
        if (left := _time_left(session)) < math.inf:
            expired = now + left
        if aged == expired == math.inf:
            yield
            return

        def check(now: float) -> float:
            nonlocal expired
            if now >= expired:
                expired = now + _time_left(session)  # it may have others by now
            if now >= expired and websocket.close_code is None:
                self.revoke(websocket)
            elif now >= aged and not conversation.draining:
                grace = _AGED if self.channel.grace is None else self.channel.grace
                reason = "this connection is old: connect again"
                conversation.drain_soon(CloseCode.SERVICE_RESTART, reason, 0, grace)
            return min((due for due in (aged, expired) if due > now), default=now + 3600)

        timer = heartbeat_timer()
        entry = timer.add(min(aged, expired), check)
        try:
            yield
        finally:
            timer.remove(entry)

    def accepts(self, websocket: ServerWebSocket, session: Session) -> bool:
        """Whether the credentials of a client are still valid."""
        principal = websocket.principal
        if principal is not None and not self.admission.control.still_accepts(principal):
            return False
        return _time_left(session) > 0


def _time_left(session: Session) -> float:
    """Seconds that the credentials of a client are still valid (RFC 7519, section 4.1.4)."""
    claim = None if session.principal is None else session.principal.claims.get("exp")
    if isinstance(claim, (int, float)) and not isinstance(claim, bool):
        return max(0.0, claim - time.time())
    return math.inf
