"""Schemas by which a short message would be an endless value."""

from __future__ import annotations

from typing import Any

import pytest

from restsock.codecs import codec


def record(*types: Any, name: str = "r") -> dict[str, Any]:
    fields = [{"name": f"f{number}", "type": kind} for number, kind in enumerate(types)]
    return {"type": "record", "name": name, "fields": fields}


def deep(depth: int) -> Any:
    schema: Any = "int"
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (record("int", ["null", "r"]), "'r' contains itself"),
        (record({"type": "array", "items": "r"}), "'r' contains itself"),
        (record({"type": "map", "values": "r"}), "'r' contains itself"),
        (record(record("r", name="inner")), "'r' contains itself"),
        ({"type": "array", "items": "null"}, "array of items without bytes"),
        ({"type": "array", "items": record()}, "array of items without bytes"),
        ({"type": "array", "items": record("null", record(name="e"))}, "items without bytes"),
        (
            {"type": "array", "items": {"type": "fixed", "name": "f", "size": 0}},
            "array of items without bytes",
        ),
        (
            record({"type": "fixed", "name": "f", "size": 0}, {"type": "array", "items": "f"}),
            "array of items without bytes",
        ),
        (deep(65), "nested more than 64 deep"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 1001}, "in 1..1000"),
        ({"type": "bytes", "logicalType": "decimal"}, "in 1..1000"),
        ({"type": "nonsense"}, "nonsense"),
        (5, "not a schema"),
        (None, "not a schema"),
        ('{"type":', "is not JSON"),
        ("nonsense", "nonsense"),
    ],
)
def test_schemas_that_are_refused(schema: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        codec("avro", schema=schema)


@pytest.mark.parametrize(
    "schema",
    [
        *("null", "int", ["null", "string"], '"int"', '["null", "int"]', '{"type": "int"}'),
        record("null", record("int", name="inner"), "inner"),
        record(["null", "boolean"], {"type": "array", "items": ["null"]}),
        {"type": "array", "items": record("null", "int")},
        {"type": "map", "values": "null"},
        deep(64),
    ],
)
def test_schemas_that_are_taken(schema: Any) -> None:
    assert codec("avro", schema=schema).name == "avro"
