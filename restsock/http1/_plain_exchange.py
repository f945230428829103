"""An exchange with a server in the one shape that nearly all have, without a detour: no I/O.

A plain head of a request (`restsock.protocol`), without a body or with one of a known length that
is not large; and for an answer a plain head with a Content-Length. What is otherwise is begun again
with h11, which is told what was sent and gets the bytes that have come. Tests hold both to the same
result.
"""

from __future__ import annotations

import re

import h11

from restsock._exceptions import LocalProtocolError, RemoteProtocolError
from restsock.protocol import (
    DataReceived,
    EndReceived,
    PlainHead,
    RequestHead,
    ResponseReceived,
    decode_response_fast,
    encode_request_fast,
)

__all__ = ["NotPlainError", "PlainExchange"]

# Bytes of the largest body of a request: beyond that a detour does not matter.
_MAX_BODY = 1024 * 1024
# Of these an answer is not what its head says.
_OTHER = frozenset((b"HEAD", b"CONNECT"))
_BODILESS = frozenset((204, 304))

_VERSION = b"HTTP/1.1 "
_BLANK_LINE = re.compile(rb"\n\r?\n")  # where h11 has a head end

_STREAM = 0


class NotPlainError(Exception):
    """The answer has to be read by h11."""


class PlainExchange:
    """A request, and its answer.

    `begin` makes one. `next_event` raises `NotPlainError` only before it has given an event.

    Attributes:
        received: what has come, and was not given as an event.
        closed: whether the server has closed.
    """

    __slots__ = ("_answer_left", "_done", "_ended", "_head", "_left", "_length", "_max_head",
                 "closed", "received")  # fmt: skip

    def __init__(self, head: RequestHead, length: int, max_head: int) -> None:
        self._head = head
        self._length = self._left = length  # of the body, and what of it is not sent
        self._max_head = max_head
        self._ended = False
        self._answer_left: int | None = None  # of the body; before its head is there `None`
        self._done = False
        self.received = b""
        self.closed = False

    @classmethod
    def begin(
        cls, head: RequestHead, *, body: bool, max_head: int, plain: PlainHead | None = None
    ) -> tuple[PlainExchange, bytes] | None:
        """An exchange and the bytes of its head; `None` when it is not plain."""
        if head.method in _OTHER:
            return None
        found = plain[1:] if plain is not None else encode_request_fast(head)
        if found is None:
            return None
        data, length = found
        if (length is None and body) or (length or 0) > _MAX_BODY:
            return None
        return cls(head, length or 0, max_head), data

    @property
    def reusable(self) -> bool:
        """Whether both messages are complete, and nothing else came."""
        return self._ended and self._done and not self.received and not self.closed

    def send_data(self, data: bytes) -> bytes:
        """See `Upstream`."""
        self._left -= len(data)
        if self._left < 0:
            raise LocalProtocolError("a body that does not fit its head")
        return data

    def send_end(self) -> None:
        """See `Upstream`."""
        if self._left:
            raise LocalProtocolError("a body or trailers that do not fit the head")
        self._ended = True

    def receive_data(self, data: bytes) -> None:
        """See `Upstream`."""
        if self.closed and data:
            raise RemoteProtocolError("bytes after the end of the connection")
        self.received += data
        self.closed = self.closed or not data

    def next_event(self) -> ResponseReceived | DataReceived | EndReceived | None:
        """See `Upstream`.

        Raises:
            NotPlainError: this is not for here, and the bytes are still in `received`.
            RemoteProtocolError: the answer has broken off.
        """
        if self._done:
            return None
        if self._answer_left is None:
            return self._read_head()
        if not self._answer_left:
            self._done = True
            return EndReceived(_STREAM, [])
        data = self.received[: self._answer_left]
        if data:
            self.received = self.received[len(data) :]
            self._answer_left -= len(data)
            return DataReceived(_STREAM, data)
        if self.closed:
            raise RemoteProtocolError(
                "the server closed the connection in the middle of its response"
            )
        return None

    def _read_head(self) -> ResponseReceived | None:
        blank = _BLANK_LINE.search(self.received)
        if blank is None:
            begins = self.received.startswith(_VERSION[: len(self.received)])
            if self.closed or len(self.received) > self._max_head or not begins:
                raise NotPlainError
            return None
        end = blank.end()
        plain = decode_response_fast(self.received[:end])
        if plain is None or plain[1] is None or plain[0].status in _BODILESS:
            raise NotPlainError
        self._answer_left = plain[1]
        self.received = self.received[end:]
        return ResponseReceived(_STREAM, plain[0])

    def for_h11(self) -> h11.Connection:
        """The same exchange with h11: what was sent so far, and all that has come."""
        http = h11.Connection(h11.CLIENT, max_incomplete_event_size=self._max_head)
        head = self._head
        http.send(h11.Request(method=head.method, target=head.target, headers=[*head.headers]))
        if sent := self._length - max(0, self._left):
            http.send(h11.Data(data=bytes(sent)))  # it counts them, and that is all
        if self._ended:
            http.send(h11.EndOfMessage())
        if self.received:
            http.receive_data(self.received)
        if self.closed:
            http.receive_data(b"")
        return http
