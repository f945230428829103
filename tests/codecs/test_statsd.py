"""StatsD."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restsock.codecs import codec
from tests.codecs.values import finite, kind_of, outcome, same

STATSD = codec("statsd")

names = st.text(st.sampled_from("abc.-_ é@#"), min_size=1, max_size=8).filter(lambda n: n.strip())
numbers = st.integers(-(10**20), 10**20) | finite
positive = st.integers(0, 10**20) | st.floats(0, 1e300)
rates = st.fixed_dictionaries({}, optional={"sample_rate": st.floats(1e-9, 1) | st.just(1)})


def metric(kinds: list[str], values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"type": st.sampled_from(kinds), "metric": names, "value": values})


bases = (
    metric(["c", "ms", "h"], numbers)
    | metric(["g"], positive)
    | metric(["g"], positive).flatmap(
        lambda gauge: st.sampled_from(["add", "sub"]).map(lambda act: {**gauge, "action": act})
    )
    | metric(["s"], st.text(st.sampled_from("ab:@# é"), min_size=1, max_size=8))
)
metrics = st.builds(lambda base, rate: {**base, **rate}, bases, rates)


@settings(deadline=None)
@given(st.lists(metrics, max_size=4))
def test_what_is_written_is_read(written: list[Any]) -> None:
    lines = [STATSD.encode(each) for each in written]
    for line, each in zip(lines, written, strict=True):
        assert same(sorted_keys(STATSD.decode(line)), sorted_keys([each]))
    assert len(STATSD.decode(b"\r\n".join(lines))) == len(written)


def sorted_keys(values: list[Any]) -> list[Any]:
    return [dict(sorted(value.items())) for value in values]


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("sam:7|c|@0.1", {"type": "c", "metric": "sam", "value": 7, "sample_rate": 0.1}),
        ("sam:-7.5|c", {"type": "c", "metric": "sam", "value": -7.5}),
        ("glork:320|ms", {"type": "ms", "metric": "glork", "value": 320}),
        ("gaugor:333|g", {"type": "g", "metric": "gaugor", "value": 333}),
        ("gaugor:-10|g", {"type": "g", "metric": "gaugor", "action": "sub", "value": 10}),
        ("gaugor:+4|g", {"type": "g", "metric": "gaugor", "action": "add", "value": 4}),
        ("uniques:765|s", {"type": "s", "metric": "uniques", "value": "765"}),
        ("a:1e3|h", {"type": "h", "metric": "a", "value": 1000.0}),
    ],
)
def test_the_kinds_of_metrics(line: str, value: dict[str, Any]) -> None:
    assert same(STATSD.decode(line.encode()), [value])
    if "1e3" not in line:
        assert STATSD.encode(value) == line.encode()


@pytest.mark.parametrize(
    "line",
    [
        *("sam", "sam:7", ":7|c", "sam:7|x", "sam:|c", "sam:x|c", "sam:NaN|c", "sam:1e999|c"),
        *("sam:7|c|0.1", "sam:7|c|@", "sam:7|c|@0", "sam:7|c|@1.1", "sam:7|c|@-1", "sam:7|c|@1|@1"),
        *("g:+-4|g", "g:--4|g", "s:|s", "sam:7 |c", "sam:0x7|c", "sam:\u0667|c", "sam:7_0|c"),
        "sam:" + "7" * 101 + "|c",
        "sam:7|c|#tag",
    ],
)
def test_what_it_does_not_take(line: str) -> None:
    assert outcome(STATSD, line.encode()) == "malformed"
    assert outcome(STATSD, b"sam:7|c\n" + line.encode()) == "malformed"


@pytest.mark.parametrize(
    "wrong",
    [
        {"metric": "a:b"},
        {"metric": " "},
        {"metric": ""},
        {"type": "x"},
        {"type": None},
        {"value": "7"},
        {"value": None},
        {"value": True},
        {"value": float("inf")},
        {"type": "g", "value": -1},
        {"type": "g", "action": "mul"},
        {"type": "s"},
        {"type": "s", "value": "a|b"},
        {"sample_rate": 0},
        {"sample_rate": 2},
        {"sample_rate": "1"},
    ],
)
def test_what_it_cannot_write(wrong: dict[str, Any]) -> None:
    assert kind_of(lambda: STATSD.encode({"type": "c", "metric": "m", "value": 7, **wrong})) == (
        "value"
    )


def test_its_lines_are_counted() -> None:
    assert outcome(STATSD, b"a:1|c\n" * 100_001) == "too_many"
