"""Keywords of JSON Schema: equality, numbers at the edges, and work that is bounded."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from jsonschema._utils import equal

from restsock.openapi import load
from restsock.openapi.checks._validator import Validator
from restsock.openapi.document._keywords import canonical
from restsock.openapi.document._problems import Problem
from tests.openapi.documents import VERSIONS, document, operation
from tests.test_strict_json import VALUES


def check(
    schema: Any,
    value: Any,
    version: str = "3.1.0",
    *,
    schemas: dict[str, Any] | None = None,
    seconds: float = 30,
) -> list[Problem]:
    """What is wrong with a JSON body; `value` may be its bytes."""
    body = {"content": {"application/json": {"schema": schema}}}
    paths = {"/a": {"post": operation(requestBody=body)}}
    mapping = document(paths, version, components={"schemas": schemas or {}})
    validator = Validator(load(mapping, check=False), seconds=seconds)
    match = validator.document.match("POST", "/a")
    plan = validator.request(match.operation).body("application/json")
    assert plan is not None
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return validator.check_request(match, "", [(b"Content-Type", b"application/json")], plan, data)


# --- equality ---------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(VALUES, VALUES)
def test_equal_is_what_json_schema_calls_equal(one: Any, two: Any) -> None:
    assert (canonical(one) == canonical(two)) is equal(one, two)
    assert canonical(one) == canonical(json.loads(json.dumps(one)))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        (0, -0.0, True),
        ("1", 1, False),
        ("a", "a", True),
        (None, "None", False),
        (None, False, False),
        ([1], [1.0], True),
        ([1], [True], False),
        ([], {}, False),
        ([1, 2], [2, 1], False),
        ({"a": 1, "b": 2}, {"b": 2.0, "a": 1}, True),
        ({"a": [0]}, {"a": [False]}, False),
        (10**400, 10**400, True),
        (10**400, 10**400 + 1, False),
        (2**53, 2**53 + 1, False),
        ("sa", "a", False),
        ("n1", 1, False),
    ],
)
def test_equality(version: str, one: Any, two: Any, same: bool) -> None:
    assert bool(check({"uniqueItems": True}, [one, two], version)) is same
    assert bool(check({"enum": [two]}, one, version)) is not same
    assert bool(check({"enum": [two, *range(100, 200)]}, one, version)) is not same
    if version != "3.0.3":
        assert bool(check({"const": two}, one, version)) is not same


# --- numbers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("value", "of", "right"),
    [
        (b"1" + b"0" * 400, 0.01, True),
        (b"1" + b"0" * 400, 3, False),
        (b"1" + b"0" * 400, 1e-300, True),
        (b"1e308", 0.01, True),
        (b"1.7e308", 1e-300, True),
        (b"19.99", 0.01, True),
        (b"19.995", 0.01, False),
        (b"0.3", 0.1, True),
        (b"4.35", 0.01, True),
        (b"7.5", 2.5, True),
        (b"7", 2, False),
        (b"7.0", 7, True),
        (b"-6", 2, True),
        (b"0", 0.7, True),
        (b"true", 2, True),
        (b'"7"', 2, True),
    ],
)
def test_multiple_of(version: str, value: bytes, of: float, right: bool) -> None:
    assert (check({"multipleOf": of}, value, version) == []) is right


HUGE = [b"1" + b"0" * 400, b"-1" + b"0" * 400, b"1e308", b"-1e308", b"5e-324"]


@pytest.mark.parametrize("value", HUGE)
@pytest.mark.parametrize("limit", [0.5, 10**400, -(10**400), 1e308])
def test_limits_of_huge_numbers(value: bytes, limit: float) -> None:
    number = json.loads(value)
    for version in VERSIONS:
        assert (check({"minimum": limit}, value, version) == []) is (number >= limit)
        assert (check({"maximum": limit}, value, version) == []) is (number <= limit)
    assert (check({"exclusiveMinimum": limit}, value) == []) is (number > limit)
    assert (check({"exclusiveMaximum": limit}, value) == []) is (number < limit)
    strict = {"minimum": limit, "exclusiveMinimum": True}
    assert (check(strict, value, "3.0.3") == []) is (number > limit)
    strict = {"maximum": limit, "exclusiveMaximum": True}
    assert (check(strict, value, "3.0.3") == []) is (number < limit)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("format", "value", "right"),
    [
        ("int32", b"2147483647", True),
        ("int32", b"2147483648", False),
        ("int32", b"3e10", False),
        ("int64", b"1" + b"0" * 400, False),
        ("double", b"1e308", True),
        ("double", b"1" + b"0" * 400, False),
        ("float", b"-1" + b"0" * 400, False),
        ("date", b'"2024-02-29"', True),
        ("date", b'"2024-02-30"', False),
        ("date", b'"' + b"1" * 100_000 + b'"', False),
        ("uuid", b'"' + b"1" * 100_000 + b'"', False),
        ("ipv6", b'"' + b":" * 100_000 + b'"', False),
        ("idn-hostname", b'"' + b"a" * 100_000 + b'"', False),
        ("idn-hostname", b'"\\ud800"', False),
        ("regex", b'"^(a+)+$"', True),
        ("regex", b'"("', False),
        ("regex", b'"(?<=a)b"', False),
        ("nobody-knows", b'"x"', True),
        ("int32", b'"x"', True),
    ],
)
def test_formats(version: str, format: str, value: bytes, right: bool) -> None:
    assert (check({"format": format}, value, version) == []) is right


def test_a_byte_that_is_no_ascii() -> None:
    schema = {"type": "string", "format": "byte"}
    assert check(schema, "YWJj", "3.0.3") == []
    assert check(schema, "ä", "3.0.3") == [
        {"in": "body", "pointer": "#", "detail": "is no valid byte"}
    ]


# --- what is in objects and arrays --------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "value", "right"),
    [
        ({"prefixItems": [{}], "unevaluatedItems": False}, [1], True),
        ({"prefixItems": [{}], "unevaluatedItems": False}, [1, 2], False),
        ({"contains": {"type": "string"}, "unevaluatedItems": {"type": "integer"}}, ["a", 1], True),
        ({"allOf": [{"items": {}}], "unevaluatedItems": False}, [1, 2], True),
        ({"properties": {"a": {}}, "unevaluatedProperties": False}, {"a": 1}, True),
        ({"properties": {"a": {}}, "unevaluatedProperties": False}, {"a": 1, "b": 2}, False),
        ({"allOf": [{"properties": {"a": {}}}], "unevaluatedProperties": False}, {"a": 1}, True),
        (
            {"anyOf": [{"patternProperties": {"^a": {}}}, False], "unevaluatedProperties": False},
            {"ab": 1},
            True,
        ),
        (
            {
                "anyOf": [{"required": ["z"], "properties": {"a": {}}}, {}],
                "unevaluatedProperties": False,
            },
            {"a": 1},
            False,
        ),
        (
            {
                "if": {"properties": {"a": {"const": 1}}},
                "else": {"properties": {"b": {}}},
                "unevaluatedProperties": False,
            },
            {"a": 1},
            True,
        ),
        (
            {
                "if": {"properties": {"a": {"const": 1}}},
                "else": {"properties": {"b": {}}},
                "unevaluatedProperties": False,
            },
            {"a": 2},
            False,
        ),
        (
            {
                "dependentSchemas": {"a": {"properties": {"a": {}, "b": {}}}},
                "unevaluatedProperties": False,
            },
            {"a": 1, "b": 1},
            True,
        ),
        ({"$ref": "#/components/schemas/A", "unevaluatedProperties": False}, {"a": 1}, True),
        ({"$ref": "#/components/schemas/A", "unevaluatedProperties": False}, {"b": 1}, False),
        ({"$ref": "#/components/schemas/A", "required": ["z"]}, {"a": 1}, False),
        ({"$ref": "#/components/schemas/A", "title": "A"}, {"a": 1}, True),
        ({"contains": {"const": 1}, "minContains": 2}, [1, 1.0], True),
        ({"contains": {"const": 1}, "minContains": 2}, [1, 2], False),
        ({"contains": {"const": 1}, "maxContains": 1}, [1, 1], False),
        ({"contains": {"const": 1}, "minContains": 0}, [], True),
        ({"contains": {"const": 1}}, [2], False),
        (
            {"patternProperties": {"^\\d": {"type": "string"}}, "additionalProperties": False},
            {"1": "a"},
            True,
        ),
        (
            {"patternProperties": {"^\\d": {"type": "string"}}, "additionalProperties": False},
            {"1": 1},
            False,
        ),
        ({"patternProperties": {"^\\d": {}}, "additionalProperties": False}, {"a": 1}, False),
        ({"oneOf": [{"type": "integer"}, {"minimum": 2}]}, 1, True),
        ({"oneOf": [{"type": "integer"}, {"minimum": 2}]}, 2, False),
        ({"oneOf": [{"type": "integer"}, {"minimum": 2}]}, 1.5, False),
        ({"not": {"type": "integer"}}, 1, False),
        ({"not": {"type": "integer"}}, "a", True),
    ],
)
def test_applicators(schema: Any, value: Any, right: bool) -> None:
    schemas: dict[str, Any] = {"A": {"properties": {"a": {}}}}
    # By itself and within another schema: references are followed in two places.
    assert (check(schema, value, schemas=schemas) == []) is right
    assert (check({"allOf": [schema]}, value, schemas=schemas) == []) is right


# --- work -------------------------------------------------------------------------------------

_TEXTS = [f"s{number}" for number in range(90_000)]
# Numbers of one hash: of them a set would be a list.
_COLLIDING = [number * (2**61 - 1) for number in range(1, 40_000)]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"uniqueItems": True}, [*_TEXTS, 1]),
        ({"uniqueItems": True}, [*_COLLIDING, "a"]),
        ({"items": {"enum": _TEXTS[:20_000]}}, _TEXTS[:20_000]),
        ({"items": {"enum": [[number] * 9 for number in range(2000)]}}, [[5] * 9] * 2000),
        ({"items": {"enum": [list(range(20_000))]}}, [list(range(20_000))] * 5),
        ({"pattern": "^(a+)+$"}, "a" * 900_000),
    ],
    ids=["texts", "collisions", "enum", "enum of lists", "large enum", "pattern"],
)
def test_what_is_right_is_found_right_in_linear_time(version: str, schema: Any, value: Any) -> None:
    start = time.thread_time()
    assert check(schema, value, version) == []
    assert time.thread_time() - start < 10


def test_another_dialect_does_not_switch_it_off() -> None:
    inner = {"$schema": "http://json-schema.org/draft-07/schema#", "uniqueItems": True}
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "items": inner}
    start = time.thread_time()
    assert check(schema, [[*_TEXTS, 1]]) == []
    assert time.thread_time() - start < 10


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def _twice(keyword: str) -> dict[str, Any]:
    inner = {"type": "array", "items": {"$ref": "#/components/schemas/T"}}
    return {keyword: [inner, {**inner, "minItems": 0}]}


_DOUBLED = {
    f"L{at}": {"allOf": [{"$ref": f"#/components/schemas/L{at + 1}"}] * 2} for at in range(40)
}
_EVALUATED = {
    "type": "object",
    "allOf": [{"properties": {"u": {"$ref": "#/components/schemas/T"}}}],
    "unevaluatedProperties": False,
}
_WIDE: Any = {"items": {"properties": {f"p{number}": {} for number in range(20_000)}}}


def _inside(depth: int) -> Any:
    value: Any = {}
    for _ in range(depth):
        value = {"u": value}
    return value


@pytest.mark.parametrize(
    ("schema", "schemas", "value"),
    [
        ({"$ref": "#/components/schemas/T"}, {"T": _twice("anyOf")}, _nested(60)),
        ({"$ref": "#/components/schemas/T"}, {"T": _twice("oneOf")}, _nested(60)),
        ({"$ref": "#/components/schemas/L0"}, {**_DOUBLED, "L40": {"type": "integer"}}, 5),
        ({"$ref": "#/components/schemas/T"}, {"T": _EVALUATED}, _inside(60)),
        (_WIDE, {}, [{}] * 300_000),
        ({"contains": {"contains": {"const": 1}}}, {}, [[0] * 500] * 500),
        ({"pattern": "a.{900}c"}, {}, "ab" * 400_000),
    ],
    ids=["anyOf", "oneOf", "allOf", "unevaluated", "properties", "contains", "pattern"],
)
def test_what_multiplies_ends_in_time(schema: Any, schemas: dict[str, Any], value: Any) -> None:
    start = time.thread_time()
    (found,) = check(schema, value, schemas=schemas, seconds=0.2)
    assert found["detail"] == "takes more than 0.2 s of processor time to check"
    assert time.thread_time() - start < 10


def test_errors_are_not_collected_without_end() -> None:
    kinds = ("string", "boolean", "object")
    schema = {"anyOf": [{"items": {"anyOf": [{"type": kind}] * 3}} for kind in kinds]}
    start = time.thread_time()
    (found,) = check(schema, [1] * 300_000)
    assert "none of the schemas" in found["detail"] or "has to be" in found["detail"]
    assert time.thread_time() - start < 5
    assert len(check({"items": {"type": "string"}}, [1] * 300_000)) == 20
