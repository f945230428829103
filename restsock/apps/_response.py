"""The HTTP rules of a response, for every kind of app.

An app calls `start` and `body`. A `Responder` checks the arguments, adds Date and Content-Length,
drops bodies where none is allowed (HEAD, 204, 304), and sends. It checks the grammar of heads here,
because the error belongs to the call of the app that caused it; a worker thread would not see an
error on the loop. The head waits for the first part of the body, for three reasons: ASGI and WSGI
require that; an app that fails in between can still get a 500; and a short response is one frame.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

from restsock._http_date import http_date
from restsock.protocol import (
    LENGTH,
    TOKEN,
    VALUE,
    Headers,
    RequestHead,
    ResetCode,
    ResponseHead,
)

from ._errors import BadResponseError

if TYPE_CHECKING:
    from ._exchange import ServedExchange

__all__ = [
    "CONTINUE",
    "PROBLEM",
    "Responder",
    "Sender",
    "checked_field",
    "expects_continue",
    "fail_response",
]

# The fast path for nearly all fields: no space around the value, and neither part has a separator.
_PLAIN = re.compile(TOKEN.pattern + rb"\n(?![ \t])" + VALUE.pattern + rb"(?<![ \t])")

# Start line, Date, Content-Length and other bytes that do not come from the app.
_HEAD_MARGIN = 512
_MAX_HEAD = 64 * 1024
# For all early hints of a response: a peer limits the size of 1xx heads.
_MAX_HINTS = 16 * 1024

_REASONS = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}


PROBLEM = b"application/problem+json"
CONTINUE = ResponseHead(100, [], b"Continue")


class Sender(Protocol):
    """What `Exchange` and `ThreadExchange` have in common for a responder."""

    def send_head(self, head: ResponseHead) -> None:
        """Queues the head."""

    def send_data(self, data: bytes) -> None:
        """Queues body bytes."""

    def send_end(self, trailers: Headers = ()) -> None:
        """Completes the response."""

    def respond(self, head: ResponseHead, body: bytes) -> None:
        """Queues all of it."""


class Responder:
    """One response on its way from an app to a `Sender`.

    Order of calls: `start`, then `body` until `more` is false, or until `end` is called instead.
    `start` may be repeated while `head_sent` is false. So an error page can replace a page that
    failed.

    Args:
        sender: Where the response is sent.
        method: The method of the request.

    Attributes:
        started: Whether the app has given status and headers.
        head_sent: Whether the head was passed to the sender.
        complete: Whether the whole response was passed to the sender.
        status: The status of the head that was passed to the sender; 0 before.
        bodiless: Whether bytes passed to `body` are not sent; then the app need not make any.
        left: Bytes of the body that Content-Length announces and that are still missing.
    """

    def __init__(self, sender: Sender, method: bytes) -> None:
        self.started = False
        self.head_sent = False
        self.complete = False
        self.status = 0
        self.bodiless = False
        self.left: int | None = None
        self._sender = sender
        self._head_only = method == b"HEAD"
        self._status = 0
        self._reason = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._dated = False
        self._length: int | None = None
        self._hinted = 0

    def start(
        self, status: int, headers: Iterable[tuple[bytes, bytes]], reason: bytes | None = None
    ) -> None:
        """Sets status and headers. Nothing is sent yet.

        Raises:
            BadResponseError: They are not valid in HTTP.
            TypeError: They have wrong types.
        """
        if self.head_sent:
            raise BadResponseError("the response has been started already")
        if type(status) is not int:
            status = _status(status)
        if not 200 <= status <= 999:
            raise BadResponseError(f"{status} is not the status of a final response")
        if reason is None:
            reason = _reason_of(status)
        elif not VALUE.fullmatch(reason) or reason != reason.strip(b" \t"):
            raise BadResponseError(f"not a reason phrase: {reason!r}")
        self._length = None
        self._dated = False
        self._headers = self._checked(headers)
        self._status = status
        self._reason = reason
        self.bodiless = self._head_only or status in (204, 304)
        if status == 204 and self._length is not None:  # RFC 9110, section 8.6
            self._length = None
            self._headers = [f for f in self._headers if f[0].lower() != b"content-length"]
        self.left = self._length
        self.started = True

    def body(self, data: bytes, more: bool) -> None:
        """Sends body bytes; the head is sent before the first of them.

        Raises:
            BadResponseError: This is not allowed now, or the body is longer or (without `more`)
                shorter than Content-Length says. These bytes were not sent.
            TypeError: `data` is not bytes.
        """
        if not isinstance(data, bytes):
            data = _bytes(data)
        if self.complete or not self.started:
            when = "after the end" if self.complete else "before the start"
            raise BadResponseError(f"a part of the body {when} of its response")
        if self.left is not None and not self.bodiless:
            self._count(len(data), more)
        head = None if self.head_sent else self._head(data, more)
        if self.bodiless:
            data = b""
        if head is not None:
            if more:
                self._sender.send_head(head)
            else:
                self._sender.respond(head, data)
            self.head_sent = True
            self.status = head.status
            if not more:
                self.complete = True
                return
        if data:
            self._send_data(data, last=not more)
        if not more:
            self._end(())

    def flush_head(self) -> None:
        """Sends the head now, before the body.

        Raises:
            BadResponseError: The response was not started.
        """
        self.body(b"", more=True)

    def end(self, trailers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """Completes the response, with trailers. Sends the head if it was not sent yet.

        Raises:
            BadResponseError: The body is shorter than Content-Length, or a trailer is malformed.
        """
        fields = [checked_field(name, value) for name, value in trailers]
        if self.complete:
            raise BadResponseError("the response is complete")
        if not self.head_sent and not fields:
            self.body(b"", more=False)
            return
        self.body(b"", more=True)
        if self.left is not None and not self.bodiless:
            self._count(0, more=False)
        # Trailers come with content (RFC 9110, section 6.5): without content there are none.
        self._end(() if self.bodiless else fields)

    def early_hint(self, links: Iterable[bytes]) -> None:
        """Sends a 103 with Link fields (RFC 8297), before the head.

        Raises:
            BadResponseError: The head was sent already, or a link cannot be sent.
            TypeError: The links are not bytes.
        """
        if self.head_sent:
            raise BadResponseError("early hints after the head of their response")
        fields = [checked_field(b"Link", link) for link in links]
        size = self._hinted + sum(len(link) + 8 for _, link in fields)
        if size > _MAX_HINTS:
            raise BadResponseError(f"early hints of more than {_MAX_HINTS} bytes")
        self._hinted = size
        self._sender.send_head(ResponseHead(103, fields, b"Early Hints"))

    def plain(self, status: int, text: str, headers: Headers = ()) -> None:
        """Sends a whole response of plain text, instead of what the app may have started."""
        fields = [(b"Content-Type", b"text/plain; charset=utf-8"), *headers]
        self.start(status, fields)
        self.body(text.encode("utf-8"), more=False)

    def problem(self, status: int, detail: str, headers: Headers = (), **members: Any) -> None:
        """Sends a whole response with problem details (RFC 9457), like `plain`."""
        title = HTTPStatus(status).phrase
        body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
        self.start(status, [(b"Content-Type", PROBLEM), *headers])
        self.body(json.dumps({**body, **members}).encode("ascii"), more=False)

    def _send_data(self, data: bytes, *, last: bool) -> None:
        self._sender.send_data(data)

    def _end(self, trailers: Headers) -> None:
        self._sender.send_end(trailers)
        self.complete = True

    def _head(self, data: bytes, more: bool) -> ResponseHead:
        headers = self._headers
        if not self._dated:
            headers.append((b"Date", http_date()))
        known = self._length is None and not more and self._status not in (204, 304)
        # An empty response to a HEAD does not say how long the response to a GET would be.
        if known and (data or not self._head_only):
            headers.append((b"Content-Length", b"%d" % len(data)))
        return ResponseHead(self._status, headers, self._reason)

    def _count(self, nbytes: int, more: bool) -> None:
        """Counts bytes of a body of known length."""
        assert self._length is not None
        assert self.left is not None
        left = self.left - nbytes
        if left < 0 or (left and not more):
            than = "at least " if more else ""
            raise BadResponseError(
                f"a body of {than}{self._length - left} bytes"
                f" with a Content-Length of {self._length}"
            )
        self.left = left

    def _checked(self, headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        fields = []
        size = _HEAD_MARGIN
        for name, value in headers:
            if (
                type(name) is not bytes
                or type(value) is not bytes
                or not _PLAIN.fullmatch(line := name + b"\n" + value)
            ):
                name, value = checked_field(name, value)
                line = name + b"\n" + value
            fields.append((name, value))
            size += len(line) + 3
            length = len(name)
            if length == 14 and name.lower() == b"content-length":
                if self._length is not None or not LENGTH.fullmatch(value):
                    raise BadResponseError("a repeated or malformed Content-Length")
                self._length = int(value)
            elif length == 4 and name.lower() == b"date":
                self._dated = True
        if size > _MAX_HEAD:
            raise BadResponseError(f"a response head of about {size} bytes is too long to send")
        return fields


def expects_continue(request: RequestHead) -> bool:
    """Whether the client waits for a 100 before it sends its body (RFC 9110, section 10.1.1)."""
    return any(
        len(name) == 6 and name.lower() == b"expect" and value.lower() == b"100-continue"
        for name, value in request.headers
    )


def fail_response(exchange: ServedExchange, response: Responder) -> None:
    """Sends a 500; resets a response that has begun; does nothing if it is complete."""
    if response.complete:
        return
    if response.head_sent:
        exchange.reset(ResetCode.INTERNAL, "the app failed")
    else:
        response.plain(500, "Internal Server Error\n")


def _reason_of(status: int) -> bytes:
    """The usual reason phrase; empty for a status that has none."""
    return _REASONS.get(status, b"")


def _status(status: object) -> int:
    if isinstance(status, int) and not isinstance(status, bool):  # an HTTPStatus
        return int(status)
    raise TypeError(f"a status is an int, not {type(status).__name__}")


def checked_field(name: object, value: object) -> tuple[bytes, bytes]:
    """Returns a header field as it is sent.

    Its errors appear in logs, so they do not contain the value, which may be a secret.

    Raises:
        BadResponseError: The name or the value is not valid.
        TypeError: The name or the value is not bytes.
    """
    if not isinstance(name, bytes) or not isinstance(value, bytes):
        kinds = f"{type(name).__name__} and {type(value).__name__}"
        raise TypeError(f"a header is two byte strings, not {kinds}")
    # Spaces around a value are not part of it (RFC 9112, section 5.1), and apps are careless.
    value = value.strip(b" \t")
    token = TOKEN.match(name)
    if token is None or token.end() < len(name):
        # Only its beginning: the rest may be a value that got into the name by mistake.
        begin = b"" if token is None else token[0]
        raise BadResponseError(f"not the name of a header; it begins with {begin!r}")
    if not VALUE.fullmatch(value):
        raise BadResponseError(f"not a value for the header {name!r}")
    return name, value


def _bytes(data: object) -> bytes:
    if isinstance(data, (bytearray, memoryview)):
        return bytes(data)
    raise TypeError(f"a body is bytes, not {type(data).__name__}")
