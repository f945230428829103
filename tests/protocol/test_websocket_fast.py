"""The short cut for plain frames and wsproto agree on every byte."""

from __future__ import annotations

import struct
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from wsproto.frame_protocol import CloseReason

from restsock._exceptions import RemoteProtocolError
from restsock.protocol import (
    BinaryMessage,
    CloseReceived,
    TextMessage,
    WebSocket,
    WebSocketEvent,
)
from restsock.protocol._masking import _apply_mask_python, apply_mask
from restsock.protocol._websocket_fast import BINARY, encode_header, parse_header
from tests.protocol.wsproto_alone import told_by_wsproto

MAX = 70_000
KEYS = st.binary(min_size=4, max_size=4)
SIZES = st.sampled_from([0, 1, 125, 126, 127, 3071, 3072, 65535, 65536, 66_000])


def told_by_us(
    chunks: list[bytes], *, client: bool, split: int = 0
) -> tuple[list[WebSocketEvent], int | None]:
    websocket = WebSocket(client=client, max_message=MAX, split=split)
    code: int | None = None
    events: list[WebSocketEvent] = []
    for chunk in chunks:
        try:
            websocket.receive_data(chunk)
        except RemoteProtocolError as exc:
            code = exc.close_code
            break
        finally:
            while (event := websocket.next_event()) is not None:
                if isinstance(event, BinaryMessage) and event.rest:
                    assert len(event.data) == split
                    event = BinaryMessage(event.data + event.rest)
                events.append(event)
    return events, code


def frame(first: int, payload: bytes, key: bytes | None, *, wide: int = 0) -> bytes:
    """Any frame at all; `wide` forces a longer encoding of the length than is needed."""
    bit = 0 if key is None else 0x80
    size = len(payload)
    if size < 126 and wide == 0:
        head = bytes([first, bit | size])
    elif size < 65536 and wide < 2:
        head = struct.pack("!BBH", first, bit | 126, size)
    else:
        head = struct.pack("!BBQ", first, bit | 127, size)
    if key is None:
        return head + payload
    return head + key + bytes(byte ^ key[at % 4] for at, byte in enumerate(payload))


@st.composite
def wires(draw: st.DrawFn) -> bytes:
    """Sequences of frames: mostly right, some of them odd in one of the ways there are."""
    masked = draw(st.booleans())
    pieces = []
    for _ in range(draw(st.integers(1, 6))):
        first = draw(
            st.sampled_from([0x82, 0x82, 0x82, 0x81, 0x02, 0x01, 0x00, 0x80, 0x89, 0x8A, 0x88])
            | st.integers(0, 255)
        )
        size = draw(st.sampled_from([0, 2, 5, 125, 126, 200]) | SIZES)
        payload = draw(st.sampled_from([b"\x03\xe8hello", b"a", b"\xc3\xa4"])) * (size // 2)
        payload = payload[:size]
        key = draw(KEYS) if masked != (draw(st.integers(0, 20)) == 0) else None
        pieces.append(frame(first, payload, key, wide=draw(st.sampled_from([0, 0, 0, 0, 1, 2]))))
    wire = b"".join(pieces)
    return wire[: draw(st.integers(0, len(wire)))] if draw(st.booleans()) else wire


@given(
    wire=wires(),
    client=st.booleans(),
    cuts=st.lists(st.integers(0, 2000) | st.integers(0, 140_000), max_size=8),
    split=st.sampled_from([0, 8]),
)
@example(wire=frame(0x02, b"a", None) + frame(0x82, b"b", None), client=True, cuts=[], split=0)
@example(wire=frame(0x82, bytes(66_000), None, wide=2), client=True, cuts=[], split=0)
@example(wire=frame(0x82, bytes(70_001), None), client=True, cuts=[1, 2, 3], split=0)
@example(wire=frame(0x82, b"a", b"keys"), client=True, cuts=[], split=0)
@example(wire=b"\x89~", client=False, cuts=[], split=0)
@example(wire=frame(0x82, b"long" * 9000, b"keys"), client=False, cuts=[17, 18, 9000], split=8)
@example(wire=frame(0x82, b"long" * 9000, None) * 2, client=True, cuts=[9, 40_000], split=8)
def test_frames_mean_what_wsproto_says(
    wire: bytes, client: bool, cuts: list[int], split: int
) -> None:
    at = sorted({cut for cut in cuts if cut < len(wire)})
    chunks = [wire[a:b] for a, b in zip([0, *at], [*at, len(wire)], strict=True)]
    events, code = told_by_us(chunks, client=client, split=split)
    expected, expected_code = told_by_wsproto(wire, client=client, max_message=MAX)
    if events and isinstance(events[-1], CloseReceived) and events[-1].code == 1014:
        events, code = events[:-1], 1002  # wsproto does not know it
    assert events == expected
    # What a header announces is refused at once; wsproto alone would have to see the bytes. And of
    # a header, or a text, that is not complete wsproto may say already that it is wrong.
    assert (
        code == expected_code
        or (code == CloseReason.MESSAGE_TOO_BIG and not expected_code)
        or (code is None and (parse_tail(wire, client=client) or expected_code == 1007))
    )


@given(data=st.binary(max_size=300), client=st.booleans())
@example(data=b"\x82\xff" + bytes(8), client=False)  # too long a length, and its key not there yet
@example(data=b"\x82\xfe\x00\x01", client=False)
@example(data=b"\x82\xff" + b"\xff" * 8, client=False)
def test_any_bytes_mean_what_wsproto_says(data: bytes, client: bool) -> None:
    events, code = told_by_us([data], client=client)
    expected, expected_code = told_by_wsproto(data, client=client, max_message=MAX)
    if events and isinstance(events[-1], CloseReceived) and events[-1].code == 1014:
        events, code = events[:-1], 1002  # as above
    # Of a header, or a text, that is not complete wsproto may say already that it is wrong.
    if code is None and expected_code is not None:
        assert parse_tail(data, client=client) or expected_code == 1007
    else:
        assert code == expected_code
    assert events == expected


def parse_tail(data: bytes, *, client: bool) -> bool:
    """Whether the bytes end inside of a header."""
    at = 0
    while True:
        header = parse_header(data, at, masked=not client)
        if header is None:
            return at < len(data)
        at = header.start + header.length


@pytest.mark.parametrize("cuts", [[], [20_000, 50_000]])
@pytest.mark.parametrize("key", [None, b"keys"])
def test_a_long_message_is_split_where_it_is_asked_for(key: bytes | None, cuts: list[int]) -> None:
    body = bytes(range(256)) * 250
    websocket = WebSocket(client=key is None, max_message=MAX, split=8)
    wire = frame(0x82, b"12345678" + body, key)
    for begin, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        websocket.receive_data(wire[begin:end])
    assert websocket.next_event() == BinaryMessage(b"12345678", body)
    websocket.receive_data(frame(0x82, b"12345678short", key))
    assert websocket.next_event() == BinaryMessage(b"12345678short")


@pytest.mark.parametrize("cut", [5, 100, 70_000])
def test_a_long_text_is_not_split(cut: int) -> None:
    websocket = WebSocket(client=True, max_message=100_000, split=8)
    wire = frame(0x81, b"x" * 70_000, None)
    websocket.receive_data(wire[:cut])
    websocket.receive_data(wire[cut:])
    assert websocket.next_event() == TextMessage("x" * 70_000)


def test_a_long_message_that_dribbles_is_kept_in_few_parts() -> None:
    """Objects of a byte or two each would take many times its size."""
    websocket = WebSocket(client=True, max_message=MAX, split=8)
    wire = frame(0x82, bytes(60_000), None)
    tracemalloc.start()
    try:
        for at in range(0, len(wire) - 2, 2):
            websocket.receive_data(wire[at : at + 2])
        assert tracemalloc.get_traced_memory()[0] < 2 * len(wire)
    finally:
        tracemalloc.stop()
    websocket.receive_data(wire[-2:])
    assert websocket.next_event() == BinaryMessage(bytes(8), bytes(59_992))


@given(size=SIZES, key=KEYS | st.none())
def test_what_is_written_is_what_wsproto_reads(size: int, key: bytes | None) -> None:
    payload = bytes(range(256)) * (size // 256 + 1)
    payload = payload[:size]
    masked = payload if key is None else apply_mask(payload, key)
    data = encode_header(BINARY, size, key) + masked
    events, code = told_by_wsproto(data, client=key is None, max_message=MAX)
    assert (events, code) == ([BinaryMessage(payload)], None)


@given(size=SIZES, key=KEYS)
def test_all_ways_of_masking_agree(size: int, key: bytes) -> None:
    data = (b"restsock" * (size // 8 + 1))[:size]
    expected = bytes(byte ^ key[at % 4] for at, byte in enumerate(data))
    assert _apply_mask_python(data, key) == expected
    assert apply_mask(memoryview(data), key) == expected
