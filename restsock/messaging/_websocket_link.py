"""A plain WebSocket of a foreign peer as a link: a dialect says what its messages mean."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import trio

from restsock._exceptions import WebSocketClosed
from restsock.protocol import Envelope

from .dialects import Dialect, End, Garbled, Unsayable

if TYPE_CHECKING:
    from restsock._principal import Principal
    from restsock.connection import OpenWebSocket

    from ._options import MessagingOptions
    from ._session import Session
    from .engine import Link, Outgoing

__all__ = ["Carried", "WebSocketLink"]

# Bytes that may wait here for a peer to read; what waits beyond is in the engine's queues, which
# have a policy. Acks and replies may take as much again.
_ROOM = 256 * 1024
# What a message weighs beside its text.
_WEIGHT = 64
# Messages out of one of the WebSocket after which other tasks have their turn.
_TURN = 64
# Seconds' worth of messages that may come at once, where there is a rate.
_BURST = 1.0

_INVALID_DATA = 1007


class Carried(Protocol):
    """A `Messaging`, as this knows it."""

    def attach(self, link: Link) -> Session: ...

    def note_error(self, kind: str) -> None: ...


class WebSocketLink:
    """See `Link`.

    Args:
        messaging: learns of the connection.
        websocket: to the peer.
        dialect: what it speaks.
        end: where the peer is.
        name: of the peer, if it has one.
        principal: who it was found to be.
        options: limits.

    Attributes:
        id: and the others as in `Link`.
    """

    foreign = True
    credit = None

    def __init__(
        self,
        messaging: Carried,
        websocket: OpenWebSocket,
        dialect: Dialect,
        end: End,
        *,
        name: str | None,
        principal: Principal | None,
        options: MessagingOptions,
    ) -> None:
        self.id = end.session_id
        self.name = name
        self.dialed = end.dialed
        self.principal = principal
        self.connected_at = time.time()
        self.max_message = options.max_message
        self._messaging = messaging
        self._websocket = websocket
        self._wire = dialect.wire(end)
        self._acknowledges = dialect.acknowledges
        self.metadata: Mapping[str, Any] = {
            "tls": end.tls,
            "peer": {"host": end.host, "port": end.port},
            **self._wire.metadata,
        }
        self._session: Session
        self._first: deque[Outgoing] = deque()  # all but data
        self._rest: deque[Outgoing] = deque()
        self._waiting = 0  # bytes of these
        self._writing = False
        self._refused = False  # since there was room
        self._ended = False
        self._filled = trio.Event()
        self._rate = options.foreign_rate
        self._turn = 0.0  # when the next message may come, with this rate
        self._written: list[Outgoing] = []  # to be confirmed to the engine

    # --- what leaves --------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """See `Link`."""
        return 0 if self._ended else _ROOM - self._waiting

    @property
    def idle(self) -> bool:
        """Whether all that it was given is written."""
        return not (self._first or self._rest or self._writing)

    def send(self, outgoing: Outgoing) -> bool:
        """See `Link`."""
        most = 2 * _ROOM if outgoing.urgent else _ROOM
        if self._ended or self._waiting >= most:
            self._refused = True
            return False
        (self._first if outgoing.urgent else self._rest).append(outgoing)
        self._waiting += outgoing.size + _WEIGHT
        self._filled.set()
        return True

    def close_soon(self, code: int, reason: str) -> None:
        """See `Link`."""
        self._ended = True
        self._websocket.close_soon(code, reason)

    async def run(self) -> None:
        """Carries messages until the WebSocket has ended, for whatever reason.

        Raises:
            MessagingClosed: the messaging is not open.
        """
        self._session = self._messaging.attach(self)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                await self._read()
                nursery.cancel_scope.cancel()
        finally:
            self._ended = True
            self._session.detach(str(self._websocket.closed_error or "it is over"))

    async def _write(self) -> None:
        try:
            while True:
                while self._first or self._rest:
                    self._writing = True
                    outgoing = (self._first or self._rest).popleft()
                    await self._say(outgoing)
                    self._waiting -= outgoing.size + _WEIGHT
                    self._tell_room()
                await self._flush()
                self._writing = False
                self._session.changed()
                if not (self._first or self._rest):
                    self._filled = trio.Event()
                    await self._filled.wait()
        except WebSocketClosed:
            self._ended = True  # who reads learns why

    async def _say(self, outgoing: Outgoing) -> None:
        try:
            for message in self._wire.encode(outgoing, time.time_ns()):
                await self._websocket.send(message)
        except Unsayable as problem:
            self._unsaid(outgoing, str(problem))
            return
        if not self._acknowledges and _is_reliable(outgoing):
            self._written.append(outgoing)

    async def _flush(self) -> None:
        """Sends what the dialect holds back, and takes what was written as handled."""
        try:
            for message in self._wire.flush(time.time_ns()):
                await self._websocket.send(message)
        except Unsayable as problem:
            self._messaging.note_error("encode_error")
            for outgoing in self._take_written():  # it is not known which of them this was
                self._refuse(outgoing, str(problem))
        for outgoing in self._take_written():
            self._session.receive(Envelope("ack", outgoing.id, outgoing.timestamp, {}), 0)

    def _take_written(self) -> list[Outgoing]:
        written, self._written = self._written, []
        return written

    def _tell_room(self) -> None:
        if self._refused and self.room > _ROOM // 2:
            self._refused = False
            self._session.writable()

    def _unsaid(self, outgoing: Outgoing, problem: str) -> None:
        """Tells the engine what becomes of an envelope that its peer does not get."""
        id, timestamp = outgoing.id, outgoing.timestamp
        if outgoing.type == "request":
            error = {"status": "error", "error": problem, "kind": "invalid"}
            self._session.receive(Envelope("reply", id, timestamp, error), 0)
            return
        self._messaging.note_error("encode_error")
        if _is_reliable(outgoing):
            self._refuse(outgoing, problem)

    def _refuse(self, outgoing: Outgoing, problem: str) -> None:
        refusal = {"reason": problem, "final": True}
        self._session.receive(Envelope("nack", outgoing.id, outgoing.timestamp, refusal), 0)

    # --- what comes ---------------------------------------------------------------------------

    async def _read(self) -> None:
        try:
            async for message in self._websocket:
                size = len(message) if isinstance(message, bytes) else len(message.encode())
                await self._take(self._wire.receive(message, time.time_ns()), size)
            await self._take(self._wire.receive_end(time.time_ns()), 0)
        except WebSocketClosed:
            if not self._ended:
                self._messaging.note_error("read_error")
        if self._websocket.close_code is None:  # the listener is going away, and takes no more
            await self._finish()

    async def _take(self, found: Iterator[Envelope | Garbled], size: int) -> None:
        """Hands over what a message of the WebSocket says. Its bytes count once."""
        for number, one in enumerate(found, 1):
            if isinstance(one, Envelope):
                self._session.receive(one, size + _WEIGHT)
                size = 0
                await self._session.ready()
                await self._keep_rate()
            else:
                self._messaging.note_error(one.kind)
                if one.fatal:
                    self.close_soon(_INVALID_DATA, one.kind)
            if not number % _TURN:
                await trio.lowlevel.checkpoint()
        self._session.changed()  # the dialect may have been told something

    async def _keep_rate(self) -> None:
        """Waits for as long as the peer is ahead of its rate. Meanwhile its socket fills up."""
        if self._rate is not None:
            now = trio.current_time()
            self._turn = max(self._turn, now - _BURST) + 1 / self._rate
            if self._turn > now:
                await trio.sleep_until(self._turn)

    async def _finish(self) -> None:
        """Has what was read handled and acknowledged. Whoever closes the WebSocket bounds it."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._wait_closed, nursery.cancel_scope)
            await self._session.wait_until(self._is_finished)
            nursery.cancel_scope.cancel()

    async def _wait_closed(self, scope: trio.CancelScope) -> None:
        await self._websocket.wait_closed()
        scope.cancel()

    def _is_finished(self) -> bool:
        state = self._session.state
        told = self.idle and not (state.acks or state.controls)
        return not self._session.open or (told and state.sender.idle)


def _is_reliable(outgoing: Outgoing) -> bool:
    return outgoing.type == "data" and outgoing.payload.get("delivery") == "at_least_once"
