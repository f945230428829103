"""The streams of a connection: their ids and counts, how they end, and who sends next."""

from __future__ import annotations

from collections import deque

from restsock._options import Limits

from ._envelopes import Settings
from ._event_buffer import EventBuffer
from ._events import (
    EnvelopesSent,
    ResetCode,
    ResponseHead,
    StreamClosed,
    StreamFailed,
    StreamRejected,
)
from ._flow import Budget, ReceiveWindow
from ._frames import END, HEADER, FrameType, encode_frame, encode_reset, encode_window
from ._heads import encode_response
from ._stream import HalfState, Stream

__all__ = ["ENVELOPE_BUFFER", "StreamTable"]

# Characters of envelopes that may wait for their turn; who has more of them keeps them.
ENVELOPE_BUFFER = 128 * 1024

_MAX_ID = 2**32 - 1

# The payload of a frame, in bytes, while other streams have something to send: they do not wait
# long for their turn. A stream that is alone sends what the peer takes (spec, "Bodies").
_SHARED_FRAME = 16 * 1024

# Responses that may be complete by their length and wait for the peer's END. A requester has often
# turned away from them, so there has to be an end to them.
_MAX_OVERDUE = 256

# The answers that are given here, without the app.
_REASONS = {
    408: b"Request Timeout",
    413: b"Content Too Large",
    431: b"Request Header Fields Too Large",
    504: b"Gateway Timeout",
}


class StreamTable:
    """All streams that are open, and the frames and events that come of them.

    Args:
        dialer: whether this side dialed: its streams have odd numbers.
        limits: what this side accepts.
        budget: what the windows of the streams grow by.

    Attributes:
        peer: the peer's settings, the defaults until the handshake has told them.
        streams: by number.
        events: what is to be told of them; `take()` it after every call.
        control: messages that leave before any frame of the ring.
        beats: how many of these, at the front, are PING and PONG frames.
        ring: streams that can send, in turn; `None` stands for the envelopes.
        envelopes: text messages that take turns with the streams; `None` before the first.
        envelope_bytes: how long these are.
        next_id: of the next stream that this side opens.
        last_peer_stream_id: the highest one that the peer has opened; 0 before the first.
        own_streams: how many of this side's are open.
        peer_streams: how many of the peer's are open.
        going_away: whether this side has sent GOAWAY.
        peer_going_away: whether the peer has.
        accepts_streams: whether this side will ever open a stream again: after the handshake, until
            either side has sent GOAWAY, or the numbers are used up.
        exhausted: whether this side has used up its stream numbers: another connection is needed.
    """

    # Slots and lists: a dictionary and three empty deques would be 3 KiB of an idle connection.
    __slots__ = (
        "_overdue",
        "accepts_streams",
        "beats",
        "budget",
        "control",
        "dialer",
        "envelope_bytes",
        "envelopes",
        "events",
        "exhausted",
        "going_away",
        "last_peer_stream_id",
        "limits",
        "next_id",
        "own_streams",
        "peer",
        "peer_going_away",
        "peer_streams",
        "ring",
        "streams",
    )

    def __init__(self, *, dialer: bool, limits: Limits, budget: Budget) -> None:
        self.peer = Settings()
        self.dialer = dialer
        self.limits = limits
        self.budget = budget
        self.streams: dict[int, Stream] = {}
        self.events = EventBuffer()
        self.control: list[str | bytes] = []
        self.beats = 0
        self.ring: list[Stream | None] = []
        self.envelopes: deque[str] | None = None
        self.envelope_bytes = 0
        self.next_id = 1 if dialer else 2
        self.last_peer_stream_id = 0
        self.own_streams = 0
        self.peer_streams = 0
        self.accepts_streams = False
        self.exhausted = False
        self.going_away = False
        self.peer_going_away = False
        self._overdue: dict[int, None] = {}  # streams that lack nothing but their END

    def add(self, stream_id: int, method: bytes, length: int | None, *, upgrade: bool) -> Stream:
        """Adds a stream: the next one of this side, or one of the peer's.

        Args:
            stream_id: its number.
            method: of the request.
            length: the request's Content-Length.
            upgrade: whether the request asks for one.
        """
        limits = self.limits
        local = stream_id == self.next_id
        if local:
            self.own_streams += 1
            self.next_id += 2
            if self.next_id > _MAX_ID:
                self.accepts_streams, self.exhausted = False, True
        else:
            self.peer_streams += 1
        stream = self.streams[stream_id] = Stream(
            stream_id,
            local=local,
            method=method,
            length=length,
            upgrade=upgrade,
            credit=self.peer.initial_window,
            receive_window=ReceiveWindow(limits.initial_window, limits.max_window, self.budget),
        )
        return stream

    def remove(self, stream: Stream) -> None:
        """Takes a stream out, with all that it holds, and tells so."""
        del self.streams[stream.id]
        self._overdue.pop(stream.id, None)
        if stream.local:
            self.own_streams -= 1
        else:
            self.peer_streams -= 1
        stream.receive_window.close()
        stream.out.clear()
        stream.out_end = False
        stream.out_bytes = 0
        self.events.ready.append(StreamClosed(stream.id))

    # --- what is sent ---------------------------------------------------------------------

    def send_beat(self, frame: bytes) -> None:
        """Queues a PING or PONG frame: behind those that wait, ahead of all else."""
        self.control.insert(self.beats, frame)
        self.beats += 1

    def make_ready(self, stream: Stream) -> None:
        """Gives a stream its turn if it has anything to send."""
        if not stream.queued and (stream.out or stream.out_end):
            stream.queued = True
            self.ring.append(stream)

    def next_message(self) -> str | tuple[bytes | memoryview, ...] | None:
        """The next message to send: text, or the parts of a frame; `None` when none may leave now.

        The parts are to be joined where the bytes for the socket are made: body bytes are copied
        once.
        """
        if self.control:
            if self.beats:
                self.beats -= 1
            message = self.control.pop(0)
            return message if isinstance(message, str) else (message,)
        while self.ring:
            stream = self.ring.pop(0)
            if stream is None:
                return self._next_envelope()
            stream.queued = False
            size = self.peer.max_frame
            taken = stream.take(min(size, _SHARED_FRAME) if self.ring else size)
            if taken is None:
                continue  # no credit: a WINDOW will bring it back into the ring
            is_head, parts, end = taken
            if stream.out_reset is not None:
                if not (stream.out or stream.out_end):
                    self.finish_broken(stream)  # leaves after the frame that is made here
            elif end and stream.receiving.state is HalfState.DONE:
                self.remove(stream)
            elif end and not stream.local and stream.receiving.state is not HalfState.RAW:
                # The answer is complete: the rest of the request is of no use any more.
                self.control.append(encode_reset(stream.id, ResetCode.NO_ERROR, ""))
                self.remove(stream)
            if stream.out or stream.out_end:
                stream.queued = True
                self.ring.append(stream)
            type = FrameType.HEAD if is_head else FrameType.DATA
            flags, stream.opening = stream.opening, 0
            return HEADER.pack(type, flags | END if end else flags, 0, stream.id), *parts
        return None

    def _next_envelope(self) -> str:
        assert self.envelopes is not None
        text = self.envelopes.popleft()
        before, self.envelope_bytes = self.envelope_bytes, self.envelope_bytes - len(text)
        if self.envelopes:
            self.ring.append(None)
        if self.envelope_bytes <= ENVELOPE_BUFFER // 2 < before:
            self.events.ready.append(EnvelopesSent())
        return text

    # --- how streams end before their time ------------------------------------------------

    def fail(self, stream: Stream, code: ResetCode, reason: str, limit: str | None = None) -> None:
        """Ends a stream because of what came."""
        self.control.append(encode_reset(stream.id, code, reason))
        self.tell_failure(stream, code, reason, by_peer=False, limit=limit)
        self.remove(stream)

    def tell_failure(
        self, stream: Stream, code: int, reason: str, *, by_peer: bool, limit: str | None = None
    ) -> None:
        """Tells that a stream has failed, unless this side has broken it off."""
        if stream.out_reset is None:  # else it has failed already, by this side's own word
            self.events.ready.append(StreamFailed(stream.id, code, reason, by_peer, limit))

    def fail_refused(self, stream: Stream, reason: str) -> None:
        """Ends a stream that the peer says it has not begun.

        A peer that has begun to answer has begun to run, whatever it says.
        """
        code = ResetCode.INTERNAL if stream.receiving.head_bytes else ResetCode.REFUSED
        self.tell_failure(stream, code, reason, by_peer=True)
        self.remove(stream)

    def break_off(self, stream: Stream, code: int, reason: str) -> None:
        """Ends a stream by a RESET that waits for what is still to be sent."""
        whole = stream.out_end and not stream.local  # the response is, whatever failed after it
        stream.out_reset = (ResetCode.NO_ERROR, "") if whole else (code, reason)
        # What still comes is not taken. A peer that has no credit might not take ours either.
        self.events.drop_data(stream.id)
        self._overdue.pop(stream.id, None)
        window = stream.receive_window
        credit = window.consume(window.held, 0.0, None)
        if credit and stream.receiving.state is not HalfState.DONE:
            self.control.append(encode_window(stream.id, credit))

    def finish_broken(self, stream: Stream) -> None:
        """Sends the RESET of a stream that was broken off; what still waits is dropped."""
        assert stream.out_reset is not None
        self.control.append(encode_reset(stream.id, *stream.out_reset))
        self.remove(stream)

    def await_end(self, stream: Stream) -> None:
        """Notes that a stream lacks nothing but the peer's END; gives up the oldest of too many."""
        self._overdue[stream.id] = None
        if len(self._overdue) > _MAX_OVERDUE:
            oldest = self.streams[next(iter(self._overdue))]
            self.fail(oldest, ResetCode.CANCEL, "a complete response that has no end")

    def reject(
        self, stream_id: int, code: ResetCode, reason: str, limit: str | None = None
    ) -> None:
        """Refuses a request that is no stream yet."""
        self.control.append(encode_reset(stream_id, code, reason))
        self.events.ready.append(StreamRejected(stream_id, reason, limit))

    def reject_with(self, stream_id: int, status: int, end: bool, reason: str, limit: str) -> None:
        """Answers a request that is no stream yet; `end` tells whether all of it has come."""
        self._answer(stream_id, status, end)
        self.events.ready.append(StreamRejected(stream_id, f"{reason}: {status}", limit))

    def answer_instead(
        self, stream: Stream, status: int, end: bool, code: ResetCode, reason: str, limit: str
    ) -> None:
        """Answers in place of the app, which learns that the stream has failed."""
        self._answer(stream.id, status, end)
        self.events.ready.append(StreamFailed(stream.id, code, reason, False, limit))
        self.remove(stream)

    def _answer(self, stream_id: int, status: int, end: bool) -> None:
        headers = [(b"Content-Length", b"0")]
        data, _ = encode_response(ResponseHead(status, headers, _REASONS[status]))
        self.control.append(encode_frame(FrameType.HEAD, END, stream_id, data))
        if not end:
            self.control.append(encode_reset(stream_id, ResetCode.NO_ERROR, ""))
