"""CBOR, with the examples of RFC 8949."""

from __future__ import annotations

import datetime
import math
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restsock.codecs import codec
from tests.codecs.values import finite, kind_of, outcome, same, texts, trees

CBOR = codec("cbor")
UTC = datetime.timezone.utc

values = trees(
    st.none() | st.booleans() | st.integers() | finite | texts | st.binary(max_size=40),
    texts | st.integers(-(2**64), 2**64 - 1),
)


@settings(deadline=None)
@given(values)
def test_what_is_written_is_read(value: Any) -> None:
    assert same(CBOR.decode(CBOR.encode(value)), [value])
    indefinite = cbor2.dumps(value, indefinite_containers=True)
    assert same(CBOR.decode(indefinite), [value])


@settings(deadline=None)
@given(values, st.data())
def test_a_message_that_ends_too_early_is_truncated(value: Any, data: st.DataObject) -> None:
    whole = CBOR.encode(value)
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert outcome(CBOR, whole[:cut]) == "truncated"
    assert outcome(CBOR, whole + b"\0") == "malformed"


@settings(deadline=None, max_examples=400)
@given(st.binary(max_size=60))
def test_what_is_let_through_is_what_the_library_reads(data: bytes) -> None:
    found = outcome(CBOR, data)
    if isinstance(found, list):
        assert same(found, [cbor2.loads(data)])


# RFC 8949, appendix A.
@pytest.mark.parametrize(
    ("hexadecimal", "value"),
    [
        ("00", 0),
        ("17", 23),
        ("1818", 24),
        ("1b000000e8d4a51000", 1000000000000),
        ("1bffffffffffffffff", 18446744073709551615),
        ("c249010000000000000000", 18446744073709551616),
        ("3bffffffffffffffff", -18446744073709551616),
        ("c349010000000000000000", -18446744073709551617),
        ("20", -1),
        ("3903e7", -1000),
        ("f90000", 0.0),
        ("fb3ff199999999999a", 1.1),
        ("f97bff", 65504.0),
        ("fa47c35000", 100000.0),
        ("f97c00", math.inf),
        ("f97e00", math.nan),
        ("f4", False),
        ("f5", True),
        ("f6", None),
        (
            "c074323031332d30332d32315432303a30343a30305a",
            datetime.datetime(2013, 3, 21, 20, 4, tzinfo=UTC),
        ),
        ("c11a514b67b0", datetime.datetime(2013, 3, 21, 20, 4, tzinfo=UTC)),
        ("c1fb41d452d9ec200000", datetime.datetime(2013, 3, 21, 20, 4, 0, 500000, tzinfo=UTC)),
        ("40", b""),
        ("4401020304", b"\x01\x02\x03\x04"),
        ("60", ""),
        ("62c3bc", "ü"),
        ("64f0908591", "\U00010151"),
        ("80", []),
        ("83010203", [1, 2, 3]),
        ("8301820203820405", [1, [2, 3], [4, 5]]),
        ("a0", {}),
        ("a201020304", {1: 2, 3: 4}),
        ("a26161016162820203", {"a": 1, "b": [2, 3]}),
        ("5f42010243030405ff", b"\x01\x02\x03\x04\x05"),
        ("7f657374726561646d696e67ff", "streaming"),
        ("9fff", []),
        ("9f018202039f0405ffff", [1, [2, 3], [4, 5]]),
        ("83018202039f0405ff", [1, [2, 3], [4, 5]]),
        ("bf61610161629f0203ffff", {"a": 1, "b": [2, 3]}),
        ("bf6346756ef563416d7421ff", {"Fun": True, "Amt": -2}),
        ("d9d9f783010203", [1, 2, 3]),
    ],
)
def test_the_examples(hexadecimal: str, value: Any) -> None:
    assert same(CBOR.decode(bytes.fromhex(hexadecimal)), [value])


@pytest.mark.parametrize(
    ("hexadecimal", "kind"),
    [
        ("", "truncated"),
        ("9b7fffffffffffffff", "truncated"),  # a list of 2**63 - 1 values
        ("bb7fffffffffffffff", "truncated"),
        ("5b7fffffffffffffff", "truncated"),
        ("1c", "malformed"),  # no such length
        ("1f", "malformed"),  # an integer without a length
        ("ff", "malformed"),  # an end of nothing
        ("8201ff", "malformed"),
        ("bf6161ff", "malformed"),  # a key without a value
        ("5f6161ff", "malformed"),  # text among bytes
        ("5f5f4161ffff", "malformed"),
        ("61ff", "malformed"),  # not UTF-8
        ("a2616101616102", "malformed"),  # a key twice
        ("c001", "malformed"),  # a time that is a number
        ("c16161", "malformed"),
        ("c1f97c00", "malformed"),  # at the end of time
        ("c1f5", "malformed"),
        ("c11bffffffffffffffff", "malformed"),
        ("c06161", "malformed"),
        ("c2c24101", "malformed"),
        ("c25f4101ff", "too_large"),
        ("f7", "unsupported"),  # undefined
        ("f0", "unsupported"),
        ("f8ff", "unsupported"),
        ("d8236161", "unsupported"),  # a regular expression
        ("c48221196ab3", "unsupported"),  # a decimal fraction
        ("c5821b7fffffffffffffff03", "unsupported"),  # 3 * 2 ** (2**63)
        ("d81c81d81d00", "unsupported"),  # a list that holds itself
        ("a1800f", "unsupported"),  # a list as a key
        ("a1f60f", "unsupported"),
        ("a1c2410102", "unsupported"),
        ("a1416102", "unsupported"),
    ],
)
def test_what_it_does_not_take(hexadecimal: str, kind: str) -> None:
    assert kind_of(lambda: CBOR.decode(bytes.fromhex(hexadecimal))) == kind


def test_an_integer_has_a_bound_and_so_have_pieces() -> None:
    assert CBOR.decode(b"\xc2\x59\x01\xa0" + b"\xff" * 416) == [2**3328 - 1]
    assert outcome(CBOR, b"\xc2\x59\x01\xa1" + b"\xff" * 417) == "too_large"
    assert outcome(CBOR, b"\x5f" + b"\x40" * 1_000_000 + b"\xff") == "too_many"
    assert outcome(CBOR, b"\xc2" * 1_000_000) == "malformed"


@pytest.mark.parametrize("value", [{1, 2}, {1.5: 1}, {None: 1}, 2**4000, datetime.date(2026, 1, 1)])
def test_what_it_cannot_write(value: Any) -> None:
    assert kind_of(lambda: CBOR.encode(value)) in {"value", "unsupported", "too_large"}
