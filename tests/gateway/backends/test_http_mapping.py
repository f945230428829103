"""Messages as requests of HTTP, and answers as replies."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restsock import Principal
from restsock.connection import Response
from restsock.gateway import CallFailed, HTTPMapping, Source
from tests.gateway.stand_in import Client, message


def test_a_message_is_a_post_of_json_by_itself() -> None:
    request = HTTPMapping().request_of(message({"a": [1, None]}))
    assert (request.method, request.target) == ("POST", "")
    assert json.loads(request.body) == {"a": [1, None]}
    assert dict(request.headers) == {"content-type": "application/json"}


def test_text_and_bytes_are_sent_as_they_are() -> None:
    text = HTTPMapping().request_of(message("grün"))
    assert text.body == "grün".encode()
    assert dict(text.headers) == {"content-type": "text/plain; charset=utf-8"}
    raw = HTTPMapping(content_type="image/png").request_of(message(b"\x00"))
    assert (raw.body, dict(raw.headers)) == (b"\x00", {"content-type": "image/png"})
    assert HTTPMapping().request_of(message(None)).headers == ()


def test_a_template_takes_what_the_message_has() -> None:
    mapping = HTTPMapping(
        method="GET",
        path="/sites/{metadata[site]}/pets/{body[pets][1][id]}?by={principal}",
        query={"limit": "body[limit]", "tag": "body[tags]", "none": "body[none]"},
    )
    session = Client(principal=Principal("a/b&c"))
    body = {"pets": [{}, {"id": 7}], "limit": 2.5, "tags": ["x y", True]}
    request = mapping.request_of(message(body, session=session))
    assert request.target == "/sites/ulm/pets/7?by=a%2Fb%26c&limit=2.5&tag=x%20y&tag=true"
    assert request.body == b""  # of a GET


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("", "is empty"),
        ("..", "leads to another path"),
        (".", "leads to another path"),
        ("a/b", "has a / in it"),
        ("a\\b", "has a \\ in it"),
        (None, "has to be a text or a number"),
        ([1], "has to be a text or a number"),
        ({}, "has to be a text or a number"),
        ("\ud800", "has to be a text or a number"),
    ],
)
def test_a_value_that_would_lead_elsewhere_is_refused(value: Any, why: str) -> None:
    with pytest.raises(CallFailed) as caught:
        HTTPMapping(path="/pets/{body[id]}").request_of(message({"id": value}))
    assert caught.value.status == 422
    assert caught.value.members["errors"] == [{"in": "body", "pointer": "#/id", "detail": why}]


@given(st.text())
def test_whatever_a_client_writes_stays_in_its_segment(text: str) -> None:
    try:
        target = HTTPMapping(path="/pets/{body}/x").request_of(message(text)).target
    except CallFailed as exc:
        assert exc.status in (400, 422)  # noqa: PT017  # it may also go well
        return
    assert target.isascii()
    first, pets, value, last = target.split("/")
    assert (first, pets, unquote(value), last) == ("", "pets", text, "x")
    assert "?" not in target


def test_slashes_may_stand_where_the_template_says_so() -> None:
    mapping = HTTPMapping(path="/files/{+body}")
    assert mapping.request_of(message("a b/c")).target == "/files/a%20b/c"
    for text in ("a/../b", "../b", "a/%2e%2e/b", "a\\b"):
        with pytest.raises(CallFailed):
            mapping.request_of(message(text))


def test_the_dialect_http_names_method_and_path() -> None:
    asked = message({"a": 1}, method="DELETE", path="/pets/7?x=%20")
    request = HTTPMapping().request_of(asked)
    assert (request.method, request.target, request.body) == ("DELETE", "/pets/7?x=%20", b'{"a":1}')


@pytest.mark.parametrize(
    "path",
    ["pets", "", "//\r\nx", "/a b", "/ä", "/a/../b", "/a/%2e%2e/b", "/a/%252e%252e", "/a\\..\\b",
     "/a/..;x/b", "/%00", "/a#b"],
)  # fmt: skip
def test_a_path_that_leads_out_of_the_base_is_refused(path: str) -> None:
    with pytest.raises(CallFailed) as caught:
        HTTPMapping().request_of(message(method="GET", path=path))
    assert caught.value.status == 400


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "get", "GET /x HTTP/1.1\r\n", "BREW"])
def test_a_method_that_is_not_allowed_is_refused(method: str) -> None:
    with pytest.raises(CallFailed) as caught:
        HTTPMapping().request_of(message(method=method, path="/"))
    assert caught.value.status == 405


async def test_only_the_fields_that_are_listed_are_sent_on() -> None:
    came = {
        "if-match": '"7"',
        "cookie": "a=1",
        "authorization": "Bearer x",
        "x-forwarded-for": "6.6.6.6",
        "host": "evil",
        "x-user": "root",
        "x-request-timeout-ms": "9",
    }
    mapping = HTTPMapping(
        headers=["If-Match", "X-User", "X-Request-Timeout-Ms"],
        tell={"X-User": "principal"},
        fields={"Authorization": "Bearer of the gateway"},
    )
    session = Client(principal=Principal("ann"))
    asked = message(headers=came, session=session, within=5)
    sent = dict(mapping.completed(asked, mapping.request_of(asked)).headers)
    assert 4000 < int(sent.pop("X-Request-Timeout-Ms")) <= 5000
    assert sent == {
        "if-match": '"7"',
        "X-User": "ann",
        "Authorization": "Bearer of the gateway",
        "X-Forwarded-For": "192.0.2.7",
        "X-Forwarded-Host": "gw.example",
        "X-Forwarded-Proto": "https",
    }
    assert "gateway" not in repr(mapping)
    nobody = message(headers=came)  # it cannot say who it is by itself
    sent = dict(mapping.completed(nobody, mapping.request_of(nobody)).headers)
    assert "x-user" not in {name.lower() for name in sent}


async def test_forwarded_has_its_own_form() -> None:
    mapping = HTTPMapping(forwarded="forwarded")
    session = Client(host="2001:db8::1")
    asked = message(session=session)
    sent = dict(mapping.completed(asked, mapping.request_of(asked)).headers)
    assert sent == {"Forwarded": 'for="[2001:db8::1]";host=gw.example;proto=https'}


async def test_a_value_that_no_field_can_have_is_refused() -> None:
    for value in ("a\r\nX: y", "ä\u20ac", " a"):
        asked = message(headers={"prefer": value})
        mapping = HTTPMapping()
        with pytest.raises(CallFailed) as caught:
            mapping.completed(asked, mapping.request_of(asked))
        assert caught.value.status == 422


def answer(status: int, body: bytes = b"", **headers: str) -> Response:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status, fields, body)


def test_an_answer_keeps_its_status_and_is_decoded() -> None:
    mapping = HTTPMapping()
    json_type = "application/problem+json; charset=utf-8"
    reply = mapping.reply_to(message(), answer(500, b'{"a":1}', Content_Type=json_type))
    assert (reply.status, reply.body, reply.failed) == (500, {"a": 1}, True)
    reply = mapping.reply_to(
        message(), answer(200, "grün".encode("latin-1"), content_type="text/html; charset=latin-1")
    )
    assert reply.body == "grün"
    reply = mapping.reply_to(message(), answer(200, b"\xff", content_type="image/png"))
    assert reply.body == b"\xff"
    assert mapping.reply_to(message(), answer(204)).body is None


def test_few_fields_of_an_answer_are_shown() -> None:
    response = Response(
        200, [("ETag", '"1"'), ("Set-Cookie", "a=1"), ("Link", "<a>"), ("link", "<b>")], b"x"
    )
    assert dict(HTTPMapping().reply_to(message(), response).headers) == {
        "etag": '"1"',
        "link": "<a>, <b>",
    }


@pytest.mark.parametrize("body", [b"{", b'{"a":1,"a":2}', b"NaN", b"[" * 100_000, b"\xff"])
def test_an_answer_that_is_not_the_json_it_says_is_a_502(body: bytes) -> None:
    with pytest.raises(CallFailed) as caught:
        HTTPMapping().reply_to(message(), answer(200, body, content_type="application/json"))
    assert caught.value.status == 502
    assert caught.value.may_have_run


def test_a_redirect_is_no_success() -> None:
    with pytest.raises(CallFailed) as caught:
        HTTPMapping().reply_to(message(), answer(302, location="http://other/"))
    assert caught.value.status == 502
    asked = message(method="GET", path="/")  # whose client knows what that is
    assert HTTPMapping().reply_to(asked, answer(302, location="/x")).headers["location"] == "/x"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"path": "pets"}, "begins with /"),
        ({"path": "/p ets"}, "percent-encoded"),
        ({"path": "/{body"}, "brace"),
        ({"path": "/{boddy}"}, "no part of a message"),
        ({"path": "/{header}"}, "no keys"),
        ({"path": "/{key[a]}"}, "too many keys"),
        ({"query": {"a": "{body}"}}, "no part of a message"),
        ({"method": "CONNECT"}, "not for messages"),
        ({"method": "get"}, "in capitals"),
        ({"headers": ["Connection"]}, "of the connection"),
        ({"headers": ["a_b"]}, "no name of a field"),
        ({"fields": {"A": "b\r\nc"}}, "not a value"),
        ({"forwarded": "yes"}, "forwarded has to be"),
    ],
)
def test_what_is_wrong_with_a_mapping_is_said_at_once(options: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        HTTPMapping(**options)


def test_one_name_is_no_list_of_names() -> None:
    with pytest.raises(TypeError):
        HTTPMapping(headers="accept")


def test_braces_can_be_written() -> None:
    assert HTTPMapping(path="/a?b={{{key}}}").request_of(message(key="k")).target == "/a?b={k}"


def test_a_source_finds_nothing_where_there_is_nothing() -> None:
    deep = message({"a": [{"b": 1}]})
    assert Source("body[a][0][b]").find(deep) == 1
    for text in ("body[a][1][b]", "body[a][x]", "body[a][0][b][c]", "body[b]", "claim[x]"):
        assert Source(text).find(deep) is None
