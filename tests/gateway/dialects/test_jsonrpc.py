"""`JSONRPC`: the examples of JSON-RPC 2.0, section 7, and what that leaves open."""

from __future__ import annotations

import json
from typing import Any

import pytest

from restsock.gateway import JSONRPC, NO_ROUTE, CallFailed, Reply, problem
from restsock.gateway.dialects import BadMessage, Batch, ParsedCall

DIALECT = JSONRPC()
CALL = ParsedCall("sum", [1, 2], 1)


def said(reply: Reply, to: Any = CALL, **options: Any) -> Any:
    return json.loads(DIALECT.reply(to, reply, **options))


def test_a_call() -> None:
    found = DIALECT.parse('{"jsonrpc": "2.0", "method": "sum", "params": [1, 2], "id": 1}')
    assert found == CALL
    assert said(Reply(3)) == {"jsonrpc": "2.0", "id": 1, "result": 3}


def test_a_notification_is_not_answered() -> None:
    found = DIALECT.parse('{"jsonrpc": "2.0", "method": "update", "params": {"a": 1}}')
    assert found == ParsedCall("update", {"a": 1}, answered=False)


def test_an_id_of_null_is_answered() -> None:
    found = DIALECT.parse('{"jsonrpc": "2.0", "method": "a", "id": null}')
    assert found == ParsedCall("a")
    assert said(Reply(1), found) == {"jsonrpc": "2.0", "id": None, "result": 1}


def refused(data: str) -> BadMessage:
    found = DIALECT.parse(data)
    assert isinstance(found, BadMessage)
    return found


@pytest.mark.parametrize(
    "data", ['{"jsonrpc": "2.0", "method": "foobar, "params": "bar"', "[1", ""]
)
def test_what_is_no_json_is_a_parse_error(data: str) -> None:
    assert (refused(data).code, refused(data).id) == (-32700, None)


@pytest.mark.parametrize(
    ("data", "id"),
    [
        ('{"jsonrpc": "2.0", "method": 1, "params": "bar"}', None),
        ('{"jsonrpc": "2.0", "method": 1, "id": 4}', 4),
        ('{"jsonrpc": "1.0", "method": "a", "id": 4}', 4),
        ('{"jsonrpc": "2.0", "method": "a", "params": "bar", "id": "x"}', "x"),
        ('{"jsonrpc": "2.0", "method": "a", "params": null, "id": "x"}', "x"),
        ('{"jsonrpc": "2.0", "method": "a", "id": [1]}', None),
        ("[]", None),
        ("1", None),
    ],
)
def test_what_is_no_call_is_an_invalid_request(data: str, id: object) -> None:
    found = refused(data)
    assert (found.code, found.id) == (-32600, id)
    told = said(problem(CallFailed(found.status, found.detail)), found)
    assert told["error"]["code"] == -32600
    assert told["id"] == id


def test_a_batch() -> None:
    found = DIALECT.parse(
        '[{"jsonrpc": "2.0", "method": "sum", "params": [1, 2], "id": 1},'
        ' {"jsonrpc": "2.0", "method": "update", "params": [7]}, {"foo": "boo"}, 1]'
    )
    assert isinstance(found, Batch)
    call, notification, *bad = found.calls
    assert call == CALL
    assert isinstance(notification, ParsedCall)
    assert not notification.answered
    assert [each.code for each in bad if isinstance(each, BadMessage)] == [-32600, -32600]
    assert json.loads(DIALECT.join(['{"a":1}', "2"])) == [{"a": 1}, 2]


def test_a_batch_is_bounded() -> None:
    call = '{"jsonrpc": "2.0", "method": "a"}'
    assert isinstance(DIALECT.parse(f"[{','.join([call] * 100)}]"), Batch)
    assert refused(f"[{','.join([call] * 101)}]").code == -32600
    with pytest.raises(ValueError, match="max_batch"):
        JSONRPC(max_batch=0)


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (CallFailed(404, "no", members={"type": NO_ROUTE}), -32601),
        (CallFailed(404, "no such pet"), -32000),
        (CallFailed(400, "no"), -32602),
        (CallFailed(422, "no"), -32602),
        (CallFailed(500, "no"), -32603),
        (CallFailed(503, "no"), -32000),
    ],
)
def test_failures_have_codes_and_a_problem(failure: CallFailed, code: int) -> None:
    error = said(problem(failure))["error"]
    assert error["code"] == code
    assert error["message"] == failure.detail
    assert error["data"]["status"] == failure.status


def test_parts_are_notifications() -> None:
    told = said(Reply("x"), more=True)
    assert told == {"jsonrpc": "2.0", "method": "more", "params": {"id": 1, "body": "x"}}


def test_pushes_are_notifications() -> None:
    def pushed(body: Any) -> Any:
        return json.loads(DIALECT.push(body))

    tick = {"method": "tick", "params": {"price": 1}}
    assert pushed(tick) == {"jsonrpc": "2.0", **tick}
    assert pushed({"a": 1}) == {"jsonrpc": "2.0", "method": "push", "params": {"a": 1}}
    assert pushed("x") == {"jsonrpc": "2.0", "method": "push", "params": ["x"]}
    assert pushed(b"\x00")["params"] == [{"body": "AA==", "encoding": "base64"}]
