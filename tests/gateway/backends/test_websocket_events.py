"""The codec of `application/websocket-events`, compared with that of gripcontrol."""

from __future__ import annotations

import gripcontrol
import pytest
from hypothesis import given
from hypothesis import strategies as st

from restsock.gateway.backends._websocket_events import (
    MalformedEvents,
    WebSocketEvent,
    decode_events,
    encode_events,
)

TYPES = ("OPEN", "TEXT", "BINARY", "PING", "PONG", "CLOSE", "DISCONNECT")
EVENTS = st.lists(
    st.builds(WebSocketEvent, st.sampled_from(TYPES), st.none() | st.binary(max_size=100))
)


@given(EVENTS)
def test_both_say_and_read_the_same(events: list[WebSocketEvent]) -> None:
    body = encode_events(events)
    theirs = [gripcontrol.WebSocketEvent(event.type, event.content) for event in events]
    assert body == (gripcontrol.encode_websocket_events(theirs) or b"")
    assert decode_events(body) == events
    assert [(one.type, one.content) for one in gripcontrol.decode_websocket_events(body)] == events


@given(st.binary() | st.lists(st.sampled_from([b"TEXT", b" ", b"5", b"\r\n", b"hello", b"f"])))
def test_whatever_comes_is_events_or_one_error(data: bytes | list[bytes]) -> None:
    body = data if isinstance(data, bytes) else b"".join(data)
    try:
        events = decode_events(body)
    except MalformedEvents:
        return
    assert all(event.type in TYPES for event in events)
    assert sum(len(event.content or b"") for event in events) <= len(body)


@pytest.mark.parametrize(
    "body",
    [
        b"TEXT",
        b"TEXT 5\r\nhell\r\n",
        b"TEXT 5\r\nhello",
        b"TEXT 5\r\nhelloX\r\n",
        b"TEXT ffffffff\r\nhello\r\n",
        b"TEXT fffffffff\r\nhello\r\n",
        b"TEXT -1\r\n\r\n",
        b"TEXT +5\r\nhello\r\n",
        b"TEXT 0x5\r\nhello\r\n",
        b"TEXT 5 \r\nhello\r\n",
        b"text 5\r\nhello\r\n",
        b"TEXT 5\nhello\n",
        b"\r\n",
        b"OPEN\r\n\r\n",
    ],
)
def test_what_is_no_event_is_said_so(body: bytes) -> None:
    with pytest.raises(MalformedEvents):
        decode_events(body)


def test_there_is_a_bound_and_unknown_types_are_left_out() -> None:
    assert decode_events(b"ACK\r\nLATER 2\r\nab\r\nOPEN\r\n") == [WebSocketEvent("OPEN")]
    with pytest.raises(MalformedEvents, match="more than 3"):
        decode_events(b"OPEN\r\n" * 4, most=3)
    with pytest.raises(ValueError, match="no event"):
        encode_events([WebSocketEvent("open")])


@pytest.mark.parametrize(
    ("content", "expected"),
    [(None, (1005, "")), (b"", (1005, "")), (b"\x0f\xa1bye", (4001, "bye"))],
)
def test_a_close_has_a_code_and_a_reason(content: bytes | None, expected: tuple[int, str]) -> None:
    assert WebSocketEvent("CLOSE", content).close_code == expected
    assert WebSocketEvent.close(*expected).close_code == expected


@pytest.mark.parametrize("content", [b"\x0f", b"\x0f\xa1\xff"])
def test_a_close_that_is_none_is_said_so(content: bytes) -> None:
    with pytest.raises(MalformedEvents):
        assert WebSocketEvent("CLOSE", content).close_code
