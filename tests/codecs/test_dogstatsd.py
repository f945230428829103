"""DogStatsD."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restsock.codecs import codec
from tests.codecs.values import finite, kind_of, outcome, same

DOGSTATSD = codec("dogstatsd")

plain = st.text(st.sampled_from("abc.-_ é@#:"), max_size=8)
names = st.text(st.sampled_from("abc.-_é"), min_size=1, max_size=8).filter(
    lambda name: not name.startswith(("_e{", "_sc"))
)
# A backslash and an "n" on the wire are a line break, so what has them does not come back.
long_texts = st.text(st.sampled_from("abm: é|\n#"), max_size=12)
messages = st.text(st.sampled_from("abm: é\n#"), max_size=12)
times = st.integers(0, 2**32)
tags = st.lists(st.text(st.sampled_from("ab:é_"), min_size=1, max_size=6), min_size=1, max_size=3)


def optional(required: dict[str, Any], **others: st.SearchStrategy[Any]) -> Any:
    return st.fixed_dictionaries(required, optional=others)


numbers = st.lists(st.integers(-(10**20), 10**20) | finite, min_size=1, max_size=3)
more = {"tags": tags, "container_id": plain, "timestamp": times}
lines = (
    st.fixed_dictionaries(
        {
            "metric": optional(
                {
                    "type": st.sampled_from(["c", "ms", "g", "h", "d"]),
                    "metric": names,
                    "values": numbers,
                },
                sample_rate=st.floats(1e-9, 1),
                **more,
            )
        }
    )
    | st.fixed_dictionaries(
        {
            "metric": optional(
                {
                    "type": st.just("s"),
                    "metric": names,
                    "values": plain.filter(bool).map(lambda text: [text]),
                },
                **more,
            )
        }
    )
    | st.fixed_dictionaries(
        {
            "event": optional(
                {"title": long_texts, "text": long_texts},
                **more,
                hostname=plain,
                aggregation_key=plain,
                priority=st.sampled_from(["normal", "low"]),
                source=plain,
                type=st.sampled_from(["error", "info"]),
            )
        }
    )
    | st.fixed_dictionaries(
        {
            "service_check": optional(
                {"name": names, "status": st.integers(0, 3)},
                **more,
                hostname=plain,
                message=messages,
            )
        }
    )
)


@settings(deadline=None, max_examples=200)
@given(st.lists(lines, max_size=4))
def test_what_is_written_is_read(written: list[Any]) -> None:
    encoded = [DOGSTATSD.encode(each) for each in written]
    assert same(DOGSTATSD.decode(b"\n".join(encoded)), written)
    for line, each in zip(encoded, written, strict=True):
        assert same(DOGSTATSD.decode(line), [each])


# From the documentation of the protocol.
@pytest.mark.parametrize(
    ("line", "value"),
    [
        (
            "page.views:1|c",
            {"metric": {"type": "c", "metric": "page.views", "values": [1]}},
        ),
        (
            "users.online:1:2.5|d|@0.5|#country:china,beta",
            {
                "metric": {
                    "type": "d",
                    "metric": "users.online",
                    "values": [1, 2.5],
                    "sample_rate": 0.5,
                    "tags": ["country:china", "beta"],
                }
            },
        ),
        (
            "users.uniques:12:34|s",
            {"metric": {"type": "s", "metric": "users.uniques", "values": ["12:34"]}},
        ),
        (
            "page.views:15|c|#env:dev|c:83c0a99|T1656581400",
            {
                "metric": {
                    "type": "c",
                    "metric": "page.views",
                    "values": [15],
                    "tags": ["env:dev"],
                    "container_id": "83c0a99",
                    "timestamp": 1656581400,
                }
            },
        ),
        (
            "page.views:15|c|e:it-false|card:none",  # of later versions
            {"metric": {"type": "c", "metric": "page.views", "values": [15]}},
        ),
        (
            (
                "_e{21,36}:An exception occurred|Cannot parse CSV file from 10.0.0.17"
                "|t:warning|#err_type:bad_file"
            ),
            {
                "event": {
                    "title": "An exception occurred",
                    "text": "Cannot parse CSV file from 10.0.0.17",
                    "type": "warning",
                    "tags": ["err_type:bad_file"],
                }
            },
        ),
        (
            "_e{2,5}:é|a\\n|b|d:12|h:host|p:low|k:key|s:src",
            {
                "event": {
                    "title": "é",
                    "text": "a\n|b",
                    "timestamp": 12,
                    "hostname": "host",
                    "priority": "low",
                    "aggregation_key": "key",
                    "source": "src",
                }
            },
        ),
        (
            "_sc|Redis connection|2|#env:dev|m:Redis connection timed out after 10s",
            {
                "service_check": {
                    "name": "Redis connection",
                    "status": 2,
                    "message": "Redis connection timed out after 10s",
                    "tags": ["env:dev"],
                }
            },
        ),
        (
            "_sc|a|0|d:7|h:host|m:b m\\: c|c:id",
            {
                "service_check": {
                    "name": "a",
                    "status": 0,
                    "message": "b m: c",
                    "timestamp": 7,
                    "hostname": "host",
                    "container_id": "id",
                }
            },
        ),
    ],
)
def test_the_kinds_of_lines(line: str, value: dict[str, Any]) -> None:
    assert same(DOGSTATSD.decode(line.encode()), [value])


@pytest.mark.parametrize(
    "line",
    [
        *("a", "a:1", ":1|c", "a:1|x", "a:|c", "a:1:|c", "a:x|c", "a:|s", "a:1|c|@2", "a:1|c|Tx"),
        *("_e{1}:a|b", "_e{1,1}a|b", "_e{1,2}:a|b", "_e{2,1}:a|b", "_e{1,1}:a|bc", "_e{0,1}:é|b"),
        *("_e{1,1}:é|b", "_e{99999999,99999999}:a|b", "_e{1,1}:a|b|d:x", "_e{-1,1}:a|b"),
        *("_sc|", "_sc|a", "_sc||0", "_sc|a|4", "_sc|a|x", "_sc|a|0|d:-1"),
    ],
)
def test_what_it_does_not_take(line: str) -> None:
    assert outcome(DOGSTATSD, line.encode()) == "malformed"


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        {"metric": {}, "event": {}},
        {"metric": None},
        {"metric": {"type": "c", "metric": "m"}},
        {"metric": {"type": "c", "metric": "m", "values": []}},
        {"metric": {"type": "c", "metric": "m", "values": ["1"]}},
        {"metric": {"type": "c", "metric": "_e{1,1}", "values": [1]}},
        {"metric": {"type": "x", "metric": "m", "values": [1]}},
        {"metric": {"type": "s", "metric": "m", "values": [1]}},
        {"metric": {"type": "s", "metric": "m", "values": ["a", "b"]}},
        {"metric": {"type": "c", "metric": "m", "values": [1], "tags": ["a,b"]}},
        {"metric": {"type": "c", "metric": "m", "values": [1], "tags": "ab|"}},
        {"metric": {"type": "c", "metric": "m", "values": [1], "timestamp": 1.5}},
        {"metric": {"type": "c", "metric": "m", "values": [1], "timestamp": -1}},
        {"metric": {"type": "c", "metric": "m", "values": [1], "container_id": "a|b"}},
        {"event": {"title": "a"}},
        {"event": {"title": "a", "text": "b\r"}},
        {"event": {"title": "a", "text": "b", "hostname": "a|b"}},
        {"service_check": {"name": "a", "status": 4}},
        {"service_check": {"name": "a", "status": True}},
        {"service_check": {"name": "a|b", "status": 1}},
        {"service_check": {"name": "a", "status": 1, "message": "a|b"}},
    ],
)
def test_what_it_cannot_write(value: Any) -> None:
    assert kind_of(lambda: DOGSTATSD.encode(value)) == "value"


@pytest.mark.parametrize("line", [b"a:1|c\n", b"a" + b":1" * 60_000, b"a:1|c|#" + b"a," * 100_000])
def test_its_values_are_counted(line: bytes) -> None:
    lines = (line * (600_000 // len(line) + 1))[:600_000]
    assert outcome(DOGSTATSD, lines) == "too_many"
