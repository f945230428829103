"""One client of an endpoint: from its request to the end of its WebSocket."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import trio

from restsock._principal import ConnectionInfo
from restsock.apps import DrivenCall, is_for_the_loop, log_failure, loggable
from restsock.auth import Answered, Refused
from restsock.connection import Failed, heartbeat_calls
from restsock.http_server import RawExchange, accept_raw
from restsock.protocol import (
    CloseCode,
    Deflate,
    MessageDeflate,
    ResponseHead,
    accept_fields,
)

from ._keepalive import kept_alive
from ._server_websocket import ServerWebSocket

if TYPE_CHECKING:
    import asyncio

    from restsock._options import Heartbeat
    from restsock.connection import Exchange, ExchangeEvent, HeartbeatCalls

    from ._admission import Admission, Admitted

__all__ = ["Call", "Room", "Settings"]


@dataclass(frozen=True)
class Settings:
    """What all WebSockets of an endpoint have in common. The arguments of `Endpoint`, checked."""

    heartbeat: Heartbeat
    idle: float | None
    deflate: Deflate | None
    max_message: int | None
    max_queue: int
    max_queue_bytes: int


class Room(Protocol):
    """What a call needs of its endpoint."""

    admission: Admission
    settings: Settings
    asyncio_loop: asyncio.AbstractEventLoop | None

    def check_room(self) -> None:
        """Raises `Refused` where there is no room."""

    def enter(self, call: Call) -> None:
        """Takes a place for one more. Raises `Refused` where there is none, in the same step."""

    def leave(self, call: Call) -> None:
        """Its end."""

    def visit(
        self, exchange: Exchange, admitted: Admitted
    ) -> AbstractAsyncContextManager[Callable[[ServerWebSocket], Awaitable[None]]]:
        """What is around one that has a place, from before its 101 to its end.

        Entering it gives what serves the WebSocket, or raises `Refused`.
        """

    def refused(self, refused: Refused) -> None:
        """One gets no WebSocket."""


class Call(DrivenCall):
    """A request for a WebSocket, and what comes of it.

    Args:
        room: the endpoint's.
        exchange: the request.

    Attributes:
        response: the answer where there is no WebSocket.
        websocket: once it was accepted.
    """

    def __init__(self, room: Room, exchange: Exchange) -> None:
        super().__init__(exchange, accept_raw)
        self._room = room
        self.websocket: ServerWebSocket | None = None

    async def run(self) -> None:
        """Answers the request, and serves its WebSocket to the end."""
        admitted: Admitted | None = None
        try:
            with self._scope:  # until the client leaves
                self._room.check_room()
                admitted = await self._room.admission.admit(self._exchange)
            if admitted is None or self._exchange.closed:
                return
            self._room.enter(self)  # which looks again: others came while this one waited
            try:
                async with self._room.visit(self._exchange, admitted) as serve:
                    if not self._exchange.closed:
                        await self._open(admitted, serve)
            finally:
                self._room.leave(self)
        except Refused as refused:
            if self.websocket is not None:
                raise  # by what serves it: it is too late for that
            self._refuse(refused)

    async def _open(
        self, admitted: Admitted, serve: Callable[[ServerWebSocket], Awaitable[None]]
    ) -> None:
        """Accepts the WebSocket, and has it served."""
        websocket = self.websocket = self._accept(admitted)
        settings = self._room.settings
        async with trio.open_nursery() as nursery:
            nursery.start_soon(websocket.run)
            beat, idle = settings.heartbeat, settings.idle
            calls = self._heartbeat_calls(websocket, nursery)
            with kept_alive(websocket, beat, idle, self._unsent, calls):
                await self._call(websocket, serve)
            nursery.cancel_scope.cancel()

    def _heartbeat_calls(
        self, websocket: ServerWebSocket, nursery: trio.Nursery
    ) -> HeartbeatCalls | None:
        connection = self._exchange.connection
        assert connection is not None
        return heartbeat_calls(
            self._room.settings.heartbeat,
            lambda: ConnectionInfo(websocket.id, None, None, websocket.principal),
            nursery.start_soon,
            connection.limit_log,
            self._room.asyncio_loop,
        )

    def _unsent(self) -> int:
        return self._driver.unsent

    def _observe_raw(self, event: ExchangeEvent) -> None:
        """Learns that the client has left, although messages of it still wait. On the loop."""
        self._observe(event)
        if isinstance(event, Failed) and self.websocket is not None:
            self.websocket.note_gone()

    def _refuse(self, refused: Refused) -> None:
        connection = self._exchange.connection
        if connection is not None:
            connection.limit_log.note(
                refused.limit or "refused",
                "%s: refused the WebSocket at %s with %s",
                connection.peer,
                loggable(self._exchange.request),
                refused,
                level=logging.INFO,
            )
        self._room.refused(refused)
        if isinstance(refused, Answered):
            self.response.start(refused.status, refused.headers)
            self.response.body(refused.body, more=False)
        else:
            self.response.plain(refused.status, f"{refused.text}\n", refused.headers)

    def _accept(self, admitted: Admitted) -> ServerWebSocket:
        """Sends the 101."""
        request, connection = self._exchange.request, self._exchange.connection
        assert connection is not None
        limits, settings = connection.limits, self._room.settings
        max_message = settings.max_message or limits.max_websocket_message
        agreed = None if settings.deflate is None else settings.deflate.accept(request.headers)
        deflate: MessageDeflate | None = None
        if agreed is not None and settings.deflate is not None:
            deflate = MessageDeflate(
                agreed[0], settings.deflate, client=False, max_message=max_message
            )
        fields = accept_fields(
            request,
            None if admitted.subprotocol is None else admitted.subprotocol.encode(),
            admitted.fields,
            None if agreed is None else agreed[1],
        )
        # From here on the end of the connection is the WebSocket's to tell.
        self._exchange.observer = self._observe_raw
        with self._exchange.batch():
            self._exchange.send_head(ResponseHead(101, fields, b"Switching Protocols"))
        if isinstance(self._driver, RawExchange):
            self._driver.begin_raw()
        self.response.status = 101
        return ServerWebSocket(
            self._driver,
            request=admitted.request,
            principal=admitted.principal,
            subprotocol=admitted.subprotocol,
            max_message=max_message,
            buffer=limits.initial_window,
            close_timeout=connection.timeouts.close,
            max_queue=settings.max_queue,
            max_queue_bytes=settings.max_queue_bytes,
            deflate=deflate,
        )

    async def _call(
        self, websocket: ServerWebSocket, serve: Callable[[ServerWebSocket], Awaitable[None]]
    ) -> None:
        """Has the WebSocket served, and closes it."""
        failed = False
        try:
            await serve(websocket)
        except BaseException as exc:
            if is_for_the_loop(exc):
                # Without waiting: as far as the socket takes it.
                websocket.fail(CloseCode.GOING_AWAY, "the listener is going away")
                raise
            failed = not log_failure(exc, self._exchange.request, left=websocket.closed_error)
        farewell = websocket.farewell or (CloseCode.NORMAL, "")
        await websocket.aclose(*((CloseCode.INTERNAL_ERROR, "") if failed else farewell))
