"""The short cut for plain WebSocket frames: events, errors and answers as from wsproto alone.

An input is a byte of flags, then either frames as they are described (so that lengths and masks
come out right more often than by chance), or places to cut at and the bytes themselves.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from operator import xor
from unittest.mock import patch

from restsock._exceptions import RemoteProtocolError
from restsock.protocol import (
    BinaryMessage,
    CloseReceived,
    WebSocket,
    WebSocketEvent,
)
from restsock.protocol import _websocket as websocket_module
from restsock.protocol._websocket_fast import FrameHeader, parse_header
from tests.fuzz.choices import Choices
from tests.protocol.wsproto_alone import told_by_wsproto

MAX_LEN = 1024
DICTIONARY = (
    *(
        b"\x82\x01a",
        b"\x02\x01a",
        b"\x80\x01b",
        b"\x81\x02\xc3\xa4",
        b"\x88\x02\x03\xe8",
        b"\x89\0",
    ),
    *(b"\x82\x7e\x00\x7e", b"\x82\x7f\0\0\0\0\0\x01\0\0", b"\x82\x81\0\0\0\0a", b"\xff" * 8),
)

CLIENT = 1
DESCRIBED = 2
WRITTEN = 4

# More than two bytes of length can say, so that all three forms of a length are met.
MAX_MESSAGE = 66_000

_SIZES = (0, 1, 2, 5, 125, 126, 127, 300, 3071, 3072, 65_535, 65_536, 66_000, 66_001)
_FIRST = (0x82, 0x82, 0x82, 0x02, 0x00, 0x80, 0x81, 0x01, 0x89, 0x8A, 0x88, 0x08, 0x83, 0xC2, 0x92)
_KEYS = (b"\0\0\0\0", b"\x37\xfa\x21\x3d", b"\xff\x00\xff\x00")
_CONTENT = (b"", b"\x03\xe8", b"\xc3\xa4", b"abc", b"\xff")


def test_one(data: bytes) -> None:
    choices = Choices(data)
    flags = choices.byte()
    client = bool(flags & CLIENT)
    if flags & WRITTEN:
        _write(choices, client=client)
        return
    pieces = _described(choices) if flags & DESCRIBED else choices.pieces()
    short = _told_by_us(pieces, client=client)
    wire = b"".join(pieces)
    with _the_long_way():
        long = _told_by_us(pieces, client=client)
    # Of a text that is not whole wsproto may say already that it is none.
    hasty = long[:2] == (short[0], 1007) and short[1] is None and _ends_in_text(wire, client=client)
    events, code, _ = short
    unknown = bool(events) and isinstance(events[-1], CloseReceived) and events[-1].code == 1014
    # Nor does it look at the reason then, which may be no text.
    unknown_and_wrong = code == 1007 and _closes_with(1014, wire, client=client)
    assert long == short or hasty or unknown or unknown_and_wrong
    expected, expected_code = told_by_wsproto(wire, client=client, max_message=MAX_MESSAGE)
    if unknown_and_wrong:
        assert (events, 1002) == (expected, expected_code)
        return
    if unknown:
        assert (events[:-1], 1002) == (expected, expected_code)  # wsproto does not know it
        return
    closed = bool(events) and isinstance(events[-1], CloseReceived)
    too_much, cut = _walk(wire, client=client)
    if code == 1009:
        # What a header announces is refused at once; wsproto goes on to whatever comes then.
        assert too_much
        assert events == expected[: len(events)]
        return
    assert events == expected
    if code is None and expected_code is not None:
        # Of a header that is not complete, wsproto may say already that it is wrong.
        assert cut or (expected_code == 1007 and _ends_in_text(wire, client=client))
    else:
        assert code == expected_code
        assert code is not None or closed or not too_much


def _write(choices: Choices, *, client: bool) -> None:
    key = choices.pick(_KEYS) if client else None
    size = min(choices.pick(_SIZES), MAX_MESSAGE)
    payload = (choices.rest() * (size + 1))[:size]
    sender = WebSocket(client=client, max_message=MAX_MESSAGE, mask_key=lambda: key or b"")
    cut = size // 3
    sender.send_binary(payload[:cut], memoryview(payload)[cut:])
    data = sender.data_to_send()
    assert told_by_wsproto(data, client=not client, max_message=MAX_MESSAGE) == (
        [BinaryMessage(payload)],
        None,
    )


def _described(choices: Choices) -> list[bytes]:
    """Frames, each one a piece, or cut in two where its description says so."""
    pieces: list[bytes] = []
    while choices and len(pieces) < 24:
        first = choices.pick(_FIRST)
        form = choices.byte()
        size = choices.pick(_SIZES)
        payload = (choices.pick(_CONTENT) * (size + 1))[:size]
        frame = _frame(first, payload, _KEYS[form & 3] if form & 3 < 3 else None, form >> 2 & 3)
        cut = choices.number(2) % (len(frame) + 1) if form & 0x80 else len(frame)
        pieces += [piece for piece in (frame[:cut], frame[cut:]) if piece]
    return pieces


def _frame(first: int, payload: bytes, key: bytes | None, wide: int) -> bytes:
    """Any frame at all; `wide` (1, 2) makes the length longer than it need be."""
    bit, size = 0 if key is None else 0x80, len(payload)
    if size < 126 and wide not in (1, 2):
        head = bytes([first, bit | size])
    elif size < 0x10000 and wide != 2:
        head = struct.pack("!BBH", first, bit | 126, size)
    else:
        head = struct.pack("!BBQ", first, bit | 127, size)
    if key is None:
        return head + payload
    stretched = (key * (size // 4 + 1))[:size]
    number = int.from_bytes(payload, "big") ^ int.from_bytes(stretched, "big")
    return head + key + number.to_bytes(size, "big")


def _told_by_us(
    pieces: list[bytes], *, client: bool
) -> tuple[list[WebSocketEvent], int | None, bytes]:
    """The events, the close code of the error if there is one, and what goes out by itself."""
    websocket = WebSocket(client=client, max_message=MAX_MESSAGE, split=8)
    code: int | None = None
    for piece in pieces:
        try:
            websocket.receive_data(piece)
        except RemoteProtocolError as exc:
            code = exc.close_code
            break
    events = []
    while (event := websocket.next_event()) is not None:
        whole = isinstance(event, BinaryMessage) and BinaryMessage(event.data + event.rest)
        events.append(whole or event)
    # A client masks its answers with a key of chance.
    answers = b"%d" % len(websocket.data_to_send()) if client else websocket.data_to_send()
    return events, code, answers


@contextmanager
def _the_long_way() -> Iterator[None]:
    """No frame is plain: wsproto reads them all."""

    def never_plain(data: bytes | bytearray, at: int, *, masked: bool) -> FrameHeader | None:
        header = parse_header(data, at, masked=masked)
        return header and header._replace(plain=False)

    with patch.object(websocket_module, "parse_header", never_plain):
        yield


def _ends_in_text(data: bytes, *, client: bool) -> bool:
    """Whether the last frame is a text message that is not whole."""
    at = 0
    while (header := parse_header(data, at, masked=not client)) is not None:
        end = header.start + header.length
        if end > len(data):
            return data[at] == 0x81
        at = end
    return False


def _closes_with(code: int, data: bytes, *, client: bool) -> bool:
    """Whether the first close frame has this code."""
    at = 0
    while (header := parse_header(data, at, masked=not client)) is not None:
        if data[at] & 0x0F == 0x08:
            said = data[header.start : header.start + 2]
            if not client:
                said = bytes(map(xor, said, data[header.start - 4 : header.start]))
            return said == code.to_bytes(2, "big")
        at = header.start + header.length
    return False


def _walk(data: bytes, *, client: bool) -> tuple[bool, bool]:
    """From header to header: is a message announced that is too large; does one end half-way."""
    at = size = 0
    while (header := parse_header(data, at, masked=not client)) is not None:
        at = header.start + header.length
        if not header.control:
            size += header.length
            if size > MAX_MESSAGE:
                return True, False
            size = 0 if header.fin else size
    return False, at < len(data)
