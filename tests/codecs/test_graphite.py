"""Graphite's plaintext protocol."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restsock.codecs import codec
from tests.codecs.values import finite, kind_of, outcome, same

GRAPHITE = codec("graphite")

points = st.fixed_dictionaries(
    {
        "metric": st.text(st.sampled_from("abc.;=é"), min_size=1, max_size=8),
        "value": st.integers(-(10**20), 10**20) | finite,
    },
    optional={"timestamp": st.integers(0, 2**40) | st.floats(0, 1e12)},
)


@settings(deadline=None)
@given(st.lists(points, max_size=4))
def test_what_is_written_is_read(written: list[Any]) -> None:
    assert same(GRAPHITE.decode(b"\n".join(map(GRAPHITE.encode, written))), written)


def test_the_time_of_the_receiver() -> None:
    line = b"beep.boop 320.0 -1"
    assert GRAPHITE.decode(line) == [{"metric": "beep.boop", "value": 320.0}]
    assert GRAPHITE.decode(line, 1234 * 10**9 + 5) == [
        {"metric": "beep.boop", "value": 320.0, "timestamp": 1234}
    ]
    assert GRAPHITE.encode({"metric": "beep.boop", "value": 320.0}) == line


def test_a_line_as_everyone_writes_it() -> None:
    assert same(
        GRAPHITE.decode(b"a.b 7 1620649445\r\n\n a.c;host=x\t1.5  1620649445.5 \n"),
        [
            {"metric": "a.b", "value": 7, "timestamp": 1620649445},
            {"metric": "a.c;host=x", "value": 1.5, "timestamp": 1620649445.5},
        ],
    )


@pytest.mark.parametrize(
    "line", ["a", "a 1", "a 1 2 3", "a x 1", "a nan 1", "a 1 x", "a 1 -2", "a 1e999 1", "a 1 N"]
)
def test_what_it_does_not_take(line: str) -> None:
    assert outcome(GRAPHITE, line.encode()) == "malformed"


@pytest.mark.parametrize(
    "wrong",
    [
        {"metric": "a b"},
        {"metric": ""},
        {"value": "1"},
        {"value": float("nan")},
        {"value": None},
        {"timestamp": -2},
        {"timestamp": None},
        {"timestamp": "1"},
    ],
)
def test_what_it_cannot_write(wrong: dict[str, Any]) -> None:
    assert kind_of(lambda: GRAPHITE.encode({"metric": "a", "value": 1, **wrong})) == "value"


def test_its_lines_are_counted() -> None:
    assert outcome(GRAPHITE, b"a 1 1\n" * 100_001) == "too_many"
