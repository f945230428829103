"""`SwaggersocketConnection`: a connection whose peer speaks swaggersocket."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

import trio

from restsock.connection import Closed, Connection
from restsock.protocol import CloseCode

from .engine import SwaggersocketLayer

if TYPE_CHECKING:
    from restsock.protocol import Pipeline

__all__ = ["SwaggersocketConnection"]

# Seconds that a close frame may take to leave, where the connection ends at once.
_GOODBYE = 0.1


class SwaggersocketConnection(Connection):
    """A `Connection` like any other, with what is special to this wire in its layer.

    Each side asks one thing at a time: further requests wait for their turn, up to their connect
    timeout. A request that its caller has given up keeps its place until its answer has come; if
    that takes too long, the connection ends, and the client dials again.

    Args:
        stream: the socket.
        pipeline: with a `SwaggersocketLayer`.
        args: those of `Connection`.
    """

    __slots__ = ("_sleep",)

    def __init__(self, stream: trio.abc.Stream, pipeline: Pipeline, **args: Any) -> None:
        super().__init__(stream, pipeline, **args)
        self._sleep: trio.CancelScope | None = None  # of the task that waits for what is due
        self._layer.on_turn = self._turn_soon

    @property
    def _layer(self) -> SwaggersocketLayer:
        layer = self._websocket
        assert isinstance(layer, SwaggersocketLayer)
        return layer

    def _turn_soon(self) -> None:
        self.writer.leave_to_loop(self._turn)

    def _turn(self) -> None:
        """Goes on with what is neither read nor written. On the loop."""
        layer = self._layer
        with self.lock:
            notes = layer.take_turn()
        if self.closed is not None:
            return
        for kind, words in notes:
            self._note(kind, words)
        if layer.peer.broken:
            self._cut("a response was cut off")
        elif layer.hung_up:
            self.lifecycle.start_soon(self._hang_up)
        self.exchange_table.settle()
        self.reader.resume()
        if self._sleep is not None:
            self._sleep.deadline = min(self._sleep.deadline, layer.due_at)
        elif layer.due_at < math.inf:
            self._sleep = trio.CancelScope(deadline=layer.due_at)
            self.lifecycle.start_soon(self._watch)

    def _note(self, kind: str, what: str) -> None:
        self.limit_log.note_about(self, kind, "%s", what, level=logging.INFO)

    async def _watch(self) -> None:
        """Waits for the answers that nobody wants any more, and for those that may be lost."""
        try:
            while self._sleep is not None:
                with self._sleep:
                    await trio.sleep_forever()
                with self.lock:
                    ends = self._layer.time_out()
                self.reader.resume()
                if ends:
                    self._cut("the answer to a request that was given up has not come in time")
                    return
                due_at = self._layer.due_at
                self._sleep = trio.CancelScope(deadline=due_at) if due_at < math.inf else None
        finally:
            self._sleep = None

    def _cut(self, why: str) -> None:
        """Ends it, and not in good order: there is no other way to take something back."""
        if not self.reader.ended:
            self.lifecycle.start_soon(
                self._say_and_end, Closed(False, CloseCode.INTERNAL_ERROR, why, by_peer=False)
            )

    async def _say_and_end(self, closed: Closed) -> None:
        self.lifecycle.end(closed)
        with self.lock:
            self._layer.close(closed.code, closed.reason)
        with trio.move_on_after(_GOODBYE):
            await self.writer.wait_written()
        self.lifecycle.abort(closed)

    async def _hang_up(self) -> None:
        """Ends the socket after what is due."""
        await self.writer.wait_written()
        self.lifecycle.bound(-math.inf)
