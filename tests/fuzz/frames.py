"""The frame decoder: documented errors only, what the layout says, and back to the same bytes.

An input is one binary message.
"""

from __future__ import annotations

from restsock._exceptions import RemoteProtocolError
from restsock.protocol._frames import (
    MAX_CREDIT,
    FrameType,
    decode_frame,
    decode_goaway,
    decode_reset,
    decode_window,
    encode_frame,
    encode_goaway,
    encode_reset,
    encode_window,
)

MAX_LEN = 1100  # past the longest reason there may be
DICTIONARY = (
    *(bytes([type, 1, 0, 0, 0, 0, 0, 1]) for type in range(7)),
    *(
        b"\x05\0\0\0\0\0\0\0\0\0\0\0\x03\xe8",
        b"\x7f\xff\xff\xff",
        b"\x80\0\0\0",
        b"\xff\xff\xff\xff",
    ),
    *(b"\xe2\x82\xac", b"\xff", b"\xf0\x9f\x98\x80" * 64, b"a" * 256),
)

_ON_STREAMS = (1, 2, 3, 4)
_GOAWAY = 5
_PINGS = (6, 7)
_LONGEST_REASON = 1024


def test_one(data: bytes) -> None:
    type, stream = (data[0], int.from_bytes(data[4:8], "big")) if len(data) >= 8 else (0, 0)
    right = len(data) >= 8
    right = right and not (type in _ON_STREAMS and stream == 0)
    right = right and not (type in (_GOAWAY, *_PINGS) and stream != 0)
    right = right and not (type in _PINGS and len(data) != 16)
    try:
        frame = decode_frame(data)
    except RemoteProtocolError as exc:
        assert not right
        assert exc.close_code == 4002
    else:
        assert right
        assert frame == (type, data[1], stream, data[8:])
        written = encode_frame(frame.type, frame.flags, frame.stream_id, frame.payload)
        assert written == data[:2] + b"\0\0" + data[4:]
    # Not behind the header alone, which would keep the fuzzer from trying all three.
    payload = data[8:] if right else data
    _reset(payload)
    _window(payload)
    _goaway(payload)


def _reset(payload: bytes) -> None:
    try:
        code, reason = decode_reset(payload)
    except RemoteProtocolError:
        assert not 2 <= len(payload) <= 2 + _LONGEST_REASON
        return
    assert 2 <= len(payload) <= 2 + _LONGEST_REASON
    assert code == int.from_bytes(payload[:2], "big")
    assert reason == payload[2:].decode("utf-8", "replace")
    type, flags, stream, again = decode_frame(encode_reset(7, code, reason))
    assert (type, flags, stream) == (FrameType.RESET, 0, 7)
    code_again, reason_again = decode_reset(again)
    assert code_again == code
    _check_reason(reason_again, reason)


def _window(payload: bytes) -> None:
    credit = int.from_bytes(payload, "big")
    right = len(payload) == 4 and 1 <= credit <= MAX_CREDIT
    try:
        assert decode_window(payload) == credit
    except RemoteProtocolError:
        assert not right
        return
    assert right
    assert encode_window(9, credit) == bytes([FrameType.WINDOW, 0, 0, 0, 0, 0, 0, 9]) + payload


def _goaway(payload: bytes) -> None:
    try:
        last, code, reason = decode_goaway(payload)
    except RemoteProtocolError:
        assert not 6 <= len(payload) <= 6 + _LONGEST_REASON
        return
    assert 6 <= len(payload) <= 6 + _LONGEST_REASON
    assert last == int.from_bytes(payload[:4], "big")
    assert code == int.from_bytes(payload[4:6], "big")
    type, flags, stream, again = decode_frame(encode_goaway(last, code, reason))
    assert (type, flags, stream) == (FrameType.GOAWAY, 0, 0)
    last_again, code_again, reason_again = decode_goaway(again)
    assert (last_again, code_again) == (last, code)
    _check_reason(reason_again, reason)


def _check_reason(got: str, sent: str) -> None:
    """As sent, or cut between two characters where there was no room for the next one."""
    assert sent.startswith(got)
    if got != sent:
        following = sent[len(got)].encode()
        assert len(got.encode()) <= _LONGEST_REASON < len(got.encode()) + len(following)
