"""Multiplexer: many HTTP exchanges over one sequence of messages, without I/O (spec/protocol.md).

Order of calls::

    dialer     send_hello() ─> HandshakeCompleted ─> streams
    listener   HelloReceived ─> send_welcome() ─> HandshakeCompleted ─> streams

    in         receive_message(), then next_event() until it gives None
    out        any send_*(), then next_message() until it gives None

Both drains are due after every call, whichever side it was on: what comes in may have to be
answered, and what goes out may complete a stream. Control frames leave first, then the streams take
turns, one frame each.

`receive_message()` raises `RemoteProtocolError` when the connection is beyond repair; anything that
concerns one stream alone ends that stream, by a RESET and a `StreamFailed`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from restsock._buffered import Buffered
from restsock._exceptions import LocalProtocolError, RemoteProtocolError
from restsock._options import Heartbeat, Limits

from ._envelopes import Settings, decode_envelope
from ._events import (
    DataReceived,
    EndReceived,
    GoAwayReceived,
    Headers,
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
from ._flow import Budget, ReceiveWindow, SendWindow
from ._frames import (
    END,
    MAX_PAYLOAD,
    FrameType,
    decode_frame,
    decode_goaway,
    decode_reset,
    decode_window,
    encode_frame,
    encode_goaway,
    encode_reset,
    encode_window,
    flags_of,
    scheme_in,
)
from ._handshake import STEPS, Handshake
from ._heads import (
    connection_options,
    content_length,
    decode_request,
    decode_response,
    decode_trailers,
    encode_request,
    encode_response,
    encode_trailers,
    split_head,
)
from ._stream import HalfState, Part, Stream

__all__ = ["Multiplexer"]

_MAX_ID = 2**32 - 1

# Answers that a peer may have waiting for it while it sends but does not read: enough for any
# honest burst of refusals, little memory.
_MAX_CONTROL = 4096

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


class Multiplexer:
    """Many streams on one connection, each an HTTP exchange.

    Args:
        dialer: whether this side dialed: its streams have odd numbers.
        limits: what this side accepts.
        heartbeat: told to the peer in the handshake.
        new_id: makes the id of an envelope.
        unix_ms: the time, for envelopes, in milliseconds.
        buffered: counts what all connections hold, this one among them.

    Attributes:
        peer: the peer's settings, the defaults until the handshake has told them.
        round_trip: in seconds; set it whenever it was measured, it steers how windows grow.
    """

    # Slots and lists: a dictionary and three empty deques would be 3 KiB of an idle connection.
    __slots__ = (
        "_budget",
        "_control",
        "_dialer",
        "_events",
        "_going_away",
        "_handshake",
        "_last_peer_id",
        "_limits",
        "_local_open",
        "_next_id",
        "_overdue",
        "_peer_going_away",
        "_peer_open",
        "_pieces",
        "_ring",
        "_streams",
        "peer",
        "round_trip",
    )

    def __init__(
        self,
        *,
        dialer: bool,
        limits: Limits,
        heartbeat: Heartbeat,
        new_id: Callable[[], str],
        unix_ms: Callable[[], int],
        buffered: Buffered | None = None,
    ) -> None:
        self.peer = Settings()
        self.round_trip: float | None = None
        self._dialer = dialer
        self._limits = limits
        self._handshake = Handshake(
            dialer=dialer,
            settings=Settings.of(limits, heartbeat),
            limits=limits,
            new_id=new_id,
            unix_ms=unix_ms,
        )
        self._budget = Budget(limits.receive_budget, buffered)
        self._streams: dict[int, Stream] = {}
        self._ring: list[Stream] = []
        self._control: list[str | bytes] = []
        self._events: list[MultiplexerEvent] = []
        self._pieces: dict[int, list[bytes]] = {}  # of bodies, by stream, to be told as one
        self._overdue: dict[int, None] = {}  # streams that lack nothing but their END
        self._next_id = 1 if dialer else 2
        self._last_peer_id = 0
        self._local_open = 0
        self._peer_open = 0
        self._going_away = False  # this side
        self._peer_going_away = False

    # --- questions ------------------------------------------------------------------------

    @property
    def connection_id(self) -> str | None:
        """The same at both ends; known from `welcome` on."""
        return self._handshake.connection_id

    @property
    def open_streams(self) -> int:
        """How many streams are open, of both sides."""
        return len(self._streams)

    @property
    def own_streams(self) -> int:
        """How many streams of this side are open."""
        return self._local_open

    @property
    def last_peer_stream_id(self) -> int:
        """The highest stream that the peer has opened; 0 before the first."""
        return self._last_peer_id

    @property
    def can_open(self) -> bool:
        """Whether `open_stream()` would succeed now."""
        return self._local_open < self.peer.max_streams and self.accepts_streams

    @property
    def accepts_streams(self) -> bool:
        """Whether this connection will ever open a stream of this side again."""
        return (
            self._handshake.done
            and not self._peer_going_away
            and not self._going_away
            and self._next_id <= _MAX_ID
        )

    @property
    def leaving(self) -> bool:
        """Whether either side has announced, by GOAWAY, that it will close."""
        return self._going_away or self._peer_going_away

    @property
    def exhausted(self) -> bool:
        """Whether this side has used up its stream numbers: another connection is needed."""
        return self._next_id > _MAX_ID

    def buffered(self, stream_id: int) -> int:
        """Body bytes of a stream that wait to be sent; 0 for a stream that is over."""
        stream = self._streams.get(stream_id)
        return 0 if stream is None else stream.out_bytes

    def is_open(self, stream_id: int) -> bool:
        """Whether a stream is not over yet."""
        return stream_id in self._streams

    def announced(self, stream_id: int) -> bool:
        """Whether the peer may know of a stream: a frame of it has been taken to be sent."""
        stream = self._streams.get(stream_id)
        return stream is None or stream.announced or not stream.local

    @property
    def has_output(self) -> bool:
        """Whether `next_message()` may have something to give."""
        return bool(self._control or self._ring)

    # --- handshake ------------------------------------------------------------------------

    def send_hello(self, name: str | None, metadata: Any) -> None:
        """The dialer's first step.

        Raises:
            LocalProtocolError: the metadata is not JSON, the name is not a name, or it is not
                the dialer's turn.
        """
        self._control.append(self._handshake.hello(name, metadata))

    def send_welcome(self, connection_id: str) -> None:
        """The listener's answer to `HelloReceived`.

        Raises:
            LocalProtocolError: it is not the listener's turn.
        """
        self._control.append(self._handshake.welcome(connection_id))

    # --- out ------------------------------------------------------------------------------

    def open_stream(self, head: RequestHead, *, end: bool = False) -> int:
        """Sends a request.

        Args:
            head: hop-by-hop fields are left out; a wish to upgrade is kept.
            end: whether the request has no body.

        Returns:
            The stream's number.

        Raises:
            LocalProtocolError: the head is malformed or too long, or `can_open` is false. Nothing
                was sent.
        """
        if not self.can_open:
            raise LocalProtocolError("no stream can be opened now")
        flags = flags_of(head.scheme)
        asked = head
        data, head = encode_request(head)
        if len(data) > MAX_PAYLOAD:
            raise LocalProtocolError(f"a request head of {len(data)} bytes is too long to send")
        if end and head.upgrade is None and content_length(head.headers):
            raise LocalProtocolError("a request with a Content-Length and without its body")
        stream = self._add_stream(self._next_id, head, local=True)
        self._next_id += 2
        self._local_open += 1
        stream.sending.advance(Part.HEAD)
        stream.sending.expect(head.headers)
        stream.opening = flags
        if head is not asked:  # nothing was left out otherwise
            stream.sending.named = connection_options(asked.headers)
        self._enqueue(stream, True, data)
        # The request half of an upgrade stays open: it is the way for the raw bytes.
        if end and not stream.upgrade:
            self.send_end(stream.id)
        return stream.id

    def send_head(self, stream_id: int, head: ResponseHead) -> None:
        """Sends a response head: any number of informational ones, then the final one or a 101.

        Raises:
            LocalProtocolError: the head is malformed or too long, or not due. Nothing was sent.
        """
        stream = self._streams.get(stream_id)
        if stream is None or stream.out_reset is not None:
            return
        if stream.local:
            raise LocalProtocolError("a response goes the other way on this stream")
        told = head
        data, head = encode_response(head)
        if len(data) > MAX_PAYLOAD:
            raise LocalProtocolError(f"a response head of {len(data)} bytes is too long to send")
        part = _part_of(head.status)
        if part is Part.SWITCH_HEAD and not stream.upgrade:
            raise LocalProtocolError("a 101 to a request that asks for no upgrade")
        _demand(stream.sending.advance(part))
        if part is Part.HEAD:
            stream.sending.expect(head.headers, bodiless=stream.bodiless(head.status))
            if head is not told:
                stream.sending.named = connection_options(told.headers)
        elif part is Part.SWITCH_HEAD and stream.receiving.state is not HalfState.DONE:
            stream.receiving.switch()
        self._enqueue(stream, True, data)

    def send_data(self, stream_id: int, data: bytes) -> None:
        """Queues body bytes; `buffered()` tells how many wait. A stream that is over swallows them.

        Raises:
            LocalProtocolError: a body is not due here, or longer than announced.
        """
        stream = self._streams.get(stream_id)
        if stream is None or not data or stream.out_reset is not None:
            return
        if stream.local and stream.upgrade and stream.sending.state is not HalfState.RAW:
            raise LocalProtocolError("an upgrade has no body before its 101")
        _demand(stream.sending.advance(Part.DATA))
        _demand(stream.sending.count(len(data)))
        stream.out_bytes += len(data)
        self._enqueue(stream, False, data)

    def send_end(self, stream_id: int, trailers: Headers = ()) -> None:
        """Completes this side's half.

        Raises:
            LocalProtocolError: the body is shorter than announced, the trailers are malformed, or
                nothing was begun.
        """
        stream = self._streams.get(stream_id)
        if stream is None or stream.out_reset is not None:
            return
        if stream.local and stream.held:
            raise LocalProtocolError("an upgrade has no end before its answer")
        _demand(stream.sending.complete())
        if trailers and stream.sending.named:
            trailers = [f for f in trailers if f[0].lower() not in stream.sending.named]
        if trailers:
            data = encode_trailers(trailers)
            if len(data) > MAX_PAYLOAD:
                raise LocalProtocolError(f"trailers of {len(data)} bytes are too long to send")
            _demand(stream.sending.advance(Part.TRAILERS))
            self._enqueue(stream, True, data)
        _demand(stream.sending.advance(Part.END))
        stream.out_end = True
        self._make_ready(stream)

    def reset_stream(self, stream_id: int, code: int, reason: str = "") -> None:
        """Ends a stream before its time. Harmless when it is over, or when repeated.

        INTERNAL says that this side has failed: its RESET comes behind what waits to be sent, so
        that the peer gets all that was made before. It waits for credit as long as that takes;
        `give_up()`, or any other code, puts an end to that. Any other code drops what waits, and
        leaves at once. Nothing more is told of the stream but its `StreamClosed`.
        """
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        if code == ResetCode.INTERNAL and (stream.out or stream.out_end):
            if stream.out_reset is None:
                self._break_off(stream, code, reason)
            return
        # A stream that the peer has not heard of is not worth a frame.
        if stream.announced or not stream.local:
            self._control.append(encode_reset(stream_id, code, reason))
        self._remove(stream)

    def _break_off(self, stream: Stream, code: int, reason: str) -> None:
        whole = stream.out_end and not stream.local  # the response is, whatever failed behind it
        stream.out_reset = (ResetCode.NO_ERROR, "") if whole else (code, reason)
        # Nobody takes any more of what comes. A peer that has no credit might not take ours either.
        self._pieces.pop(stream.id, None)
        self._overdue.pop(stream.id, None)
        window = stream.receive_window
        credit = window.consume(window.held, 0.0, None)
        if credit and stream.receiving.state is not HalfState.DONE:
            self._control.append(encode_window(stream.id, credit))

    def _finish_broken(self, stream: Stream) -> None:
        """Sends the RESET of a stream that was broken off; what still waits is dropped."""
        assert stream.out_reset is not None
        self._control.append(encode_reset(stream.id, *stream.out_reset))
        self._remove(stream)

    def give_up(self, stream_id: int, code: ResetCode, reason: str, limit: str) -> None:
        """Ends a stream of the peer's whose time is over, with an answer where that still goes.

        That is 408 while the request is not complete and 504 when it is, as long as the app has not
        begun to answer; else a RESET. A `StreamFailed` follows. A stream that is over, or that is
        raw bytes, is let be. One that this side has broken off waits no longer to say so.

        Args:
            stream_id: the stream.
            code: of the RESET, and of the event.
            reason: for both.
            limit: for the event.
        """
        stream = self._streams.get(stream_id)
        if stream is not None and stream.out_reset is not None:
            self._finish_broken(stream)
            return
        if stream is None or stream.sending.state is HalfState.RAW:
            return
        complete = stream.receiving.state is HalfState.DONE
        if stream.sending.state is HalfState.HEAD:
            status = 504 if complete or stream.upgrade else 408
            self._answer_instead(stream, status, complete, code, reason, limit)
        else:
            self._fail(stream, code, reason, limit)

    def close(self) -> None:
        """Notes that the connection has ended: what its streams hold counts no more."""
        self._budget.close()

    def consume(self, stream_id: int, nbytes: int, now: float) -> None:
        """Gives credit back for body bytes that are used up.

        Args:
            stream_id: the stream; one that is over is passed over.
            nbytes: how many bytes.
            now: the seconds of any clock that only moves forward.
        """
        stream = self._streams.get(stream_id)
        if stream is None or stream.out_reset is not None:
            return
        credit = stream.receive_window.consume(nbytes, now, self.round_trip)
        if credit and stream.receiving.state is not HalfState.DONE:
            self._control.append(encode_window(stream_id, credit))

    def send_goaway(self, code: int, reason: str = "") -> None:
        """Tells the peer that no further stream of its will be started. Only the first is sent."""
        if self._going_away or not self._handshake.done:
            return
        self._going_away = True
        self._control.append(encode_goaway(self._last_peer_id, code, reason))

    def next_message(self) -> str | bytes | None:
        """The next message to send; `None` when there is none now."""
        if self._control:
            return self._control.pop(0)
        while self._ring:
            stream = self._ring.pop(0)
            stream.queued = False
            message = self._next_frame(stream)
            if message is not None:
                self._make_ready(stream)
                return message
        return None

    def _enqueue(self, stream: Stream, is_head: bool, data: bytes) -> None:
        stream.out.append((is_head, data))
        self._make_ready(stream)

    def _make_ready(self, stream: Stream) -> None:
        if not stream.queued and (stream.out or stream.out_end):
            stream.queued = True
            self._ring.append(stream)

    def _next_frame(self, stream: Stream) -> bytes | None:
        taken = stream.take(self.peer.max_frame)
        if taken is None:
            return None  # no credit: a WINDOW will bring it back into the ring
        is_head, payload, end = taken
        if stream.out_reset is not None:
            if not (stream.out or stream.out_end):
                self._finish_broken(stream)  # leaves behind the frame that is made here
        elif end and stream.done:
            self._remove(stream)
        elif end and not stream.local and stream.receiving.state is HalfState.BODY:
            # The answer is complete: the rest of the request is of no use to anybody.
            self._control.append(encode_reset(stream.id, ResetCode.NO_ERROR, ""))
            self._remove(stream)
        type = FrameType.HEAD if is_head else FrameType.DATA
        flags, stream.opening = stream.opening, 0
        return encode_frame(type, flags | END if end else flags, stream.id, payload)

    # --- in -------------------------------------------------------------------------------

    def next_event(self) -> MultiplexerEvent | None:
        """The next thing that happened; `None` when there is nothing more."""
        if not self._events:
            while self._pieces:
                self._tell_pieces(next(iter(self._pieces)))
        return self._events.pop(0) if self._events else None

    def receive_message(self, message: str | bytes) -> None:
        """Takes in a whole message.

        Raises:
            RemoteProtocolError: the connection has to be closed, with the error's `close_code`.
        """
        if not self._handshake.done:
            self._receive_handshake(message)
        elif isinstance(message, str):
            self._receive_text(message)
        else:
            self._receive_frame(message)
            if len(self._control) > _MAX_CONTROL:
                raise RemoteProtocolError("the peer sends much and reads nothing")

    def _receive_handshake(self, message: str | bytes) -> None:
        event, answer = self._handshake.receive(message)
        self.peer = self._handshake.peer
        if answer is not None:
            self._control.append(answer)
        self._events.append(event)

    def _receive_text(self, message: str) -> None:
        # Every type but those of the handshake is reserved, and ignored until it means something.
        if decode_envelope(message).type in STEPS:
            raise RemoteProtocolError("a handshake message behind the handshake")

    def _receive_frame(self, message: bytes) -> None:
        type, flags, stream_id, payload = decode_frame(message)
        if type == FrameType.GOAWAY:
            self._receive_goaway(payload)
            return
        if not FrameType.HEAD <= type <= FrameType.GOAWAY:
            return
        # Encodings are checked for every stream, so that what is malformed does not depend on
        # whether the stream is still open.
        reset = decode_reset(payload) if type == FrameType.RESET else None
        credit = decode_window(payload) if type == FrameType.WINDOW else 0
        stream = self._streams.get(stream_id)
        end = bool(flags & END)
        if stream is None:
            local = bool(stream_id % 2) == self._dialer
            known = self._next_id - 1 if local else self._last_peer_id
            if stream_id <= known:
                return  # it is over; the peer did not know when it sent this
            if local or type != FrameType.HEAD:
                raise RemoteProtocolError(
                    f"a {FrameType(type).name} frame on stream {stream_id}, which was never opened"
                )
            self._receive_request(stream_id, payload, flags)
        elif stream.local and not stream.announced:
            # It waits here for its turn: the peer cannot know of it (spec, 9.1: an idle id).
            raise RemoteProtocolError(f"a frame on stream {stream_id}, which was never opened")
        elif reset is not None:
            self._receive_reset(stream, *reset)
        elif type == FrameType.WINDOW:
            if stream.sent:
                return
            try:
                stream.send_window.add(credit)
            except RemoteProtocolError as exc:
                self._fail(stream, ResetCode.FLOW, str(exc))
            else:
                self._make_ready(stream)
        elif stream.out_reset is not None:
            self._pass_over(stream, payload, is_head=type == FrameType.HEAD)
        elif type == FrameType.HEAD:
            self._receive_head(stream, payload, end)
        elif len(payload) > self._limits.max_frame:
            why = f"a frame of {len(payload)} body bytes"
            self._fail(stream, ResetCode.PROTOCOL, why, "max_frame")
        else:
            self._receive_body(stream, payload, end)

    def _receive_request(self, stream_id: int, payload: bytes, flags: int) -> None:
        end = bool(flags & END)
        self._last_peer_id = stream_id
        if self._going_away:
            self._reject(stream_id, ResetCode.REFUSED, "going away", "going_away")
            return
        if self._peer_open >= self._limits.max_streams:
            self._reject(stream_id, ResetCode.REFUSED, "too many streams", "max_streams")
            return
        if self._budget.overdrawn:
            why = "too many bytes that nobody has taken"
            self._reject(stream_id, ResetCode.REFUSED, why, "buffered_total")
            return
        try:
            data, body = split_head(payload)
            fields = data.count(b"\n") - 2
            if len(data) > self._limits.max_head or fields > self._limits.max_fields:
                self._answer(stream_id, 431, end)
                limit = "max_head" if len(data) > self._limits.max_head else "max_fields"
                why = f"a request head of {len(data)} bytes with {fields} fields: 431"
                self._events.append(StreamRejected(stream_id, why, limit))
                return
            head = decode_request(data)
            scheme = scheme_in(flags)
            if scheme is not None:
                head = RequestHead(head.method, head.target, head.headers, scheme)
        except RemoteProtocolError as exc:
            self._reject(stream_id, ResetCode.PROTOCOL, str(exc))
            return
        if head.upgrade is not None and (end or body):
            self._reject(stream_id, ResetCode.PROTOCOL, "an upgrade with a body or an end")
            return
        if self._limits.max_body is not None:
            announced = content_length(head.headers)
            if announced is not None and announced > self._limits.max_body:
                self._answer(stream_id, 413, end)
                why = f"a request body of {announced} bytes: 413"
                self._events.append(StreamRejected(stream_id, why, "max_body"))
                return
        stream = self._add_stream(stream_id, head, local=False)
        self._peer_open += 1
        stream.receiving.advance(Part.HEAD)
        stream.receiving.expect(head.headers)
        stream.receiving.head_bytes = len(data)
        stream.receiving.head_fields = fields
        self._events.append(RequestReceived(stream_id, head))
        self._receive_first_body(stream, payload, body, end)

    def _pass_over(self, stream: Stream, payload: bytes, *, is_head: bool) -> None:
        """What comes on a stream that was broken off is for nobody, and costs no credit."""
        nbytes = len(payload.partition(b"\r\n\r\n")[2] if is_head else payload)
        if nbytes:
            self._control.append(encode_window(stream.id, nbytes))

    def _receive_head(self, stream: Stream, payload: bytes, end: bool) -> None:
        half = stream.receiving
        try:
            data, body = split_head(payload)
            fields = data.count(b"\n") - (2 if half.state is HalfState.HEAD else 1)
            half.head_bytes += len(data)
            half.head_fields += fields
            limits = self._limits
            too_long = len(data) > limits.max_head or half.head_bytes > 2 * limits.max_head
            if too_long or fields > limits.max_fields or half.head_fields > 2 * limits.max_fields:
                limit = "max_head" if too_long else "max_fields"
                why = f"a head of {len(data)} bytes with {fields} fields"
                self._fail(stream, ResetCode.TOO_LARGE, why, limit)
                return
            if half.state is HalfState.HEAD:
                problem = self._receive_response(stream, decode_response(data), body, end)
            else:
                problem = self._receive_trailers(stream, data, body, end)
        except RemoteProtocolError as exc:
            problem = str(exc)
        if problem is not None:
            self._fail(stream, ResetCode.PROTOCOL, problem)
        elif stream.id in self._streams and half.state is not HalfState.HEAD:
            self._receive_first_body(stream, payload, body, end)

    def _receive_response(
        self, stream: Stream, head: ResponseHead, body: bytes, end: bool
    ) -> str | None:
        part = _part_of(head.status)
        if part is Part.INTERIM_HEAD and (body or end):
            return "an informational head with a body or an end"
        if part is Part.SWITCH_HEAD:
            if not stream.upgrade or stream.sending.state is not HalfState.BODY:
                return "a 101 to a request that asks for no upgrade"
            stream.sending.switch()
        problem = stream.receiving.advance(part)
        if problem is not None:
            return problem
        if part is Part.HEAD:
            stream.receiving.expect(head.headers, bodiless=stream.bodiless(head.status))
            if stream.upgrade and stream.sending.state is HalfState.BODY:
                self.send_end(stream.id)  # the upgrade was declined: there are no raw bytes
        self._tell(ResponseReceived(stream.id, head))
        return None

    def _receive_trailers(self, stream: Stream, data: bytes, body: bytes, end: bool) -> str | None:
        if stream.upgrade and not stream.local:
            return "trailers on an upgrade"
        trailers = decode_trailers(data)
        if body or not end:
            return "trailers that are not the end"
        return stream.receiving.advance(Part.TRAILERS) or self._end(stream, trailers)

    def _receive_first_body(self, stream: Stream, payload: bytes, body: bytes, end: bool) -> None:
        if body and len(payload) > self._limits.max_frame:
            why = f"a frame of {len(payload)} bytes"
            self._fail(stream, ResetCode.PROTOCOL, why, "max_frame")
        elif stream.receiving.state is not HalfState.DONE:
            self._receive_body(stream, body, end)

    def _receive_body(self, stream: Stream, data: bytes, end: bool) -> None:
        half = stream.receiving
        if end and stream.held:
            self._fail(stream, ResetCode.PROTOCOL, "the end of an upgrade that is not answered")
            return
        if data:
            problem = half.advance(Part.DATA) or half.count(len(data))
            if problem is None and stream.upgrade and half.state is not HalfState.RAW:
                # A declined upgrade has an answer with a body, never a request with one.
                problem = None if stream.local else "bytes before the 101"
            if problem is not None:
                self._fail(stream, ResetCode.PROTOCOL, problem)
                return
            if self._is_too_long(stream):
                self._stop_body(stream, end)
                return
            if not stream.receive_window.receive(len(data)):
                self._fail(stream, ResetCode.FLOW, "more bytes than there was credit for")
                return
            # Joined until somebody looks: an event costs more than a copy, and credit counts bytes.
            self._pieces.setdefault(stream.id, []).append(data)
        if end:
            problem = self._end(stream, ())
            if problem is not None:
                self._fail(stream, ResetCode.PROTOCOL, problem)
        elif stream.local and half.full:
            self._await_end(stream)

    def _is_too_long(self, stream: Stream) -> bool:
        """Whether more of a body has come, or was announced, than this side wants."""
        limits = self._limits
        most = limits.max_response_body if stream.local else limits.max_body
        half = stream.receiving
        return most is not None and half.state is HalfState.BODY and half.expected > most

    def _stop_body(self, stream: Stream, end: bool) -> None:
        limit = "max_response_body" if stream.local else "max_body"
        why = f"a body of more than {getattr(self._limits, limit)} bytes"
        if not stream.local and stream.sending.state is HalfState.HEAD:
            self._answer_instead(stream, 413, end, ResetCode.TOO_LARGE, why, limit)
        else:
            self._fail(stream, ResetCode.TOO_LARGE, why, limit)

    def _await_end(self, stream: Stream) -> None:
        self._overdue[stream.id] = None
        if len(self._overdue) > _MAX_OVERDUE:
            oldest = self._streams[next(iter(self._overdue))]
            self._fail(oldest, ResetCode.CANCEL, "a complete response that has no end")

    def _tell_pieces(self, stream_id: int) -> None:
        pieces = self._pieces.pop(stream_id, None)
        if pieces is not None:
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            self._events.append(DataReceived(stream_id, data))

    def _tell(
        self,
        event: DataReceived
        | EndReceived
        | ResponseReceived
        | StopSending
        | StreamFailed
        | StreamClosed,
    ) -> None:
        """Tells an event of a stream, behind the bytes that came before it."""
        if self._pieces:
            self._tell_pieces(event.stream_id)
        self._events.append(event)

    def _end(self, stream: Stream, trailers: Headers) -> str | None:
        half = stream.receiving
        problem = half.complete() or half.advance(Part.END)
        if problem is None:
            self._tell(EndReceived(stream.id, trailers))
            if stream.done:
                self._remove(stream)
        return problem

    def _receive_reset(self, stream: Stream, code: int, reason: str) -> None:
        answered = stream.local and stream.receiving.state is HalfState.DONE
        if code == ResetCode.NO_ERROR and answered:
            self._tell(StopSending(stream.id))
        else:
            if code == ResetCode.REFUSED:
                code = _refusal_of(stream)
            self._tell_failure(stream, code, reason, by_peer=True)
        self._remove(stream)

    def _receive_goaway(self, payload: bytes) -> None:
        last_stream_id, code, reason = decode_goaway(payload)
        self._peer_going_away = True
        self._events.append(GoAwayReceived(last_stream_id, code, reason))
        beyond = [s for s in self._streams.values() if s.local and s.id > last_stream_id]
        for stream in beyond:
            code = _refusal_of(stream)
            self._tell_failure(stream, code, "the peer is going away", by_peer=True)
            self._remove(stream)

    # --- the table of streams -------------------------------------------------------------

    def _add_stream(self, stream_id: int, head: RequestHead, *, local: bool) -> Stream:
        limits = self._limits
        stream = Stream(
            stream_id,
            local=local,
            method=head.method,
            upgrade=head.upgrade is not None,
            send_window=SendWindow(self.peer.initial_window),
            receive_window=ReceiveWindow(limits.initial_window, limits.max_window, self._budget),
        )
        self._streams[stream_id] = stream
        return stream

    def _remove(self, stream: Stream) -> None:
        del self._streams[stream.id]
        self._overdue.pop(stream.id, None)
        if stream.local:
            self._local_open -= 1
        else:
            self._peer_open -= 1
        stream.receive_window.close()
        stream.out.clear()
        stream.out_end = False
        stream.out_bytes = 0
        self._tell(StreamClosed(stream.id))

    def _fail(self, stream: Stream, code: ResetCode, reason: str, limit: str | None = None) -> None:
        self._control.append(encode_reset(stream.id, code, reason))
        self._tell_failure(stream, code, reason, by_peer=False, limit=limit)
        self._remove(stream)

    def _tell_failure(
        self, stream: Stream, code: int, reason: str, *, by_peer: bool, limit: str | None = None
    ) -> None:
        if stream.out_reset is None:  # else it has failed already, by this side's own word
            self._tell(StreamFailed(stream.id, code, reason, by_peer, limit))

    def _reject(
        self, stream_id: int, code: ResetCode, reason: str, limit: str | None = None
    ) -> None:
        self._control.append(encode_reset(stream_id, code, reason))
        self._events.append(StreamRejected(stream_id, reason, limit))

    def _answer_instead(
        self, stream: Stream, status: int, end: bool, code: ResetCode, reason: str, limit: str
    ) -> None:
        """Answers in place of the app, which learns that the stream has failed."""
        self._answer(stream.id, status, end)
        self._tell(StreamFailed(stream.id, code, reason, False, limit))
        self._remove(stream)

    def _answer(self, stream_id: int, status: int, end: bool) -> None:
        """Answers a request without its app; `end` tells whether all of it has come."""
        headers = [(b"Content-Length", b"0")]
        data, _ = encode_response(ResponseHead(status, headers, _REASONS[status]))
        self._control.append(encode_frame(FrameType.HEAD, END, stream_id, data))
        if not end:
            self._control.append(encode_reset(stream_id, ResetCode.NO_ERROR, ""))


def _refusal_of(stream: Stream) -> ResetCode:
    """What a refusal amounts to: whoever has begun to answer has begun to run, whatever it says."""
    return ResetCode.INTERNAL if stream.receiving.head_bytes else ResetCode.REFUSED


def _part_of(status: int) -> Part:
    if status == 101:
        return Part.SWITCH_HEAD
    return Part.INTERIM_HEAD if status < 200 else Part.HEAD


def _demand(problem: str | None) -> None:
    if problem is not None:
        raise LocalProtocolError(problem)
