"""What is wrong with a message, by version, media type and status."""

from __future__ import annotations

import json
from typing import Any

import pytest

from restsock.openapi import load
from restsock.openapi.checks._validator import Validator
from restsock.openapi.document._routes import Match
from tests.openapi.documents import VERSIONS, document, operation, parameter


@pytest.fixture(params=VERSIONS)
def pets(request: pytest.FixtureRequest) -> Validator:
    return Validator(load(document(version=request.param)))


def typed(content_type: str) -> list[tuple[bytes, bytes]]:
    return [(b"Content-Type", content_type.encode())]


def match(validator: Validator, method: str, path: str) -> Match:
    return validator.document.match(method, path)


def test_parameters(pets: Validator) -> None:
    listing = match(pets, "GET", "/pets")
    assert pets.check_request(listing, "limit=50&tag=a&tag=b", [(b"x-key", b"abc")]) == []
    found = pets.check_request(listing, "limit=0&tag=a&tag=c", [(b"X-KEY", b"a")])
    assert [(p["in"], p.get("name"), p["pointer"]) for p in found] == [
        ("query", "limit", "#"),
        ("query", "tag", "#/1"),
        ("header", "X-Key", "#"),
    ]


def test_path_parameters(pets: Validator) -> None:
    assert pets.check_request(match(pets, "GET", "/pets/5"), "", ()) == []
    (found,) = pets.check_request(match(pets, "GET", "/pets/five"), "", ())
    assert (found["in"], found["name"]) == ("path", "number")


BODIES = [
    ({"name": "Rex"}, []),
    ({"name": "Rex", "age": 3, "tags": ["a"]}, []),
    ({}, ["#/name"]),
    ({"name": ""}, ["#/name"]),
    ({"name": "Rex", "age": -1, "tags": [1]}, ["#/age", "#/tags/0"]),
    ({"name": "Rex", "x/y": 1}, ["#/x~1y"]),
    ([], ["#"]),
]


@pytest.mark.parametrize(("body", "pointers"), BODIES)
def test_bodies(pets: Validator, body: Any, pointers: list[str]) -> None:
    found = match(pets, "POST", "/pets")
    request = pets.request(found.operation).body("application/json; charset=utf-8")
    response = pets.response(found.operation, 201)
    assert request is not None
    assert response is not None
    expected = response.body("application/json")
    assert expected is not None
    data = json.dumps(body).encode()
    for problems in (
        pets.check_request(found, "", typed("application/json"), request, data),
        pets.check_response(found, 201, typed("application/json"), expected, data),
    ):
        assert sorted(p["pointer"] for p in problems) == pointers
        assert {p["in"] for p in problems} <= {"body"}


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b'{"a":' * 100_000, b"nul"])
def test_bodies_that_are_no_json(pets: Validator, data: bytes) -> None:
    found = match(pets, "POST", "/pets")
    plan = pets.request(found.operation).body("application/json")
    assert plan is not None
    (problem,) = pets.check_request(found, "", typed("application/json"), plan, data)
    assert problem["detail"] in ("is not JSON", "is empty", "is nested too deeply")


def test_forms_and_suffixes(pets: Validator) -> None:
    found = match(pets, "PUT", "/pets/1")
    plan = pets.request(found.operation)
    form = plan.body("application/x-www-form-urlencoded")
    patch = plan.body("application/merge-patch+json")
    assert form is not None
    assert patch is not None
    assert form.whole
    assert patch.whole
    assert pets.check_request(found, "", typed(""), form, b"name=Rex&age=3&tags=a&tags=b") == []
    (problem,) = pets.check_request(found, "", typed(""), form, b"name=Rex&age=-3")
    assert problem["pointer"] == "#/age"
    (problem,) = pets.check_request(found, "", typed(""), patch, b'{"name": 5}')
    assert problem["pointer"] == "#/name"


def test_media_types(pets: Validator) -> None:
    plan = pets.request(match(pets, "POST", "/pets").operation)
    assert plan.required
    for wrong in (None, "", "text/plain", "application/jsonx", "application", ";"):
        assert plan.body(wrong) is None
    upload = pets.request(match(pets, "POST", "/files").operation)
    body = upload.body("application/octet-stream")
    assert body is not None
    assert not body.whole


def test_ranges_of_media_types() -> None:
    content: dict[str, Any] = {
        kind: {"schema": {"type": "object", "title": kind}}
        for kind in ("*/*", "image/*", "application/json", "Text/Plain; charset=utf-8")
    }
    loaded = load(document({"/a": {"post": operation(requestBody={"content": content})}}))
    plan = Validator(loaded).request(loaded.operations[0])

    def chosen(content_type: str) -> str:
        found = plan.body(content_type)
        assert found is not None
        return found.media_type

    assert chosen("image/png") == "image/*"
    assert chosen("APPLICATION/JSON;x=y") == "application/json"
    assert chosen("text/plain") == "Text/Plain; charset=utf-8"
    assert chosen("font/woff") == "*/*"


@pytest.mark.parametrize(
    ("schema", "media_type", "whole"),
    [
        ({}, "application/json", False),
        (True, "application/json", False),
        ({"title": "T", "description": "D"}, "application/json", False),
        (False, "application/json", True),
        ({"type": "object"}, "application/json", True),
        ({"type": "string"}, "text/plain", False),
        ({"type": "string", "maxLength": 5}, "text/plain", True),
        ({"type": "object"}, "multipart/form-data", False),
        ({"type": "object"}, "application/xml", False),
        ({"type": "object"}, "text/event-stream", False),
        ({"type": "string", "format": "binary"}, "application/octet-stream", False),
    ],
)
def test_what_is_needed_whole(schema: Any, media_type: str, whole: bool) -> None:
    content = {media_type: {"schema": schema}}
    loaded = load(document({"/a": {"post": operation(requestBody={"content": content})}}))
    plan = Validator(loaded).request(loaded.operations[0]).body(media_type)
    assert plan is not None
    assert plan.whole is whole


def test_text() -> None:
    content = {"text/plain": {"schema": {"type": "string", "pattern": "^[ä-ü]+$"}}}
    loaded = load(document({"/a": {"post": operation(requestBody={"content": content})}}))
    validator = Validator(loaded)
    found = match(validator, "POST", "/a")
    plan = validator.request(found.operation).body("text/plain")
    assert plan is not None
    assert validator.check_request(found, "", typed("text/plain"), plan, "äü".encode()) == []
    (problem,) = validator.check_request(found, "", typed("text/plain"), plan, b"a")
    assert "pattern" in problem["detail"]
    (problem,) = validator.check_request(found, "", typed("text/plain"), plan, b"\xff")
    assert problem["detail"] == "is not UTF-8"


@pytest.mark.parametrize(
    ("status", "content_type", "fine"),
    [
        (200, "application/json", True),
        (200, "application/json; charset=utf-8", True),
        (200, "text/html", False),
        (200, None, True),  # a missing one is not said to be wrong: there may be no body
        (201, "application/json", False),
        (404, "text/html", True),
        (404, "application/problem+json", True),
        (307, None, True),
        (500, "text/plain", True),
    ],
)
def test_statuses(pets: Validator, status: int, content_type: str | None, fine: bool) -> None:
    assert (pets.check_status(match(pets, "GET", "/pets"), status, content_type) == []) is fine


def test_a_problem_is_right_wherever_an_error_is() -> None:
    responses = {"400": {"description": "", "content": {"application/json": {}}}}
    loaded = load(document({"/a": {"get": {"responses": responses}}}))
    found = loaded.match("GET", "/a")
    validator = Validator(loaded)
    assert validator.check_status(found, 400, "application/problem+json") == []
    assert len(validator.check_status(found, 400, "text/html")) == 1
    assert len(validator.check_status(found, 200, "application/problem+json")) == 1


def test_headers_of_responses(pets: Validator) -> None:
    listing = match(pets, "GET", "/pets")
    assert pets.check_response(listing, 200, [(b"x-total", b"5")]) == []
    (problem,) = pets.check_response(listing, 200, [])
    assert (problem["in"], problem["name"], problem["detail"]) == (
        "header",
        "X-Total",
        "is required",
    )
    (problem,) = pets.check_response(listing, 200, [(b"X-Total", b"many")])
    assert problem["detail"] == "has to be of type integer"
    assert pets.check_response(listing, 404, []) == []


def test_read_only_and_write_only_of_3_0() -> None:
    schema = {
        "type": "object",
        "required": ["id", "secret"],
        "properties": {
            "id": {"type": "integer", "readOnly": True},
            "secret": {"type": "string", "writeOnly": True},
        },
    }
    content = {"application/json": {"schema": schema}}
    responses = {"200": {"description": "", "content": content}}
    item = {"post": {"requestBody": {"content": content}, "responses": responses}}
    validator = Validator(load(document({"/a": item}, "3.0.3")))
    found = match(validator, "POST", "/a")
    request = validator.request(found.operation).body("application/json")
    response = validator.response(found.operation, 200)
    assert request is not None
    assert response is not None
    expected = response.body("application/json")
    assert expected is not None
    assert validator.check_request(found, "", typed(""), request, b'{"secret": "x"}') == []
    assert validator.check_response(found, 200, typed(""), expected, b'{"id": 1}') == []
    (problem,) = validator.check_response(
        found, 200, typed(""), expected, b'{"id": 1, "secret": "x"}'
    )
    assert (problem["pointer"], problem["detail"][:13]) == ("#/secret", "is write-only")


def test_text_in_a_parameter() -> None:
    described = {
        "in": "query",
        "name": "p",
        "required": True,
        "content": {"text/plain": {"schema": {"type": "string", "maxLength": 2}}},
    }
    path = "/a/{n}"
    item = {"get": operation(parameters=[described, parameter("path", "n", {"type": "integer"})])}
    validator = Validator(load(document({path: item})))
    found = match(validator, "GET", "/a/5")
    assert validator.check_request(found, "p=ab", ()) == []
    (problem,) = validator.check_request(found, "p=abc", ())
    assert problem["detail"] == "may have a length of at most 2"
    (problem,) = validator.check_request(found, "", ())
    assert problem["detail"] == "is required"
    (problem,) = validator.check_request(match(validator, "GET", "/a/x"), "p=a", ())
    assert (problem["in"], problem["detail"]) == ("path", "has to be of type integer")


def test_prepare_makes_all_of_it(pets: Validator) -> None:
    pets.prepare()
    assert len(pets._requests) == len(pets.document.operations)
