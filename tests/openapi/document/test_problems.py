"""Problems: pointers that lead back, words without values, bodies as RFC 9457 has them."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from restsock.openapi.document._problems import (
    MAX_ERRORS,
    pointer,
    problem,
    schema_problems,
    summary,
)

TOKENS = st.one_of(st.text(), st.integers(0, 10**6))


def tokens_of(fragment: str) -> list[str]:
    """RFC 6901, sections 4 and 6, read backwards."""
    assert fragment.startswith("#")
    assert fragment.isascii()
    parts = unquote(fragment[1:]).split("/")[1:] if fragment != "#" else []
    return [part.replace("~1", "/").replace("~0", "~") for part in parts]


@given(st.lists(TOKENS))
def test_a_pointer_leads_back(path: list[str | int]) -> None:
    assert tokens_of(pointer(path)) == [str(token) for token in path]


def test_pointers_of_the_rfc() -> None:
    assert pointer([]) == "#"
    assert pointer(["a/b", "m~n", "c%d", 0, " ", ""]) == "#/a~1b/m~0n/c%25d/0/%20/"
    assert pointer(["\ud800"]) == "#/%3F"


def found(schema: Any, value: Any) -> list[tuple[str, str]]:
    errors = Draft202012Validator(schema).iter_errors(value)
    return [(p["pointer"], p["detail"]) for p in schema_problems(errors, "body")]


@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [
        ({"required": ["a", "b"]}, {}, [("#/a", "is required"), ("#/b", "is required")]),
        ({"required": ["it's", "x"]}, {"x": 1}, [("#/it's", "is required")]),
        (
            {"properties": {"a": {}}, "additionalProperties": False},
            {"a": 1, "b/c": 2},
            [("#/b~1c", "is not allowed here")],
        ),
        (
            {"patternProperties": {"^x": {}}, "additionalProperties": False},
            {"xa": 1, "ya": 2},
            [("#/ya", "is not allowed here")],
        ),
        ({"type": "integer"}, "5", [("#", "has to be of type integer")]),
        ({"type": ["integer", "null"]}, "5", [("#", "has to be of type integer or null")]),
        ({"items": {"minimum": 3}}, [5, 1], [("#/1", "has to be at least 3")]),
        ({"enum": ["a", "b"]}, "c", [("#", 'has to be one of ["a", "b"]')]),
        (
            {"anyOf": [{"type": "integer", "minimum": 3}, {"type": "null"}]},
            1,
            [("#", "has to be at least 3")],
        ),
        (False, 1, [("#", "breaks the rule 'None'")]),
    ],
)
def test_words(schema: Any, value: Any, expected: list[tuple[str, str]]) -> None:
    assert found(schema, value) == expected


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.just("hunter2-secret")),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.dictionaries(st.sampled_from(["a", "b", "c d", "e/f"]), inner, max_size=4),
    ),
    max_leaves=15,
)
SCHEMAS: st.SearchStrategy[dict[str, Any]] = st.deferred(
    lambda: st.one_of(
        st.sampled_from(["string", "integer", "object", "array", "null"]).map(
            lambda kind: {"type": kind}
        ),
        st.builds(lambda inner: {"items": inner}, SCHEMAS),
        st.builds(
            lambda inner, more: {"properties": {"a": inner, "e/f": inner}, **more},
            SCHEMAS,
            st.sampled_from([{}, {"additionalProperties": False}, {"required": ["a", "c d"]}]),
        ),
        st.builds(lambda a, b: {"anyOf": [a, b]}, SCHEMAS, SCHEMAS),
        st.builds(lambda a: {"not": a}, SCHEMAS),
        st.sampled_from([{"maxItems": 1}, {"pattern": "^x"}, {"const": 1}, {"uniqueItems": True}]),
    )
)


@given(SCHEMAS, VALUES)
def test_pointers_lead_into_the_value_and_nothing_is_quoted(schema: Any, value: Any) -> None:
    validator = Draft202012Validator(schema)
    problems = list(schema_problems(validator.iter_errors(value), "body"))
    assert bool(problems) == (not validator.is_valid(value))
    assert len(problems) <= MAX_ERRORS * MAX_ERRORS
    for each in problems:
        assert "hunter2" not in json.dumps(each)
        node = value
        tokens = tokens_of(each["pointer"])
        for index, token in enumerate(tokens):
            if each["detail"] == "is required" and index == len(tokens) - 1:
                assert token not in node
                break
            node = node[int(token)] if isinstance(node, list) else node[token]


def test_errors_are_bounded() -> None:
    errors = Draft202012Validator({"items": {"type": "string"}}).iter_errors(list(range(10**4)))
    assert len(list(schema_problems(errors, "body"))) == MAX_ERRORS
    extra = {str(n) * 100: 1 for n in range(1000)}
    errors = Draft202012Validator({"additionalProperties": False}).iter_errors(extra)
    assert len(list(schema_problems(errors, "body"))) == MAX_ERRORS


def test_a_summary_is_one_line() -> None:
    errors = [problem("query", "is required", name="q"), problem("body", "is bad", path=["a", 0])]
    assert summary(errors) == "query q: is required; body at #/a/0: is bad"
