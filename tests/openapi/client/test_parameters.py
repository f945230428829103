"""Parameters on their way out, held to the tables of OpenAPI, to RFC 6570 and to openapi-core."""

from __future__ import annotations

import datetime
import decimal
import enum
import re
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, unquote

import pytest
import uritemplate
from hypothesis import given
from hypothesis import strategies as st
from openapi_core.deserializing.styles import util as styles
from werkzeug.datastructures import MultiDict

from restsock.openapi.client._parameters import (
    Unserializable,
    json_text,
    scalar,
    write_cookies,
    write_header,
    write_path,
    write_query,
)
from restsock.openapi.document import Parameter

BLACK = ["blue", "black", "brown"]
RGB = {"R": 100, "G": 200, "B": 150}


def parameter(location: str, style: str | None = None, **more: Any) -> Parameter:
    contract = {"name": "color", "in": location, **more}
    if style is not None:
        contract["style"] = style
    return Parameter.of(contract)


def written(each: Parameter, value: Any) -> str:
    if each.location == "path":
        return write_path(each, value)
    if each.location == "header":
        return write_header(each, value)
    if each.location == "cookie":
        return "; ".join(f"{name}={text}" for name, text in write_cookies(each, value))
    return "&".join(f"{name}={text}" if name else text for name, text in write_query(each, value))


# "Style Examples" of OpenAPI 3.1.1, and of 3.2.0 for `cookie`. None: it has no text for that.
@pytest.mark.parametrize(
    ("location", "style", "explode", "empty", "text", "array", "mapping"),
    [
        (
            "path",
            "matrix",
            False,
            ";color",
            ";color=blue",
            ";color=blue,black,brown",
            ";color=R,100,G,200,B,150",
        ),
        (
            "path",
            "matrix",
            True,
            ";color",
            ";color=blue",
            ";color=blue;color=black;color=brown",
            ";R=100;G=200;B=150",
        ),
        ("path", "label", False, ".", ".blue", ".blue,black,brown", ".R,100,G,200,B,150"),
        ("path", "label", True, ".", ".blue", ".blue.black.brown", ".R=100.G=200.B=150"),
        ("path", "simple", False, None, "blue", "blue,black,brown", "R,100,G,200,B,150"),
        ("path", "simple", True, None, "blue", "blue,black,brown", "R=100,G=200,B=150"),
        (
            "query",
            "form",
            False,
            "color=",
            "color=blue",
            "color=blue,black,brown",
            "color=R,100,G,200,B,150",
        ),
        (
            "query",
            "form",
            True,
            "color=",
            "color=blue",
            "color=blue&color=black&color=brown",
            "R=100&G=200&B=150",
        ),
        (
            "query",
            "spaceDelimited",
            False,
            None,
            None,
            "color=blue%20black%20brown",
            "color=R%20100%20G%20200%20B%20150",
        ),
        (
            "query",
            "pipeDelimited",
            False,
            None,
            None,
            "color=blue%7Cblack%7Cbrown",
            "color=R%7C100%7CG%7C200%7CB%7C150",
        ),
        (
            "query",
            "pipeDelimited",
            True,
            "color=",
            "color=blue",
            "color=blue&color=black&color=brown",
            "R=100&G=200&B=150",
        ),
        (
            "query",
            "deepObject",
            True,
            None,
            None,
            None,
            "color%5BR%5D=100&color%5BG%5D=200&color%5BB%5D=150",
        ),
        (
            "query",
            "deepObject",
            False,
            None,
            None,
            None,
            "color%5BR%5D=100&color%5BG%5D=200&color%5BB%5D=150",
        ),
        ("header", "simple", False, "", "blue", "blue,black,brown", "R,100,G,200,B,150"),
        ("header", "simple", True, "", "blue", "blue,black,brown", "R=100,G=200,B=150"),
        (
            "cookie",
            "form",
            False,
            "color=",
            "color=blue",
            "color=blue,black,brown",
            "color=R,100,G,200,B,150",
        ),
        (
            "cookie",
            "form",
            True,
            "color=",
            "color=blue",
            "color=blue; color=black; color=brown",
            "R=100; G=200; B=150",
        ),
        (
            "cookie",
            "cookie",
            False,
            "color=",
            "color=blue",
            "color=blue,black,brown",
            "color=R,100,G,200,B,150",
        ),
        (
            "cookie",
            "cookie",
            True,
            "color=",
            "color=blue",
            "color=blue; color=black; color=brown",
            "R=100; G=200; B=150",
        ),
    ],
)
def test_the_table_of_styles(
    location: str,
    style: str,
    explode: bool,
    empty: str | None,
    text: str | None,
    array: str | None,
    mapping: str | None,
) -> None:
    each = parameter(location, style, explode=explode)
    for value, expected in (("", empty), ("blue", text), (BLACK, array), (RGB, mapping)):
        if expected is None:
            with pytest.raises(Unserializable):
                written(each, value)
        else:
            assert written(each, value) == expected


def test_what_a_contract_leaves_out() -> None:
    assert [
        (parameter(location).style, parameter(location).explode, parameter(location).required)
        for location in ("path", "query", "header", "cookie")
    ] == [
        ("simple", False, True),
        ("form", True, False),
        ("simple", False, False),
        ("form", True, False),
    ]
    assert parameter("cookie", "cookie").explode
    assert not parameter("query", "pipeDelimited").explode


@pytest.mark.parametrize(
    "contract",
    [
        {"in": "query"},
        {"name": "a"},
        {"name": "a", "in": "body"},
        {"name": "a", "in": "header", "style": "form"},
        {"name": "a", "in": "query", "style": "label"},
    ],
)
def test_a_contract_that_openapi_does_not_know(contract: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"OpenAPI|style"):
        Parameter.of(contract)


class Kind(enum.Enum):
    CAT = "cat"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (False, "false"),
        (7, "7"),
        (-0.5, "-0.5"),
        (1e30, "1e+30"),
        (decimal.Decimal("1.10"), "1.10"),
        ("ä b", "ä b"),
        (Kind.CAT, "cat"),
        (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (
            datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc),
            "2026-01-02T03:04:05+00:00",
        ),
        (datetime.time(3, 4), "03:04:00"),
        (b"\xff\x00", "/wA="),
    ],
)
def test_the_text_of_a_value(value: Any, text: str) -> None:
    assert scalar(value) == text


@pytest.mark.parametrize(
    "value", [None, float("nan"), float("inf"), decimal.Decimal("NaN"), object(), "\ud800", 1j]
)
def test_values_without_a_text(value: Any) -> None:
    with pytest.raises(Unserializable):
        scalar(value)
    with pytest.raises(Unserializable):
        write_query(parameter("query"), [value])


@pytest.mark.parametrize(
    ("each", "value"),
    [
        (parameter("path"), ""),
        (parameter("path"), []),
        (parameter("path", "label", explode=True), ["a.b"]),
        (parameter("path", "label", explode=True), {"a.b": 1}),
        (parameter("query"), [[1]]),
        (parameter("query"), {"a": {"b": 1}}),
        (parameter("query", "spaceDelimited"), ["a b"]),
        (parameter("query", "pipeDelimited"), {"a": "|"}),
        (parameter("query", "deepObject"), {"a": {"b": 1}}),
        (parameter("header"), "a\r\nb: c"),
        (parameter("header"), " a"),
        (parameter("header"), "a\x00"),
        (parameter("header"), "€"),
        (parameter("header"), ["a,b"]),
        (parameter("header", explode=True), {"a": "b=c"}),
        (Parameter.of({"name": "a b", "in": "header"}), "x"),
        (parameter("cookie", "cookie"), "a;b"),
        (parameter("cookie", "cookie"), 'a"b'),
        (parameter("cookie", "cookie"), "ä"),
        (parameter("cookie", "cookie", explode=False), ["a,b"]),
        (parameter("query", content={"text/plain": {}}), 7),
    ],
)
def test_what_cannot_be_carried_is_refused(each: Parameter, value: Any) -> None:
    with pytest.raises(Unserializable):
        written(each, value)


@pytest.mark.parametrize(
    ("each", "value", "text"),
    [
        (
            parameter("query", allowReserved=True),
            "a/b?c&d=e+f#g[h]",
            "color=a/b?c%26d%3De%2Bf%23g%5Bh%5D",
        ),
        (parameter("query"), "a/b?c", "color=a%2Fb%3Fc"),
        (parameter("query"), [], ""),
        (parameter("query"), {}, ""),
        (
            parameter("query", "deepObject"),
            {"a b": [1, 2]},
            "color%5Ba%20b%5D=1&color%5Ba%20b%5D=2",
        ),
        (Parameter.of({"name": "page[size]", "in": "query"}), 3, "page%5Bsize%5D=3"),
        (
            parameter("query", content={"application/json": {}}),
            {"a": [1, "é"]},
            "color=%7B%22a%22%3A%5B1%2C%22%C3%A9%22%5D%7D",
        ),
        (parameter("header", content={"application/json": {}}), {"a": 1}, '{"a":1}'),
        (parameter("path", content={"application/json": {}}), [1], "%5B1%5D"),
        (
            parameter("cookie", content={"application/json": {}}),
            {"a": 1},
            "color=%7B%22a%22%3A1%7D",
        ),
        (
            parameter("querystring", content={"application/x-www-form-urlencoded": {}}),
            {"a": [1, 2], "b": {"c": 3}},
            "a=1&a=2&b=%7B%22c%22%3A3%7D",
        ),
        (parameter("querystring", content={"application/json": {}}), {"a": 1}, "%7B%22a%22%3A1%7D"),
    ],
)
def test_more_of_what_is_written(each: Parameter, value: Any, text: str) -> None:
    assert written(each, value) == text


def test_json_of_what_json_does_not_know() -> None:
    value = {"when": datetime.date(2026, 1, 2), "who": uuid.UUID(int=1), "which": {Kind.CAT}}
    assert json_text(value) == (
        '{"when":"2026-01-02","who":"00000000-0000-0000-0000-000000000001","which":["cat"]}'
    )
    ring: list[Any] = []
    ring.append(ring)
    for wrong in (float("nan"), object(), ring, {1j: 2}):
        with pytest.raises(Unserializable):
            json_text(wrong)


# --- against RFC 6570 -----------------------------------------------------------------------------

# Also what is not ASCII, and all that is reserved.
texts = st.text(st.characters(codec="utf-8"), max_size=8)
filled = texts.filter(bool)
keys = st.text("abcXYZ019_", min_size=1, max_size=5)
values = st.one_of(
    texts,
    st.lists(filled, min_size=1, max_size=4),
    st.dictionaries(keys, filled, min_size=1, max_size=4),
)


@given(
    st.sampled_from([("simple", ""), ("label", "."), ("matrix", ";"), ("form", "?")]),
    st.booleans(),
    values,
)
def test_it_is_what_rfc_6570_says(style: tuple[str, str], explode: bool, value: Any) -> None:
    location = "query" if style[0] == "form" else "path"
    each = parameter(location, style[0], explode=explode)
    template = "{" + style[1] + "color" + ("*" if explode else "") + "}"
    expected = uritemplate.expand(template, color=value).removeprefix("?")
    texts_in = [*value, *(value.values() if isinstance(value, dict) else ())]
    if style[0] == "label" and explode and not isinstance(value, str) and "." in "".join(texts_in):
        return  # refused, since RFC 6570 writes two different lists the same
    if not expected:
        with pytest.raises(Unserializable):
            written(each, value)
    else:
        ordered = dict(sorted(value.items())) if isinstance(value, dict) else value  # as there
        assert written(each, ordered) == expected


# --- and back -------------------------------------------------------------------------------------


def read_back(each: Parameter, kind: str, text: str) -> Any:
    """What openapi-core makes of it at the serving end."""
    location: Any
    if each.location == "path":
        key = {"label": ".color", "matrix": ";color"}.get(each.style, "color")
        location = {key + ("*" if each.explode and each.style != "simple" else ""): unquote(text)}
    elif each.location == "header":
        location = {"color": text}
    else:
        location = MultiDict(parse_qsl(text, keep_blank_values=True))
    return _READERS[each.style](each.explode, "color", kind, location)


_READERS: dict[str, Any] = {
    "simple": styles.simple_loads,
    "label": styles.label_loads,
    "matrix": styles.matrix_loads,
    "form": styles.form_loads,
    "pipeDelimited": styles.pipe_delimited_loads,
    "deepObject": styles.deep_object_loads,
}


def readable(style: str, explode: bool) -> Iterator[str]:
    # Object in exploded form: its properties are parameters of their own, which is not for here.
    yield "string"
    yield "array"
    if not (style == "form" and explode):
        yield "object"


plain = st.text("abcXYZ019_ ä/?&%", min_size=1, max_size=6)


@pytest.mark.parametrize(
    ("location", "style", "explode"),
    [
        *(
            ("path", style, explode)
            for style in ("simple", "label", "matrix")
            for explode in (False, True)
        ),
        *(("query", "form", explode) for explode in (False, True)),
        ("query", "pipeDelimited", False),
        ("query", "deepObject", True),
        *(("header", "simple", explode) for explode in (False, True)),
    ],
)
@given(data=st.data())
def test_the_serving_end_reads_what_was_meant(
    location: str, style: str, explode: bool, data: st.DataObject
) -> None:
    each = parameter(location, style, explode=explode)
    kinds = list(readable(style, explode))
    if style in ("pipeDelimited", "deepObject"):
        kinds = ["object"] if style == "deepObject" else ["array", "object"]
    kind = data.draw(st.sampled_from(kinds))
    text = plain.map(str.strip).filter(bool) if location == "header" else plain
    value = data.draw(
        {
            "string": text,
            "array": st.lists(text, min_size=1, max_size=4),
            "object": st.dictionaries(keys, text, min_size=1, max_size=4),
        }[kind]
    )
    assert read_back(each, kind, written(each, value)) == value


@given(texts)
def test_a_cookie_is_encoded_only_where_it_has_to_be(text: str) -> None:
    [(name, value)] = write_cookies(parameter("cookie"), text)
    assert name == "color"
    assert value == text or unquote(value) == text
    assert not re.search(r"[^\x21-\x7e]|[\",;\\]", value)
    if re.fullmatch(r"[A-Za-z0-9+/=%&]*", text):
        assert value == text
    with pytest.raises(Unserializable):
        write_cookies(parameter("cookie", "cookie"), text + ";")


@given(
    st.sampled_from(["path", "query", "header", "cookie"]),
    st.sampled_from([None, "label", "matrix", "cookie", "deepObject", "spaceDelimited"]),
    st.booleans(),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        ),
        max_leaves=5,
    ),
)
def test_anything_is_carried_or_refused(
    location: str, style: str | None, explode: bool, value: Any
) -> None:
    try:
        each = parameter(location, style, explode=explode)
    except ValueError:
        return
    try:
        text = written(each, value)
    except Unserializable:
        return
    assert not re.search(r"[\x00-\x1f\x7f]", text.replace("\t", ""))
    if location in ("path", "query"):
        assert re.fullmatch(r"[A-Za-z0-9\-._~%,;=&]*", text)
