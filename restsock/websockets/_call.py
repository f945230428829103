"""One client of an endpoint: from its request to the end of its WebSocket."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

import trio

from restsock.apps import DrivenCall, is_for_the_loop, log_failure
from restsock.auth import Answered, Refused
from restsock.protocol import CloseCode, ResponseHead, accept_fields

from ._server_websocket import ServerWebSocket

if TYPE_CHECKING:
    from restsock.connection import Exchange

    from ._admission import Admission, Admitted

__all__ = ["Call", "Room"]


class Room(Protocol):
    """What a call needs of its endpoint."""

    admission: Admission

    def check_room(self) -> None:
        """Raises `Refused` where there is no room."""

    def enter(self, call: Call) -> None:
        """Counts one more, in the step in which it is accepted."""

    def leave(self, call: Call) -> None:
        """Its end."""

    def make(self, call: Call, admitted: Admitted) -> ServerWebSocket:
        """Makes its WebSocket."""


class Call(DrivenCall):
    """A request for a WebSocket, and what comes of it.

    Args:
        room: the endpoint's.
        serve: serves the WebSocket.
        exchange: the request.

    Attributes:
        response: the answer where there is no WebSocket.
        websocket: once it was accepted.
    """

    def __init__(
        self, room: Room, serve: Callable[[ServerWebSocket], Awaitable[None]], exchange: Exchange
    ) -> None:
        super().__init__(exchange)
        self._room = room
        self._serve = serve
        self.raw = self._driver
        self.websocket: ServerWebSocket | None = None

    async def run(self) -> None:
        """Answers the request, and serves its WebSocket to the end."""
        admitted: Admitted | None = None
        try:
            with self._scope:  # until the client leaves
                self._room.check_room()
                admitted = await self._room.admission.admit(self._exchange)
                self._room.check_room()  # again: others came while this one waited
        except Refused as refused:
            self._refuse(refused)
            return
        if admitted is None or self._exchange.closed:
            return
        websocket = self.websocket = self._accept(admitted)
        self._room.enter(self)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(websocket.run)
                await self._call(websocket)
                nursery.cancel_scope.cancel()
        finally:
            self._room.leave(self)

    def _refuse(self, refused: Refused) -> None:
        connection = self._exchange.connection
        if connection is not None:
            connection.limit_log.count(refused.limit or "refused")
        if isinstance(refused, Answered):
            self.response.start(refused.status, refused.headers)
            self.response.body(refused.body, more=False)
        else:
            self.response.plain(refused.status, f"{refused.text}\n", refused.headers)

    def _accept(self, admitted: Admitted) -> ServerWebSocket:
        chosen = admitted.subprotocol
        fields = accept_fields(
            self._exchange.request, None if chosen is None else chosen.encode(), admitted.fields
        )
        # From here on the end of the connection is the WebSocket's to tell.
        self._exchange.observer = self._observe
        self._exchange.send_head(ResponseHead(101, fields, b"Switching Protocols"))
        self.response.status = 101
        return self._room.make(self, admitted)

    async def _call(self, websocket: ServerWebSocket) -> None:
        """Has the WebSocket served, and closes it."""
        code = CloseCode.NORMAL
        try:
            await self._serve(websocket)
        except BaseException as exc:
            if is_for_the_loop(exc):
                # Without waiting: as far as the socket takes it.
                websocket.fail(CloseCode.GOING_AWAY, "the listener is going away")
                raise
            if not log_failure(exc, self._exchange.request, left=websocket.closed_error):
                code = CloseCode.INTERNAL_ERROR
        if websocket.draining and code == CloseCode.NORMAL:
            code = CloseCode.GOING_AWAY
        await websocket.aclose(code)
