"""JSON that everybody reads alike."""

from __future__ import annotations

import codecs
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restsock._strict_json import NoSyntax, NotJSON, read_json

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(deadline=None, max_examples=60)
@given(VALUES)
def test_what_json_is(value: Any) -> None:
    assert read_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"{", "is not JSON"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b'{"a": {"b": 1, "c": 2, "b": 1}}', "twice"),
        (b'{"a": 1, "\\u0061": 2}', "twice"),
        (b"NaN", "NaN"),
        (b"[-Infinity]", "Infinity"),
        (b"1e400", "out of range"),
        (b"-1e400", "out of range"),
        (b"1" * 1001, "1000 digits"),
        (codecs.BOM_UTF8 + b"{}", "is not JSON"),
        ("{}".encode("utf-16"), "is not JSON"),
        ("{}".encode("utf-16-le"), "is not JSON"),
        ("{}".encode("utf-32"), "is not JSON"),
        ('"é"'.encode("latin-1"), "is not JSON"),
        (b"[" * 100_000, "too deeply"),
        (b"1 2", "is not JSON"),
        (b"{'a': 1}", "is not JSON"),
    ],
)
def test_what_readers_take_for_different_things(data: bytes, words: str) -> None:
    with pytest.raises(NotJSON, match=words):
        read_json(data)


@pytest.mark.parametrize("data", [b"", b"hello", b"{", b"[1,]", b"\xff", b"{'a': 1}"])
def test_text_that_no_parser_accepts_is_a_syntax_error(data: bytes) -> None:
    with pytest.raises(NoSyntax):
        read_json(data)


@pytest.mark.parametrize("data", [b'{"a": 1, "a": 2}', b"NaN", b"1e999", b"[" * 100_000])
def test_what_some_take_for_json_is_not_among_that(data: bytes) -> None:
    with pytest.raises(NotJSON) as caught:
        read_json(data)
    assert not isinstance(caught.value, NoSyntax)
