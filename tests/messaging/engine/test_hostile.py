"""Peers that keep to no rule: what they get is counted, and costs bounded memory."""

from __future__ import annotations

import json
import sys
import types
from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restsock.messaging import MessagingOptions
from restsock.messaging.engine import MAX_SECONDS, Refusal
from restsock.protocol import Envelope
from tests.messaging.engine.node import Node, Pair, Wire, new_id, payloads

OPTIONS = MessagingOptions(credit_messages=8, max_channels=20, max_epochs=4, max_inboxes=40)


def weigh(what: object) -> int:
    """Bytes of all objects that can be reached from it, except code."""
    seen: set[int] = set()
    left = [what]
    total = 0
    skipped = (type, types.ModuleType, types.FunctionType, types.MethodType, types.CodeType)
    while left:
        item = left.pop()
        if id(item) in seen or isinstance(item, (*skipped, Node, Wire)):
            continue
        seen.add(id(item))
        total += sys.getsizeof(item)
        if isinstance(item, dict):
            left += item.keys()
            left += item.values()
        elif isinstance(item, (list, tuple, set, frozenset, deque)):
            left += item
        else:
            left += vars(item).values() if hasattr(item, "__dict__") else []
            for kind in type(item).__mro__:
                slots = getattr(kind, "__slots__", ())
                for slot in (slots,) if isinstance(slots, str) else slots:
                    if hasattr(item, slot):
                        left.append(getattr(item, slot))
    return total


class Attacker:
    """Sends whatever it likes to a node."""

    def __init__(self, node: Node, **wire: Any) -> None:
        self.node = node
        self.wire = Wire(**({"name": "evil", "id": new_id()} | wire))
        self.peer = node.attach(self.wire)

    def send(self, type: str, payload: Any, id: str = "1") -> None:
        envelope = Envelope(type, id, 0, payload)
        self.node.engine.receive(self.peer, envelope, len(json.dumps(payload)) + 80, self.node.now)
        self.node.settle()

    def data(self, **more: Any) -> None:
        data = {"channel": "c", "delivery": "at_least_once", "epoch": "e", "seq": 1, "attempt": 1}
        self.send("data", data | {"body": 1} | more)


def grows(node: Node, attack: Any, rounds: int = 300) -> int:
    """By how many bytes a node grows in the second half of an attack."""
    for number in range(rounds):
        attack(number)
    before = weigh(node.engine)
    for number in range(rounds, 2 * rounds):
        attack(number)
    return weigh(node.engine) - before


def test_a_flood_without_credit_is_not_kept() -> None:
    node = Node(OPTIONS)
    attacker = Attacker(node)

    def attack(number: int) -> None:
        attacker.data(seq=number + 1, body="x" * 1000)
        attacker.wire.sent.clear()

    assert grows(node, attack) < 2000
    assert len(attacker.peer.waiting) == 8
    assert node.engine.counters.errors["credit"] == 592


def test_nor_is_what_it_is_told_and_does_not_read() -> None:
    node = Node(OPTIONS)
    attacker = Attacker(node, room=0)

    def attack(number: int) -> None:
        attacker.data(seq=number + 1)
        attacker.data(seq=1, low=1)
        attacker.send("request", {"method": "status"}, id=str(number))
        attacker.send("data", {"channel": 3}, id=str(number))
        attacker.send("resume", {"channels": {"c": {"epoch": "e", "seq": 1}}})
        node.handle()
        for peer, request in node.questions:
            node.engine.reply(peer, request.id, node.now)
        node.questions.clear()

    assert grows(node, attack, 1200) < 5000


def test_messages_that_come_again_and_again_cost_nothing() -> None:
    node = Node(OPTIONS)
    attacker = Attacker(node)

    def attack(number: int) -> None:
        attacker.data(attempt=number + 1)
        attacker.wire.sent.clear()

    attacker.data()
    assert len(node.begin()) == 1  # one that takes its time
    assert grows(node, attack) < 500
    assert node.engine.counters.duplicate == 600
    [delivery] = node.started
    node.finish(delivery)
    node.settle()
    [ack] = payloads(attacker.wire.take(), "ack")
    assert ack == {"channel": "c", "seq": 1, "attempt": 600, "upto": True}


@pytest.mark.parametrize("ordered", [True, False])
def test_endless_gaps_are_remembered_up_to_a_bound(ordered: bool) -> None:
    node = Node(OPTIONS)
    attacker = Attacker(node)
    attacker.data(seq=1)
    node.handle(64, ordered=ordered)

    def attack(number: int) -> None:
        attacker.data(seq=3 + 2 * number)
        node.handle(64, ordered=ordered)
        attacker.wire.sent.clear()

    for number in range(12_000):
        attack(number)
    inbox = node.engine._senders._senders["evil"].inboxes["c"]
    [epoch] = inbox.epochs.values()
    assert len(epoch._done) <= 10_000
    assert len(attacker.peer.waiting) <= 8
    assert weigh(epoch) < 2_000_000
    if not ordered:
        assert node.engine.counters.nacks_sent["gap"] == 2000


def test_refusals_that_are_never_sent_again_are_bounded_too() -> None:
    node = Node(OPTIONS)
    attacker = Attacker(node)
    for number in range(10_500):
        attacker.data(seq=number + 1)
        for delivery in node.begin(8, ordered=False):
            node.finish(delivery, Refusal("no"))
        node.settle()
        attacker.wire.sent.clear()
    [epoch] = node.engine._senders._senders["evil"].inboxes["c"].epochs.values()
    assert len(epoch._failed) <= 10_000


def test_huge_numbers() -> None:
    node = Node(OPTIONS)
    attacker = Attacker(node)
    attacker.data(seq=1)
    attacker.data(seq=2**53 - 1)
    attacker.data(seq=2**53)
    attacker.data(seq=5, low=2**53)
    attacker.data(seq=10**12, low=10**12)
    attacker.send("resumed", {"channels": {"c": {"epoch": "e", "next": 2**53 - 1}}})
    assert node.handle() == [1]
    assert node.engine.counters.errors == {"malformed_data": 2}
    assert weigh(node.engine) < 100_000


def test_channels_and_epochs_are_bounded() -> None:
    node = Node(OPTIONS)
    attacker = Attacker(node)

    def attack(number: int) -> None:
        attacker.data(channel=f"c{number}")
        attacker.data(epoch=f"e{number}")
        attacker.data(channel=f"o{number}", delivery="at_most_once")
        node.handle()
        attacker.wire.sent.clear()

    assert grows(node, attack) < 2000
    sender = node.engine._senders._senders["evil"]
    assert 10 < len(sender.inboxes) <= 20
    assert 10 < len(sender.lines) <= 20
    assert sender.remembered <= 40
    assert len(sender.inboxes["c"].epochs) == 4
    assert len(node.engine.counters.received) <= 21
    assert node.engine.counters.nacks_sent["channels"] > 500
    assert len(node.kept.marks) <= 40  # what is forgotten leaves the store


def test_names_are_bounded_and_the_honest_that_are_here_are_not_forgotten() -> None:
    node = Node(OPTIONS)
    honest = Attacker(node, name="honest")
    honest.data()
    node.handle()

    def attack(number: int) -> None:
        attacker = Attacker(node, name=f"evil-{number}")
        attacker.data()
        node.handle()
        node.engine.detach(attacker.peer, node.now)

    assert grows(node, attack) < 2000
    assert len([one for one in node.engine._senders._senders.values() if one.inboxes]) <= 40
    honest.data()
    assert node.engine.counters.duplicate == 1
    assert len(node.kept.marks) <= 40


def test_nameless_ones_leave_nothing() -> None:
    node = Node(OPTIONS)

    def attack(number: int) -> None:
        attacker = Attacker(node, name=None)
        attacker.data()
        attacker.data(channel="o", delivery="at_most_once", body=number)
        node.handle()
        node.engine.detach(attacker.peer, node.now)
        node.settle()

    assert grows(node, attack) < 2000


def test_what_was_left_over_by_those_that_have_gone_is_bounded() -> None:
    node = Node(MessagingOptions(queue_messages=10))
    for number in range(50):
        attacker = Attacker(node, name=None)
        attacker.data(channel="o", delivery="at_most_once", body=number)
        node.engine.detach(attacker.peer, node.now)
    assert node.handle() == [*range(40, 50)]
    assert node.engine.counters.dropped == {"disconnected": 40}


def test_acks_of_what_was_not_sent_twice_or_late_confirm_nothing() -> None:
    pair = Pair()
    pair.exchange()
    entry = pair.left.send("c", 1)
    pair.left.send("c", 2)
    wrong: list[dict[str, Any]] = [
        {"channel": "c", "seq": 2, "attempt": 1},  # the number of another one
        {"channel": "c", "seq": 1, "attempt": 2},
        {"channel": "c", "seq": 7, "attempt": 1, "upto": True},
        {"channel": "d", "seq": 1, "attempt": 1},
    ]
    for payload in wrong:
        words: list[tuple[str, dict[str, Any]]] = [("ack", {}), ("nack", {"final": True})]
        for type, more in [*words, ("working", {"seconds": 1})]:
            envelope = Envelope(type, entry.id, 0, payload | more)
            pair.left.engine.receive(pair.left_peer, envelope, 10, 0.0)
    unknown = Envelope("ack", new_id(), 0, {"channel": "c", "seq": 1, "attempt": 1})
    pair.left.engine.receive(pair.left_peer, unknown, 10, 0.0)
    assert pair.left.engine.counters.errors == {"ack_unknown": 13}
    assert pair.left.engine.outgoing()[0] == 2
    right = Envelope("ack", entry.id, 0, {"channel": "c", "seq": 1, "attempt": 1})
    for _ in range(2):
        pair.left.engine.receive(pair.left_peer, right, 10, 0.0)
    assert pair.left.engine.outgoing()[0] == 1
    assert pair.left.engine.counters.errors == {"ack_unknown": 14}


def test_an_ack_over_a_former_connection_confirms_nothing() -> None:
    pair = Pair()
    pair.exchange()
    entry = pair.left.send("c", 1)
    old = pair.left_peer
    pair.connect()  # the old one is not noticed yet
    ack = Envelope("ack", entry.id, 0, {"channel": "c", "seq": 1, "attempt": 1})
    pair.left.engine.receive(old, ack, 10, 0.0)
    assert pair.left.engine.outgoing()[0] == 1
    assert pair.deliver() == [1]
    assert pair.left.engine.outgoing()[0] == 0


def test_more_credit_than_there_may_be_is_refused() -> None:
    node = Node()
    attacker = Attacker(node)
    for _ in range(3):
        attacker.send("credit", {"messages": 2**53 - 1, "bytes": 2**53 - 1})
    assert node.engine.counters.errors == {"credit_grant": 3}
    attacker.send("credit", {"messages": 5, "bytes": 5})
    assert attacker.peer.credit is not None
    assert attacker.peer.credit.messages == 69
    foreign = Attacker(node, foreign=True)
    foreign.send("credit", {"messages": 5, "bytes": 5})
    assert node.engine.counters.errors == {"credit_grant": 4}


def test_a_receiver_cannot_make_a_message_wait_indefinitely() -> None:
    pair = Pair()
    pair.exchange()
    entry = pair.left.send("c", 1)
    for type, member in [("nack", "retry_after"), ("working", "seconds")]:
        payload = {"channel": "c", "seq": 1, "attempt": entry.attempts + 1, member: 1e300}
        pair.left.engine.receive(pair.left_peer, Envelope(type, entry.id, 0, payload), 10, 0.0)
        pair.left.tick(MAX_SECONDS + 1)
        pair.left.tick(100)
        assert payloads(pair.out.take(), "data")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("channel", "seq", "epoch", "attempt", "low", "delivery", "body", "encoding"),
                    *("headers", "reply_to", "upto", "reason", "retry_after", "final", "seconds"),
                    *("messages", "bytes", "channels", "method", "params", "status", "error"),
                    *("kind", "next", "recovered", "missed", "utilization", "queue_depth"),
                ]
            ),
            inner,
            max_size=8,
        )
    ),
    max_leaves=12,
)
TYPES = ["data", "ack", "nack", "working", "credit", "resume", "resumed", "request", "reply"]


@given(
    st.lists(
        st.tuples(st.sampled_from([*TYPES, "slow", "other", "hello"]), JSON, st.text(max_size=3)),
        max_size=20,
    ),
    st.booleans(),
)
def test_nothing_that_a_peer_sends_raises(envelopes: Any, foreign: bool) -> None:
    node = Node(OPTIONS)
    attacker = Attacker(node, foreign=foreign)
    node.send("c", 1, to="evil")
    for type, payload, id in envelopes:
        attacker.send(type, payload, id)
    node.handle()
    node.engine.detach(attacker.peer, 1.0)
