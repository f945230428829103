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
    ParsedRequest,
    Ping,
    PlainHead,
    Pong,
    RequestReceived,
    ResetCode,
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
    encode_pong,
    encode_window,
    scheme_in,
)
from ._heads import decode_request, decode_response, decode_trailers, split_head
from ._heads_fast import decode_request_fast, decode_response_fast
from ._stream import HalfState, Part, Stream
from ._stream_table import StreamTable

__all__ = ["receive_frame", "receive_request"]


def receive_frame(table: StreamTable, message: bytes, rest: bytes) -> None:
    """Takes in a whole frame; see `decode_frame`.

    Raises:
        RemoteProtocolError: the connection has to be closed.
    """
    type, flags, stream_id, payload = decode_frame(message, rest)
    if type == FrameType.GOAWAY:
        _receive_goaway(table, payload)
        return
    if type == FrameType.PING:
        table.send_beat(encode_pong(payload))
        table.events.add_beat(Ping(payload))
        return
    if type == FrameType.PONG:
        table.events.add_beat(Pong(payload))
        return
    if not FrameType.HEAD <= type <= FrameType.GOAWAY:
        return
    # Encodings are checked for every stream, so that what is malformed does not depend on
    # whether the stream is still open.
    reset = decode_reset(payload) if type == FrameType.RESET else None
    credit = decode_window(payload) if type == FrameType.WINDOW else 0
    stream = table.streams.get(stream_id)
    end = Part.END if flags & END else None
    if stream is None:
        local = bool(stream_id % 2) == table.dialer
        if stream_id < table.next_id if local else stream_id <= table.last_peer_stream_id:
            return  # it is over; the peer did not know when it sent this
        if local or type != FrameType.HEAD:
            raise RemoteProtocolError(
                f"a {FrameType(type).name} frame on stream {stream_id}, which was never opened"
            )
        _receive_request(table, stream_id, payload, flags)
    elif stream.local and not stream.announced:
        # It waits here for its turn: the peer cannot know of it (spec, 9.1: an idle id).
        raise RemoteProtocolError(f"a frame on stream {stream_id}, which was never opened")
    elif reset is not None:
        _receive_reset(table, stream, *reset)
    elif credit:
        _receive_window(table, stream, credit)
    elif stream.out_reset is not None:
        _pass_over(table, stream, payload, is_head=type == FrameType.HEAD)
    elif type == FrameType.HEAD:
        _receive_head(table, stream, payload, end)
    else:
        _receive_body(table, stream, payload, len(payload), end)


# --- heads ----------------------------------------------------------------------------


def receive_request(table: StreamTable, request: ParsedRequest) -> None:
    """Takes in the head of a request that was read already, and what came with it."""
    if _is_admitted(table, request.stream_id) and _fits(
        table, request.stream_id, request.data, request.end
    ):
        _open(table, request)


def _receive_request(table: StreamTable, stream_id: int, payload: bytes, flags: int) -> None:
    if not _is_admitted(table, stream_id):
        return
    end = bool(flags & END)
    try:
        data, body = split_head(payload)
        if not _fits(table, stream_id, data, end):
            return
        scheme = scheme_in(flags)
        found = decode_request_fast(data, scheme)
        if found is not None:
            head, length = found
            plain = PlainHead(head, data, length)
        else:
            head = decode_request(data)._replace(scheme=scheme)
            length = content_length(head.headers)
            plain = None
    except RemoteProtocolError as exc:
        table.reject(stream_id, ResetCode.PROTOCOL, str(exc))
        return
    if plain is None and head.upgrade is not None and (end or body):
        table.reject(stream_id, ResetCode.PROTOCOL, "an upgrade with a body or an end")
        return
    _open(table, ParsedRequest(stream_id, head, data, length, plain, body, end))


def _is_admitted(table: StreamTable, stream_id: int) -> bool:
    """Notes a stream of the peer's; tells whether there may be one, and refuses it if not."""
    table.last_peer_stream_id = stream_id
    if table.going_away:
        table.reject(stream_id, ResetCode.REFUSED, "going away", "going_away")
    elif table.peer_streams >= table.limits.max_streams:
        table.reject(stream_id, ResetCode.REFUSED, "too many streams", "max_streams")
    elif table.budget.overdrawn:
        why = "too many bytes that were not taken"
        table.reject(stream_id, ResetCode.REFUSED, why, "buffered_total")
    else:
        return True
    return False


def _fits(table: StreamTable, stream_id: int, data: bytes, end: bool) -> bool:
    """Whether a request head is not too long; else it is answered."""
    limits = table.limits
    fields = data.count(b"\n") - 2
    if len(data) <= limits.max_head and fields <= limits.max_fields:
        return True
    limit = "max_head" if len(data) > limits.max_head else "max_fields"
    why = f"a request head of {len(data)} bytes with {fields} fields"
    table.reject_with(stream_id, 431, end, why, limit)
    return False


def _open(table: StreamTable, request: ParsedRequest) -> None:
    stream_id, head, data, length, plain, body, end = request
    limits = table.limits
    if limits.max_body is not None and length is not None and length > limits.max_body:
        why = f"a request body of {length} bytes"
        table.reject_with(stream_id, 413, end, why, "max_body")
        return
    upgrade = plain is None and head.upgrade is not None
    stream = table.add(stream_id, head.method, length, upgrade=upgrade)
    stream.receiving.head_bytes = len(data)
    stream.receiving.head_fields = data.count(b"\n") - 2
    table.events.ready.append(RequestReceived(stream_id, head, plain))
    if body or end:
        _receive_body(table, stream, body, len(data) + len(body), Part.END if end else None)


def _receive_head(table: StreamTable, stream: Stream, payload: bytes, end: Part | None) -> None:
    half, limits = stream.receiving, table.limits
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
            table.fail(stream, ResetCode.TOO_LARGE, why, limit)
            return
        if not is_response:
            trailers = decode_trailers(data)
            if body or end is None:
                raise RemoteProtocolError("trailers that are not the end")
            _receive_body(table, stream, b"", 0, Part.TRAILERS, trailers)
            return
        plain = None
        found = decode_response_fast(data)
        if found is not None:
            head, length = found
            plain = PlainHead(head, data, length)
        else:
            head = decode_response(data)
            length = content_length(head.headers)
            if (body or end) and head.status < 200 and head.status != 101:
                raise RemoteProtocolError("an informational head with a body or an end")
        problem = stream.answer(head.status, length)
    except RemoteProtocolError as exc:
        problem = str(exc)
    if problem is not None:
        table.fail(stream, ResetCode.PROTOCOL, problem)
        return
    if stream.sending.state is HalfState.EMPTY:  # declined: there are no raw bytes
        stream.finish()
        table.make_ready(stream)
    table.events.ready.append(ResponseReceived(stream.id, head, plain))
    if half.state is not HalfState.HEAD:
        _receive_body(table, stream, body, len(payload), end)


# --- bodies and ends ------------------------------------------------------------------


def _receive_body(
    table: StreamTable,
    stream: Stream,
    data: bytes,
    size: int,
    end: Part | None,
    trailers: Headers = (),
) -> None:
    """Takes in what a frame with a payload of `size` bytes has of a body, and its end."""
    half, limits = stream.receiving, table.limits
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
            _stop_body(table, stream, end is not None)
            return
        if not stream.receive_window.receive(len(data)):
            table.fail(stream, ResetCode.FLOW, "more bytes than there was credit for")
            return
        table.events.add_data(stream.id, data)
    if end is not None:
        problem = half.advance(end)
        if problem is not None:
            table.fail(stream, ResetCode.PROTOCOL, problem)
            return
        table.events.ready.append(EndReceived(stream.id, trailers))
        if stream.sent:
            table.remove(stream)
    elif stream.local and half.full:
        table.await_end(stream)


def _stop_body(table: StreamTable, stream: Stream, end: bool) -> None:
    """Ends a stream of whose body more has come, or was announced, than this side wants."""
    limit = "max_response_body" if stream.local else "max_body"
    why = f"a body of more than {getattr(table.limits, limit)} bytes"
    if not stream.local and stream.sending.state is HalfState.HEAD:
        table.answer_instead(stream, 413, end, ResetCode.TOO_LARGE, why, limit)
    else:
        table.fail(stream, ResetCode.TOO_LARGE, why, limit)


def _pass_over(table: StreamTable, stream: Stream, payload: bytes, *, is_head: bool) -> None:
    """Drops what comes on a stream that was broken off, and gives its credit back."""
    nbytes = len(payload.partition(b"\r\n\r\n")[2] if is_head else payload)
    if nbytes:
        table.control.append(encode_window(stream.id, nbytes))


# --- RESET, WINDOW, GOAWAY ------------------------------------------------------------


def _receive_reset(table: StreamTable, stream: Stream, code: int, reason: str) -> None:
    if code == ResetCode.REFUSED:
        table.fail_refused(stream, reason)
        return
    answered = stream.local and stream.receiving.state is HalfState.DONE
    if code == ResetCode.NO_ERROR and answered:
        table.events.ready.append(StopSending(stream.id))
    else:
        table.tell_failure(stream, code, reason, by_peer=True)
    table.remove(stream)


def _receive_window(table: StreamTable, stream: Stream, credit: int) -> None:
    if stream.sent:
        return
    problem = stream.add_credit(credit)
    if problem is not None:
        table.fail(stream, ResetCode.FLOW, problem)
    else:
        table.make_ready(stream)


def _receive_goaway(table: StreamTable, payload: bytes) -> None:
    last_stream_id, code, reason = decode_goaway(payload)
    table.peer_going_away, table.accepts_streams = True, False
    table.events.ready.append(GoAwayReceived(last_stream_id, code, reason))
    beyond = [s for s in table.streams.values() if s.local and s.id > last_stream_id]
    for stream in beyond:
        table.fail_refused(stream, "the peer is going away")
