"""`Action`: what an object of JSON asks, and how it is answered."""

from __future__ import annotations

import json
from typing import Any

import pytest

from restsock.gateway import Action, CallFailed, Reply, problem
from restsock.gateway.dialects import BadMessage, ParsedCall

DIALECT = Action()
CALL = ParsedCall("pets.find", {}, 1)


def said(reply: Reply, to: Any = CALL, **options: Any) -> Any:
    return json.loads(DIALECT.reply(to, reply, **options))


def test_the_action_is_the_key_and_the_rest_is_the_body() -> None:
    found = DIALECT.parse('{"action": "pets.find", "id": "a", "tag": "cat"}')
    assert found == ParsedCall("pets.find", {"tag": "cat"}, "a")


def test_the_names_of_its_members_can_be_others() -> None:
    dialect = Action("route", id_field="requestId")
    found = dialect.parse('{"route": "find", "requestId": 7, "id": 1}')
    assert found == ParsedCall("find", {"id": 1}, 7)
    assert json.loads(dialect.reply(found, Reply("x"))) == {
        "requestId": 7,
        "status": 200,
        "body": "x",
    }


@pytest.mark.parametrize(
    ("data", "body"),
    [
        ("hello", "hello"),
        ("{no json", "{no json"),
        ("", ""),
        (b"\xff\x00", b"\xff\x00"),
        ("[1, 2]", [1, 2]),
        ('"text"', "text"),
        ('{"tag": "cat"}', {"tag": "cat"}),
    ],
)
def test_what_names_no_action_is_for_the_default(data: str | bytes, body: Any) -> None:
    assert DIALECT.parse(data) == ParsedCall("", body)


@pytest.mark.parametrize(
    ("data", "detail", "id"),
    [
        ('{"action": 1, "id": 5}', "action has to be a text", 5),
        ('{"action": "a", "id": {}}', "id has to be", None),
        ('{"action": "a", "id": true}', "id has to be", None),
        (f'{{"action": "a", "id": "{"x" * 257}"}}', "id has to be", None),
        ('{"action": "a", "action": "b"}', "twice", None),
        ('{"action": "a", "x": NaN}', "NaN", None),
        ('{"action": "a", "x": 1e999}', "out of range", None),
        ('{"action": "a", "x": ' + "[" * 65 + "]" * 65 + "}", "nested too deeply", None),
        ("[" * 100_000, "nested too deeply", None),
    ],
)
def test_what_is_wrong_is_said_with_the_id_if_there_is_one(
    data: str, detail: str, id: object
) -> None:
    found = DIALECT.parse(data)
    assert isinstance(found, BadMessage)
    assert (found.status, found.id) == (400, id)
    assert detail in found.detail


def test_what_is_wide_is_not_deep() -> None:
    assert isinstance(DIALECT.parse('{"action": "a", "x": [' + "[]," * 100 + "1]}"), ParsedCall)


def test_an_answer_has_the_id_and_the_status() -> None:
    assert said(Reply({"name": "Tom"}, 201)) == {"id": 1, "status": 201, "body": {"name": "Tom"}}
    assert said(Reply("x"), ParsedCall("a")) == {"status": 200, "body": "x"}


def test_a_part_says_that_more_follows() -> None:
    assert said(Reply(1), more=True) == {"id": 1, "status": 200, "body": 1, "more": True}


def test_bytes_are_base64() -> None:
    expected = {"id": 1, "status": 200, "body": "AP8=", "encoding": "base64"}
    assert said(Reply(b"\x00\xff")) == expected


def test_a_failure_is_a_problem() -> None:
    told = said(problem(CallFailed(404, "no such pet", members={"pet": 7})))
    assert told["id"] == 1
    assert told["status"] == 404
    assert told["error"]["title"] == "Not Found"
    assert told["error"]["detail"] == "no such pet"
    assert told["error"]["pet"] == 7
    assert "body" not in told


def test_a_failure_of_a_backend_becomes_a_problem() -> None:
    """A 500 of an HTTP server does not look like success, whatever its body is."""
    told = said(Reply("<h1>oops</h1>", 500))
    assert told["error"] == {
        "title": "Internal Server Error",
        "status": 500,
        "body": "<h1>oops</h1>",
    }
    assert said(Reply(None, 599))["error"] == {"title": "Failed", "status": 599}


def test_half_a_character_can_be_sent_back() -> None:
    found = DIALECT.parse('{"action": "a", "id": "\\ud800"}')
    assert isinstance(found, ParsedCall)
    encoded = DIALECT.reply(found, Reply("ä"))
    assert isinstance(encoded, str)
    encoded.encode()  # it is UTF-8
    assert json.loads(encoded)["id"] == "\ud800"


def test_pushes_are_as_they_are() -> None:
    assert DIALECT.push({"action": "tick"}) == '{"action":"tick"}'
    assert DIALECT.push(b"\x00") == b"\x00"


@pytest.mark.parametrize("body", [float("nan"), {1, 2}, object()])
def test_what_json_cannot_say_is_an_error(body: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        DIALECT.push(body)
    with pytest.raises((TypeError, ValueError)):
        DIALECT.reply(CALL, Reply(body))


@pytest.mark.parametrize("names", [("", "id"), ("id", "id"), (1, "id"), ("action", None)])
def test_names_of_members_are_checked(names: tuple[Any, Any]) -> None:
    with pytest.raises(ValueError, match=r"member|both"):
        Action(names[0], id_field=names[1])
