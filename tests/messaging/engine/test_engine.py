"""The engine as a whole, in cases that the schedules of the pairs seldom meet."""

from __future__ import annotations

from typing import Any

import pytest

from restsock._options import Backoff
from restsock._principal import Principal
from restsock.messaging import MessagingOptions
from restsock.messaging.engine import Refusal, utf8_length
from restsock.protocol import Envelope
from tests.messaging.engine.node import Node, Pair, Wire, pass_on, payloads


def test_credit_is_kept_for_what_is_sent_again() -> None:
    """Else what is behind a message that has failed would use it up, and wait for that message."""
    pair = Pair(right=MessagingOptions(credit_messages=4))
    pair.exchange()
    for number in range(20):
        pair.left.send("c", number)
    pair.exchange()
    [delivery] = pair.right.begin()
    pair.right.finish(delivery, Refusal("failed", retry_after=5.0))
    pair.exchange()
    assert pair.left_peer.credit is not None
    assert pair.left_peer.credit.messages == 1
    pair.left.tick(5.0)
    assert pair.deliver() == [*range(20)]


@pytest.mark.parametrize("channel", ['"' * 255, "\\" * 255, "\u00fc" * 255])
@pytest.mark.parametrize("restored", [False, True])
def test_no_message_is_larger_than_it_was_taken_for(channel: str, restored: bool) -> None:
    """Credit, limits and queues go by a size that is known before the envelope is."""
    node = Node()
    entry = node.send(channel, "x")
    if restored:
        node = Node(kept=node.kept)
    short = Wire("c-1", dialed=True, credit=(1, entry.size - 1))
    node.engine.detach(node.attach(short), 0.0)
    assert payloads(short.take(), "data") == []
    wire = Wire("c-2", dialed=True, credit=(1, entry.size))
    node.attach(wire)
    [envelope] = wire.sent
    assert entry.size - 300 <= utf8_length(envelope) <= entry.size


def test_what_is_sent_at_most_once_has_something_to_do_only_when_credit_is_due() -> None:
    """A quarter of it, here."""
    pair = Pair(right=MessagingOptions(credit_messages=8))
    pair.exchange()
    dirty = []
    for number in range(4):
        pair.left.send_once("c", number)
        pass_on(pair.out, pair.right, pair.right_peer)
        [delivery] = pair.right.begin()
        pair.right.finish(delivery)
        dirty.append(pair.right.is_dirty)
        pair.right.settle()
    assert dirty == [False, True, False, True]
    assert [grant["messages"] for grant in payloads(pair.back.take(), "credit")] == [2, 2]


def test_channels_of_one_peer_take_turns() -> None:
    pair = Pair(right=MessagingOptions(credit_messages=6))
    pair.exchange()
    for number in range(5):
        for channel in ("a", "b"):
            pair.left.send(channel, number)
        pair.left.send_once("o", number)
    seen = [one["channel"] for one in payloads(pair.out.take(), "data")]
    assert sorted(seen) == ["a", "a", "b", "b", "o", "o"]


def test_the_latest_connection_of_a_name_gets_the_messages() -> None:
    node = Node()
    first, second = (Wire(f"c-{number}", name="edge") for number in (1, 2))
    one, two = node.attach(first), node.attach(second)
    node.send("c", 1, to="edge")
    assert not first.sent
    assert len(payloads(second.take(), "data")) == 1
    node.engine.detach(two, 0.0)  # and then the one that is left
    [data] = payloads(first.take(), "data")
    assert (data["seq"], data["attempt"]) == (1, 1)
    node.engine.detach(one, 0.0)
    node.engine.detach(one, 0.0)


def test_principals_are_senders_of_their_own() -> None:
    node = Node()
    payload = {"channel": "c", "delivery": "at_least_once", "epoch": "e", "seq": 1, "attempt": 1}
    handled = []
    for number, name in enumerate(("a", "b", "a")):
        principal = Principal(name, may_register=["edge"])
        peer = node.attach(Wire(f"c-{number}", name="edge", principal=principal))
        node.engine.receive(peer, Envelope("data", "1", 0, payload | {"body": name}), 10, 0.0)
        handled += node.handle()
        node.engine.detach(peer, 0.0)
    assert handled == ["a", "b"]  # and the third one was known


def test_a_link_without_room_keeps_its_acks_until_there_is_some() -> None:
    pair = Pair()
    pair.exchange()
    for number in range(3):
        pair.left.send("c", number)
    pass_on(pair.out, pair.right, pair.right_peer)
    pair.back.room = 0
    assert pair.right.handle() == [0, 1, 2]
    assert pair.back.refused
    pair.back.room = 10
    pair.right.engine.writable(pair.right_peer, 0.0)
    [ack] = payloads([*pair.back.take()], "ack")
    assert (ack["seq"], ack["upto"]) == (3, True)


@pytest.mark.parametrize("remembers", [True, False])
def test_what_a_former_run_has_sent_was_handled_if_it_is_remembered(remembers: bool) -> None:
    pair = Pair()
    pair.left.send("c", 1)
    pair.left.send("d", 1)
    assert sorted(pair.deliver()) == [1, 1]
    pair.disconnect()
    pair.left = Node(epoch="another", kept=pair.left.kept, remembers=remembers)
    pair.left.send("d", 2)
    pair.connect()
    assert pair.deliver() == [2]
    missed: list[Any] = [] if remembers else [("c", None), ("d", None)]
    assert sorted(pair.right.recoveries) == missed


def test_a_message_that_is_too_large_for_the_peer_is_given_up() -> None:
    node = Node()
    wire = Wire(name="edge", max_message=16 * 1024)
    node.send("c", "x" * 20_000, to="edge")
    node.send("c", "y", to="edge")
    node.send_once("c", "x" * 20_000, to="edge")
    node.attach(wire)
    assert [one["body"] for one in payloads(wire.take(), "data")] == ["y"]
    assert [letter.reason for letter in node.letters] == ["too_large"]


def test_time_is_told_to_the_host_when_it_is_earlier_than_before() -> None:
    options = MessagingOptions(ack_timeout=30, redelivery=Backoff(initial=1, tries=0))
    pair = Pair(options)
    pair.exchange()
    pair.left.send("c", 1)
    assert (pair.left.alarms, pair.left.engine.due()) == ([30.0], 30.0)
    pair.exchange()
    [delivery] = pair.right.begin()
    pair.right.finish(delivery, Refusal("failed"))
    pair.exchange()
    assert pair.left.alarms == [30.0, 0.5]
    pair.left.tick(0.5)
    assert pair.deliver() == [1]


def test_what_is_left_in_an_effect_is_joined() -> None:
    pair = Pair()
    pair.exchange()
    for number in range(4):
        pair.left.send("c", number)
    pass_on(pair.out, pair.right, pair.right_peer)
    first, second, third, fourth = pair.right.begin(64, ordered=False)
    for delivery in (fourth, second):
        pair.right.finish(delivery)
    [mark] = pair.right.engine._context.effects.marks.values()
    assert (mark.upto, sorted(mark.seqs)) == (0, [2, 4])
    pair.right.finish(first)
    [mark] = pair.right.engine._context.effects.marks.values()
    assert (mark.upto, mark.seqs) == (2, (4,))
    pair.right.settle()
    acks = payloads(pair.back.take(), "ack")
    assert sorted((ack["seq"], ack.get("upto", False)) for ack in acks) == [(2, True), (4, False)]
    pair.right.finish(third)
    pair.right.settle()
    [ack] = payloads(pair.back.take(), "ack")
    assert (ack["seq"], ack["upto"]) == (3, True)


def test_all_that_a_large_message_pushes_out_is_counted() -> None:
    node = Node(MessagingOptions(queue_bytes=64 * 1024))
    for number in range(5):
        node.send_once("c", number, to="edge")
    assert node.send_once("c", "x" * 65_390, to="edge")
    assert node.engine.counters.dropped == {"drop_oldest": 5}
    wire = Wire(name="edge", max_message=70_000)
    node.attach(wire)
    assert [len(one["body"]) for one in payloads(wire.take(), "data")] == [65_390]


def test_what_waits_for_a_nameless_peer_that_goes_is_counted() -> None:
    node = Node()
    peer = node.attach(Wire(room=0))
    for number in range(3):
        node.send_once("c", number, to=peer.destination.name)
    outgoing = node.engine.message("c", '"body":1', 0.0)
    assert node.engine.send_to(peer, outgoing, 0.0)
    node.engine.detach(peer, 0.0)
    assert node.engine.counters.dropped == {"disconnected": 4}


def test_bytes_of_credit_are_kept_for_what_is_sent_again() -> None:
    node = Node()
    wire = Wire("c-1", dialed=True, credit=(100, 5000))
    peer = node.attach(wire)
    large = node.send("c", "x" * 1500)
    wire.take()
    payload = {"channel": "c", "seq": 1, "attempt": 1, "reason": "later", "retry_after": 5}
    node.engine.receive(peer, Envelope("nack", large.id, 0, payload), 100, 0.0)
    for _ in range(20):
        node.send_once("o", "y" * 300)
    assert payloads(wire.take(), "data")
    assert peer.credit is not None
    assert peer.credit.bytes >= large.size
    node.tick(5.0)
    assert [one["attempt"] for one in payloads(wire.take(), "data") if one["channel"] == "c"] == [2]


def test_a_queue_of_one_message_is_told_to_be_full_each_time() -> None:
    """It is empty in between, though no message comes then."""
    node = Node(MessagingOptions(queue_messages=1))
    wire = Wire(foreign=True)
    peer = node.attach(wire)
    for number in range(3):
        node.engine.receive(
            peer, Envelope("data", f"m-{number}", 0, {"channel": "c", "body": number}), 50, 0.0
        )
        assert node.handle() == [number]
    assert len(payloads(wire.take(), "slow")) == 3
