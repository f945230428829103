"""HTTP/1.1 seen from its server, without I/O: it takes the place of the WebSocket in a `Pipeline`.

A client of plain HTTP asks for the same things as a peer, in another form. So this makes frames of
its requests, as a peer would have sent them, for a `Multiplexer` (a head is handed on as it was
read here); and bytes of the frames that this one answers with. Limits, states, flow control and
errors are the multiplexer's, as for any peer:

| from the client | to the multiplexer |   | from the multiplexer | to the client            |
|-----------------|--------------------|---|----------------------|--------------------------|
| a head          | a new stream       |   | HEAD                 | a head, with its framing |
| its body        | DATA               |   | DATA                 | bytes, or a chunk        |
| its end         | END                |   | END                  | the last chunk, if any   |
| trailers        | HEAD with END      |   | HEAD with END, later | trailers, after chunks   |
| raw bytes       | DATA               |   | RESET                | an error, or a break     |
|                 |                    |   | WINDOW               | (more of a body is read) |
|                 |                    |   | GOAWAY               | `Connection: close`      |

One request at a time: the next is read when the response to the one before has been written.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from restsock._options import Limits
from restsock.protocol import (
    END,
    HEADER,
    HEADER_SIZE,
    BinaryMessage,
    FrameType,
    ParsedRequest,
    ResetCode,
    WebSocketEvent,
    decode_reset,
    encode_reset,
    encode_trailers,
    encode_window,
)

from ._chunked import ChunkedBody
from ._due import Due
from ._last_answer import last_answer
from ._raw_reader import RawBytesReader
from ._request_head import BadRequestError, ParsedHead, parse_request_head
from ._response_framing import ResponseFraming, without_length
from ._trailers import allowed_trailers

__all__ = ["CREDIT", "Downstream"]

# Bytes that have come and cannot be used yet, above which no more are read.
_BACKLOG = 64 * 1024
# The client takes bytes as its socket does; the credit of the stream never is what it waits for.
CREDIT = 2**31 - 1
_MORE_CREDIT = 2**30
_LAST_ID = 2**32 - 3
_BLANK_LINE = b"\r\n\r\n"

_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}

# What a stream that was reset before its answer is answered with.
_STATUS: dict[int, int] = {
    ResetCode.TIMEOUT: 504,
    ResetCode.REFUSED: 503,
    ResetCode.CANCEL: 503,
    ResetCode.TOO_LARGE: 413,
    ResetCode.PROTOCOL: 502,
}


class Downstream:
    """One connection of a client of plain HTTP; the `MessageLayer` of its pipeline.

    Args:
        limits: of this side.
        scheme: what the client has used, `"http"` or `"https"`, as far as this hop knows.
        date: the time now, as in a Date field.
        clock: seconds, of any clock that only moves forward.
        on_turn: is called, with the lock of the connection, whenever there is something to do for
            it that is neither to read nor to write: `over` was set, or input can be gone on with.

    Attributes:
        due: what the client is to send next.
        stream_id: of the latest request; -1 before the first.
        paused: whether no more bytes should be read for now.
        over: whether nothing more is read, and what is due is the last that leaves.
        answered_at: when the latest response was complete, if another request may follow it.
        closed_idle: whether it was closed between two requests, so that no response has told of it.
        broken: whether a response was cut off that only a broken connection tells from a whole one.
        problem: why the client's request was not accepted; `None` while all are.
        events: frames for the multiplexer.
        out: bytes that are due.
        raw: takes raw bytes after a 101; without it they go to the multiplexer.
    """

    # What a carrier other than a socket has its own: see `restsock.swaggersocket`.
    answers_close = True  # there is none
    upgrades = True  # whether a request may become raw bytes
    last = True  # whether a response after which nothing is read says so

    __slots__ = (
        *("_buffer", "_chunks", "_clock", "_credit", "_date", "_keep_alive", "_left", "_limits"),
        *("_request", "_response", "_scheme", "_sent", "_turning", "_whole", "answered_at"),
        *("broken", "close_received", "close_sent", "closed_idle", "due", "events", "on_turn"),
        *("out", "over", "paused", "pongs", "problem", "raw", "stream_id"),
    )

    def __init__(
        self,
        limits: Limits,
        scheme: str,
        date: Callable[[], bytes],
        clock: Callable[[], float],
        on_turn: Callable[[], object] | None = None,
    ) -> None:
        self.on_turn = on_turn
        self.answered_at = clock()
        self.closed_idle = False
        self.due = Due.REQUEST
        self.stream_id = -1
        self.paused = False
        self.over = False
        self.broken = False
        self.problem: str | None = None
        self.close_sent = False
        self.close_received = False
        self.events: list[WebSocketEvent] = []
        self.out: list[bytes | bytearray | memoryview] = []
        self.pongs: list[bytes] = []
        self.raw: RawBytesReader | None = None
        self._limits = limits
        self._scheme = scheme
        self._date = date
        self._clock = clock
        self._buffer = bytearray()
        self._request: ParsedHead | None = None  # of the exchange that is under way
        self._response: ResponseFraming | None = None  # of its final head, once that has come
        self._chunks: ChunkedBody | None = None  # of a body in chunks, until all of it has come
        self._left = 0  # bytes of the body that have not come
        self._credit = 0
        self._sent = 0  # body bytes since the client's credit was renewed
        self._whole = False  # whether all of the request has been handed on
        self._keep_alive = True
        self._turning = False

    # --- in -------------------------------------------------------------------------------

    @property
    def waiting(self) -> bool:
        """Whether more of a body is due, and would be taken."""
        return self.due in (Due.BODY, Due.CHUNKS) and self._credit > 0

    @property
    def cut_off(self) -> bool:
        """Whether a response is or, if the connection ended now, would be cut off like that."""
        return self.broken or (self._response is not None and self._response.ends_with_connection)

    @property
    def answering(self) -> bool:
        """Whether a request has begun to come whose response is not complete."""
        return self._request is not None

    def receive_data(self, data: bytes) -> None:
        """Takes in bytes, or goes on with those that are there. Raises nothing."""
        if self.over:
            return
        self._buffer += data
        try:
            while self._advance():
                pass
        except BadRequestError as exc:
            self._refuse(exc)
        self.paused = len(self._buffer) > _BACKLOG or bool(self.raw and self.raw.full)

    def next_event(self) -> WebSocketEvent | None:
        """Takes one frame for the multiplexer."""
        return self.events.pop(0) if self.events else None

    def _advance(self) -> bool:
        """Makes one step with what is in the buffer; tells whether there may be another."""
        due = self.due
        if due is Due.REQUEST or due is Due.HEAD:
            return self._receive_head()
        if due is Due.BODY:
            return self._receive_body()
        if due is Due.CHUNKS:
            return self._receive_chunks()
        if due is Due.RAW:
            return self._receive_raw()
        return False

    def _receive_head(self) -> bool:
        buffer = self._buffer
        if self.due is Due.REQUEST:
            while buffer[:2] == b"\r\n":  # RFC 9112, section 2.2
                del buffer[:2]
            if not buffer or buffer == b"\r":
                return False
            self.due = Due.HEAD
        limit = self._limits.max_head
        at = buffer.find(_BLANK_LINE, 0, limit)
        if at < 0:
            if buffer[:1] < b"!" or buffer.find(b"\n\n", 0, limit) >= 0:
                raise BadRequestError(400, "a malformed request head")
            if len(buffer) >= limit:
                raise BadRequestError(431, "a request head that is too long")
            return False
        head = bytes(buffer[: at + 4])
        del buffer[: at + 4]
        self._begin(parse_request_head(head, self._scheme, upgrades=self.upgrades))
        return bool(buffer)

    def _begin(self, request: ParsedHead) -> None:
        self._request = request
        self._response = None
        self.stream_id += 2
        self._keep_alive = self._keep_alive and request.keep_alive and self.stream_id < _LAST_ID
        self._credit = self._limits.initial_window
        self._sent = 0
        self._left = 0
        self._chunks = None
        self._whole = False
        self.due = Due.NOTHING
        body = b""
        if request.chunked:
            self.due, self._chunks = Due.CHUNKS, ChunkedBody(self._limits.max_head)
        elif request.length:
            self.due, self._left = Due.BODY, request.length
            room = min(self._credit, self._limits.max_frame - len(request.payload))
            if request.length <= min(len(self._buffer), room):
                body = self._take(request.length)
                self._complete()
        else:
            self._whole = not request.upgrade
        self.events.append(
            ParsedRequest(
                self.stream_id,
                request.head,
                request.payload,
                request.length,
                request.plain,
                body,
                self._whole,
            )
        )

    def _complete(self) -> None:
        """All of the request is there."""
        self._whole = True
        self._left = 0
        self._chunks = None
        self.due = Due.NOTHING

    def _take(self, nbytes: int) -> bytes:
        data = bytes(self._buffer[:nbytes])
        del self._buffer[:nbytes]
        self._credit -= nbytes
        return data

    def _receive_body(self) -> bool:
        size = min(len(self._buffer), self._left, self._credit, self._limits.max_frame)
        if size <= 0:
            return False
        data = self._take(size)
        self._left -= size
        end = not self._left
        if end:
            self._complete()
        self._tell(FrameType.DATA, END if end else 0, data)
        return True

    def _receive_raw(self) -> bool:
        if self.raw is not None:
            if self._buffer and not self.raw.full:
                self.raw.receive(bytes(self._buffer))
                self._buffer.clear()
            return False
        size = min(len(self._buffer), self._credit, self._limits.max_frame)
        if size <= 0:
            return False
        self._tell(FrameType.DATA, 0, self._take(size))
        return True

    def _receive_chunks(self) -> bool:
        chunks, request = self._chunks, self._request
        assert chunks is not None
        assert request is not None
        # Joined: a frame for each of many tiny chunks would cost much more than they did.
        pieces = []
        room = min(self._credit, self._limits.max_frame)
        try:
            while piece := chunks.take(self._buffer, room):
                pieces.append(piece)
                room -= len(piece)
        finally:  # what came before a malformed chunk is told, however the bytes were cut
            if pieces:
                data = b"".join(pieces)
                self._credit -= len(data)
                self._tell(FrameType.DATA, 0, data)
        if chunks.trailers is not None:
            self._complete()
            trailers = allowed_trailers(chunks.trailers, request.named)
            if trailers:
                self._tell(FrameType.HEAD, END, encode_trailers(trailers))
            else:
                self._tell(FrameType.DATA, END, b"")
        return bool(pieces)

    def _tell(self, type: FrameType, flags: int, payload: bytes) -> None:
        header = HEADER.pack(type, flags, 0, self.stream_id)
        if payload:
            self.events.append(BinaryMessage(header, payload))
        else:
            self.events.append(BinaryMessage(header))

    def time_out(self) -> None:
        """Answers that the client has not sent in time what is due, and ends the connection."""
        if not self.over:
            self._refuse(BadRequestError(408, "the request did not come in time"))

    def _refuse(self, error: BadRequestError) -> None:
        """Answers what is no request, if that can be, and ends the connection."""
        self.problem = str(error)
        if self._request is not None and not self._whole:
            reset = encode_reset(self.stream_id, ResetCode.PROTOCOL, str(error))
            self.events.append(BinaryMessage(reset))
        self._end_with(error.status, f"{error}.\n")

    # --- out ------------------------------------------------------------------------------

    def send_text(self, data: str) -> None:
        """Envelopes mean nothing to the client."""

    def send_ping(self, payload: bytes = b"") -> None:
        """Nor do pings."""

    def send_binary(self, *parts: bytes | memoryview) -> int:
        """Writes what a frame says; returns its size."""
        size = sum(map(len, parts))
        type, flags, _, stream_id = HEADER.unpack_from(parts[0])
        if type == FrameType.GOAWAY:
            self._keep_alive = False
        elif self.over or self._request is None or stream_id != self.stream_id:
            pass  # it concerns an exchange that is over
        elif type == FrameType.WINDOW:
            self._credit += int.from_bytes(parts[0][HEADER_SIZE:], "big")
            if self._buffer:
                self._turn()
        elif type == FrameType.RESET:
            self._send_reset(*decode_reset(bytes(parts[0][HEADER_SIZE:])))
        elif type == FrameType.HEAD or type == FrameType.DATA:
            payload = [parts[0][HEADER_SIZE:]] if len(parts[0]) > HEADER_SIZE else []
            self._send_frame(type, bool(flags & END), [*payload, *parts[1:]])
        return size

    def _send_frame(self, type: int, end: bool, parts: list[bytes | memoryview]) -> None:
        response = self._response
        if type == FrameType.HEAD and response is None:
            head, _, rest = bytes(parts[0]).partition(_BLANK_LINE)
            parts = [rest, *parts[1:]] if rest else parts[1:]
            response = self._send_head(head + b"\r\n", sum(map(len, parts)) if end else None)
            if response is None:
                return
        assert response is not None
        trailers = bytes(parts.pop(0)) if type == FrameType.HEAD and response.begun else b""
        response.begun = True
        if parts:
            self._send_body(response, parts)
        if end:
            if response.chunked:
                self.out.append(b"0\r\n" + (trailers or b"\r\n"))
            self._finish(response)

    def _send_head(self, head: bytes, whole: int | None) -> ResponseFraming | None:
        """Writes a head; returns how its body is framed, or `None` for one without a body."""
        request = self._request
        assert request is not None
        status = int(head[9:12])
        if head[12:15] == b" \r\n" and status in _PHRASES:  # for people, who may read it
            head = head[:13] + _PHRASES[status] + head[13:]
        if status < 200 or status == 204:
            head = without_length(head)
        if status < 200 and status != 101:
            if not request.old:
                self.out += (head, b"\r\n")
            return None
        if status != 101 and not self._whole and (self._buffer or not request.upgrade):
            # What is left of the request would have to be read before the next one. What came after
            # an upgrade that is declined may be no request at all.
            self._keep_alive = False
        lower = head.lower()
        keep = self._keep_alive
        response = ResponseFraming(lower, status, request, whole, keep_alive=keep, last=self.last)
        self._response = response
        self._keep_alive = response.keep_alive
        date = b""
        if status != 101 and b"\r\ndate:" not in lower:  # RFC 9110, section 6.6.1
            date = b"Date: %s\r\n" % self._date()
        self.out += (head, response.fields, date, b"\r\n")
        if status == 101:
            self.due = Due.RAW
            if self._buffer:
                self._turn()
        elif request.upgrade:  # declined: there are no raw bytes
            self._tell(FrameType.DATA, END, b"")
            self._complete()
            self._turn()
        return response

    def _send_body(self, response: ResponseFraming, parts: list[bytes | memoryview]) -> None:
        size = sum(map(len, parts))
        if response.chunked and size:  # a chunk without bytes would be the last
            self.out.append(b"%x\r\n" % size)
            self.out += parts
            self.out.append(b"\r\n")
        elif not (response.chunked or response.bodiless):
            self.out += parts
        self._sent += size
        if self._sent >= _MORE_CREDIT:
            self.events.append(BinaryMessage(encode_window(self.stream_id, self._sent)))
            self._sent = 0
            self._turn()

    def serve_last(self) -> None:
        """The next response is the last, and says so."""
        self._keep_alive = False

    def _finish(self, response: ResponseFraming) -> None:
        """The response is complete."""
        if self.due is Due.RAW and not self._whole:
            self._tell(FrameType.DATA, END, b"")  # nothing that the client still sends is read
            self._complete()
            self._end()
            return
        if not (response.keep_alive and self._whole):
            self._end()
            return
        self._request = self._response = None
        self.due = Due.REQUEST
        self.answered_at = self._clock()
        if self._buffer:
            self._turn()

    def _send_reset(self, code: int, reason: str) -> None:
        if code == ResetCode.NO_ERROR:
            return  # the response is complete, and `_finish` has seen that the request is not
        # One that was refused has not been started, and may be welcome at the next moment.
        fields = b"Retry-After: 1\r\n" if code == ResetCode.REFUSED else b""
        self._end_with(_STATUS.get(code, 500), fields=fields)

    def _end_with(self, status: int, text: str = "", fields: bytes = b"") -> None:
        """Answers in place of an app, if nothing was answered, and ends the connection."""
        if self._response is None:
            head_only = self._request is not None and self._request.head.method == b"HEAD"
            date, last = self._date(), self.last
            self.out.append(last_answer(status, date, text, fields, head_only=head_only, last=last))
        else:
            self.broken = self._response.ends_with_connection
        self._end()

    def _end(self) -> None:
        self.over = True
        self._request = self._response = self._chunks = None
        self._buffer.clear()
        self.paused = False
        self._turn()

    def _turn(self) -> None:
        if self.on_turn is not None and not self._turning:
            self._turning = True
            self.on_turn()

    def take_turn(self) -> None:
        """What `on_turn` has told of is about to be done."""
        self._turning = False

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Nothing more is sent after what is due, nor read."""
        self.close_sent = self.close_received = True
        if self.over:
            return
        if self._request is None:
            self.closed_idle = self.due is Due.REQUEST
            self._end()
        else:
            self._end_with(503)

    def data_to_send(self) -> bytes:
        """Takes what is due."""
        data = b"".join(self.out)
        self.out.clear()
        if self.raw is not None:
            self.raw.taken()
        return data
