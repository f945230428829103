"""Multiplexer: many HTTP exchanges over one sequence of messages, without I/O (spec/protocol.md).

Order of calls::

    dialer     send_hello() ─> HandshakeCompleted ─> streams
    listener   HelloReceived ─> send_welcome() ─> HandshakeCompleted ─> streams

    in         receive_message(), then events.take()
    out        any send_*(), then next_message() until it gives None

Both drains are due after every call, whichever side it was on: what comes in may have to be
answered, and what goes out may complete a stream. Control frames leave first, then the streams take
turns, one frame each.

`receive_message()` raises `RemoteProtocolError` when the connection is beyond repair; anything that
concerns one stream alone ends that stream, by a RESET and a `StreamFailed`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from restsock._buffered import Buffered
from restsock._exceptions import LocalProtocolError, RemoteProtocolError
from restsock._options import Heartbeat, Limits

from ._envelopes import MessagingSettings, Settings, decode_envelope
from ._events import (
    EnvelopeReceived,
    Headers,
    ParsedRequest,
    Ping,
    PlainHead,
    Pong,
    RequestHead,
    ResetCode,
    ResponseHead,
)
from ._fields import connection_options, content_length
from ._flow import Budget
from ._frames import (
    MAX_PAYLOAD,
    encode_goaway,
    encode_ping,
    encode_reset,
    encode_window,
    flags_of,
)
from ._handshake import STEPS, Handshake
from ._heads import encode_request, encode_response, encode_trailers
from ._heads_fast import encode_request_fast, encode_response_fast
from ._receiver import receive_frame, receive_request
from ._stream import HalfState, Part
from ._stream_table import ENVELOPE_BUFFER, StreamTable

__all__ = ["Multiplexer"]

# Answers that a peer may have waiting for it while it sends but does not read: enough for any
# honest burst of refusals, little memory.
_MAX_CONTROL = 4096


class Multiplexer(StreamTable):
    """Many streams on one connection, each an HTTP exchange.

    Args:
        dialer: whether this side dialed: its streams have odd numbers.
        limits: what this side accepts.
        heartbeat: told to the peer in the handshake.
        new_id: makes the id of an envelope.
        unix_ms: the time, for envelopes, in milliseconds.
        buffered: counts what all connections hold, this one among them.
        messaging: told to the peer, where this side takes messages.

    Attributes:
        round_trip: in seconds; set it whenever it was measured, it steers how windows grow.
        numbered_pings: whether the peer's pings begin with a number of its own (spec, "Heartbeat").
    """

    __slots__ = ("_handshake", "_messaging", "round_trip")

    numbered_pings = True

    def __init__(
        self,
        *,
        dialer: bool,
        limits: Limits,
        heartbeat: Heartbeat,
        new_id: Callable[[], str],
        unix_ms: Callable[[], int],
        buffered: Buffered | None = None,
        messaging: MessagingSettings | None = None,
    ) -> None:
        budget = Budget(limits.receive_budget, buffered)
        super().__init__(dialer=dialer, limits=limits, budget=budget)
        self.round_trip: float | None = None
        self._messaging = messaging
        self._handshake = Handshake(
            dialer=dialer,
            settings=Settings.of(limits, heartbeat, messaging),
            limits=limits,
            new_id=new_id,
            unix_ms=unix_ms,
        )

    # --- questions ------------------------------------------------------------------------

    @property
    def connection_id(self) -> str | None:
        """The same at both ends; known from `welcome` on."""
        return self._handshake.connection_id

    @property
    def urls(self) -> tuple[str, ...]:
        """Where plain HTTP reaches the dialer, as `welcome` tells it."""
        return self._handshake.urls

    @property
    def open_streams(self) -> int:
        """How many streams are open, of both sides."""
        return len(self.streams)

    @property
    def can_open(self) -> bool:
        """Whether `open_stream()` would succeed now."""
        return self.accepts_streams and self.own_streams < self.peer.max_streams

    @property
    def leaving(self) -> bool:
        """Whether either side has announced, by GOAWAY, that it will close."""
        return self.going_away or self.peer_going_away

    def buffered(self, stream_id: int) -> int:
        """Body bytes of a stream that wait to be sent; 0 for a stream that is over."""
        stream = self.streams.get(stream_id)
        return 0 if stream is None else stream.out_bytes

    def is_open(self, stream_id: int) -> bool:
        """Whether a stream is not over yet."""
        return stream_id in self.streams

    def announced(self, stream_id: int) -> bool:
        """Whether the peer may know of a stream: a frame of it has been taken to be sent."""
        stream = self.streams.get(stream_id)
        return stream is None or stream.announced or not stream.local

    @property
    def has_output(self) -> bool:
        """Whether `next_message()` may have something to give."""
        return bool(self.control or self.ring)

    # --- handshake ------------------------------------------------------------------------

    def send_hello(self, name: str | None, metadata: Any) -> None:
        """The dialer's first step.

        Raises:
            LocalProtocolError: the metadata is not JSON, the name is not a name, or it is not
                the dialer's turn.
        """
        self.control.append(self._handshake.hello(name, metadata))

    def skip_handshake(self, connection_id: str, peer: Settings) -> None:
        """Takes both steps of the peer's as done, for one that does not take any."""
        self._handshake.skip(connection_id)
        self.peer = peer
        self.accepts_streams = False

    def send_welcome(self, connection_id: str, urls: Sequence[str] = ()) -> None:
        """The listener's answer to `HelloReceived`.

        Args:
            connection_id: a new one.
            urls: where plain HTTP reaches the dialer, `MAX_URLS` at most; see `is_plain_url`.

        Raises:
            LocalProtocolError: it is not the listener's turn, or the URLs cannot be told.
        """
        self.control.append(self._handshake.welcome(connection_id, urls))

    # --- out ------------------------------------------------------------------------------

    def open_stream(
        self, head: RequestHead, *, end: bool = False, plain: PlainHead | None = None
    ) -> int:
        """Sends a request.

        Args:
            head: hop-by-hop fields are left out; a wish to upgrade is kept.
            end: whether the request has no body.
            plain: the same head and its bytes, where they are known.

        Returns:
            The stream's number.

        Raises:
            LocalProtocolError: the head is malformed or too long, or `can_open` is false. Nothing
                was sent.
        """
        if not (self.accepts_streams and self.own_streams < self.peer.max_streams):
            raise LocalProtocolError("no stream can be opened now")
        flags = flags_of(head.scheme)
        found = plain[1:] if plain is not None and plain.head is head else encode_request_fast(head)
        if found is not None:
            data, length = found
            upgrade = False
        else:
            data, sent = encode_request(head)
            length = content_length(sent.headers)
            upgrade = sent.upgrade is not None
        if len(data) > MAX_PAYLOAD:
            raise LocalProtocolError(f"a request head of {len(data)} bytes is too long to send")
        if end and not upgrade and length:
            raise LocalProtocolError("a request with a Content-Length and without its body")
        stream = self.add(self.next_id, head.method, length, upgrade=upgrade)
        stream.opening = flags
        if found is None:  # else there is no Connection field
            stream.sending.named = connection_options(head.headers)
        stream.out.append((True, data))
        # The request half of an upgrade stays open: it is the way for the raw bytes.
        if end and not upgrade:
            stream.finish()
        if not stream.queued:
            self.make_ready(stream)
        return stream.id

    def send_head(self, stream_id: int, head: ResponseHead, plain: PlainHead | None = None) -> None:
        """Sends a response head: any number of informational ones, then the final one or a 101.

        Args:
            stream_id: of the stream.
            head: hop-by-hop fields are left out.
            plain: the same head and its bytes, where they are known.

        Raises:
            LocalProtocolError: the head is malformed or too long, or not due. Nothing was sent.
        """
        stream = self.streams.get(stream_id)
        if stream is None or stream.out_reset is not None:
            return
        if stream.local:
            raise LocalProtocolError("a response goes the other way on this stream")
        found = (
            plain[1:] if plain is not None and plain.head is head else encode_response_fast(head)
        )
        if found is not None:
            data, length = found
        else:
            data, sent = encode_response(head)
            length = content_length(sent.headers)
        if len(data) > MAX_PAYLOAD:
            raise LocalProtocolError(f"a response head of {len(data)} bytes is too long to send")
        problem = stream.answer(head.status, length)
        if problem is not None:
            raise LocalProtocolError(problem)
        if found is None and head.status >= 200:
            stream.sending.named = connection_options(head.headers)
        stream.out.append((True, data))
        if not stream.queued:
            self.make_ready(stream)

    def send_data(self, stream_id: int, data: bytes) -> None:
        """Queues body bytes; `buffered()` tells how many wait. A stream that is over swallows them.

        Raises:
            LocalProtocolError: a body is not due here, or longer than announced.
        """
        stream = self.streams.get(stream_id)
        if stream is None or not data or stream.out_reset is not None:
            return
        problem = stream.sending.add(len(data))
        if problem is not None:
            raise LocalProtocolError(problem)
        stream.out_bytes += len(data)
        stream.out.append((False, data))
        if not stream.queued:
            self.make_ready(stream)

    def send_end(self, stream_id: int, trailers: Headers = ()) -> None:
        """Completes this side's half.

        Raises:
            LocalProtocolError: the body is shorter than announced, the trailers are malformed, or
                nothing was begun.
        """
        stream = self.streams.get(stream_id)
        if stream is None or stream.out_reset is not None:
            return
        if trailers and stream.sending.named:
            trailers = [f for f in trailers if f[0].lower() not in stream.sending.named]
        data = encode_trailers(trailers) if trailers else b""
        if len(data) > MAX_PAYLOAD:
            raise LocalProtocolError(f"trailers of {len(data)} bytes are too long to send")
        problem = stream.finish(Part.TRAILERS if trailers else Part.END)
        if problem is not None:
            raise LocalProtocolError(problem)
        if trailers:
            stream.out.append((True, data))
        if not stream.queued:
            self.make_ready(stream)

    def reset_stream(self, stream_id: int, code: int, reason: str = "") -> None:
        """Ends a stream before its time. Harmless when it is over, or when repeated.

        INTERNAL says that this side has failed: its RESET comes after what waits to be sent, so
        that the peer gets all that was made before. It waits for credit as long as that takes;
        `give_up()`, or any other code, puts an end to that. Any other code drops what waits, and
        leaves at once. Nothing more is told of the stream but its `StreamClosed`.
        """
        stream = self.streams.get(stream_id)
        if stream is None:
            return
        if code == ResetCode.INTERNAL and (stream.out or stream.out_end):
            if stream.out_reset is None:
                self.break_off(stream, code, reason)
            return
        # A stream that the peer has not heard of is not worth a frame.
        if stream.announced or not stream.local:
            self.control.append(encode_reset(stream_id, code, reason))
        self.remove(stream)

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
        stream = self.streams.get(stream_id)
        if stream is not None and stream.out_reset is not None:
            self.finish_broken(stream)
            return
        if stream is None or stream.sending.state is HalfState.RAW:
            return
        complete = stream.receiving.state is HalfState.DONE
        if stream.sending.state is HalfState.HEAD:
            whole = complete or stream.receiving.state is HalfState.HELD
            status = 504 if whole else 408
            self.answer_instead(stream, status, complete, code, reason, limit)
        else:
            self.fail(stream, code, reason, limit)

    def close(self) -> None:
        """Notes that the connection has ended: what its streams hold counts no more."""
        self.budget.close()

    def window(self, stream_id: int) -> int:
        """The size of a stream's receive window now, in bytes; 0 of one that is over."""
        stream = self.streams.get(stream_id)
        return 0 if stream is None else stream.receive_window.size

    def consume(self, stream_id: int, nbytes: int, now: float) -> None:
        """Gives credit back for body bytes that are used up.

        Args:
            stream_id: the stream; one that is over is passed over.
            nbytes: how many bytes.
            now: the seconds of any clock that only moves forward.
        """
        stream = self.streams.get(stream_id)
        if stream is None or stream.out_reset is not None:
            return
        credit = stream.receive_window.consume(nbytes, now, self.round_trip)
        if credit and stream.receiving.state is not HalfState.DONE:
            self.control.append(encode_window(stream_id, credit))

    @property
    def envelope_room(self) -> int:
        """How many characters of envelopes may still wait for their turn."""
        return max(0, ENVELOPE_BUFFER - self.envelope_bytes)

    def send_envelope(self, text: str, size: int, *, first: bool = False) -> None:
        """Queues an envelope (spec, "Messages"). Envelopes and streams take turns.

        Args:
            text: all of it, of a type that is not of the handshake.
            size: its length in UTF-8, in bytes.
            first: whether it leaves before all streams, and before other envelopes: for answers,
                which are short. An `EnvelopesSent` tells when there is room for others.

        Raises:
            LocalProtocolError: the peer takes no messages, or none of this length. Nothing was
                sent.
        """
        most = 0 if self.peer.messaging is None else self.peer.messaging.max_message
        if size > most:
            raise LocalProtocolError(
                f"an envelope of {size} bytes, where the peer takes {most}"
                if most
                else "the peer takes no messages"
            )
        if first:
            self.control.append(text)
            return
        if self.envelopes is None:
            self.envelopes = deque()
        if not self.envelopes:
            self.ring.append(None)
        self.envelopes.append(text)
        self.envelope_bytes += len(text)

    def send_goaway(self, code: int, reason: str = "") -> None:
        """Tells the peer that no further stream of its will be started. Only the first is sent."""
        if self._handshake.done and not self.going_away:
            self.going_away = True
            self.accepts_streams = False
            self.control.append(encode_goaway(self.last_peer_stream_id, code, reason))

    def send_ping(self, payload: bytes) -> None:
        """Queues a PING of 8 bytes, which the peer has said that it answers (`ping_frames`)."""
        self.send_beat(encode_ping(payload))

    # --- in -------------------------------------------------------------------------------

    def take_beats(self) -> tuple[Ping | Pong, ...]:
        """The PING and PONG frames that have come since the last call: the latest of them."""
        beats, self.events.beats = self.events.beats, ()
        return beats

    def receive_message(self, message: str | bytes, rest: bytes = b"") -> None:
        """Takes in a whole message.

        Args:
            message: all of it; or no more than the header of a frame, if there is a rest.
            rest: the payload of the frame, if it came apart: a WebSocket splits long messages at
                `HEADER_SIZE`.

        Raises:
            RemoteProtocolError: the connection has to be closed, with the error's `close_code`.
        """
        if not self._handshake.done:
            self._receive_handshake(message)
        elif isinstance(message, str):
            envelope = decode_envelope(message)
            if envelope.type in STEPS:
                raise RemoteProtocolError("a handshake message after the handshake")
            # Where this side has not said that it takes messages, all types are reserved, and
            # ignored.
            if self._messaging is not None:
                size = len(message) if message.isascii() else len(message.encode())
                self.events.ready.append(EnvelopeReceived(envelope, size))
        else:
            receive_frame(self, message, rest)
            if len(self.control) > _MAX_CONTROL:
                raise RemoteProtocolError("the peer sends much and reads nothing")

    def receive_request(self, request: ParsedRequest) -> None:
        """Takes in a request whose head was read already: as the frame that it came in, if it did.

        After the handshake, with a stream that was not opened before.
        """
        receive_request(self, request)

    def _receive_handshake(self, message: str | bytes) -> None:
        event, answer = self._handshake.receive(message)
        self.peer = self._handshake.peer
        self.accepts_streams = self._handshake.done
        if answer is not None:
            self.control.append(answer)
        self.events.ready.append(event)
