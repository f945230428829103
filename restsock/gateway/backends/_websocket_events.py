r"""Events of WebSockets over HTTP, `application/websocket-events`: bytes in, events out. Sans-IO.

A body is any number of events, each a line with its type and, where it has content, a space and the
length of that in hexadecimal; then the content, and the end of a line:

    OPEN\r\n
    TEXT 5\r\nhello\r\n

That is the WebSocket-over-HTTP protocol of Pushpin and Fanout.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from restsock.protocol import CloseCode

__all__ = ["CONTENT_TYPE", "MalformedEvents", "WebSocketEvent", "decode_events", "encode_events"]

CONTENT_TYPE = "application/websocket-events"

_TYPES = ("OPEN", "TEXT", "BINARY", "PING", "PONG", "CLOSE", "DISCONNECT")
_LINE = re.compile(rb"([A-Z]{1,16})(?: ([0-9A-Fa-f]{1,8}))?\r\n")
_MOST = 10_000


class MalformedEvents(ValueError):
    """These bytes are no events. The text shows nothing of them."""


class WebSocketEvent(NamedTuple):
    """One event.

    Attributes:
        type: `OPEN`, `TEXT`, `BINARY`, `PING`, `PONG`, `CLOSE` or `DISCONNECT`.
        content: What it has; `None` is nothing. Of `CLOSE` it is a code of two bytes and a reason.
    """

    type: str
    content: bytes | None = None

    @classmethod
    def close(cls, code: int, reason: str) -> WebSocketEvent:
        """A `CLOSE`; 1005 is one without a code."""
        if code == CloseCode.NO_STATUS:
            return cls("CLOSE")
        return cls("CLOSE", code.to_bytes(2, "big") + reason.encode("utf-8", "replace"))

    @property
    def close_code(self) -> tuple[int, str]:
        """Code and reason of a `CLOSE`; 1005 where it has none.

        Raises:
            MalformedEvents: Its content is neither.
        """
        content = self.content or b""
        if not content:
            return CloseCode.NO_STATUS, ""
        if len(content) < 2:
            raise MalformedEvents("a CLOSE with half a code")
        try:
            return int.from_bytes(content[:2], "big"), content[2:].decode()
        except UnicodeDecodeError:
            raise MalformedEvents("a CLOSE with a reason that is no text") from None


def encode_events(events: Iterable[WebSocketEvent]) -> bytes:
    """The body that says these events.

    Raises:
        ValueError: There is no such type.
    """
    body = bytearray()
    for event in events:
        if event.type not in _TYPES:
            raise ValueError(f"there is no event {event.type!r}")
        body += event.type.encode("ascii")
        if event.content is not None:
            body += b" %x\r\n" % len(event.content)
            body += event.content
        body += b"\r\n"
    return bytes(body)


def decode_events(body: bytes, *, most: int = _MOST) -> Sequence[WebSocketEvent]:
    """The events that a body says. Types that are not known are left out.

    Args:
        body: All of it.
        most: How many there may be.

    Raises:
        MalformedEvents: It is none, or there are too many.
    """
    events: list[WebSocketEvent] = []
    at = 0
    count = 0
    while at < len(body):
        count += 1
        if count > most:
            raise MalformedEvents(f"more than {most} events")
        line = _LINE.match(body, at)
        if line is None:
            raise MalformedEvents("a line that is no event")
        at = line.end()
        content = None
        if line[2] is not None:
            end = at + int(line[2], 16)
            if body[end : end + 2] != b"\r\n":
                raise MalformedEvents("content that does not end where it says")
            content = body[at:end]
            at = end + 2
        kind = line[1].decode("ascii")
        if kind in _TYPES:
            events.append(WebSocketEvent(kind, content))
    return events
