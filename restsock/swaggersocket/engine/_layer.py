"""`SwaggersocketLayer`: messages of swaggersocket to frames and back, over a WebSocket."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from restsock._exceptions import RemoteProtocolError
from restsock._options import Limits
from restsock.protocol import (
    END,
    HEADER,
    HEADER_SIZE,
    CloseCode,
    CloseReceived,
    FrameType,
    MessagePart,
    TextMessage,
    WebSocket,
    WebSocketEvent,
)

from ._handshake import HandshakeSteps
from ._own_requests import OwnRequests
from ._peer_requests import PeerRequests

__all__ = ["SwaggersocketLayer"]

# Bytes of requests that wait for their turn, above which no more are read.
_BACKLOG = 64 * 1024
# A message has no bound of its own: what it says is read as it comes, and each part has its bound.
_NO_BOUND = 2**63
# Frames that are read before what they say is looked at: tiny ones take many times their bytes.
_FRAMES = 64
# Bytes of fragments up to which the next one is joined to them: each costs more than it has.
_TINY = 4096
# How a response begins, and no request: a method has no slash.
_RESPONSE = b"HTTP/"
_TEXT = 0x81
# Closes after which a dialer is not to come back.
_FOR_GOOD = frozenset((CloseCode.NORMAL, CloseCode.REPLACED))


class SwaggersocketLayer:
    """One end of a connection of swaggersocket; the `MessageLayer` of its pipeline.

    Args:
        dialer: whether this side has dialed.
        limits: of this side.
        scheme: `"http"` or `"https"`, as far as this hop knows.
        date: the time now, as in a Date field.
        clock: seconds, of any clock that only moves forward.
        mask_key: gives four random bytes, for a dialer.
        new_id: makes a correlation id.
        name_of: what a dialer is called, given its metadata.
        patience: seconds that a response may take after its request was given up.

    Attributes:
        own: this side's requests.
        peer: the peer's requests.
        paused: whether no more bytes should be read for now.
        hung_up: whether it was closed without a word; the socket is to follow.
        on_turn: is called, with the lock of the connection, whenever there is something to do for
            it that is neither to read nor to write; `take_turn()` follows.
        events: frames for the multiplexer, and what is for the connection.
        out: bytes that are due. pongs: likewise, before these.
    """

    answers_close = False

    __slots__ = (
        *(
            "_begin",
            "_begun",
            "_dialer",
            "_failed",
            "_handshake",
            "_limits",
            "_parts",
            "_text",
            "_to_own",
        ),
        *(
            "_told_broken",
            "_turning",
            "_websocket",
            "events",
            "hung_up",
            "on_turn",
            "out",
            "own",
            "paused",
        ),
        *("peer", "pongs"),
    )

    def __init__(
        self,
        *,
        dialer: bool,
        limits: Limits,
        scheme: str,
        date: Callable[[], bytes],
        clock: Callable[[], float],
        mask_key: Callable[[], bytes] | None,
        new_id: Callable[[], str],
        name_of: Callable[[Any], str | None],
        patience: float,
    ) -> None:
        self.on_turn: Callable[[], object] | None = None
        self.events: list[WebSocketEvent] = []
        self.paused = False
        self.hung_up = False
        self.own = OwnRequests(limits, new_id, clock, patience)
        first_id = 2 if dialer else 1
        self.peer = PeerRequests(limits, scheme, date, clock, self._turn, first_id=first_id)
        self._dialer = dialer
        self._limits = limits
        self._handshake = HandshakeSteps(dialer=dialer, name_of=name_of)
        self._websocket = WebSocket(
            client=dialer,
            max_message=_NO_BOUND,
            mask_key=mask_key,
            max_frames=_FRAMES,
            in_parts=True,
        )
        self.out, self.pongs = self._websocket.out, self._websocket.pongs  # the same lists
        self._parts: deque[MessagePart | CloseReceived] = deque()
        self._text = bytearray()  # of a message of the handshake
        self._begin = b""  # of a message that may be either
        self._begun = False  # whether it is known what the present message is
        self._to_own = False  # a response
        self._failed = False
        self._told_broken = False  # that a response was cut off
        self._turning = False

    # --- as a WebSocket -------------------------------------------------------------------

    @property
    def close_sent(self) -> bool:
        """Whether nothing more is sent."""
        # As long as the peer's close waits for what came before it, there is credit to be given.
        return self.hung_up or (self._websocket.close_sent and not self._holds_close)

    @property
    def close_received(self) -> bool:
        """Whether nothing more comes, or is waited for."""
        return self.hung_up or self._websocket.close_received

    @property
    def _holds_close(self) -> bool:
        return bool(self._parts) and isinstance(self._parts[-1], CloseReceived)

    def send_text(self, data: str) -> None:
        """Sends the message in place of an envelope of the handshake."""
        self._websocket.send_binary(self._handshake.send(data), first=_TEXT)

    def send_ping(self, payload: bytes = b"") -> None:
        """Queues a ping."""
        if not self._websocket.close_sent:
            self._websocket.send_ping(payload)

    def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Ends what is sent.

        A dialer of the original comes back after an end without a word, and after no close. So a
        listener that means it to come back says nothing.
        """
        if self._dialer or code in _FOR_GOOD or not self._handshake.done:
            self._websocket.close(code, reason)
        elif not self.close_sent:
            self.hung_up = True
            self._turn()

    def data_to_send(self) -> bytes:
        """Takes the bytes that are due."""
        if self.peer.unsent:  # the socket has taken those before
            self.peer.unsent = 0
            if self.peer.waiting:
                self._turn()
        return self._websocket.data_to_send()

    # --- in -------------------------------------------------------------------------------

    def receive_data(self, data: bytes) -> None:
        """Takes in bytes of the peer, or goes on with those that are there.

        Raises:
            RemoteProtocolError: the peer broke the protocol. What was whole before can be read.
        """
        if self.hung_up or self._failed:
            return
        if not data:
            self._proceed()
        while data or (self._websocket.more and not self.paused):
            try:
                self._websocket.receive_data(data)
            finally:
                data = b""
                events, self._websocket.events = self._websocket.events, []
                for event in events:
                    if isinstance(event, MessagePart):
                        self._add_part(event)
                    elif isinstance(event, CloseReceived):
                        self._parts.append(event)  # in order: it comes after what was sent
                    else:
                        self.events.append(event)
                self._proceed()

    def _add_part(self, part: MessagePart) -> None:
        last = self._parts[-1] if self._parts else None
        if isinstance(last, MessagePart) and not last.end and len(last.data) < _TINY:
            self._parts[-1] = MessagePart(last.data + part.data, part.end)
        else:
            self._parts.append(part)

    def next_event(self) -> WebSocketEvent | None:
        """Takes one event."""
        return self.events.pop(0) if self.events else None

    def _proceed(self) -> None:
        try:
            self.peer.proceed()
            while self._parts:
                part = self._parts[0]
                if isinstance(part, CloseReceived):
                    # The original closes without a code, and does not come back then.
                    code = CloseCode.NORMAL if part.code == CloseCode.NO_STATUS else part.code
                    self.events.append(CloseReceived(code, part.reason))
                else:
                    left = self._receive(part)
                    if left:
                        self._parts[0] = MessagePart(left, part.end)
                        break
                self._parts.popleft()
        except RemoteProtocolError:
            self._failed = True  # nothing that follows has a meaning
            self._parts.clear()
            raise
        finally:
            self._take_frames()
            # While a response waits for its reader, the end of the socket has to wait as well.
            self.paused = bool(self._parts) or self.peer.backlog > _BACKLOG

    def _receive(self, part: MessagePart) -> bytes:
        """Takes in a part of a message; returns what has to wait."""
        if not self._handshake.done:
            self._receive_step(part)
            return b""
        data = part.data
        if not self._begun:
            data = self._begin + data
            if not data and part.end:
                self.own.receive_empty()
                return b""
            if len(data) < len(_RESPONSE) and not part.end and not self.own.reading:
                self._begin = data
                return b""
            self._begin, self._begun = b"", True
            self._to_own = self.own.reading or data.startswith(_RESPONSE)
            if self._to_own:
                self.own.begin_message()
        if not self._to_own:
            self.peer.receive_part(data, end=part.end)
        else:
            taken = self.own.receive_data(data)
            if taken < len(data):
                return data[taken:]
            if part.end:
                self.own.end_message()
        self._begun = not part.end
        return b""

    def _receive_step(self, part: MessagePart) -> None:
        self._text += part.data
        if len(self._text) > self._limits.max_metadata:
            raise RemoteProtocolError(
                f"a handshake message of {len(self._text)} bytes",
                close_code=CloseCode.HANDSHAKE_FAILED,
                limit="max_metadata",
            )
        if part.end:
            text, self._text = bytes(self._text), bytearray()
            self.events.append(TextMessage(self._handshake.receive(text)))

    def _take_frames(self) -> None:
        """Has the frames for the multiplexer, and the answers that were given here, leave."""
        for requests in (self.own, self.peer):
            if requests.events:
                self.events += requests.events
                requests.events.clear()
        while self.peer.answers:
            self._send(self.peer.answers.pop(0))
        if self.peer.out:
            self._send(self.peer.out)
            self.peer.out.clear()
        if not self.peer.responding and not self.close_sent:
            message = self.own.take_message()
            if message is not None:
                self._send([message])
        own, peer = self.own, self.peer
        broken = peer.broken and not self._told_broken
        if own.freed or own.waits or own.notes or peer.problem or broken:
            self._told_broken = peer.broken
            self._turn()

    def _send(self, parts: list[bytes | bytearray | memoryview]) -> None:
        if not (self.hung_up or self._websocket.close_sent):
            plain = [bytes(part) if isinstance(part, bytearray) else part for part in parts]
            self._websocket.send_binary(*plain, first=_TEXT)

    # --- out ------------------------------------------------------------------------------

    def send_binary(self, *parts: bytes | memoryview) -> int:
        """Takes in a frame of the multiplexer; returns what of it has left, in bytes."""
        type, flags, _, stream_id = HEADER.unpack_from(parts[0])
        if type == FrameType.GOAWAY or type == FrameType.PING:
            return 0  # there is nothing to say it with
        if bool(stream_id % 2) == self._dialer:
            payload = [parts[0][HEADER_SIZE:]] if len(parts[0]) > HEADER_SIZE else []
            self.own.receive_frame(type, flags, stream_id, [*payload, *parts[1:]])
            self._take_frames()
            # What was collected makes room for more, of which only a turn tells; so does credit.
            if (type == FrameType.DATA and not flags & END) or self._parts:
                self._turn()
            return 0
        before = len(self.events)
        size = self.peer.send_binary(*parts)
        self._take_frames()
        if len(self.events) > before or self.peer.waiting:
            self._turn()
        return size

    # --- turns ----------------------------------------------------------------------------

    @property
    def due_at(self) -> float:
        """When `time_out()` is to be called."""
        return self.own.due_at

    def time_out(self) -> bool:
        """Ends what has waited for too long; tells whether the connection has to end for that."""
        ends = self.own.time_out()
        self._take_frames()
        return ends

    def _turn(self) -> None:
        if self.on_turn is not None and not self._turning:
            self._turning = True
            self.on_turn()

    def take_turn(self) -> list[tuple[str, str]]:
        """What `on_turn` has told of is about to be done; returns kinds and words for the log."""
        self._turning = False
        self.peer.take_turn()
        self.own.freed = self.own.waits = False
        notes = [("stray", words) for words in self.own.notes]
        self.own.notes.clear()
        if self.peer.problem is not None:
            notes.append(("malformed", self.peer.problem))
            self.peer.problem = None
        return notes
