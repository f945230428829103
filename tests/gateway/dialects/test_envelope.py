"""`EnvelopeDialect`: requests and replies of messaging (spec/protocol.md, section 20.8)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from restsock.gateway import CallFailed, EnvelopeDialect, Reply, problem
from restsock.gateway.dialects import BadMessage, ParsedCall
from restsock.messaging.engine import decode_payload
from restsock.protocol import decode_envelope

DIALECT = EnvelopeDialect(clock=lambda: 1_764_000_000_000, new_id=lambda: "new")
CALL = ParsedCall("status", None, "r-1")


def request(**changes: Any) -> str:
    envelope = {"type": "request", "id": "r-1", "timestamp": 1, "payload": {"method": "status"}}
    return json.dumps({**envelope, **changes})


def said(reply: Reply, **options: Any) -> Any:
    text = DIALECT.reply(CALL, reply, **options)
    assert isinstance(text, str)
    envelope = decode_envelope(text)
    assert (envelope.type, envelope.id) == ("reply", "r-1")
    # Messaging reads it as what it is.
    decode_payload(envelope.type, envelope.id, envelope.timestamp, envelope.payload, foreign=False)
    return envelope.payload


def test_a_request_and_its_reply() -> None:
    assert DIALECT.parse(request()) == CALL
    payload = {"method": "status", "params": {"a": 1}}
    assert DIALECT.parse(request(payload=payload)) == ParsedCall("status", {"a": 1}, "r-1")
    assert said(Reply([1])) == {"status": "ok", "result": [1]}
    assert said(Reply([1]), more=True) == {"status": "ok", "result": [1], "more": True}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (404, "invalid"),
        (422, "invalid"),
        (429, "transient"),
        (500, "transient"),
        (503, "transient"),
    ],
)
def test_failures_say_whether_to_try_again(status: int, kind: str) -> None:
    told = said(problem(CallFailed(status, "no")))
    assert (told["status"], told["error"], told["kind"]) == ("error", "no", kind)
    assert told["problem"]["status"] == status


@pytest.mark.parametrize(
    ("data", "id"),
    [
        ("", None),
        ("[]", None),
        (request(id=1), None),
        (request(id="x" * 256), None),
        (request(type="data"), "r-1"),
        (request(timestamp=True), "r-1"),
        (request(payload=[]), "r-1"),
        (request(payload={"method": ""}), "r-1"),
        (request(payload={"method": 1}), "r-1"),
    ],
)
def test_what_is_wrong_is_said(data: str, id: str | None) -> None:
    found = DIALECT.parse(data)
    assert isinstance(found, BadMessage)
    assert (found.status, found.id) == (400, id)
    assert isinstance(DIALECT.reply(found, problem(CallFailed(400, "no"))), str)


def test_pushes_are_data() -> None:
    text = DIALECT.push({"price": 1})
    assert isinstance(text, str)
    envelope = decode_envelope(text)
    assert (envelope.type, envelope.id) == ("data", "new")
    assert envelope.payload == {
        "channel": "push",
        "delivery": "at_most_once",
        "body": {"price": 1},
    }


def test_the_channel_is_checked() -> None:
    with pytest.raises(ValueError, match="channel"):
        EnvelopeDialect(channel="")
