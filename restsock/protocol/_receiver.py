"""What a frame of the peer's does to the streams (spec, "Transitions").

An error of one stream ends that stream alone. `RemoteProtocolError` leaves this module only where
the connection is beyond repair.
"""

from __future__ import annotations

from restsock._exceptions import RemoteProtocolError

from ._events import (
    EndReceived,
    GoAwayReceived,
    Headers,
    RequestHead,
    RequestReceived,
    ResetCode,
    ResponseHead,
    ResponseReceived,
    StopSending,
)
from ._fields import content_length
from ._frames import (
    END,
    FrameType,
    decode_frame,
    decode_goaway,
    decode_reset,
    decode_window,
    encode_window,
    scheme_in,
)
from ._heads import decode_request, decode_response, decode_trailers, split_head
from ._stream import HalfState, Part, Stream
from ._stream_table import StreamTable

__all__ = ["Receiver"]


class Receiver:
    """Takes frames in, and changes the streams of a table by them."""

    __slots__ = ("_events", "_limits", "_table")

    def __init__(self, table: StreamTable) -> None:
        self._table = table
        self._events = table.events
        self._limits = table.limits

    def receive_frame(self, message: bytes, rest: bytes = b"") -> None:
        """Takes in a whole frame; see `decode_frame`.

        Raises:
            RemoteProtocolError: the connection has to be closed.
        """
        type, flags, stream_id, payload = decode_frame(message, rest)
        if type == FrameType.GOAWAY:
            self._receive_goaway(payload)
            return
        if not FrameType.HEAD <= type <= FrameType.GOAWAY:
            return
        # Encodings are checked for every stream, so that what is malformed does not depend on
        # whether the stream is still open.
        reset = decode_reset(payload) if type == FrameType.RESET else None
        credit = decode_window(payload) if type == FrameType.WINDOW else 0
        table = self._table
        stream = table.streams.get(stream_id)
        end = bool(flags & END)
        if stream is None:
            if table.was_opened(stream_id):
                return  # it is over; the peer did not know when it sent this
            if bool(stream_id % 2) == table.dialer or type != FrameType.HEAD:
                raise RemoteProtocolError(
                    f"a {FrameType(type).name} frame on stream {stream_id}, which was never opened"
                )
            self._receive_request(stream_id, payload, flags)
        elif stream.local and not stream.announced:
            # It waits here for its turn: the peer cannot know of it (spec, 9.1: an idle id).
            raise RemoteProtocolError(f"a frame on stream {stream_id}, which was never opened")
        elif reset is not None:
            self._receive_reset(stream, *reset)
        elif credit:
            self._receive_window(stream, credit)
        elif stream.out_reset is not None:
            self._pass_over(stream, payload, is_head=type == FrameType.HEAD)
        elif type == FrameType.HEAD:
            self._receive_head(stream, payload, end)
        else:
            self._receive_body(stream, payload, end, len(payload))

    # --- heads ----------------------------------------------------------------------------

    def _receive_request(self, stream_id: int, payload: bytes, flags: int) -> None:
        end = bool(flags & END)
        table, limits = self._table, self._limits
        table.last_peer_id = stream_id
        if table.going_away:
            table.reject(stream_id, ResetCode.REFUSED, "going away", "going_away")
            return
        if table.peer_open >= limits.max_streams:
            table.reject(stream_id, ResetCode.REFUSED, "too many streams", "max_streams")
            return
        if table.budget.overdrawn:
            why = "too many bytes that nobody has taken"
            table.reject(stream_id, ResetCode.REFUSED, why, "buffered_total")
            return
        try:
            data, body = split_head(payload)
            fields = data.count(b"\n") - 2
            if len(data) > limits.max_head or fields > limits.max_fields:
                limit = "max_head" if len(data) > limits.max_head else "max_fields"
                why = f"a request head of {len(data)} bytes with {fields} fields"
                table.reject_with(stream_id, 431, end, why, limit)
                return
            head = decode_request(data)
        except RemoteProtocolError as exc:
            table.reject(stream_id, ResetCode.PROTOCOL, str(exc))
            return
        scheme = scheme_in(flags)
        if scheme is not None:
            head = RequestHead(head.method, head.target, head.headers, scheme)
        upgrade = head.upgrade is not None
        if upgrade and (end or body):
            table.reject(stream_id, ResetCode.PROTOCOL, "an upgrade with a body or an end")
            return
        if limits.max_body is not None:
            announced = content_length(head.headers)
            if announced is not None and announced > limits.max_body:
                why = f"a request body of {announced} bytes"
                table.reject_with(stream_id, 413, end, why, "max_body")
                return
        stream = table.accept(stream_id, head, upgrade=upgrade)
        stream.receiving.head_bytes = len(data)
        stream.receiving.head_fields = fields
        self._events.ready.append(RequestReceived(stream_id, head))
        self._receive_body(stream, body, end, len(payload))

    def _receive_head(self, stream: Stream, payload: bytes, end: bool) -> None:
        half, limits = stream.receiving, self._limits
        problem: str | None
        try:
            data, body = split_head(payload)
            is_response = half.state is HalfState.HEAD
            fields = data.count(b"\n") - (2 if is_response else 1)
            half.head_bytes += len(data)
            half.head_fields += fields
            too_long = len(data) > limits.max_head or half.head_bytes > 2 * limits.max_head
            if too_long or fields > limits.max_fields or half.head_fields > 2 * limits.max_fields:
                limit = "max_head" if too_long else "max_fields"
                why = f"a head of {len(data)} bytes with {fields} fields"
                self._table.fail(stream, ResetCode.TOO_LARGE, why, limit)
                return
            if is_response:
                problem = self._receive_response(stream, decode_response(data), body, end)
            else:
                trailers = decode_trailers(data)
                if body or not end:
                    problem = "trailers that are not the end"
                else:
                    problem = self._end(stream, Part.TRAILERS, trailers)
        except RemoteProtocolError as exc:
            problem = str(exc)
        if problem is not None:
            self._table.fail(stream, ResetCode.PROTOCOL, problem)
        elif is_response and half.state is not HalfState.HEAD:
            self._receive_body(stream, body, end, len(payload))

    def _receive_response(
        self, stream: Stream, head: ResponseHead, body: bytes, end: bool
    ) -> str | None:
        if (body or end) and head.status < 200 and head.status != 101:
            return "an informational head with a body or an end"
        problem = stream.answer(head)
        if problem is None:
            if stream.sending.state is HalfState.EMPTY:  # declined: there are no raw bytes
                stream.finish()
                self._table.make_ready(stream)
            self._events.tell(ResponseReceived(stream.id, head))
        return problem

    # --- bodies and ends ------------------------------------------------------------------

    def _receive_body(self, stream: Stream, data: bytes, end: bool, size: int) -> None:
        """Takes in what a frame with a payload of `size` bytes has of a body."""
        half, limits, table = stream.receiving, self._limits, self._table
        problem: str | None
        if data:
            if size > limits.max_frame:
                why = f"a frame of {size} bytes"
                table.fail(stream, ResetCode.PROTOCOL, why, "max_frame")
                return
            problem = half.add(len(data))
            if problem is not None:
                table.fail(stream, ResetCode.PROTOCOL, problem)
                return
            most = limits.max_response_body if stream.local else limits.max_body
            if most is not None and half.state is HalfState.BODY and half.size > most:
                self._stop_body(stream, end)
                return
            if not stream.receive_window.receive(len(data)):
                table.fail(stream, ResetCode.FLOW, "more bytes than there was credit for")
                return
            self._events.pieces.setdefault(stream.id, []).append(data)
        if end:
            problem = self._end(stream, Part.END, ())
            if problem is not None:
                table.fail(stream, ResetCode.PROTOCOL, problem)
        elif stream.local and half.full:
            table.await_end(stream)

    def _end(self, stream: Stream, part: Part, trailers: Headers) -> str | None:
        problem = stream.receiving.finish(part)
        if problem is None:
            self._events.tell(EndReceived(stream.id, trailers))
            if stream.sent:
                self._table.remove(stream)
        return problem

    def _stop_body(self, stream: Stream, end: bool) -> None:
        """Ends a stream of whose body more has come, or was announced, than this side wants."""
        limit = "max_response_body" if stream.local else "max_body"
        why = f"a body of more than {getattr(self._limits, limit)} bytes"
        if not stream.local and stream.sending.state is HalfState.HEAD:
            self._table.answer_instead(stream, 413, end, ResetCode.TOO_LARGE, why, limit)
        else:
            self._table.fail(stream, ResetCode.TOO_LARGE, why, limit)

    def _pass_over(self, stream: Stream, payload: bytes, *, is_head: bool) -> None:
        """What comes on a stream that was broken off is for nobody, and costs no credit."""
        nbytes = len(payload.partition(b"\r\n\r\n")[2] if is_head else payload)
        if nbytes:
            self._table.control.append(encode_window(stream.id, nbytes))

    # --- RESET, WINDOW, GOAWAY ------------------------------------------------------------

    def _receive_reset(self, stream: Stream, code: int, reason: str) -> None:
        if code == ResetCode.REFUSED:
            self._table.fail_refused(stream, reason)
            return
        answered = stream.local and stream.receiving.state is HalfState.DONE
        if code == ResetCode.NO_ERROR and answered:
            self._events.tell(StopSending(stream.id))
        else:
            self._table.tell_failure(stream, code, reason, by_peer=True)
        self._table.remove(stream)

    def _receive_window(self, stream: Stream, credit: int) -> None:
        if stream.sent:
            return
        try:
            stream.send_window.add(credit)
        except RemoteProtocolError as exc:
            self._table.fail(stream, ResetCode.FLOW, str(exc))
        else:
            self._table.make_ready(stream)

    def _receive_goaway(self, payload: bytes) -> None:
        last_stream_id, code, reason = decode_goaway(payload)
        table = self._table
        table.peer_going_away = True
        self._events.ready.append(GoAwayReceived(last_stream_id, code, reason))
        beyond = [s for s in table.streams.values() if s.local and s.id > last_stream_id]
        for stream in beyond:
            table.fail_refused(stream, "the peer is going away")
