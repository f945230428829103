"""Frames of a peer that are put together by hand, and what is sent to it."""

from __future__ import annotations

from restsock._options import Limits
from restsock.protocol import (
    Multiplexer,
    RequestHead,
    ResponseHead,
)
from restsock.protocol._frames import (
    END,
    Frame,
    FrameType,
    decode_frame,
    encode_frame,
)
from tests.protocol.vectors import (
    drain,
    events,
    open_multiplexer,
)

HOST = (b"Host", b"a")
GET = RequestHead(b"GET", b"/", [HOST])
POST = RequestHead(b"POST", b"/", [HOST])
UPGRADE = RequestHead(b"GET", b"/", [HOST, (b"Connection", b"upgrade"), (b"Upgrade", b"x")])
SWITCH = ResponseHead(101, [(b"Connection", b"upgrade"), (b"Upgrade", b"x")])
OK = ResponseHead(200, [])


def head(stream_id: int, text: bytes, *, end: bool = True) -> bytes:
    return encode_frame(FrameType.HEAD, END if end else 0, stream_id, text)


def data(stream_id: int, body: bytes, *, end: bool = False) -> bytes:
    return encode_frame(FrameType.DATA, END if end else 0, stream_id, body)


GET_BYTES = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST_BYTES = b"POST / HTTP/1.1\r\nHost: a\r\n\r\n"
OK_BYTES = b"HTTP/1.1 200 \r\n\r\n"


def sent(multiplexer: Multiplexer) -> list[Frame]:
    found = []
    for message in drain(multiplexer):
        assert isinstance(message, bytes)
        found.append(decode_frame(message))
    return found


def answering(method: bytes = b"GET", limits: Limits | None = None) -> Multiplexer:
    """A listener with stream 1 open, its request complete."""
    multiplexer = open_multiplexer("listener", limits)
    multiplexer.receive_message(head(1, method + b" / HTTP/1.1\r\nHost: a\r\n\r\n"))
    events(multiplexer)
    return multiplexer
