"""What holds for a `Multiplexer`, whatever its peer and its app do: the oracle of its target.

It sees only what goes in and what comes out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from restsock._options import Limits
from restsock.protocol import (
    DataReceived,
    EndReceived,
    EnvelopeReceived,
    EnvelopesSent,
    GoAwayReceived,
    HandshakeCompleted,
    HelloReceived,
    Multiplexer,
    MultiplexerEvent,
    RequestHead,
    RequestReceived,
    ResetCode,
    ResponseHead,
    ResponseReceived,
    StopSending,
    StreamClosed,
    StreamFailed,
    StreamRejected,
)
from restsock.protocol._fields import content_length
from restsock.protocol._frames import decode_goaway, decode_reset, decode_window
from restsock.protocol._heads import decode_trailers, split_head
from tests.protocol.heads import decode_request, decode_response

__all__ = ["Oracle"]

# Answers that may wait for a peer that does not read; as the reason for the limit has it, "enough
# for any honest burst of refusals". What one more message adds comes on top.
_MOST_WAITING = 4096 + 4

_HEAD, _DATA, _RESET, _WINDOW, _GOAWAY, _PONG = 1, 2, 3, 4, 5, 7
_END = 1


@dataclass
class _Stream:
    """What is known of a stream from the outside."""

    local: bool
    method: bytes
    due: int | None = None  # the length of what comes in, if it was announced
    came: int = 0
    held: int = 0  # body bytes that came and are not consumed
    answered: bool = False  # a final response head or a 101 came in
    raw: bool = False
    ended: bool = False
    failed: bool = False
    stopped: bool = False
    gave_up: bool = False
    closed: bool = False


@dataclass
class _Sent:
    """What has left on a stream."""

    began: bool = False  # the request head, or the final response head
    raw: bool = False
    body: int = 0
    ended: bool = False
    reset: bool = False


@dataclass
class Oracle:
    """Holds one multiplexer to what the spec promises.

    Order of calls: `coming()` before a message is handed over, `collect()` after anything that was
    done, `finish()` once.
    """

    multiplexer: Multiplexer
    dialer: bool
    limits: Limits
    streams: dict[int, _Stream] = field(default_factory=dict)
    rejected: set[int] = field(default_factory=set)
    credit: dict[int, int] = field(default_factory=dict)
    given: dict[int, int] = field(default_factory=dict)  # credit, by WINDOW frames
    sent: dict[int, _Sent] = field(default_factory=dict)
    last_foreign: int = 0
    last_own_sent: int = 0
    acts: int = 0
    goaway_sent: bool = False

    # --- in -----------------------------------------------------------------------------------

    def coming(self, message: str | bytes) -> None:
        """Notes the credit that a message gives."""
        if isinstance(message, bytes) and len(message) == 12 and message[0] == _WINDOW:
            stream_id = int.from_bytes(message[4:8], "big")
            credit = int.from_bytes(message[8:], "big")
            self.credit[stream_id] = self.credit.get(stream_id, 0) + credit

    def collect(self) -> list[MultiplexerEvent]:
        """Takes all events; checks them, and what is left."""
        events = self.multiplexer.events.take()
        for event in events:
            self._check_event(event)
        self._check_bounds()
        return events

    def _check_event(self, event: MultiplexerEvent) -> None:
        if isinstance(event, (HelloReceived, HandshakeCompleted)):
            assert not self.streams
        elif isinstance(event, GoAwayReceived):
            assert not self.multiplexer.can_open
        elif isinstance(event, StreamRejected):
            self._use_up(event.stream_id)
            self.rejected.add(event.stream_id)
        elif isinstance(event, RequestReceived):
            self._use_up(event.stream_id)
            stream = _Stream(local=False, method=event.head.method)
            stream.due = content_length(event.head.headers)
            self.streams[event.stream_id] = stream
        elif not isinstance(event, (EnvelopeReceived, EnvelopesSent)):
            stream = self.streams[event.stream_id]
            assert not stream.closed, "an event behind StreamClosed"
            self._check_stream(stream, event)

    def _use_up(self, stream_id: int) -> None:
        assert bool(stream_id % 2) != self.dialer
        assert stream_id > self.last_foreign
        self.last_foreign = stream_id
        assert self.multiplexer.last_peer_stream_id >= stream_id

    def _check_stream(self, stream: _Stream, event: MultiplexerEvent) -> None:
        assert not (stream.failed or stream.stopped) or isinstance(event, StreamClosed)
        if isinstance(event, StreamClosed):
            over = stream.failed or stream.stopped or stream.gave_up or stream.ended
            # Or the answer is complete, so that the rest of the request is not wanted.
            assert over or not stream.local
            stream.closed = True
        elif isinstance(event, StreamFailed):
            stream.failed = True
        elif isinstance(event, StopSending):
            assert stream.local
            assert stream.ended
            stream.stopped = True
        elif isinstance(event, ResponseReceived):
            self._check_response(stream, event.head)
        else:
            assert isinstance(event, (DataReceived, EndReceived))
            assert stream.answered or not stream.local
            assert not stream.ended
            if isinstance(event, DataReceived):
                assert event.data
                stream.held += len(event.data)
                stream.came += len(event.data)
                assert stream.due is None or stream.came <= stream.due
            else:
                assert stream.due is None or stream.came == stream.due
                assert not (stream.raw and event.trailers)
                stream.ended = True

    def _check_response(self, stream: _Stream, head: ResponseHead) -> None:
        assert stream.local
        assert not stream.answered
        stream.answered = head.status == 101 or head.status >= 200
        stream.raw = head.status == 101
        if head.status >= 200:
            bodiless = stream.method == b"HEAD" or head.status in (204, 304)
            stream.due = 0 if bodiless else content_length(head.headers)

    def _check_bounds(self) -> None:
        live = [stream for stream in self.streams.values() if not stream.closed]
        assert self.multiplexer.open_streams == len(live)
        assert sum(stream.local for stream in live) <= self.multiplexer.peer.max_streams
        assert sum(not stream.local for stream in live) <= self.limits.max_streams
        first, most = self.limits.initial_window, self.limits.max_window
        assert all(stream.held <= most for stream in live)
        assert sum(s.held for s in live) <= first * len(live) + self.limits.receive_budget

    # --- the app ------------------------------------------------------------------------------

    def acted(self) -> None:
        """Notes that the app did something, which may leave a message or two to be sent."""
        self.acts += 1

    def opened(self, stream_id: int, head: RequestHead) -> None:
        assert stream_id not in self.streams
        assert bool(stream_id % 2) == self.dialer
        self.streams[stream_id] = _Stream(local=True, method=head.method)

    def gave_up(self, stream_id: int) -> None:
        if stream_id in self.streams:
            self.streams[stream_id].gave_up = True

    def used(self, stream_id: int, share: int) -> int:
        """How many bytes of a stream the app is to use up: a share of 0 to 255 of what it holds."""
        stream = self.streams.get(stream_id)
        if stream is None or stream.closed:
            return 0
        nbytes = -(-stream.held * share // 255)
        stream.held -= nbytes
        return nbytes

    # --- out ----------------------------------------------------------------------------------

    def take(self) -> bool:
        """Takes one message, if there is one, and checks it."""
        parts = self.multiplexer.next_message()
        if parts is None:
            return False
        if isinstance(parts, str):
            assert not self.streams, "an envelope behind the handshake"
            return True
        message = b"".join(parts)
        assert len(message) >= 8
        type, flags, reserved = message[0], message[1], message[2:4]
        stream_id, payload = int.from_bytes(message[4:8], "big"), message[8:]
        assert reserved == b"\0\0"
        assert flags & ~_END == 0
        if type == _PONG:
            assert (stream_id, flags, len(payload)) == (0, 0, 8)
            return True
        if type == _GOAWAY:
            assert stream_id == flags == 0
            assert not self.goaway_sent
            self.goaway_sent = True
            decode_goaway(payload)
            return True
        sent = self.sent.setdefault(stream_id, _Sent())
        assert not sent.reset, "a frame behind RESET"
        if type == _RESET:
            assert flags == 0
            assert stream_id in self.streams or stream_id in self.rejected
            sent.reset = True
            ResetCode(decode_reset(payload)[0] % 8)
        elif type == _WINDOW:
            assert stream_id in self.streams
            self.given[stream_id] = self.given.get(stream_id, 0) + decode_window(payload)
        else:
            assert not sent.ended, "a frame behind END"
            self._check_content(type, stream_id, sent, payload, end=bool(flags))
            sent.ended = bool(flags)
        return True

    def _check_content(
        self, type: int, stream_id: int, sent: _Sent, payload: bytes, *, end: bool
    ) -> None:
        peer = self.multiplexer.peer
        body = payload
        if type == _HEAD:
            head, body = split_head(payload)
            assert not body or len(payload) <= peer.max_frame
            if stream_id in self.rejected:
                assert decode_response(head).status == 431
                assert end
                assert not body
                return
            self._check_head(stream_id, sent, head, body, end=end)
        else:
            assert type == _DATA
            assert sent.began, "a body without its head"
            assert len(payload) <= peer.max_frame
        sent.body += len(body)
        assert sent.body <= peer.initial_window + self.credit.get(stream_id, 0)

    def _check_head(
        self, stream_id: int, sent: _Sent, head: bytes, body: bytes, *, end: bool
    ) -> None:
        if sent.began:
            assert not sent.raw
            assert end
            assert not body
            decode_trailers(head)
        elif self.streams[stream_id].local:
            assert stream_id > self.last_own_sent, "ids have to rise"
            self.last_own_sent = stream_id
            request = decode_request(head)
            assert not (request.upgrade and (body or end))
            sent.began = True
        else:
            response = decode_response(head)
            sent.raw = response.status == 101
            sent.began = sent.raw or response.status >= 200
            assert sent.began or not (body or end)

    def finish(self) -> None:
        """Takes all that waits, lets go of what is open, and sees that nothing is left."""
        bodies = sum(self.multiplexer.buffered(stream_id) for stream_id in self.streams)
        waiting = 0
        while self.take():
            waiting += 1
        # The smallest frame that a peer can ask for is 1024 bytes; what the app did comes on top.
        assert waiting <= _MOST_WAITING + bodies // 1024 + 2 * self.acts
        for stream_id, stream in self.streams.items():
            assert stream.came <= self.limits.initial_window + self.given.get(stream_id, 0)
        self.collect()
        live = [stream_id for stream_id, stream in self.streams.items() if not stream.closed]
        for stream_id in live:
            self.gave_up(stream_id)
            self.multiplexer.reset_stream(stream_id, ResetCode.CANCEL)
        self.collect()
        while self.take():
            pass
        assert self.multiplexer.open_streams == 0
        assert not self.multiplexer.has_output
        assert self.multiplexer.events.take() == []
