"""The peer's requests: each is one message, and is HTTP/1.1 as a client of plain HTTP sends it.

So they are read, checked and answered as those are, by `Downstream`, one after the other. What
differs: a request ends with its message; one that is malformed is answered, and the next message is
read as if nothing had happened; and each response repeats the correlation id of its request.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Any

from restsock.http1 import BadRequestError, Downstream, Due, ParsedHead, ResponseFraming
from restsock.protocol import (
    BinaryMessage,
    ParsedRequest,
    ResetCode,
    WebSocketEvent,
    encode_reset,
    values_of,
)

from ._own_requests import CORRELATION_ID

__all__ = ["PeerRequests"]

_ID_FIELD = re.compile(rb"\r\n" + CORRELATION_ID + rb":[^\r\n]*(?=\r\n)", re.IGNORECASE)
# What a message takes in memory beside its bytes.
_WEIGHT = 256
# Answers given here that may wait for the socket, above which no other message is begun: the peer
# may be one that reads none.
_UNSENT = 64
_TRUNCATED = "the message ended in the middle of its request"
_TOO_LONG = "bytes after the end of a request, in its message"


class _Message:
    """One message with a request: what has come of it and was not read."""

    __slots__ = ("begun", "data", "ended")

    def __init__(self) -> None:
        self.data = bytearray()
        self.begun = False  # whether its request is being read, or was
        self.ended = False  # whether all of it has come


class PeerRequests(Downstream):
    """Makes frames of requests, and messages of the frames of the responses.

    Args:
        args: those of `Downstream`.
        first_id: the number of the first stream of the peer.

    Attributes:
        answers: those that were given here, each a message, before what is in `out`.
        unsent: how many of these have been given since the socket took the last.
    """

    upgrades = False
    last = False
    answers_close = False

    __slots__ = ("_has_begun", "_held", "_id", "_messages", "answers", "unsent")

    def __init__(self, *args: Any, first_id: int) -> None:
        super().__init__(*args)
        self.stream_id = first_id - 2
        self.answers: list[list[bytes | bytearray | memoryview]] = []
        self.unsent = 0
        self._messages: deque[_Message] = deque()
        self._id = b""  # of the present request
        self._has_begun = False  # whether the present message has had its request
        self._held: WebSocketEvent | None = None  # what completes the request

    @property
    def responding(self) -> bool:
        """Whether a response has begun and is not complete: nothing else may be sent."""
        return self._response is not None

    @property
    def waiting(self) -> bool:
        """Whether another request can be read now."""
        return bool(self._messages) and not self.answering and self.unsent < _UNSENT

    @property
    def backlog(self) -> int:
        """Bytes that wait to be read, and what it takes to keep them."""
        waiting = sum(len(message.data) + _WEIGHT for message in self._messages)
        return len(self._buffer) + waiting

    # --- in -------------------------------------------------------------------------------

    def receive_part(self, data: bytes, *, end: bool) -> None:
        """Takes in bytes of a message, the last ones if it ends with them."""
        if not self._messages or self._messages[-1].ended:
            self._messages.append(_Message())
        message = self._messages[-1]
        message.data += data
        message.ended = end
        self.proceed()

    def proceed(self) -> None:
        """Reads what can be read now."""
        while self._messages and not self.broken:
            message = self._messages[0]
            if not message.begun:
                if not self.waiting:
                    return  # one request at a time
                message.begun = True
                self._begin_message()
            data = bytes(message.data)
            message.data.clear()
            if not (self.over or (self._has_begun and not self.answering)):
                self.receive_data(data)  # else the answer has not waited for the rest
            if not self._check_end(message):
                return
            self._messages.popleft()

    def _begin_message(self) -> None:
        self.over = False
        self.due = Due.REQUEST
        self._keep_alive = True
        self._has_begun = False
        self._held = None
        self._id = b""

    def _check_end(self, message: _Message) -> bool:
        """Tells whether all of a message was read. One that is no request gets its answer."""
        if self.answering and self._whole:
            if self._held is None and self.events:
                # Not complete before its message is: what may follow would make it none.
                self._held = self.events.pop()
            if self._buffer:
                self._refuse(BadRequestError(400, _TOO_LONG))
            elif message.ended and self._held is not None:
                self.events.append(self._held)
                self._held = None
            return message.ended
        if not message.ended:
            return False
        if self.over or (self._has_begun and not self.answering):
            return True
        if self._buffer and self._credit <= 0 and self.answering:
            return False  # the app has not read what came before
        self._refuse(BadRequestError(400, _TRUNCATED))
        return True

    def _begin(self, request: ParsedHead) -> None:
        if request.old:
            raise BadRequestError(505, "a version of HTTP that is not spoken here")
        self._has_begun = True
        ids = values_of(request.head.headers, CORRELATION_ID.lower())
        self._id = ids[0] if ids else b""
        super()._begin(request)

    def _refuse(self, error: BadRequestError) -> None:
        held, self._held = self._held, None
        begun = not isinstance(held, ParsedRequest)
        if self._request is not None and self._whole and begun:  # an app may be at work on it
            reset = encode_reset(self.stream_id, ResetCode.PROTOCOL, str(error))
            self.events.append(BinaryMessage(reset))
        super()._refuse(error)

    # --- out ------------------------------------------------------------------------------

    @property
    def _id_field(self) -> bytes:
        return CORRELATION_ID + b": " + self._id + b"\r\n" if self._id else b""

    def _send_head(self, head: bytes, whole: int | None) -> ResponseFraming | None:
        if int(head[9:12]) < 200:
            return None  # the peer would take it for the answer
        response = super()._send_head(_ID_FIELD.sub(b"", head) if self._id else head, whole)
        self.out[-1] = self._id_field + b"\r\n"  # the last field, before the blank line
        return response

    def _end_with(self, status: int, text: str = "", fields: bytes = b"") -> None:
        begun = self.responding
        super()._end_with(status, text, fields + self._id_field)
        # What was cut off has no end on this wire: who reads would take the next answer for it.
        self.broken = self.broken or begun
        if self.out:  # a message of its own: the next one may be answered before it leaves
            self.unsent += 1
            self.answers.append(self.out.copy())
            self.out.clear()
