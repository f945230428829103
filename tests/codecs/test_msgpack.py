"""MessagePack, against the `msgpack` package."""

from __future__ import annotations

import datetime
import struct
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restsock.codecs import codec
from tests.codecs.values import finite, int64, kind_of, outcome, same, texts, trees

MESSAGE_PACK = codec("msgpack")
UTC = datetime.timezone.utc

leaves = (
    st.none()
    | st.booleans()
    | int64
    | finite
    | texts
    | st.binary(max_size=40)
    | st.text(st.sampled_from("aé"), min_size=30, max_size=400)
)
values = trees(leaves, texts | int64)


@settings(deadline=None)
@given(values)
def test_another_library_reads_and_writes_the_same(value: Any) -> None:
    assert same(MESSAGE_PACK.decode(msgpack.packb(value)), [value])
    assert same(msgpack.unpackb(MESSAGE_PACK.encode(value), strict_map_key=False), value)


@settings(deadline=None)
@given(values, st.data())
def test_a_message_that_ends_too_early_is_truncated(value: Any, data: st.DataObject) -> None:
    whole = MESSAGE_PACK.encode(value)
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert outcome(MESSAGE_PACK, whole[:cut]) == "truncated"
    assert outcome(MESSAGE_PACK, whole + b"\0") == "malformed"


@settings(deadline=None, max_examples=400)
@given(st.binary(max_size=60))
def test_what_is_let_through_both_libraries_read(data: bytes) -> None:
    found = outcome(MESSAGE_PACK, data)
    if isinstance(found, list):
        packed = msgpack.unpackb(data, strict_map_key=False, timestamp=3)
        assert msgspec.msgpack.encode(found[0]) or packed is None


@pytest.mark.parametrize("size", [0, 1, 31, 32, 255, 256, 65535, 65536])
def test_all_widths_of_lengths(size: int) -> None:
    for value in ("a" * size, b"a" * size, [None] * size, {str(n): n for n in range(size // 4)}):
        data = msgpack.packb(value)
        assert MESSAGE_PACK.decode(data) == [value]


def test_times_and_extensions() -> None:
    moment = datetime.datetime(2026, 11, 27, 1, 2, 3, 456789, UTC)
    assert MESSAGE_PACK.decode(msgpack.packb(moment, datetime=True)) == [moment]
    for size in (1, 2, 4, 8, 16, 5, 300, 70_000):
        data = msgpack.packb(msgpack.ExtType(7, b"x" * size))
        assert MESSAGE_PACK.decode(data) == [msgspec.msgpack.Ext(7, b"x" * size)]
    assert outcome(MESSAGE_PACK, b"\xd7\xff" + b"\xff" * 8) == "malformed"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "truncated"),
        (b"\xc1", "malformed"),
        (b"\xa1\xff", "malformed"),  # text that is not UTF-8
        (b"\xdd\xff\xff\xff\xff", "truncated"),  # a list of 2**32 - 1 values
        (b"\xdf\xff\xff\xff\xff", "truncated"),
        (b"\xdd\x00\x01\x00\x00" * 64 + b"\xc0" * 70_000, "truncated"),
        (b"\xdc\xff", "truncated"),
        (b"\x82\xc0\xc0\xc0\xc0", "unsupported"),  # None as a key
        (b"\x81\x90\xc0", "unsupported"),  # a list as a key
        (b"\x81\x80\xc0", "unsupported"),
        (b"\x81\xcb" + struct.pack(">d", 1.5) + b"\xc0", "unsupported"),
        (b"\x81\xc4\x01a\xc0", "unsupported"),
        (b"\xdd\x00\x0f\xff\xfb" + b"\xc0" * (2**20 - 5), "too_many"),
    ],
)
def test_what_it_does_not_take(data: bytes, kind: str) -> None:
    assert kind_of(lambda: MESSAGE_PACK.decode(data)) == kind


@pytest.mark.parametrize("value", [2**64, {1.5: 1}, {None: 1}, {(1, 2): 3}, {b"a": 1}])
def test_what_it_cannot_write(value: Any) -> None:
    assert kind_of(lambda: MESSAGE_PACK.encode(value)) in {"value", "unsupported"}
