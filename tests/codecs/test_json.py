"""JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings

from restsock.codecs import codec
from tests.codecs.values import json_values, kind_of, same

JSON = codec("json")


@settings(deadline=None)
@given(json_values)
def test_it_is_what_the_standard_library_writes_and_reads(value: Any) -> None:
    assert same(JSON.decode(json.dumps(value).encode()), [value])
    assert same(json.loads(JSON.encode(value)), value)


def test_members_are_sorted_or_as_they_come() -> None:
    value = {"b": {"d": 1, "c": 2}, "a": 3}
    assert JSON.encode(value) == b'{"b":{"d":1,"c":2},"a":3}'
    assert codec("json", mode="sorted").encode(value) == b'{"a":3,"b":{"c":2,"d":1}}'


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "malformed"),
        (b"NaN", "malformed"),
        (b"1e999", "malformed"),
        (b"1" * 1001, "malformed"),
        (b'{"a":1,"a":2}', "malformed"),
        (b'"\xff"', "malformed"),
        (b'"\\ud800"', "malformed"),
        (b'["\\ud83d","\\ude00"]', "malformed"),
        (b"\xef\xbb\xbf1", "malformed"),
        (b"[" * 100_000, "too_deep"),
        (b"[" * 65 + b"]" * 65, "too_deep"),
    ],
)
def test_what_it_does_not_take(data: bytes, kind: str) -> None:
    assert kind_of(lambda: JSON.decode(data)) == kind


def test_a_pair_of_surrogates_is_one_character() -> None:
    assert JSON.decode(b'"\\ud83d\\ude00"') == ["\U0001f600"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"a", {1: 2, "a": b""}, "\udcff"])
def test_what_it_cannot_write(value: Any) -> None:
    assert kind_of(lambda: JSON.encode(value)) == "value"
