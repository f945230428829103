"""Avro, against the readers and writers of fastavro."""

from __future__ import annotations

import datetime
import io
import json
import zlib
from decimal import Decimal
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restsock.codecs import codec
from tests.codecs.values import finite, kind_of, outcome, same, texts

COMPRESSIONS = ["null", "deflate", "bzip2", "xz", "zstandard", "snappy"]
SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "Reading",
    "namespace": "org.example",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "unit", "type": {"type": "enum", "name": "Unit", "symbols": ["C", "F"]}},
        {"name": "value", "type": ["null", "double", "string"], "default": None},
        {"name": "raw", "type": "bytes"},
        {"name": "hash", "type": {"type": "fixed", "name": "Hash", "size": 4}},
        {"name": "tags", "type": {"type": "map", "values": "string"}},
        {"name": "parts", "type": {"type": "array", "items": ["int", "boolean", "Unit"]}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {
            "name": "price",
            "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2},
        },
    ],
}
records = st.fixed_dictionaries(
    {
        "id": st.integers(-(2**63), 2**63 - 1),
        "unit": st.sampled_from(["C", "F"]),
        "value": st.none() | finite | texts,
        "raw": st.binary(max_size=20),
        "hash": st.binary(min_size=4, max_size=4),
        "tags": st.dictionaries(texts, texts, max_size=3),
        "parts": st.lists(
            st.integers(-(2**31), 2**31 - 1) | st.booleans() | st.sampled_from(["C", "F"]),
            max_size=4,
        ),
        "at": st.datetimes(timezones=st.just(datetime.timezone.utc)),
        "price": st.integers(-(10**12) + 1, 10**12 - 1).map(lambda n: Decimal(n).scaleb(-2)),
    }
)


def long(number: int) -> bytes:
    """An integer as Avro has it."""
    number = number * 2 if number >= 0 else -number * 2 - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out) + bytes([number])


def container(
    schema: str, *blocks: tuple[int, bytes], compression: str = "null", sync: bytes = b"S" * 16
) -> bytes:
    out = b"Obj\x01" + long(2)
    for key, value in ((b"avro.schema", schema.encode()), (b"avro.codec", compression.encode())):
        out += long(len(key)) + key + long(len(value)) + value
    out += long(0) + b"S" * 16
    return out + b"".join(long(count) + long(len(block)) + block + sync for count, block in blocks)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@settings(deadline=None, max_examples=30)
@given(record=records)
def test_files_are_what_another_reader_and_writer_have(
    compression: str, record: dict[str, Any]
) -> None:
    avro = codec("avro", schema=SCHEMA, compression=compression)
    data = avro.encode(record)
    assert same(avro.decode(data), [record])
    assert same(list(fastavro.reader(io.BytesIO(data))), [record])
    theirs = io.BytesIO()
    # In many blocks.
    fastavro.writer(theirs, SCHEMA, [record] * 3, codec=compression, sync_interval=1)
    assert same(avro.decode(theirs.getvalue()), [record] * 3)


@settings(deadline=None)
@given(records)
def test_single_values_without_a_header(record: dict[str, Any]) -> None:
    avro = codec("avro", schema=json.dumps(SCHEMA), container=False)
    data = avro.encode(record)
    assert same(avro.decode(data), [record])
    assert same(fastavro.schemaless_reader(io.BytesIO(data), SCHEMA), record)
    assert outcome(avro, data + b"\0") == "malformed"
    assert outcome(avro, data[:-1]) != [record]


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=60), st.sampled_from(COMPRESSIONS), st.integers(-1, 5))
def test_garbage_in_a_file_that_is_in_order(block: bytes, compression: str, count: int) -> None:
    avro = codec("avro", schema=SCHEMA)
    outcome(avro, container(json.dumps(SCHEMA), (count, block), compression=compression))
    outcome(codec("avro", schema=SCHEMA, container=False), block)


def test_the_header_says_what_was_configured() -> None:
    data = codec("avro", schema=SCHEMA, compression="zstd").encode(
        {
            "id": 1,
            "unit": "C",
            "raw": b"",
            "hash": b"1234",
            "tags": {},
            "parts": [],
            "at": datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc),
            "price": Decimal("1.25"),
        }
    )
    reader = fastavro.reader(io.BytesIO(data))
    assert json.loads(reader.metadata["avro.schema"]) == SCHEMA
    assert reader.metadata["avro.codec"] == "zstandard"


OLD = {"type": "record", "name": "r", "fields": [{"name": "a", "type": "int"}]}
NEW = {
    "type": "record",
    "name": "r",
    "fields": [{"name": "a", "type": "long"}, {"name": "b", "type": "string", "default": "x"}],
}


def test_the_schema_of_a_file_has_to_be_known() -> None:
    data = codec("avro", schema=OLD).encode({"a": 5})
    assert kind_of(lambda: codec("avro", schema=NEW).decode(data)) == "unsupported"
    known = codec("avro", schema=NEW, writers=[OLD])
    assert known.decode(data) == [{"a": 5, "b": "x"}]
    assert known.decode(known.encode({"a": 1, "b": "y"})) == [{"a": 1, "b": "y"}]
    # The same one, written in another way, as often as a peer likes.
    for spaces in range(40):
        assert known.decode(container(json.dumps(OLD, indent=spaces), (1, b"\x0a"))) == [
            {"a": 5, "b": "x"}
        ]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "malformed"),
        (b"Obj\x02", "malformed"),
        (b"Obj\x01", "truncated"),
        (b"Obj\x01" + long(100) + (long(1) + b"k" + long(0)) * 100, "truncated"),
        (b"Obj\x01" + b"\xff" * 11, "malformed"),
        (b"Obj\x01" + long(1) + long(-5), "malformed"),
        (b"Obj\x01" + long(1) + long(2**50), "truncated"),
        (container("", (1, b"\2")), "malformed"),
        (container('{"type":', (1, b"\2")), "malformed"),
        (container('"string"', (1, b"\2a")), "unsupported"),
        (container('{"type":"nonsense"}', (1, b"\2")), "malformed"),
        (container('{"type":"array","items":' * 300 + '"int"' + "}" * 300, (1, b"\2")), "too_deep"),
        (container('"int"', (1, b"\2"), compression="lzo"), "unsupported"),
        (container('"int"', (1, b"\2"), sync=b"T" * 16), "malformed"),
        (container('"int"', (1, b"\2"))[:-1], "truncated"),
        (container('"int"', (1, b"\2\2")), "malformed"),
        (container('"int"', (2, b"\2")), "truncated"),
        (container('"int"', (-1, b"")), "malformed"),
        (container('"int"', (2**60, b"\2")), "too_many"),
        (container('"int"', *[(0, b"")] * 10_001), "too_many"),
        (container('"int"', (1, b"\2"), compression="snappy"), "malformed"),
        (container('"int"', (1, b"\2"), compression="zstandard"), "malformed"),
    ],
)
def test_what_it_does_not_take(data: bytes, kind: str) -> None:
    assert kind_of(lambda: codec("avro", schema="int").decode(data)) == kind


def test_too_many_metadata() -> None:
    pairs = b"".join(long(1) + bytes([number]) + long(0) for number in range(100))
    many = b"Obj\x01" + long(100) + pairs
    assert kind_of(lambda: codec("avro", schema="int").decode(many)) == "too_many"


def test_metadata_may_say_how_long_they_are() -> None:
    pair = long(11) + b"avro.schema" + long(5) + b'"int"'
    data = b"Obj\x01" + long(-1) + long(len(pair)) + pair + long(0) + b"S" * 16
    assert codec("avro", schema="int").decode(data) == []


def test_a_short_message_is_no_long_value() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = packer.compress(bytes(10 * 2**20)) + packer.flush()
    data = container('"int"', (1, bomb), compression="deflate")
    assert len(data) < 11_000
    assert kind_of(lambda: codec("avro", schema="int").decode(data)) == "too_large"
    nulls = codec("avro", schema="null")
    assert len(nulls.decode(container('"null"', (90_000, b"")))) == 90_000
    assert kind_of(lambda: nulls.decode(container('"null"', *[(90_000, b"")] * 2))) == "too_many"


def test_two_blocks_may_not_be_larger_together() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(long(600_000) + bytes(600_000)) + packer.flush()
    once = container('"bytes"', (1, block), compression="deflate")
    assert [len(each) for each in codec("avro", schema="bytes").decode(once)] == [600_000]
    twice = container('"bytes"', (1, block), (1, block), compression="deflate")
    assert kind_of(lambda: codec("avro", schema="bytes").decode(twice)) == "too_large"


def bare(schema: Any) -> Any:
    return codec("avro", schema=schema, container=False)


@pytest.mark.parametrize(
    ("schema", "data"),
    [
        ({"type": "array", "items": "int"}, long(2**40) + b"\1" * 1000),
        ({"type": "map", "values": "null"}, long(2**40) + b"\0" * 1000),
        ("bytes", long(2**50) + b"a"),
        ("bytes", long(-5) + b"aaaa"),
        ("string", b"\x02\xff"),
        (["null", "int"], long(7)),
        ({"type": "enum", "name": "e", "symbols": ["A"]}, long(7)),
        ({"type": "int", "logicalType": "date"}, long(2**31 - 1)),
        ({"type": "long", "logicalType": "timestamp-millis"}, long(2**62)),
        ({"type": "string", "logicalType": "uuid"}, long(2) + b"ab"),
        ("long", b"\xff" * 20),
    ],
)
def test_what_a_value_cannot_be(schema: Any, data: bytes) -> None:
    assert outcome(bare(schema), data) in {"malformed", "truncated"}


def test_a_decimal_has_as_many_digits_as_the_schema_says() -> None:
    decimal = {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 2}
    twice = {
        "type": "record",
        "name": "r",
        "fields": [
            {"name": "a", "type": {"type": "array", "items": decimal}},
            {"name": "b", "type": ["null", decimal]},
        ],
    }
    value = {"a": [Decimal("-999999999999999999.99")], "b": Decimal("1.25")}
    assert same(bare(twice).decode(bare(twice).encode(value)), [value])
    # One of a megabyte would take minutes.
    million = long(1_000_000) + b"\x7f" * 1_000_000
    assert outcome(bare(decimal), million) == "too_large"
    assert outcome(bare(twice), long(1) + million + long(0) + long(0)) == "too_large"
    assert outcome(bare(twice), long(0) + long(1) + million) == "too_large"


@pytest.mark.parametrize("value", [{"a": "x"}, {}, {"a": 2**70}, {"a": 1, "more": 2}, None, 5])
def test_what_it_cannot_write(value: Any) -> None:
    assert kind_of(lambda: codec("avro", schema=OLD).encode(value)) == "value"


def test_what_is_too_large_to_write() -> None:
    tight = codec("avro", schema="bytes", max_length=1000, compression="deflate")
    assert kind_of(lambda: tight.encode(bytes(1001))) == "too_large"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"schema": SCHEMA, "compression": "defalte"}, "did you mean 'deflate'?"),
        ({"schema": SCHEMA, "compression": "deflate", "container": False}, "for containers only"),
        ({"schema": SCHEMA, "container": "no"}, "container must be true or false"),
        ({"schema": SCHEMA, "writers": SCHEMA}, "writers must be a list of schemas"),
        ({"schema": SCHEMA, "writers": [{"type": "x"}]}, "x"),
    ],
)
def test_what_a_configuration_cannot_have(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("?", r"\?")):
        codec("avro", **options)
