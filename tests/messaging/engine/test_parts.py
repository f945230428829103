"""The small parts of the engine: credit, queues, rings, paces, requests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restsock.messaging.engine import Outgoing
from restsock.messaging.engine._credit import Credit, Grants
from restsock.messaging.engine._pace import Pace
from restsock.messaging.engine._queue import Queue, Watermark
from restsock.messaging.engine._requests import Requests
from restsock.messaging.engine._ring import Ring
from tests.messaging.engine.node import Node, Wire

# --- credit ---------------------------------------------------------------------------------------


def test_credit_is_used_up_and_granted() -> None:
    credit = Credit(2, 100)
    credit.take(60)
    assert (credit.messages, credit.bytes) == (1, 40)
    assert credit.grant(1, 60)
    assert (credit.messages, credit.bytes) == (2, 100)
    assert not credit.grant(2**53, 0)
    assert not credit.grant(0, 2**53)
    assert (credit.messages, credit.bytes) == (2, 100)


@given(st.integers(1, 20), st.lists(st.tuples(st.booleans(), st.integers(1, 100)), max_size=60))
def test_a_sender_that_keeps_to_its_credit_is_never_refused_nor_stuck(
    messages: int, steps: list[tuple[bool, int]]
) -> None:
    credit, grants = Credit(messages, 400), Grants(messages, 400, 100)
    held: list[int] = []
    for send, size in steps:
        if send and credit.messages and credit.bytes >= size:
            credit.take(size)
            assert grants.take(size)
            held.append(size)
        elif held:
            grants.release(held.pop(0))
        if (grant := grants.due()) is not None:
            assert credit.grant(*grant)
        assert (grants.held, grants.held_bytes) == (len(held), sum(held))
        assert len(held) <= messages
    while held:
        grants.release(held.pop())
        if (grant := grants.due()) is not None:
            credit.grant(*grant)
    assert credit.messages >= 1
    assert credit.bytes >= 100


def test_a_grant_is_not_for_each_message() -> None:
    grants = Grants(64, 10**6, 1000)
    due = []
    for number in range(64):
        assert grants.take(10)
        grants.release(10)
        if grants.due() is not None:
            due.append(number)
    assert due == [15, 31, 47, 63]


def test_a_grant_is_at_once_where_the_bytes_do_not_do_for_one_more_message() -> None:
    grants = Grants(100, 1000, 400)
    for _ in range(7):
        assert grants.take(100)
    grants.release(100)
    assert grants.due() == (1, 100)
    grants.release(100)
    assert grants.due() is None  # 400 are left


def test_beyond_the_credit() -> None:
    grants = Grants(1, 100, 50)
    assert not grants.take(101)
    assert grants.take(10)
    assert not grants.take(10)
    assert grants.due() is None
    assert not grants.starved
    grants.release(10)
    assert grants.starved
    assert grants.due() == (1, 10)


# --- queues ---------------------------------------------------------------------------------------


def queue(policy: str, messages: int = 3, bytes: int = 100) -> Queue[str]:
    return Queue(messages=messages, bytes=bytes, policy=policy)


def test_what_is_dropped() -> None:
    oldest, newest, closing = map(queue, ("drop_oldest", "drop_newest", "disconnect"))
    for one in (oldest, newest, closing):
        for item in "abc":
            assert one.put(item, 10)[1] == []
    assert oldest.put("d", 10)[1] == ["a"]
    assert oldest.put("e", 90)[1] == ["b", "c"]
    assert [*oldest] == ["d", "e"]
    assert oldest.put("f", 101) == (0, ["f"])  # it never has room
    for one in (newest, closing):
        assert one.put("d", 10) == (0, ["d"])
        assert [*one] == ["a", "b", "c"]
    assert (newest.level, newest.full) == (1.0, True)


def test_who_waits_for_room_is_never_refused_after_that() -> None:
    one = queue("block")
    assert one.put("a", 99)[0]
    assert one.fits(50)  # a little above the bytes
    assert one.put("b", 50)[0]
    assert one.full
    assert not one.fits(1)
    assert one.put("c", 1) == (0, ["c"])


def test_bytes_and_order() -> None:
    one = queue("drop_oldest")
    first, _ = one.put("a", 10)
    one.put("b", 20)
    assert one.first() == ("a", 10)
    one.remove(first)
    one.remove(first)
    assert (one.bytes, len(one)) == (20, 1)
    one.put("c", 30)
    assert one.pop() == ("b", 20)
    assert one.clear() == ["c"]
    assert (one.bytes, len(one)) == (0, 0)


@given(
    st.sampled_from(["drop_oldest", "drop_newest", "block", "disconnect"]),
    st.lists(st.integers(0, 60), max_size=50),
)
def test_it_is_bounded(policy: str, sizes: list[int]) -> None:
    one = queue(policy)
    kept = 0
    for size in sizes:
        before = len(one)
        ticket, dropped = one.put("x", size)
        assert len(one) == before + 1 - len(dropped)
        kept += bool(ticket)
        assert len(one) <= 3
        assert one.bytes <= 100 + (60 if policy == "block" else 0)
    assert kept <= len(sizes)


def test_it_is_as_full_as_its_messages_or_its_bytes_are() -> None:
    items = queue("block", messages=10, bytes=100)
    items.put("a", 80)
    assert items.level == 0.8
    for _ in range(8):
        items.put("b", 1)
    assert items.level == 0.9


def test_a_crossing_is_told_once() -> None:
    mark = Watermark(0.8, 0.6)
    levels = [0.7, 0.8, 0.9, 1.0, 0.7, 0.9, 0.61, 0.85, 0.59, 0.79, 0.8, 0.5]
    assert [level for level in levels if mark.passed(level)] == [0.8, 0.8]


# --- rings ----------------------------------------------------------------------------------------


def published(ring: Ring, now: float = 0.0, size: int = 10) -> Outgoing:
    seq = ring.next_seq()
    outgoing = Outgoing("data", f"{seq}", 0, "", size, urgent=False)
    ring.put(outgoing, now)
    return outgoing


def test_what_came_after_a_message() -> None:
    ring = Ring("e", messages=3, bytes=1000, seconds=60)
    messages = [published(ring) for _ in range(5)]
    assert ring.since("e", 4, 0.0) == (messages[4:], 0)
    assert ring.since("e", 2, 0.0) == (messages[2:], 0)
    assert ring.since("e", 1, 0.0) == (messages[2:], 1)
    assert ring.since("e", 0, 0.0) == (messages[2:], 2)
    assert ring.since("e", 5, 0.0) == ([], 0)
    assert ring.since("e", 6, 0.0) == (messages[2:], None)
    assert ring.since("other", 4, 0.0) == (messages[2:], None)


def test_it_keeps_so_many_bytes_and_so_long() -> None:
    ring = Ring("e", messages=100, bytes=30, seconds=60)
    for _ in range(5):
        published(ring)
    assert len(ring) == 3
    published(ring, now=50.0)
    assert ring.since("e", 5, 59.0)[1] == 0
    assert len(ring.since("e", 3, 60.0)[0]) == 1
    assert ring.since("e", 3, 60.0)[1] == 2
    assert ring.since("e", 6, 200.0) == ([], 0)
    nothing = Ring("e", messages=0, bytes=30, seconds=60)
    published(nothing)
    assert nothing.since("e", 0, 0.0) == ([], 1)


# --- paces ----------------------------------------------------------------------------------------


def sent_in(pace: Pace, begin: float, seconds: float, every: float) -> int:
    count, now = 0, begin
    while now < begin + seconds:
        if pace.wait(now) <= 0:
            pace.sent(now)
            count += 1
        now += every
    return count


def test_there_is_no_bound_until_it_is_told() -> None:
    pace = Pace()
    assert sent_in(pace, 0.0, 2.0, 0.01) == pytest.approx(200, abs=2)
    pace.slow(2.0)
    assert pace.rate == pytest.approx(50, abs=2)
    assert sent_in(pace, 2.0, 0.9, 0.001) == pytest.approx(45, abs=3)
    pace.slow(2.9)
    assert pace.rate == pytest.approx(25, abs=3)
    sent_in(pace, 2.9, 20.0, 0.01)
    assert pace.rate is None


def test_it_never_stops() -> None:
    pace = Pace()
    for _ in range(20):
        pace.slow(0.0)
    assert pace.rate == 1.0
    assert sent_in(pace, 0.0, 3.0, 0.1) >= 2


# --- requests -------------------------------------------------------------------------------------


def test_requests_by_id() -> None:
    requests: Requests[str] = Requests(2)
    requests.add("1", "one")
    assert not requests.full
    requests.add("2", "two")
    assert requests.full
    assert requests.take("2") == "two"
    assert requests.take("2") is None
    requests.discard("1")
    assert requests.take("1") is None
    assert requests.late == 2
    requests.add("3", "three")
    assert requests.clear() == ["three"]
    assert len(requests) == 0


def test_an_envelope_is_read_once_for_those_who_need_its_payload() -> None:
    outgoing = Outgoing("data", "1", 0, '{"payload":{"a":1}}', 19, urgent=False)
    assert outgoing.payload == {"a": 1}
    assert outgoing.payload is outgoing.payload
    assert outgoing.body is None


@pytest.mark.parametrize("body", [{"a": [1, "ü"]}, None, "text", b"\x00\xff", b""])
def test_and_has_the_body_as_it_was_sent(body: object) -> None:
    class Keeping(Wire):
        def send(self, outgoing: Outgoing) -> bool:
            kept.append(outgoing)
            return super().send(outgoing)

    kept: list[Outgoing] = []
    node = Node()
    node.attach(Keeping(name="edge"))
    node.send("c", body, to="edge")
    node.send_once("c", body, to="edge")
    assert [outgoing.body for outgoing in kept] == [body] * 2
    assert [outgoing.channel for outgoing in kept] == ["c", "c"]
