"""The line protocol of InfluxDB, against the `line_protocol_parser` package."""

from __future__ import annotations

from typing import Any

import line_protocol_parser
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restsock.codecs import codec
from tests.codecs.values import finite, kind_of, outcome, same

INFLUX = codec("influx")

names = st.text(st.sampled_from("abc,= \"\\'#é\t"), min_size=1, max_size=8).filter(
    lambda name: not name.endswith("\\")
)
measurements = names.filter(lambda name: name[0] not in "#\t")
values = (
    finite
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text(st.sampled_from("ab\"\\ ,=\n\r'é"), max_size=8)
)
points = st.fixed_dictionaries(
    {
        "measurement": measurements,
        "tags": st.dictionaries(names, names, max_size=3),
        "fields": st.dictionaries(names, values, min_size=1, max_size=3),
    },
    optional={"timestamp": st.integers(-(2**63), 2**63 - 1)},
)


@settings(deadline=None)
@given(st.lists(points, max_size=4))
def test_what_is_written_is_read(written: list[Any]) -> None:
    for point in written:
        assert same(INFLUX.decode(INFLUX.encode(point)), [point])
    for end in (b"\n", b"\r\n", b"\n\n# a comment\n  "):
        assert same(INFLUX.decode(end.join(map(INFLUX.encode, written)) + end), written)


# What both know: the other one is confused by backslashes and quotes in names, and by signs of
# equality in measurements.
plain_names = st.text(st.sampled_from("abc, é"), min_size=1, max_size=8)
plain_points = st.fixed_dictionaries(
    {
        "measurement": st.text(st.sampled_from("abc, é"), min_size=1, max_size=8),
        "tags": st.dictionaries(plain_names, plain_names, max_size=3),
        "fields": st.dictionaries(
            plain_names,
            st.floats(-1e15, 1e15).map(lambda x: round(x, 3))
            | st.booleans()
            | st.integers(-(2**63), 2**63 - 1)
            | st.text(st.sampled_from("ab, ="), max_size=8),
            min_size=1,
            max_size=3,
        ),
        "timestamp": st.integers(0, 2**62),  # the other one does not take the last of them
    }
)


@settings(deadline=None)
@given(plain_points)
def test_another_parser_reads_the_same(point: dict[str, Any]) -> None:
    found = line_protocol_parser.parse_line(INFLUX.encode(point).decode())
    assert found == {
        "measurement": point["measurement"],
        "tags": point["tags"],
        "fields": point["fields"],
        "time": point["timestamp"],
    }


def test_the_example_that_everyone_has() -> None:
    line = b"weather,location=us-midwest temperature=82 1465839830100400200"
    assert INFLUX.decode(line) == [
        {
            "measurement": "weather",
            "tags": {"location": "us-midwest"},
            "fields": {"temperature": 82.0},
            "timestamp": 1465839830100400200,
        }
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("82", 82.0),
        ("-82.5e-1", -8.25),
        ("82i", 82),
        ("-82i", -82),
        ("82u", 82),
        ("18446744073709551615u", 2**64 - 1),
        *((word, True) for word in ("t", "T", "true", "True", "TRUE")),
        *((word, False) for word in ("f", "F", "false", "False", "FALSE")),
        ('""', ""),
        ('"too hot\\\\cold"', "too hot\\cold"),
        ('"too \\"hot\\""', 'too "hot"'),
        ('"a\\nb"', "a\\nb"),
        ('"a\nb c=d"', "a\nb c=d"),
    ],
)
def test_the_types_of_fields(text: str, value: object) -> None:
    assert same(INFLUX.decode(f"m f={text}".encode())[0]["fields"], {"f": value})
    assert same(INFLUX.decode(f"m f={text},g=1  5 \n".encode())[0]["fields"]["f"], value)


@pytest.mark.parametrize(
    ("text", "name"),
    [(r"my\ m", "my m"), (r"my\,m", "my,m"), (r"my\=m", r"my\=m"), (r"my\\\ m", r"my\\ m")],
)
def test_what_a_backslash_escapes_in_a_measurement(text: str, name: str) -> None:
    assert INFLUX.decode(f"{text} f=1".encode())[0]["measurement"] == name


@pytest.mark.parametrize(
    "line",
    [
        *("m", "m ", "m f", "m f=", "m f=1,", "m ,f=1", "m =1", "m, f=1", "m,a f=1", "m,a= f=1"),
        *("m,=b f=1", "m,a=b,a=c f=1", "m f=1,f=2", ",a=b f=1", "m f=x", "m f=NaN", "m f=1e999"),
        *('m f="a', 'm f="a"b', "m f=1 x", "m f=1 1.5", "m f=1 5 5", "m f=9223372036854775808i"),
        *("m f=18446744073709551616u", "m f=-1u", "m f=1 9223372036854775808", "m\rf=1", "m f=1i2"),
    ],
)
def test_what_it_does_not_take(line: str) -> None:
    assert outcome(INFLUX, line.encode()) == "malformed"


def test_its_values_are_counted_and_its_work_is_bounded() -> None:
    assert outcome(INFLUX, b"m f=1\n" * 60_000) == "too_many"
    assert outcome(INFLUX, b"m f=1" + b",a=1" * 2) == "malformed"
    many = b"m" + b"".join(b",t%d=v" % number for number in range(100_001)) + b" f=1"
    assert outcome(INFLUX, many) in {"too_many", "too_large"}
    for data in (b"\\" * 300_000, b"\\," * 150_000, b'm f="' + b'\\"' * 150_000):
        assert outcome(INFLUX, data) == "malformed"


@pytest.mark.parametrize(
    "wrong",
    [
        {"measurement": ""},
        {"measurement": "#m"},
        {"measurement": "m\\"},
        {"measurement": "m\nm"},
        {"measurement": 5},
        {"tags": {"a": ""}},
        {"tags": {"": "a"}},
        {"tags": {"a": 5}},
        {"tags": {"a": "b\\"}},
        {"tags": 5},
        {"fields": {}},
        {"fields": None},
        {"fields": {"a": None}},
        {"fields": {"a": float("nan")}},
        {"fields": {"a": 2**64}},
        {"fields": {"a\r": 1}},
        {"timestamp": 1.5},
        {"timestamp": 2**63},
        {"timestamp": True},
    ],
)
def test_what_it_cannot_write(wrong: dict[str, Any]) -> None:
    point = {"measurement": "m", "tags": {}, "fields": {"f": 1}, **wrong}
    assert kind_of(lambda: INFLUX.encode(point)) == "value"
