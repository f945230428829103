"""Frames: what the codec guarantees beyond the vectors."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restsock._exceptions import RemoteProtocolError
from restsock.protocol._frames import (
    MAX_MESSAGE,
    MAX_PAYLOAD,
    decode_frame,
    decode_goaway,
    decode_reset,
    decode_window,
    encode_frame,
    encode_goaway,
    encode_reset,
    encode_window,
)
from tests.protocol.vectors import close_code
from tests.strategies import frames, stream_ids


def test_the_largest_message_holds_twice_the_largest_head() -> None:
    assert MAX_MESSAGE == 131080
    assert MAX_PAYLOAD == 2 * 65536


@given(st.integers(1, 2), st.integers(0, 255), st.integers(1, 2**32 - 1), st.binary(max_size=50))
def test_frames_round_trip(type: int, flags: int, stream_id: int, payload: bytes) -> None:
    message = encode_frame(type, flags, stream_id, payload)
    assert decode_frame(message) == (type, flags, stream_id, payload)


@given(st.integers(1, 2**32 - 1), st.integers(0, 65535), st.text(max_size=2000))
def test_reasons_round_trip_or_are_cut_between_characters(
    stream_id: int, code: int, reason: str
) -> None:
    sayable = reason.encode("utf-8", "replace").decode("utf-8")
    for message, decode in (
        (encode_reset(stream_id, code, reason), decode_reset),
        (encode_goaway(stream_id, code, reason), decode_goaway),
    ):
        *_, got_code, got = decode(decode_frame(message).payload)
        assert got_code == code
        assert sayable.startswith(got)
        assert len(got.encode()) <= 1024
        if len(sayable.encode()) <= 1024:
            assert got == sayable


@given(st.integers(1, 2**31 - 1))
def test_credit_round_trips(credit: int) -> None:
    assert decode_window(decode_frame(encode_window(1, credit)).payload) == credit


@given(st.binary(max_size=1100) | frames)
def test_arbitrary_bytes_raise_only_the_documented_error(message: bytes) -> None:
    for decode in (decode_frame, decode_reset, decode_window, decode_goaway):
        assert close_code(partial(decode, message)) in (None, 4002)


@given(stream_ids, st.binary(max_size=20))
def test_the_decoder_leaves_unknown_types_to_its_caller(stream_id: int, payload: bytes) -> None:
    assert decode_frame(encode_frame(8, 0, stream_id, payload)).type == 8


@pytest.mark.parametrize("size", range(8))
def test_a_message_shorter_than_its_header(size: int) -> None:
    with pytest.raises(RemoteProtocolError, match="shorter than its header"):
        decode_frame(bytes(size))
