"""Events of WebSockets over HTTP: whatever a backend answers is events, or is refused.

What is read is read again from what is written of it; and gripcontrol, which is less strict, reads
the same, and types that nobody knows besides.
"""

from __future__ import annotations

import gripcontrol

from restsock.gateway.backends._websocket_events import (
    MalformedEvents,
    WebSocketEvent,
    decode_events,
    encode_events,
)

MAX_LEN = 512
DICTIONARY = (
    *(b"OPEN\r\n", b"TEXT 5\r\nhello\r\n", b"BINARY 0\r\n\r\n", b"PING\r\n", b"PONG 1\r\nx\r\n"),
    *(b"CLOSE 2\r\n\x03\xe8\r\n", b"DISCONNECT\r\n", b"OTHER 1\r\nx\r\n"),
    *(
        b"TEXT f\r\n",
        b"TEXT 0000000A\r\n",
        b"TEXT -1\r\n",
        b" ",
        b"\r\n",
        b"\n",
        b"\xff",
        b"CLOSE 1\r\n",
    ),
)
_MOST = 10
_KNOWN = ("OPEN", "TEXT", "BINARY", "PING", "PONG", "CLOSE", "DISCONNECT")


def test_one(data: bytes) -> None:
    try:
        events = decode_events(data, most=_MOST)
    except MalformedEvents:
        return
    assert len(events) <= _MOST
    assert sum(len(event.content or b"") for event in events) <= len(data)
    for event in events:
        _check_close(event)
    assert list(decode_events(encode_events(events), most=_MOST)) == list(events)
    theirs = [(one.type, one.content) for one in gripcontrol.decode_websocket_events(data)]
    assert [one for one in theirs if one[0] in _KNOWN] == [tuple(one) for one in events]


def _check_close(event: WebSocketEvent) -> None:
    try:
        code, reason = event.close_code
    except MalformedEvents:
        return
    assert 0 <= code <= 0xFFFF
    reason.encode()
