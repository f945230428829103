"""A JSON Schema of its own: what it refuses to be, and that its work is bounded."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from restsock import SpecError
from restsock.openapi.document import Schema, TooMuchWork


@pytest.mark.parametrize(
    ("schema", "value", "pointers"),
    [
        (True, {"a": 1}, []),
        (False, 1, ["#"]),
        ({"type": "integer"}, 1.5, ["#"]),
        (
            {"properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": {"const": 1}}},
            {"a": 2},
            ["#/a"],
        ),
        (
            {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"const": 1}]},
            [2],
            ["#/0"],
        ),
        ({"items": {"$ref": "#"}, "type": "array"}, [[], [[]], 1], ["#/2"]),
        ({"$id": "urn:x", "$ref": "urn:x#/$defs/a", "$defs": {"a": {"type": "null"}}}, 1, ["#"]),
    ],
)
def test_what_is_wrong_and_where(schema: Any, value: Any, pointers: list[str]) -> None:
    assert [each["pointer"] for each in Schema(schema).problems(value)] == pointers


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "nonsense"}, "not valid at #/type"),
        ({"properties": {"a": {"minimum": "x"}}}, "not valid at #/properties/a/minimum"),
        ({"$ref": "#/$defs/nowhere"}, "leads nowhere"),
        ({"items": {"$ref": "https://elsewhere.example/schema"}}, "leads nowhere"),
        ({"$ref": "file:///etc/passwd"}, "leads nowhere"),
        ({"pattern": "(a"}, "cannot be used"),
        ({"patternProperties": {"(?<=x)y": True}}, "cannot be used"),
        ({"$schema": "https://elsewhere.example/dialect"}, "dialect"),
        ({"$schema": 7}, "dialect"),
    ],
)
def test_what_is_none(schema: Any, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        Schema(schema)


@pytest.mark.parametrize("schema", [None, 1, "x", [{}]])
def test_what_is_of_a_wrong_type(schema: Any) -> None:
    with pytest.raises(TypeError, match="a schema is a mapping or a bool"):
        Schema(schema)


def test_it_is_what_it_was_when_it_was_made() -> None:
    mapping: Any = {"type": "integer"}
    schema = Schema(mapping)
    mapping["type"] = "string"
    assert schema.problems(1) == []


def test_one_that_is_nested_too_deeply_is_an_error() -> None:
    schema: Any = {}
    for _ in range(20_000):
        schema = {"not": schema}
    with pytest.raises(SpecError, match=r"nested too deeply|processor time"):
        Schema(schema)


def test_a_value_that_is_nested_too_deeply_is_wrong() -> None:
    value: Any = 1
    for _ in range(20_000):
        value = [value]
    assert Schema({"items": {"$ref": "#"}}).problems(value)[0]["detail"] == "is nested too deeply"


def test_its_work_is_bounded() -> None:
    schema = Schema({"anyOf": [{"items": {"$ref": "#"}}] * 8, "type": "array"})
    value: Any = 1
    for _ in range(30):
        value = [value]
    with pytest.raises(TooMuchWork):
        schema.problems(value, seconds=0.1)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner),
    max_leaves=6,
)
SCHEMAS = st.recursive(
    st.booleans()
    | st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["string", "integer", "array", "object", "null"]),
            "minimum": st.integers(-2, 2),
            "maxLength": st.integers(0, 2),
            "pattern": st.sampled_from(["^a", "b$", "a|b"]),
        },
    ),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "items": inner,
            "properties": st.dictionaries(st.text("ab", max_size=2), inner, max_size=2),
            "required": st.lists(st.text("ab", max_size=1), max_size=2, unique=True),
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "not": inner,
            "unevaluatedProperties": inner,
        },
    ),
    max_leaves=5,
)


@given(SCHEMAS, VALUES)
def test_it_agrees_with_the_library_about_what_is_valid(schema: Any, value: Any) -> None:
    assert (not Schema(schema).problems(value)) is Draft202012Validator(schema).is_valid(value)
