"""Reading parameters: the tables of OpenAPI, and no disagreement with openapi-core."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import openapi_core
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openapi_core.datatypes import RequestParameters
from openapi_core.validation.request.exceptions import ParameterValidationError
from werkzeug.datastructures import Headers, ImmutableMultiDict

from restsock import SpecError
from restsock.openapi import load
from restsock.openapi.checks._messages import Parameters
from restsock.openapi.checks._reading import FormReader, Reader
from restsock.openapi.checks._validator import Validator
from restsock.openapi.document import Parameter, schema_problems
from restsock.openapi.document._routes import Match
from tests.openapi.documents import document, operation, parameter

PETS = load(document())
INTEGERS = {"type": "array", "items": {"type": "integer"}}
COLOR = {
    "type": "object",
    "properties": {"R": {"type": "integer"}, "G": {"type": "integer"}, "n": {"type": "string"}},
}


class Spy:
    """A validator of schemas that notes what it is given, and finds no fault."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def iter_errors(self, value: Any) -> list[Any]:
        self.seen.append(value)
        return []


def read(parameter: dict[str, Any], text: str) -> Any:
    """What is read of a parameter from a path variable, a query, a header or cookies."""
    spy = Spy()
    reader = Reader(PETS, Parameter.of(parameter), spy)
    where = parameter["in"]
    parameters = Parameters(
        {"p": text} if where == "path" else {},
        text if where == "query" else "",
        [(b"P" if where == "header" else b"Cookie", text.encode())]
        if where in ("header", "cookie")
        else [],
    )
    problems = list(reader.check(parameters))
    if problems:
        return problems[0]["detail"]
    return spy.seen[0] if spy.seen else "missing"


def rows() -> list[Any]:
    """Style, explode, array and object as in "Style Examples" of OpenAPI 3.1."""
    pair = {"R": 100, "G": 200}
    cases = [
        ("path", "simple", False, "3,4,5", "R,100,G,200"),
        ("path", "simple", True, "3,4,5", "R=100,G=200"),
        ("path", "label", False, ".3,4,5", ".R,100,G,200"),
        ("path", "label", True, ".3.4.5", ".R=100.G=200"),
        ("path", "matrix", False, ";p=3,4,5", ";p=R,100,G,200"),
        ("path", "matrix", True, ";p=3;p=4;p=5", ";R=100;G=200"),
        ("query", "form", False, "p=3,4,5", "p=R,100,G,200"),
        ("query", "form", True, "p=3&p=4&p=5", "R=100&G=200"),
        ("query", "spaceDelimited", False, "p=3%204%205", "p=R%20100%20G%20200"),
        ("query", "spaceDelimited", False, "p=3+4+5", "p=R+100+G+200"),
        ("query", "pipeDelimited", False, "p=3%7C4|5", "p=R%7C100|G%7C200"),
        ("query", "deepObject", True, None, "p%5BR%5D=100&p[G]=200"),
        ("header", "simple", False, "3, 4,5", "R,100,G,200"),
        ("header", "simple", True, "3,4,5", "R=100,G=200"),
        ("cookie", "form", False, 'p="3,4,5"', 'p="R,100,G,200"'),
    ]
    found: list[Any] = []
    for where, style, explode, array, obj in cases:
        more = {"style": style, "explode": explode}
        if array is not None:
            found.append((parameter(where, "p", INTEGERS, **more), array, [3, 4, 5]))
        found.append((parameter(where, "p", COLOR, **more), obj, pair))
    return found


@pytest.mark.parametrize(("described", "text", "expected"), rows())
def test_style_examples(described: dict[str, Any], text: str, expected: Any) -> None:
    assert read(described, text) == expected


@pytest.mark.parametrize(
    ("schema", "text", "expected"),
    [
        ({"type": "string"}, "p=", ""),
        ({"type": "string"}, "p", ""),
        ({"type": "string"}, "p=a+b%2Bc", "a b+c"),
        ({"type": "string"}, "q=1", "missing"),
        ({"type": "string"}, "p=1&p=2", "1"),
        ({"type": "integer"}, "p=-5", -5),
        ({"type": "integer"}, "p=1_0", "has to be of type integer"),
        ({"type": "integer"}, "p=5.0", "has to be of type integer"),
        ({"type": "integer"}, "p=" + "9" * 5000, "has to be of type integer"),
        ({"type": "integer"}, "p=%D9%A3", "has to be of type integer"),  # an Arabic three
        ({"type": "number"}, "p=1.5e3", 1500.0),
        ({"type": "number"}, "p=nan", "has to be of type number"),
        ({"type": "number"}, "p=1e999", "has to be of type number"),
        ({"type": "boolean"}, "p=TRUE", True),
        ({"type": "boolean"}, "p=0", False),
        ({"type": "boolean"}, "p=maybe", "has to be of type boolean"),
        ({"type": ["integer", "null"]}, "p=5", 5),
        ({"type": ["string", "integer"]}, "p=5", 5),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "p=5", 5),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "p=x", "x"),
        ({"anyOf": [{"type": "null"}, {"type": "boolean"}]}, "p=true", True),
        ({"anyOf": [INTEGERS, {"type": "null"}]}, "p=1&p=2", [1, 2]),
        ({"allOf": [{"type": "integer"}]}, "p=5", 5),
        ({}, "p=5", "5"),
        (INTEGERS, "p=1&p=x", [1, "x"]),
        (INTEGERS, "p=1", [1]),
    ],
)
def test_values(schema: dict[str, Any], text: str, expected: Any) -> None:
    found = read(parameter("query", "p", schema), text)
    assert (found, type(found)) == (expected, type(expected))


def test_an_encoded_separator_is_part_of_an_item() -> None:
    texts = {"type": "array", "items": {"type": "string"}}
    assert read(parameter("query", "p", texts, explode=False), "p=a%2Cb,c") == ["a,b", "c"]


def test_deep_objects_with_lists() -> None:
    schema = {"type": "object", "properties": {"a": INTEGERS, "b": {"type": "boolean"}}}
    described = parameter("query", "p", schema, style="deepObject")
    assert read(described, "p[a]=1&p[a]=2&p[b]=true&q[b]=1") == {"a": [1, 2], "b": True}
    assert read(described, "q=1") == "missing"


def test_json_in_a_parameter() -> None:
    described = {"in": "query", "name": "p", "content": {"application/json": {"schema": {}}}}
    assert read(described, "p=" + quote('{"a": [1]}')) == {"a": [1]}
    assert read(described, "p=%7B") == "is not JSON"


@pytest.mark.parametrize(
    ("style", "text", "words"),
    [
        ("label", "3", "begin with a dot"),
        ("matrix", "p=3", "begin with a semicolon"),
        ("matrix", ";q=3", "given as ;p="),
        ("simple", "R,100,G", "names and values in turn"),
    ],
)
def test_what_its_style_is_not(style: str, text: str, words: str) -> None:
    described = parameter("path", "p", COLOR if style == "simple" else INTEGERS, style=style)
    assert words in read(described, text)


def test_empty_values_where_they_are_allowed() -> None:
    described = parameter("query", "p", {"type": "integer"}, allowEmptyValue=True)
    assert read(described, "p=") == "missing"  # that is: nothing was validated
    assert read(described, "p=5") == 5


@pytest.mark.parametrize(
    ("more", "text", "seen"),
    [
        ({"content": {"text/plain": {"schema": {"type": "string"}}}}, "p=a%2Cb", ["a,b"]),
        ({"content": {"application/xml": {"schema": {"type": "string"}}}}, "p=<a/>", []),
        ({"schema": True}, "p=5", ["5"]),
        ({"schema": {"type": "string"}}, "q=5", []),
    ],
)
def test_what_is_looked_into(more: dict[str, Any], text: str, seen: list[Any]) -> None:
    spy = Spy()
    reader = Reader(PETS, Parameter.of({"in": "query", "name": "p", **more}), spy)
    assert list(reader.check(Parameters({}, text, ()))) == []
    assert spy.seen == seen


ODD = {"style": "unheard-of"}
FORM = {"schema": {"properties": {"p": {}}}, "encoding": {"p": ODD}}


@pytest.mark.parametrize(
    "described",
    [
        operation(parameters=[parameter("query", "p", {}, **ODD)]),
        {"responses": {"200": {"description": "", "headers": {"p": {"schema": {}, **ODD}}}}},
        operation(requestBody={"content": {"application/x-www-form-urlencoded": FORM}}),
    ],
)
def test_a_style_that_openapi_does_not_have(described: dict[str, Any]) -> None:
    loaded = load(document({"/a": {"post": described}}), check=False)
    with pytest.raises(SpecError, match=r"POST /a: .*'p' has no style 'unheard-of'"):
        Validator(loaded).prepare()


@given(st.text(), st.sampled_from(["query", "path", "header", "cookie"]), st.booleans())
def test_any_text_is_read_or_a_problem(text: str, where: str, explode: bool) -> None:
    for schema in (INTEGERS, COLOR, {"type": "number"}, {"anyOf": [INTEGERS, COLOR]}):
        encoded = quote(text) if where == "query" else text
        read(parameter(where, "p", schema, explode=explode), encoded)


def test_forms() -> None:
    schema = {
        "type": "object",
        "allOf": [{"properties": {"n": {"type": "integer"}, "tags": INTEGERS}}],
        "additionalProperties": {"type": "boolean"},
    }
    spy = Spy()
    form = FormReader(PETS, {"schema": schema}, spy)
    assert list(form.check("n=5&tags=1&tags=x&a+b=true&empty")) == []
    assert spy.seen == [{"n": 5, "tags": [1, "x"], "a b": True, "empty": ""}]


def test_forms_with_encodings() -> None:
    content = {
        "schema": {
            "properties": {
                "short": INTEGERS,
                "deep": COLOR,
                "text": INTEGERS,
                "pet": COLOR,
                "pets": {"type": "array", "items": COLOR},
            }
        },
        "encoding": {
            "short": {"style": "pipeDelimited", "explode": False},
            "deep": {"style": "deepObject"},
            "text": {"contentType": "application/json"},
            "pet": {"contentType": "text/plain"},
        },
    }
    pet = quote('{"R": 1}')
    text = f"short=1|2&deep[R]=3&deep[n]=x&text=[4]&pet={pet}&pets={pet}&pets=x&more=5"
    spy = Spy()
    assert list(FormReader(PETS, content, spy).check(text)) == []
    assert spy.seen == [
        {
            "short": [1, 2],
            "deep": {"R": 3, "n": "x"},
            "text": [4],
            "pet": {"R": 1},
            "pets": [{"R": 1}, "x"],
            "more": "5",
        }
    ]
    for ambiguous in ("deep[R]=1&deep[R]=2", "short=1&short=2", "Text=[4]", "text=[1"):
        (found,) = FormReader(PETS, content, spy).check(ambiguous)
        assert found["in"] == "body"


# --- against openapi-core -------------------------------------------------------------------------

KINDS = st.sampled_from(
    [
        {"type": "integer", "minimum": 0},
        {"type": "number", "maximum": 10},
        {"type": "boolean"},
        {"type": "string", "maxLength": 3},
        {"type": "string", "enum": ["x", "5"]},
        {"type": "string", "format": "date"},
    ]
)
SCHEMAS = st.one_of(
    KINDS,
    KINDS.map(lambda items: {"type": "array", "items": items, "maxItems": 2}),
    KINDS.map(lambda kind: {"anyOf": [kind, {"type": "null"}]}),
)
# What both are said to read alike: no empty texts, no numbers that Python alone knows.
TEXTS = st.sampled_from(["x", "5", "-3", "12345", "1.5", "true", "NO", "2020-02-30", "2020-02-02"])


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["query", "header", "cookie", "path"]),
    SCHEMAS,
    st.booleans(),
    st.lists(TEXTS, max_size=3),
    st.sampled_from(["3.0.3", "3.1.0"]),
)
def test_no_disagreement(
    where: str, schema: dict[str, Any], required: bool, texts: list[str], version: str
) -> None:
    if version == "3.0.3" and "anyOf" in schema:
        schema = schema["anyOf"][0]
    if where == "path":
        texts = texts or ["x"]
    many = schema.get("type") == "array"
    described = parameter(where, "p", schema, **({"required": True} if required else {}))
    path = "/a/{p}" if where == "path" else "/a"
    loaded = load(
        document({path: {"get": operation(parameters=[described])}}, version), check=False
    )
    (found,) = loaded.operations
    text = ",".join(texts) if many else "".join(texts[:1])
    match = Match(found, {"p": text} if where == "path" else {})
    query = urlencode([("p", text) for text in texts]) if where == "query" else ""
    headers: list[tuple[bytes, bytes]] = []
    if texts and where == "header":
        headers = [(b"P", text.encode())]
    elif texts and where == "cookie":
        headers = [(b"Cookie", f"p={texts[0]}".encode())]

    problems = Validator(loaded).check_request(match, query, headers)
    ours = {(problem["in"], problem["pointer"]) for problem in problems}
    theirs = set(openapi_core_finds(loaded.mapping, match, query, headers))
    assert bool(ours) == bool(theirs)
    # Where an item cannot be read at all, ours names the item, theirs the whole.
    assert ours == theirs or (many and theirs == {(where, "#")})


def openapi_core_finds(
    mapping: Any, match: Match, query: str, headers: list[tuple[bytes, bytes]]
) -> Iterator[tuple[str, str]]:
    """Where openapi-core finds the parameters of a request wrong."""
    config = openapi_core.Config(spec_validator_cls=None)  # type: ignore[arg-type]
    cookies = [value.decode().split("=", 1) for name, value in headers if name == b"Cookie"]
    request = SimpleNamespace(
        method="get",
        host_url="http://api",
        path=match.operation.path.replace("{p}", quote(match.variables.get("p", ""))),
        content_type="",
        body=None,
        parameters=RequestParameters(
            query=ImmutableMultiDict(parse_qsl(query, keep_blank_values=True)),
            header=Headers([(name.decode(), value.decode()) for name, value in headers]),
            cookie=ImmutableMultiDict([(name, value) for name, value in cookies]),
        ),
    )
    api = openapi_core.OpenAPI.from_dict(mapping, config=config)
    for error in api.iter_request_errors(request):
        assert isinstance(error, ParameterValidationError), repr(error)
        inner = getattr(error.__cause__, "schema_errors", ())
        for found in schema_problems(inner, error.location):
            yield error.location, found["pointer"]
        if not inner:
            yield error.location, "#"
