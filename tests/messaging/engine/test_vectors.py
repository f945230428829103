"""spec/vectors/messages.json: what payloads mean, and the envelopes of one peer, step by step."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from restsock.messaging import MessagingOptions
from restsock.messaging.engine import Malformed, Refusal, decode_payload
from restsock.protocol import Envelope
from tests.messaging.engine.node import Node, Wire
from tests.protocol.vectors import Case, load, params

VECTORS = load("messages.json")


def read(case: Case) -> Any:
    id = case.get("id", "1")
    return decode_payload(case["type"], id, 0, case["payload"], foreign=False)


@pytest.mark.parametrize("case", params(VECTORS["payloads"]["good"]))
def test_good_payload(case: Case) -> None:
    found = asdict(read(case))
    if isinstance(found.get("body"), bytes):
        found["bytes"] = found["body"].hex()
    if case["type"] == "resume":
        found["channels"] = {name: [*place] for name, place in found["channels"].items()}
    assert {name: found[name] for name in case["reads"]} == case["reads"]


@pytest.mark.parametrize("case", params(VECTORS["payloads"]["bad"]))
def test_bad_payload(case: Case) -> None:
    with pytest.raises(Malformed):
        read(case)


@pytest.mark.parametrize("payload", [None, 1, "x", []])
def test_a_payload_is_an_object(payload: Any) -> None:
    with pytest.raises(Malformed):
        decode_payload("data", "1", 0, payload, foreign=True)


class Play:
    """Plays the steps of a case."""

    def __init__(self, case: Case) -> None:
        messages, bytes = case.get("local", {}).get("credit", (64, 1048576))
        self.remote = tuple(case.get("remote", {}).get("credit", (64, 1048576)))
        options = MessagingOptions(credit_messages=messages, credit_bytes=bytes)
        self.node = Node(options, remembers=False)
        self.node.chance = 0.999
        self.named: dict[str, dict[str, Any]] = {}
        self.about_credit = "credit" in case["name"] or "all of it" in case["name"]
        self.seen = 0, 0, 0, 0
        self.connections = 0
        self.connect()

    def connect(self) -> None:
        self.connections += 1
        self.wire = Wire(f"c-{self.connections}", name="edge-1", credit=self.remote)
        self.peer = self.node.attach(self.wire)

    def step(self, step: Case) -> None:
        events: list[Case] = []
        for envelope in step.get("receive", ()):
            envelope = self.filled(envelope)
            size = 200
            received = Envelope(envelope["type"], envelope["id"], 0, envelope["payload"])
            self.node.engine.receive(self.peer, received, size, self.node.now)
            events += self.begun()
        acts = step.get("do", ())
        for act in [acts] if isinstance(acts, dict) else acts:
            self.act(act)
            events += self.begun()
        self.node.settle()
        self.node.engine.tick(self.node.now)
        events += self.begun() + self.told(step)
        wanted = step.get("events", [])
        assert len(events) == len(wanted), events
        for event, expected in zip(events, wanted, strict=True):
            assert expected.items() <= event.items()
        self.compare(step.get("sends", []))

    def filled(self, value: Any) -> Any:
        """The value, with the ids and epochs that stand for others."""
        if isinstance(value, dict) and [*value] == ["of"]:
            return self.named[value["of"]]["id"]
        if isinstance(value, dict):
            filled = {name: self.filled(one) for name, one in value.items()}
            if isinstance(value.get("epoch"), dict):
                filled["epoch"] = self.named[value["epoch"]["of"]]["payload"]["epoch"]
            return filled
        return [self.filled(one) for one in value] if isinstance(value, list) else value

    def act(self, act: Case) -> None:
        node, action = self.node, act["action"]
        if action == "send":
            node.send(act["channel"], act["body"], to="edge-1")
        elif action in ("finish", "refuse"):
            [delivery] = [one for one in node.started if one.data.body == act["body"]]
            node.finish(delivery, None if action == "finish" else Refusal(act["reason"]))
        elif action == "wait":
            node.tick(act["seconds"])
        elif action == "reconnect":
            node.engine.detach(self.peer, node.now)
            self.connect()
        elif action == "ask":
            node.engine.ask(self.peer, act["method"], '{"a":1}', "waiter", node.now)
        else:
            [(peer, request)] = node.questions
            node.engine.reply(peer, request.id, node.now, result=str(act["result"]))

    def begun(self) -> list[Case]:
        return [
            {
                "event": "message",
                "body": delivery.data.body,
                "attempt": delivery.data.attempt,
                "missed": delivery.missed,
            }
            for delivery in self.node.begin()
        ]

    def told(self, step: Case) -> list[Case]:
        node = self.node
        letters, answers, questions, _ = self.seen
        events: list[Case] = [
            {"event": "dead", "reason": letter.reason} for letter in node.letters[letters:]
        ]
        events += [
            {"event": "reply", "result": reply.result} for _, reply in node.answers[answers:]
        ]
        events += [
            {"event": "request", "method": request.method, "params": request.params}
            for _, request in node.questions[questions:]
        ]
        self.seen = len(node.letters), len(node.answers), len(node.questions), 0
        if any(event["event"] == "pending" for event in step.get("events", ())):
            events.append({"event": "pending", "messages": node.engine.outgoing()[0]})
        return events

    def compare(self, wanted: list[Case]) -> None:
        sent = self.wire.take()
        if not self.about_credit:
            sent = [one for one in sent if one["type"] != "credit"]
        assert [one["type"] for one in sent] == [one["type"] for one in wanted]
        for envelope, expected in zip(sent, wanted, strict=True):
            if "as" in expected:
                self.named[expected["as"]] = envelope
            if "id" in expected:
                assert envelope["id"] == self.filled(expected["id"])
            same(envelope["payload"], expected["payload"])


def same(value: Any, expected: Any) -> None:
    """Compares the members that are given."""
    if isinstance(expected, dict):
        for name, one in expected.items():
            same(value.get(name), one)
    else:
        assert value == expected


@pytest.mark.parametrize("case", params(VECTORS["cases"]))
def test_case(case: Case) -> None:
    play = Play(case)
    for step in case["steps"]:
        play.step(step)
