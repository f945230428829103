"""The few WebSocket frames that nearly all traffic consists of, without a detour.

A whole message in one frame, a ping, a pong, a close; no extension, masked as the direction
demands: that is recognised to the letter here, and everything else is left to wsproto. Tests hold
both to the same result for the same bytes.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from ._masking import apply_mask

__all__ = [
    "BINARY",
    "CLOSE",
    "COMPRESSED",
    "PING",
    "PONG",
    "TEXT",
    "FrameHeader",
    "encode_control",
    "encode_header",
    "parse_header",
]

# First bytes: FIN, no extension, opcode.
TEXT = 0x81
BINARY = 0x82
PING = 0x89
PONG = 0x8A
CLOSE = 0x88

# Added to the first byte of a message that is compressed: RSV1 (RFC 7692, section 6).
COMPRESSED = 0x40

_MASKED = 0x80
_TWO_BYTES = 126
_EIGHT_BYTES = 127

_HEAD_2 = struct.Struct("!BBH")
_HEAD_8 = struct.Struct("!BBQ")
_LENGTH_2 = struct.Struct("!H")
_LENGTH_8 = struct.Struct("!Q")


class FrameHeader(NamedTuple):
    """Where a frame lies in a buffer.

    Attributes:
        plain: whether it is a frame that this module knows.
        fin: whether it ends its message.
        control: whether it is a control frame.
        start: where its payload begins.
        length: of its payload.
    """

    plain: bool
    fin: bool
    control: bool
    start: int
    length: int


def parse_header(data: bytes | bytearray, at: int, *, masked: bool) -> FrameHeader | None:
    """Reads the header of a frame; `None` while it is not complete.

    Args:
        data: the buffer.
        at: where the frame begins in it.
        masked: whether frames of this direction must be masked.
    """
    available = len(data) - at
    if available < 2:
        return None
    first, second = data[at], data[at + 1]
    length = second & 0x7F
    start = at + 2
    plain = first in (BINARY, TEXT, PING, PONG, CLOSE) and bool(second & _MASKED) == masked
    if length == _TWO_BYTES:
        if available < 4:
            return None
        (length,) = _LENGTH_2.unpack_from(data, start)
        start += 2
        # A length has to be as short as it can be, and a control frame is never this long.
        plain = plain and length >= _TWO_BYTES and first < CLOSE
    elif length == _EIGHT_BYTES:
        if available < 10:
            return None
        (length,) = _LENGTH_8.unpack_from(data, start)
        start += 8
        plain = plain and 0x10000 <= length < 1 << 63 and first < CLOSE
    if second & _MASKED:
        start += 4
        if len(data) < start:
            return None
    return FrameHeader(plain, bool(first & 0x80), bool(first & 0x08), start, length)


def encode_header(first: int, size: int, key: bytes | None) -> bytes:
    """Returns the header of a message in one frame: all but its payload.

    Args:
        first: `TEXT` or `BINARY`, with `COMPRESSED` if it is.
        size: of the payload.
        key: with which the payload is masked, if it is.
    """
    bit = 0 if key is None else _MASKED
    if size < _TWO_BYTES:
        head = bytes((first, bit | size))
    elif size < 0x10000:
        head = _HEAD_2.pack(first, bit | _TWO_BYTES, size)
    else:
        head = _HEAD_8.pack(first, bit | _EIGHT_BYTES, size)
    return head if key is None else head + key


def encode_control(first: int, payload: bytes, key: bytes | None) -> bytes:
    """Returns a `PING` or `PONG` with at most 125 bytes, masked when there is a key."""
    if key is None:
        return bytes((first, len(payload))) + payload
    return b"".join((bytes((first, _MASKED | len(payload))), key, apply_mask(payload, key)))
