"""Frames: the content of one binary WebSocket message (spec/protocol.md, "Frames").

::

    0        8        16                32                                64
    | type   | flags  | reserved        | stream id                       | payload ...

All numbers are in network order. The decoder checks what can be checked without knowing any
stream: lengths, the codes' encodings, stream 0. It returns unknown types as they came, for
the caller to pass over.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

from restsock._exceptions import LocalProtocolError, RemoteProtocolError

__all__ = [
    "END",
    "HEADER",
    "HEADER_SIZE",
    "HTTP",
    "HTTPS",
    "MAX_CREDIT",
    "MAX_MESSAGE",
    "MAX_PAYLOAD",
    "Frame",
    "FrameType",
    "decode_frame",
    "decode_goaway",
    "decode_reset",
    "decode_window",
    "encode_frame",
    "encode_goaway",
    "encode_ping",
    "encode_pong",
    "encode_reset",
    "encode_window",
    "flags_of",
    "scheme_in",
]

HEADER_SIZE = 8

# Twice the largest head that is served, so that a head above the limit can still be read and
# answered with a 431 instead of ending the connection.
MAX_PAYLOAD = 128 * 1024
MAX_MESSAGE = HEADER_SIZE + MAX_PAYLOAD

MAX_CREDIT = 2**31 - 1
MAX_REASON = 1024
PING_SIZE = 8

END = 0x01
HTTPS = 0x02
HTTP = 0x04

_SCHEMES = {HTTPS: "https", HTTP: "http"}
_FLAGS = {None: 0, "https": HTTPS, "http": HTTP}

HEADER = struct.Struct("!BBHI")
_CODE = struct.Struct("!H")
_CREDIT = struct.Struct("!I")
_GOAWAY = struct.Struct("!IH")


class FrameType(IntEnum):
    """What a frame carries."""

    HEAD = 1
    DATA = 2
    RESET = 3
    WINDOW = 4
    GOAWAY = 5
    PING = 6
    PONG = 7


class Frame(NamedTuple):
    """A decoded frame. `type` is a plain number, since unknown ones are allowed."""

    type: int
    flags: int
    stream_id: int
    payload: bytes


def flags_of(scheme: str | None) -> int:
    """Returns the flags of a HEAD that opens a stream, for the scheme of its request.

    Raises:
        LocalProtocolError: it is neither `"http"` nor `"https"` nor `None`.
    """
    try:
        return _FLAGS[scheme]
    except KeyError:
        raise LocalProtocolError('the scheme of a request is "http", "https" or None') from None


def scheme_in(flags: int) -> str | None:
    """Returns the scheme that such flags tell; `None` without one, and when they contradict."""
    return _SCHEMES.get(flags & (HTTPS | HTTP))


def encode_frame(type: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    """Returns the message that carries this frame."""
    return HEADER.pack(type, flags, 0, stream_id) + payload


def encode_reset(stream_id: int, code: int, reason: str) -> bytes:
    """Returns a RESET; a reason that is too long is cut."""
    payload = _CODE.pack(code) + _cut(reason)
    return encode_frame(FrameType.RESET, 0, stream_id, payload)


def encode_window(stream_id: int, credit: int) -> bytes:
    """Returns a WINDOW that gives `credit` more bytes."""
    return encode_frame(FrameType.WINDOW, 0, stream_id, _CREDIT.pack(credit))


def encode_goaway(last_stream_id: int, code: int, reason: str) -> bytes:
    """Returns a GOAWAY."""
    payload = _GOAWAY.pack(last_stream_id, code) + _cut(reason)
    return encode_frame(FrameType.GOAWAY, 0, 0, payload)


def encode_ping(payload: bytes) -> bytes:
    """Returns a PING of 8 bytes, for where a WebSocket Ping cannot be sent."""
    return encode_frame(FrameType.PING, 0, 0, payload)


def encode_pong(payload: bytes) -> bytes:
    """Returns the answer to a PING, with the same payload."""
    return encode_frame(FrameType.PONG, 0, 0, payload)


def decode_frame(message: bytes, rest: bytes = b"") -> Frame:
    """Takes a binary message apart.

    Args:
        message: all of it; or no more than the header, if there is a rest.
        rest: the payload, if it came apart.

    Raises:
        RemoteProtocolError: it is shorter than a header, or not on a stream where it has to be.
    """
    if len(message) < HEADER_SIZE:
        raise RemoteProtocolError(f"a frame of {len(message)} bytes is shorter than its header")
    type, flags, _, stream_id = HEADER.unpack_from(message)
    if FrameType.HEAD <= type <= FrameType.PONG and (stream_id == 0) != (type >= FrameType.GOAWAY):
        raise RemoteProtocolError(f"a {FrameType(type).name} frame on stream {stream_id}")
    payload = rest or message[HEADER_SIZE:]
    if FrameType.PING <= type <= FrameType.PONG and len(payload) != PING_SIZE:
        raise RemoteProtocolError(
            f"a {FrameType(type).name} frame with a payload of {len(payload)} bytes"
        )
    return Frame(type, flags, stream_id, payload)


def decode_reset(payload: bytes) -> tuple[int, str]:
    """Returns code and reason.

    Raises:
        RemoteProtocolError: the payload is malformed.
    """
    if len(payload) < _CODE.size:
        raise RemoteProtocolError("a RESET frame without a code")
    (code,) = _CODE.unpack_from(payload)
    return code, _reason(payload[_CODE.size :], "RESET")


def decode_window(payload: bytes) -> int:
    """Returns the credit.

    Raises:
        RemoteProtocolError: the payload is malformed, or the credit is not in 1..2**31-1.
    """
    if len(payload) != _CREDIT.size:
        raise RemoteProtocolError(f"a WINDOW frame with a payload of {len(payload)} bytes")
    (credit,) = _CREDIT.unpack(payload)
    if not 1 <= credit <= MAX_CREDIT:
        raise RemoteProtocolError(f"a WINDOW frame with a credit of {credit}")
    return int(credit)


def decode_goaway(payload: bytes) -> tuple[int, int, str]:
    """Returns last stream id, code, reason.

    Raises:
        RemoteProtocolError: the payload is malformed.
    """
    if len(payload) < _GOAWAY.size:
        raise RemoteProtocolError(f"a GOAWAY frame with a payload of {len(payload)} bytes")
    last_stream_id, code = _GOAWAY.unpack_from(payload)
    return last_stream_id, code, _reason(payload[_GOAWAY.size :], "GOAWAY")


def _cut(reason: str) -> bytes:
    # Cutting inside a character leaves bytes that are not UTF-8; "ignore" drops them.
    cut = reason.encode("utf-8", "replace")[:MAX_REASON]
    return cut.decode("utf-8", "ignore").encode("utf-8")


def _reason(payload: bytes, kind: str) -> str:
    if len(payload) > MAX_REASON:
        raise RemoteProtocolError(f"a {kind} frame with a reason of {len(payload)} bytes")
    # For people to read: no reason, however garbled, is worth losing the connection.
    return payload.decode("utf-8", "replace")
