"""All dialects: whatever comes is a call or is refused, and whatever was asked can be answered."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restsock.gateway import (
    JSONRPC,
    Action,
    CallFailed,
    Dialect,
    EnvelopeDialect,
    HTTPDialect,
    RawDialect,
    Reply,
    problem,
)
from restsock.gateway.dialects import BadMessage, Batch, ParsedCall

DIALECTS: tuple[Dialect, ...] = (
    Action(),
    JSONRPC(),
    EnvelopeDialect(),
    HTTPDialect(),
    RawDialect(),
)
EACH = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda each: type(each).__name__)

VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
# Objects that are nearly right, in all dialects.
NEARLY = st.fixed_dictionaries(
    {},
    optional={
        "action": VALUES | st.just("a"),
        "id": VALUES | st.just(1),
        "jsonrpc": st.just("2.0") | VALUES,
        "method": st.just("GET") | VALUES,
        "params": VALUES,
        "type": st.just("request") | VALUES,
        "timestamp": st.just(1) | VALUES,
        "payload": st.fixed_dictionaries({"method": st.just("a")}) | VALUES,
        "path": st.just("/a") | VALUES,
        "headers": VALUES,
        "body": VALUES,
        "encoding": st.just("base64") | VALUES,
    },
)
MESSAGES = (
    st.text()
    | st.binary()
    | (NEARLY | st.lists(NEARLY, max_size=4) | VALUES).map(json.dumps)
    | st.integers(0, 200).map(lambda depth: "[" * depth)
    | st.integers(0, 200).map(lambda depth: '{"id":1,"action":"a","x":' + "[" * depth)
)


@EACH
@given(data=MESSAGES)
def test_whatever_comes_is_a_call_or_is_refused_and_can_be_answered(
    dialect: Dialect, data: str | bytes
) -> None:
    found = dialect.parse(data)
    for call in found.calls if isinstance(found, Batch) else (found,):
        assert isinstance(call, (ParsedCall, BadMessage))
        hash(call.id)
        failed = dialect.reply(call, problem(CallFailed(400, "no")))
        if isinstance(call, BadMessage):
            assert 400 <= call.status < 500
            continue
        assert isinstance(call.key, str)
        answered = dialect.reply(call, Reply([1]))
        for text in (failed, answered):
            assert isinstance(text, str)
            text.encode()
            if call.id is not None:
                assert json.loads(text)["id"] == call.id


@EACH
@given(body=VALUES | st.binary())
def test_bodies_are_said_or_refused(dialect: Dialect, body: object) -> None:
    call = ParsedCall("a", None, "1")
    try:
        said = [dialect.reply(call, Reply(body)), dialect.push(body)]
    except (TypeError, ValueError):
        assert "nan" in repr(body) or "inf" in repr(body)
        return
    for text in said:
        if isinstance(text, str):
            text.encode()


@given(body=VALUES)
def test_what_action_carries_arrives_as_it_was(body: Any) -> None:
    try:
        text = json.dumps({"action": "a", "id": 1, "body": body}, allow_nan=False)
    except ValueError:
        return
    found = Action().parse(text)
    assert isinstance(found, ParsedCall)
    assert found.body == {"body": body}
    assert json.loads(Action().reply(found, Reply(found.body)))["body"] == {"body": body}
