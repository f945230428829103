"""HTTP/1.1 seen from its server, without I/O: it takes the place of the WebSocket in a `Pipeline`.

A client of plain HTTP asks for the same things as a peer, in another form. So this makes frames of
its requests, as a peer would have sent them, for a `Multiplexer`; and bytes of the frames that this
one answers with. Limits, states, flow control and errors are the multiplexer's, as for any peer:

| from the client | to the multiplexer |   | from the multiplexer | to the client            |
|-----------------|--------------------|---|----------------------|--------------------------|
| a head          | HEAD, a new stream |   | HEAD                 | a head, with its framing |
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
from enum import Enum
from http import HTTPStatus

import h11

from restsock._options import Limits
from restsock.protocol import (
    END,
    HEADER,
    HEADER_SIZE,
    NOT_IN_TRAILERS,
    BinaryMessage,
    FrameType,
    ResetCode,
    WebSocketEvent,
    decode_reset,
    encode_reset,
    encode_trailers,
    encode_window,
    flags_of,
)

from ._request_head import BadRequestError, ParsedHead, parse_request_head
from ._response_framing import ResponseFraming

__all__ = ["CREDIT", "Downstream", "Due"]

# Bytes that have come and cannot be used yet, above which no more are read.
_BACKLOG = 64 * 1024
# The payload of a frame of a body.
_FRAME = 64 * 1024
# The client takes bytes as its socket does; the credit of the stream never is what it waits for.
CREDIT = 2**31 - 1
_MORE_CREDIT = 2**30
_LAST_ID = 2**32 - 3

_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}

# What a stream that was reset before its answer is answered with.
_STATUS: dict[int, int] = {
    ResetCode.TIMEOUT: 504,
    ResetCode.REFUSED: 503,
    ResetCode.CANCEL: 503,
    ResetCode.TOO_LARGE: 413,
    ResetCode.PROTOCOL: 502,
}


class Due(Enum):
    """What the client is to send next."""

    REQUEST = "a request, or nothing"
    HEAD = "the rest of a head"
    BODY = "body bytes"
    CHUNKS = "chunks"
    RAW = "raw bytes"
    NOTHING = "nothing before the response"


class Downstream:
    """One connection of a client of plain HTTP; the `MessageLayer` of its pipeline.

    Args:
        limits: of this side.
        scheme: what the client has used, `"http"` or `"https"`, as far as this hop knows.
        on_turn: is called, with the lock of the connection, whenever there is something to do for
            it that is neither to read nor to write: `over` was set, or input can be gone on with.

    Attributes:
        due: what the client is to send next.
        over: whether nothing more is read, and what is due is the last that leaves.
        broken: whether a response was cut off that only a broken connection tells from a whole one.
        problem: why the client's request was not accepted; `None` while all are.
        events: frames for the multiplexer.
        out: bytes that are due.
    """

    __slots__ = (
        *("_buffer", "_credit", "_keep_alive", "_limits", "_request", "_response", "_scheme"),
        *("_sent", "_stream_id", "_turning", "_whole", "broken", "close_received", "close_sent"),
        *("due", "events", "on_turn", "out", "over", "pongs", "problem", "_left", "_parser"),
    )

    def __init__(
        self, limits: Limits, scheme: str, on_turn: Callable[[], object] | None = None
    ) -> None:
        self.on_turn = on_turn
        self.due = Due.REQUEST
        self.over = False
        self.broken = False
        self.problem: str | None = None
        self.close_sent = False
        self.close_received = False
        self.events: list[WebSocketEvent] = []
        self.out: list[bytes | bytearray | memoryview] = []
        self.pongs: list[bytes] = []
        self._limits = limits
        self._scheme = flags_of(scheme)
        self._buffer = bytearray()
        self._stream_id = -1
        self._request: ParsedHead | None = None  # of the exchange that is under way
        self._response: ResponseFraming | None = None  # of its final head, once that has come
        self._parser: h11.Connection | None = None
        self._left = 0  # bytes of the body that have not come
        self._credit = 0
        self._sent = 0  # body bytes since the client's credit was renewed
        self._whole = False  # whether all of the request has been handed on
        self._keep_alive = True
        self._turning = False

    # --- in -------------------------------------------------------------------------------

    @property
    def paused(self) -> bool:
        """Whether no more bytes should be read for now."""
        return len(self._buffer) > _BACKLOG

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
            if not buffer:
                return False
            self.due = Due.HEAD
        limit = self._limits.max_head
        at = buffer.find(b"\r\n\r\n", 0, 2 * limit)
        if at < 0:
            if len(buffer) > limit:
                raise BadRequestError(431, "a request head that is too long")
            if buffer[:1] < b"!" or b"\n\n" in buffer:
                raise BadRequestError(400, "not an HTTP request")
            return False
        head = bytes(buffer[: at + 4])
        del buffer[: at + 4]
        request = parse_request_head(head, max_head=limit)
        self._begin(request)
        return True

    def _begin(self, request: ParsedHead) -> None:
        self._request = request
        self._response = None
        self._stream_id += 2
        self._keep_alive = self._keep_alive and request.keep_alive and self._stream_id < _LAST_ID
        self._credit = self._limits.initial_window
        self._sent = 0
        self._whole = False
        flags = self._scheme
        body = b""
        if request.chunked:
            self.due, self._parser = Due.CHUNKS, request.parser
        elif request.upgrade:
            self.due = Due.NOTHING
        elif request.length:
            self.due, self._left = Due.BODY, request.length
            if request.length <= min(len(self._buffer), self._credit, _FRAME // 2):
                body = self._take(request.length)
                self._left = 0
        if not (request.chunked or request.upgrade or self._left):
            flags |= END
            self._complete()
        self._tell(FrameType.HEAD, flags, request.payload + body)

    def _complete(self) -> None:
        """All of the request is there."""
        self._whole = True
        self._left = 0
        self._parser = None
        self.due = Due.NOTHING

    def _take(self, nbytes: int) -> bytes:
        data = bytes(self._buffer[:nbytes])
        del self._buffer[:nbytes]
        self._credit -= nbytes
        return data

    def _receive_body(self) -> bool:
        size = min(len(self._buffer), self._left, self._credit, _FRAME)
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
        size = min(len(self._buffer), self._credit, _FRAME)
        if size <= 0:
            return False
        self._tell(FrameType.DATA, 0, self._take(size))
        return True

    def _receive_chunks(self) -> bool:
        parser, buffer = self._parser, self._buffer
        assert parser is not None
        if self._credit <= 0:
            return False
        size = min(len(buffer), self._credit)  # what comes out is no more than what goes in
        if size:
            parser.receive_data(bytes(buffer[:size]))
            del buffer[:size]
        while True:
            try:
                event = parser.next_event()
            except h11.RemoteProtocolError:
                raise BadRequestError(400, "a malformed chunk") from None
            if isinstance(event, h11.Data):
                self._receive_chunk(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                buffer[:0] = parser.trailing_data[0]
                self._complete()
                self._tell_end(event.headers.raw_items())
                return True
            else:
                return bool(size and buffer)

    def _receive_chunk(self, data: bytes) -> None:
        self._credit -= len(data)
        for at in range(0, len(data), _FRAME):
            self._tell(FrameType.DATA, 0, data[at : at + _FRAME])

    def _tell_end(self, trailers: list[tuple[bytes, bytes]]) -> None:
        kept = [field for field in trailers if field[0].lower() not in NOT_IN_TRAILERS]
        if kept:
            self._tell(FrameType.HEAD, END, encode_trailers(kept))
        else:
            self._tell(FrameType.DATA, END, b"")

    def _tell(self, type: FrameType, flags: int, payload: bytes) -> None:
        header = HEADER.pack(type, flags, 0, self._stream_id)
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
            reset = encode_reset(self._stream_id, ResetCode.PROTOCOL, str(error))
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
        elif self.over or self._request is None or stream_id != self._stream_id:
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
            head, _, rest = bytes(parts[0]).partition(b"\r\n\r\n")
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
        if status < 200 and status != 101:
            if not request.old:
                self.out += (head, b"\r\n")
            return None
        if not (self._whole or request.upgrade):
            # What is left of the request would have to be read before the next one.
            self._keep_alive = False
        response = ResponseFraming.of(head, status, request, whole, keep_alive=self._keep_alive)
        self._response = response
        self._keep_alive = response.keep_alive
        self.out += (head, response.fields, b"\r\n")
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
        if response.chunked:
            self.out.append(b"%x\r\n" % size)
            self.out += parts
            self.out.append(b"\r\n")
        elif not response.bodiless:
            self.out += parts
        self._sent += size
        if self._sent >= _MORE_CREDIT:
            self.events.append(BinaryMessage(encode_window(self._stream_id, self._sent)))
            self._sent = 0
            self._turn()

    def _finish(self, response: ResponseFraming) -> None:
        """The response is complete."""
        if self.due is Due.RAW or not (self._keep_alive and self._whole):
            self._end()
            return
        self._request = self._response = None
        self.due = Due.REQUEST
        if self._buffer:
            self._turn()

    def _send_reset(self, code: int, reason: str) -> None:
        if code == ResetCode.NO_ERROR:
            return  # the response is complete, and `_finish` has seen that the request is not
        if self._response is None:
            self._end_with(_STATUS.get(code, 500), "")
        else:
            self.broken = self._response.ends_with_connection
            self._end()

    def _end_with(self, status: int, text: str) -> None:
        """Answers in place of an app, if nothing was answered, and ends the connection."""
        if self._response is None:
            phrase = HTTPStatus(status).phrase
            body = (text or f"{phrase}.\n").encode()
            if self._request is not None and self._request.method == b"HEAD":
                body = b""
            fields = b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n" % len(
                body
            )
            start = b"HTTP/1.1 %d %s\r\n" % (status, phrase.encode())
            self.out.append(start + fields + b"Connection: close\r\n\r\n" + body)
        else:
            self.broken = self._response.ends_with_connection
        self._end()

    def _end(self) -> None:
        self.over = True
        self._request = self._response = self._parser = None
        self._buffer.clear()
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
        if not self.over:
            self._end()

    def data_to_send(self) -> bytes:
        """Takes what is due."""
        data = b"".join(self.out)
        self.out.clear()
        return data
