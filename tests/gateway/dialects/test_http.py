"""`HTTPDialect`: requests and responses as JSON, and paths that all read alike."""

from __future__ import annotations

import json
from typing import Any

import pytest

from restsock.gateway import CallFailed, HTTPDialect, RawDialect, Reply, problem
from restsock.gateway.dialects import BadMessage, ParsedCall

DIALECT = HTTPDialect()


def parse(**members: Any) -> Any:
    return DIALECT.parse(json.dumps({"id": 1, "path": "/pets", **members}))


def test_a_request() -> None:
    found = parse(method="post", path="/pets/7?dry=1", headers={"X-A": " b "}, body={"name": "Tom"})
    assert found == ParsedCall(
        "/pets/7",
        {"name": "Tom"},
        1,
        headers={"x-a": "b"},
        method="POST",
        path="/pets/7?dry=1",
    )
    assert parse().method == "GET"


def test_a_body_of_bytes() -> None:
    assert parse(body="AP8=", encoding="base64").body == b"\x00\xff"


def test_a_response() -> None:
    reply = Reply({"name": "Tom"}, 201, {"location": "/pets/7"})
    assert json.loads(DIALECT.reply(parse(), reply)) == {
        "id": 1,
        "status": 201,
        "headers": {"location": "/pets/7"},
        "body": {"name": "Tom"},
    }
    told = json.loads(DIALECT.reply(parse(), Reply(b"\x00"), more=True))
    assert told == {"id": 1, "status": 200, "body": "AA==", "encoding": "base64", "more": True}


def test_a_failure_is_a_response_with_a_problem() -> None:
    told = json.loads(DIALECT.reply(parse(), problem(CallFailed(503, "no", retry_after=2))))
    assert (told["status"], told["body"]["detail"]) == (503, "no")
    assert told["headers"] == {
        "content-type": "application/problem+json",
        "retry-after": "2",
    }


@pytest.mark.parametrize(
    "path",
    [
        *(
            "",
            "pets",
            "http://other/",
            "/a b",
            "/ä",
            "/a\r\nX: y",
            "/a#b",
            "/%zz",
            "/a\\b",
            1,
            None,
        ),
        *("/public/../admin", "/..", "/.", "/a/.", "/%2e%2e/admin", "/.%2E/x", "/a%2fb", "/a%5Cb"),
        *("/a%00", "/..;/admin", "/..%3B/admin", "/%2e.%3b"),
    ],
)
def test_a_path_that_can_be_read_in_two_ways_is_refused(path: object) -> None:
    found = parse(path=path)
    assert isinstance(found, BadMessage)
    assert (found.status, found.id) == (400, 1)


@pytest.mark.parametrize("path", ["/", "/a/b.c", "/a/...", "/a..b", "/%C3%A4?q=%2F..%2e", "/a;b=c"])
def test_other_paths_are_let_through(path: str) -> None:
    assert parse(path=path).path == path


@pytest.mark.parametrize(
    "members",
    [
        {"id": []},
        {"method": "G T"},
        {"method": 1},
        {"headers": []},
        {"headers": {"a": 1}},
        {"headers": {"a b": "c"}},
        {"headers": {"a": "b\r\nc: d"}},
        {"headers": {"a": "ä"}},
        {"headers": {"a": "b", "A": "c"}},
        {"headers": {f"x-{number}": "" for number in range(101)}},
        {"encoding": "hex", "body": "00"},
        {"encoding": "base64", "body": 1},
        {"encoding": "base64", "body": "!"},
        {"encoding": "base64", "body": "ä"},
    ],
)
def test_what_is_wrong_is_said(members: dict[str, Any]) -> None:
    assert isinstance(parse(**members), BadMessage)


@pytest.mark.parametrize("data", ["", "[]", "1", "{", '{"path": "/", "path": "/a"}'])
def test_what_is_no_request_is_refused(data: str) -> None:
    assert isinstance(DIALECT.parse(data), BadMessage)


def test_a_push_cannot_be_taken_for_an_answer() -> None:
    assert json.loads(DIALECT.push({"status": 200})) == {"push": {"status": 200}}
    assert json.loads(DIALECT.push(b"\x00")) == {"push": "AA==", "encoding": "base64"}


def test_raw_messages_are_as_they_are() -> None:
    raw = RawDialect()
    assert raw.parse("a") == ParsedCall("text", "a")
    assert raw.parse(b"a") == ParsedCall("binary", b"a")
    call = ParsedCall("text", "a")
    assert raw.reply(call, Reply("b")) == "b"
    assert raw.reply(call, Reply(b"b")) == b"b"
    assert raw.reply(call, Reply([1])) == "[1]"
    assert raw.reply(call, Reply(None)) == ""
    failed = raw.reply(call, problem(CallFailed(404, "no")))
    assert json.loads(failed)["status"] == 404
    assert raw.push({"a": 1}) == '{"a":1}'
    assert raw.push(bytearray(b"a")) == b"a"
    with pytest.raises(ValueError, match="UTF-8"):
        raw.push("half a pair: \ud83d")


@pytest.mark.parametrize(
    "path", ["/%61dmin/x", "/a%64min/x?y", "/%61%64%6D%69%6e/x", "/admin%2Fx", "/admin/%78"]
)
def test_an_encoded_letter_leads_to_the_route_of_the_letter(path: str) -> None:
    found = parse(path=path)
    if isinstance(found, BadMessage):
        assert "%2F" in path  # or no route at all
        return
    assert (found.key, found.path) == ("/admin/x", path)


def test_what_stays_encoded_in_a_key_is_written_in_one_way() -> None:
    assert parse(path="/%c3%a4").key == parse(path="/%C3%A4").key == "/%C3%A4"
    assert parse(path="/a%2520b").key == "/a%2520b"
    assert parse(path="/a%3fb").key == "/a%3Fb"
