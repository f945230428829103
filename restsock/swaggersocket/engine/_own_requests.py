"""This side's requests: each is one message, and its response is read from any number of them.

There is no number of a stream on this wire. So one request is under way at a time, and its place is
taken until its response is complete, even if the caller has given it up: what comes of it then is
dropped. A response says by its correlation id which request it answers.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from restsock._exceptions import LocalProtocolError, RemoteProtocolError
from restsock._options import Limits
from restsock.http1 import Upstream
from restsock.protocol import (
    END,
    HEADER,
    BinaryMessage,
    DataReceived,
    FrameType,
    RequestHead,
    ResetCode,
    ResponseHead,
    ResponseReceived,
    content_length,
    decode_request,
    encode_reset,
    encode_response,
    encode_trailers,
    values_of,
)

__all__ = ["CORRELATION_ID", "OwnRequests"]

CORRELATION_ID = b"X-Correlation-Id"
_ID = CORRELATION_ID.lower()
_BLANK_LINE = b"\r\n\r\n"
# Requests that say that they have no body, as servers expect of them (RFC 9110, section 8.6).
_WITH_BODY = frozenset((b"POST", b"PUT", b"PATCH"))
# Reads answers to nothing.
_NO_REQUEST = RequestHead(b"GET", b"/", [(b"Host", b"none")])

# Seconds. An empty message after a response that told its length is, as a rule, the end of that:
# the original sends one where its app has flushed. If no answer follows for so long, one was lost.
_DOUBT = 1.0


class _Call:
    """One request, from its first frame to the end of its response."""

    __slots__ = (
        "body",
        "credit",
        "given_up_at",
        "head",
        "id",
        "sent",
        "stream_id",
        "whole",
    )

    def __init__(self, stream_id: int, head: RequestHead, credit: int) -> None:
        self.stream_id = stream_id
        self.head = head
        self.body = bytearray()  # pieces of it may be tiny
        self.credit = credit  # bytes of the response that may still be told
        self.id = b""  # its correlation id
        self.whole = False
        self.sent = False
        self.given_up_at = math.inf


class OwnRequests:
    """Makes messages of the frames of this side's requests, and frames of their responses.

    Args:
        limits: of this side.
        new_id: makes a correlation id.
        clock: seconds, of any clock that only moves forward.
        patience: seconds that a response may take after its request was given up.

    Attributes:
        events: frames for the multiplexer.
        notes: what has come that nobody has asked for, for the log.
        reading: whether a response has begun to come and is not complete.
        freed: whether another request may begin, where no event of a stream tells so.
        waits: whether `due_at` is sooner than it was.
    """

    def __init__(
        self,
        limits: Limits,
        new_id: Callable[[], str],
        clock: Callable[[], float],
        patience: float,
    ) -> None:
        self.events: list[BinaryMessage] = []
        self.notes: list[str] = []
        self.reading = False
        self.freed = False
        self.waits = False
        self._limits = limits
        self._new_id = new_id
        self._clock = clock
        self._patience = patience
        self._call: _Call | None = None
        self._http: Upstream | None = None  # reads the present response
        self._answered: _Call | None = None  # what that answers; `None` if it is nothing
        self._over = False  # whether the rest of the present message is dropped
        self._may_trail = False  # whether an empty message may be the end of the last response
        self._doubted_at = math.inf

    @property
    def idle(self) -> bool:
        """Whether a request may begin."""
        return self._call is None

    def holds(self, stream_id: int) -> bool:
        """Whether a request waits here to be whole, or to leave."""
        call = self._call
        return call is not None and call.stream_id == stream_id and not call.sent

    # --- out ------------------------------------------------------------------------------

    def receive_frame(
        self, type: int, flags: int, stream_id: int, payload: list[bytes | memoryview]
    ) -> None:
        """Takes in a frame of a stream of this side."""
        call = self._call
        if type == FrameType.HEAD and call is None:
            head, _, rest = bytes(payload[0]).partition(_BLANK_LINE)
            call = self._call = _Call(
                stream_id, decode_request(head + _BLANK_LINE), self._limits.initial_window
            )
            payload = [rest, *payload[1:]] if rest else payload[1:]
        elif type == FrameType.HEAD:
            payload = []  # trailers: a body with a length has none
        if call is None or call.stream_id != stream_id:
            return  # of one that is over
        if type == FrameType.RESET:
            self._give_up(call)
        elif type == FrameType.WINDOW:
            call.credit += int.from_bytes(b"".join(payload), "big")
        else:
            for part in payload:
                call.body += part
            call.whole = bool(flags & END)

    def _give_up(self, call: _Call) -> None:
        if not call.sent:
            self._call = None
            self.freed = True
        elif call.given_up_at == math.inf:
            call.given_up_at = self._clock()
            self.waits = True

    def take_message(self) -> bytes | None:
        """The message of a request that is whole; `None` when none is due."""
        call = self._call
        if call is None or call.sent or not call.whole:
            return None
        call.sent = True
        body, call.body = bytes(call.body), bytearray()
        fields = [field for field in call.head.headers if field[0].lower() not in (b"expect", _ID)]
        if content_length(fields) is None and (body or call.head.method in _WITH_BODY):
            fields.append((b"Content-Length", b"%d" % len(body)))
        given = [value for value in values_of(call.head.headers, _ID) if value]
        call.id = given[0] if given else self._new_id().encode("ascii")
        fields.append((CORRELATION_ID, call.id))
        call.head = call.head._replace(headers=fields)
        http = Upstream(max_head=self._limits.max_head)
        parts = [http.send_request(call.head, body=bool(body))]
        if body:
            parts.append(http.send_data(body))
        return b"".join((*parts, http.send_end()))

    # --- in -------------------------------------------------------------------------------

    def begin_message(self) -> None:
        """A message begins that is a response, or a part of one."""
        self._over = False
        self._doubted_at = math.inf
        if not self.reading:
            self._begin_response(self._call if self._call is not None and self._call.sent else None)

    def _begin_response(self, answered: _Call | None) -> None:
        self.reading = True
        self._answered = answered
        self._http = Upstream(max_head=self._limits.max_head)
        self._http.send_request(_NO_REQUEST if answered is None else answered.head, body=False)
        if answered is None:
            self.notes.append("dropped an answer to nothing")

    def receive_data(self, data: bytes) -> int:
        """Takes in bytes of the present message; returns how many.

        Less than there are, where the caller has not read what came before; the rest is to be
        given again once there is credit.

        Raises:
            RemoteProtocolError: it is no response.
        """
        at = 0
        while at < len(data) and not self._over:
            assert self._http is not None
            size = min(len(data) - at, self._limits.max_frame)
            if self._listener is not None:
                size = min(size, self._listener.credit)
                if size <= 0:
                    return at
            self._http.receive_data(data[at : at + size])
            at += size
            self._read_events()
        return len(data)

    @property
    def _listener(self) -> _Call | None:
        """The call that is told of the present response."""
        call = self._answered
        return call if call is not None and call.given_up_at == math.inf else None

    def end_message(self) -> None:
        """The present message ends.

        Raises:
            RemoteProtocolError: it was no response.
        """
        # What tells neither a length nor chunks has no other end.
        if self.reading and self._http is not None and self._http.unbounded:
            self._http.receive_data(b"")
            self._read_events()

    def receive_empty(self) -> None:
        """A message without a byte has come: the original sends one in place of a lost response."""
        may_trail, self._may_trail = self._may_trail, False
        call = self._call
        if self.reading or call is None or not call.sent:
            return
        if may_trail:
            self._doubted_at = self._clock() + _DOUBT
            self.waits = True
        else:
            self._lose(call)

    def _lose(self, call: _Call) -> None:
        self._doubted_at = math.inf
        self._call = None
        if call.given_up_at < math.inf:
            self.freed = True
            return
        why = "the response is lost: an empty message has come in its place"
        self.events.append(BinaryMessage(encode_reset(call.stream_id, ResetCode.INTERNAL, why)))

    def _read_events(self) -> None:
        assert self._http is not None
        # Joined: a frame for each of many tiny chunks would cost much more than they did.
        pieces: list[bytes] = []
        while not self._over and (event := self._http.next_event()) is not None:
            if isinstance(event, DataReceived):
                pieces.append(event.data)
                continue
            self._tell_data(pieces)
            if isinstance(event, ResponseReceived):
                self._receive_head(event.head)
            else:
                if event.trailers:
                    self._tell(FrameType.HEAD, END, encode_trailers(event.trailers))
                else:
                    self._tell(FrameType.DATA, END, b"")
                self._end_response()
        self._tell_data(pieces)

    def _tell_data(self, pieces: list[bytes]) -> None:
        if pieces:
            self._tell(FrameType.DATA, 0, b"".join(pieces))
            pieces.clear()

    def _receive_head(self, head: ResponseHead) -> None:
        call = self._answered
        ids = values_of(head.headers, _ID)
        if call is not None and head.status >= 200 and ids and call.id not in ids:
            # Of one that was given up, or never sent: the right one may still come.
            self.notes.append("dropped an answer with the correlation id of another request")
            self._answered = None
        try:
            data, _ = encode_response(head)
        except LocalProtocolError as exc:
            raise RemoteProtocolError(f"a response that is none: {exc}") from None
        self._tell(FrameType.HEAD, 0, data)

    def _end_response(self) -> None:
        assert self._http is not None
        self._may_trail = not self._http.chunked
        if self._answered is not None:
            self.freed = self._listener is None
            self._call = None
        self._http = self._answered = None
        self.reading = False
        self._over = True

    def _tell(self, type: FrameType, flags: int, payload: bytes) -> None:
        call = self._listener
        if call is not None:
            if type == FrameType.DATA:
                call.credit -= len(payload)
            header = HEADER.pack(type, flags, 0, call.stream_id)
            self.events.append(BinaryMessage(header + payload))

    # --- time -----------------------------------------------------------------------------

    @property
    def due_at(self) -> float:
        """When `time_out()` is to be called."""
        given_up_at = math.inf if self._call is None else self._call.given_up_at
        return min(self._doubted_at, given_up_at + self._patience)

    def time_out(self) -> bool:
        """Ends what has waited for too long; tells whether the connection has to end for that."""
        now = self._clock()
        if self._call is not None and now >= self._doubted_at:
            self._lose(self._call)
        return self._call is not None and now >= self._call.given_up_at + self._patience
