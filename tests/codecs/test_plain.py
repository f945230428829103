"""Text, bytes and nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from restsock.codecs import codec
from tests.codecs.values import kind_of


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_is_utf8(text: str) -> None:
    assert codec("string").encode(text) == text.encode()
    assert codec("string").decode(text.encode()) == [text]


def test_what_is_no_text() -> None:
    assert kind_of(lambda: codec("string").decode(b"a\xff")) == "malformed"
    assert kind_of(lambda: codec("string").decode("é".encode()[:1])) == "malformed"
    assert kind_of(lambda: codec("string").encode(b"a")) == "value"


@given(st.binary())
def test_bytes_stay_as_they_are(data: bytes) -> None:
    for value in (data, bytearray(data), memoryview(data)):
        assert codec("binary").encode(value) == data
    assert codec("binary").decode(data) == [data]


def test_what_is_no_bytes() -> None:
    assert kind_of(lambda: codec("binary").encode("a")) == "value"


@given(st.binary(), st.integers())
def test_null_takes_all_and_gives_nothing(data: bytes, value: int) -> None:
    assert codec("null").decode(data) == [None]
    assert codec("null").encode(value) == b""
