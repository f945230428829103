"""Outboxes: what leaves when, and what the words of a receiver confirm."""

from __future__ import annotations

import pytest

from restsock._options import Backoff
from restsock.messaging import OutRecord
from restsock.messaging.engine._entry import Entry
from restsock.messaging.engine._outbox import SPAN, Outbox

TIMEOUT = 30.0


def outbox(*, tries: int = 10, epoch: str = "e") -> Outbox:
    redelivery = Backoff(initial=1, factor=2, cap=60, tries=tries)
    return Outbox("edge", "c", epoch, ack_timeout=TIMEOUT, redelivery=redelivery)


def filled(count: int, *, tries: int = 10) -> tuple[Outbox, list[Entry]]:
    box = outbox(tries=tries)
    entries = []
    for number in range(1, count + 1):
        entry = box.add(f"id-{number}", 0, f'"body":{number}', 10)
        box.saved(entry)
        entries.append(entry)
    return box, entries


def send_all(box: Outbox, now: float = 0.0) -> list[int]:
    sent = []
    while (entry := box.next(now)[0]) is not None:
        box.sent(entry, now)
        sent.append(entry.seq)
    return sent


def refuse(box: Outbox, entry: Entry, *, now: float = 0.0, **more: object) -> object:
    words: dict[str, object] = {"reason": "failed", "retry_after": None, "final": False}
    words |= more
    return box.refuse(entry.id, entry.seq, entry.attempts + 1, now=now, chance=0.5, **words)  # type: ignore[arg-type]


def test_they_leave_in_order_once_they_are_saved() -> None:
    box = outbox()
    first, second = box.add("1", 0, "", 1), box.add("2", 0, "", 1)
    assert send_all(box) == []
    assert box.low == 1
    box.saved(first)
    assert send_all(box) == [1]
    box.saved(second)
    assert send_all(box) == [2]
    assert len(box) == box.in_flight == 2


@pytest.mark.parametrize("attempt", [0, 1])
def test_an_ack_settles_one(attempt: int) -> None:
    box, entries = filled(3)
    send_all(box)
    settled = box.acknowledge("id-2", 2, attempt, upto=False)
    assert settled.handled == [entries[1]]
    assert (len(box), box.low) == (2, 1)
    assert not box.acknowledge("id-2", 2, 1, upto=False).known  # twice
    assert box.acknowledge("id-1", 1, 1, upto=False).known
    assert box.low == 3
    assert box.bytes == entries[2].size


def test_with_upto_all_before_it_be_they_under_way_or_not() -> None:
    box, entries = filled(6)
    send_all(box)
    refuse(box, entries[0])
    box.extend("id-2", 2, 1, 100, 0.0)
    settled = box.acknowledge("id-4", 4, 1, upto=True)
    assert {entry.seq for entry in settled.handled} == {1, 2, 3, 4}
    assert (len(box), box.low, box.again, box.again_bytes) == (2, 5, 0, 0)
    assert box.due(0.0) == TIMEOUT
    assert send_all(box, 1000.0) == []


@pytest.mark.parametrize(
    ("id", "seq", "attempt"), [("id-1", 2, 1), ("id-1", 1, 2), ("id-9", 1, 1), ("id-3", 3, 1)]
)
def test_what_is_about_no_delivery_under_way_changes_nothing(
    id: str, seq: int, attempt: int
) -> None:
    box, entries = filled(2)
    send_all(box)
    third = box.add("id-3", 0, "", 1)
    assert not box.acknowledge(id, seq, attempt, upto=True).known
    assert not box.extend(id, seq, attempt, 5, 0.0)
    refusal = box.refuse(
        id, seq, attempt, reason="", retry_after=None, final=True, now=0.0, chance=0.5
    )
    assert not refusal.known
    assert len(box) == 3
    assert not any(entry.settled for entry in [*entries, third])


def test_a_late_ack_of_an_earlier_attempt_confirms_nothing() -> None:
    box, [entry] = filled(1)
    send_all(box)
    box.tick(TIMEOUT, lambda: 0.5)
    assert entry.attempts == 1
    assert not box.acknowledge("id-1", 1, 1, upto=True).known
    assert send_all(box, 31.0) == [1]
    assert not box.acknowledge("id-1", 1, 1, upto=True).known
    assert box.acknowledge("id-1", 1, 2, upto=True).known


def test_redelivery_waits_longer_each_time() -> None:
    box, [entry] = filled(1)
    now, waits = 0.0, []
    for _ in range(9):
        send_all(box, now)
        refuse(box, entry, now=now)
        due = box.due(now)
        assert due is not None
        waits.append(due - now)
        assert box.next(due - 0.01) == (None, False)
        assert box.next(due) == (entry, True)
        now = due
    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    send_all(box, now)
    settled = box.refuse(
        "id-1", 1, 10, reason="", retry_after=None, final=False, now=now, chance=0.5
    )
    assert settled.dead is entry
    assert len(box) == 0


def test_who_has_not_looked_makes_no_attempt() -> None:
    box, [entry] = filled(1, tries=2)
    now = 0.0
    for _ in range(50):
        send_all(box, now)
        refuse(box, entry, now=now, reason="overflow")
        assert entry.attempts == 0
        now += 60
    assert not entry.settled


def test_the_receiver_may_say_when_and_never() -> None:
    box, entries = filled(2)
    send_all(box)
    refuse(box, entries[0], retry_after=7.0)
    assert box.next(6.9)[0] is None
    assert box.next(7.0)[0] is entries[0]
    refuse(box, entries[1], final=True)
    assert entries[1].settled
    assert not box.skip_due  # it is behind one that may still come
    box.sent(entries[0], 7.0)
    box.acknowledge("id-1", 1, 2, upto=False)
    assert box.skip_due
    point = box.skip_point()
    assert (point.epoch, point.next, box.skip_due) == ("e", 3, False)


def test_silence_is_a_failure_unless_more_time_was_asked_for() -> None:
    box, entries = filled(3)
    send_all(box)
    assert box.extend("id-2", 2, 1, 100, 10.0)
    assert box.due(10.0) == TIMEOUT
    assert [one.again for one in box.tick(TIMEOUT, lambda: 0.5)] == [entries[0]]
    assert box.tick(109.0, lambda: 0.5) == []
    # What is behind it may have waited for it.
    assert [one.again for one in box.tick(110.0, lambda: 0.5)] == [entries[1], entries[2]]


def test_each_answer_about_a_message_restarts_the_time_of_later_ones_only() -> None:
    box, entries = filled(4)
    send_all(box)
    [handled] = box.acknowledge("id-2", 2, 1, upto=False).handled
    box.heard(handled, 20.0)
    assert [one.again for one in box.tick(TIMEOUT, lambda: 0.5)] == [entries[0]]
    assert box.due(TIMEOUT) == entries[0].due
    assert box.tick(20.0 + TIMEOUT - 1, lambda: 0.5) == []
    found = box.tick(20.0 + TIMEOUT, lambda: 0.5)
    assert sorted(one.again.seq for one in found if one.again) == [3, 4]


def test_an_ack_does_not_shorten_what_is_given_by_a_word_about_a_later_message() -> None:
    box, entries = filled(4)
    send_all(box)
    assert box.extend("id-2", 2, 1, 100, 10.0)
    [handled] = box.acknowledge("id-1", 1, 1, upto=False).handled
    box.heard(handled, 11.0)
    assert box.tick(109.0, lambda: 0.5) == []
    [handled] = box.acknowledge("id-2", 2, 1, upto=False).handled
    box.heard(handled, 109.0)
    assert box.tick(138.0, lambda: 0.5) == []
    found = box.tick(139.0, lambda: 0.5)
    assert [one.again for one in found] == [entries[2], entries[3]]


def test_silence_takes_an_attempt_of_the_lowest_message_alone() -> None:
    box, entries = filled(3, tries=2)
    now = 0.0
    for _ in range(2):
        send_all(box, now)
        found = box.tick(now + TIMEOUT, lambda: 0.5)
        now += 2 * TIMEOUT
    assert [one.dead for one in found] == [entries[0], None, None]
    assert [one.attempts for one in entries] == [2, 0, 0]


def test_what_was_heard_on_a_former_link_gives_no_time() -> None:
    box, _ = filled(2)
    send_all(box)
    assert box.extend("id-1", 1, 1, 1000, 0.0)
    box.detach()
    send_all(box)
    found = box.tick(TIMEOUT, lambda: 0.5)
    assert sorted(one.again.seq for one in found if one.again) == [1, 2]


def test_when_the_link_has_ended_they_leave_again_first_and_as_the_same_attempt() -> None:
    box, entries = filled(5)
    for _ in range(3):
        entry, _ = box.next(0.0)
        assert entry is not None
        box.sent(entry, 0.0)
    box.extend("id-1", 1, 1, 100, 0.0)
    refuse(box, entries[1])
    box.detach()
    assert box.in_flight == 0
    assert not box.acknowledge("id-1", 1, 1, upto=True).known
    assert not box.introduced
    assert send_all(box) == [1, 3, 4, 5]
    assert [entry.attempts for entry in entries] == [0, 1, 0, 0, 0]
    assert send_all(box, 10.0) == [2]


def test_what_was_restored_leaves_first_and_by_its_own_numbers() -> None:
    box = outbox(epoch="new")
    for seq in (7, 9):
        box.restore(OutRecord("edge", "c", "old", seq, f"old-{seq}", 0, "", attempts=2), 10)
    entry = box.add("new-1", 0, "", 1)
    box.saved(entry)
    assert send_all(box) == [7, 9]
    assert (box.low, box.point().epoch) == (7, "old")
    assert box.acknowledge("old-9", 9, 3, upto=True).known
    assert box.next(0.0)[0] is entry
    assert (box.low, box.point().epoch) == (1, "new")


def test_what_was_given_up_of_a_former_run_is_told_by_its_epoch() -> None:
    box = outbox(epoch="new")
    box.restore(OutRecord("edge", "c", "old", 7, "old-7", 0, ""), 10)
    box.saved(box.add("new-1", 0, "", 1))
    send_all(box)
    box.refuse("old-7", 7, 1, reason="", retry_after=None, final=True, now=0.0, chance=0.5)
    assert box.skip_due
    point = box.skip_point()
    assert (point.epoch, point.next) == ("old", 8)


def test_resume_settles_what_was_handled() -> None:
    box, entries = filled(4)
    send_all(box)
    box.detach()
    handled, point = box.resume("e", 2)
    assert handled == entries[:2]
    assert (point.next, point.missed, point.recovered) == (3, 0, True)
    handled, point = box.resume("e", 0)  # it knows less than it has said before
    assert handled == []
    assert (point.next, point.missed, point.recovered) == (3, 2, False)


@pytest.mark.parametrize(("epoch", "seq"), [("e", 5), ("other", 2)])
def test_resume_of_what_was_never_sent_settles_nothing(epoch: str, seq: int) -> None:
    box, _ = filled(4)
    send_all(box)
    handled, point = box.resume(epoch, seq)
    assert handled == []
    assert (point.missed, point.recovered) == (None, False)
    assert len(box) == 4


def test_no_number_leaves_far_above_the_lowest_one() -> None:
    box, entries = filled(SPAN + 5)
    assert len(send_all(box)) == SPAN
    for entry in entries[1:SPAN]:
        box.acknowledge(entry.id, entry.seq, 1, upto=False)
    assert send_all(box) == []
    box.acknowledge("id-1", 1, 1, upto=False)
    assert len(send_all(box)) == 5


def test_the_oldest_that_is_not_under_way() -> None:
    box, entries = filled(3)
    unsaved = box.add("id-4", 0, "", 1)
    first, _ = box.next(0.0)
    assert first is entries[0]
    box.sent(first, 0.0)
    assert box.oldest_idle() is entries[1]
    box.drop(entries[1])
    assert box.oldest_idle() is entries[2]
    box.drop(entries[2])
    assert box.oldest_idle() is None
    box.drop(unsaved)
    box.saved(unsaved)  # too late
    assert send_all(box) == []
    assert len(box) == 1


def test_what_is_due_and_has_no_room_does_not_hide_what_is_due_later() -> None:
    box, entries = filled(4)
    send_all(box)
    for entry, after in zip(entries, (1.0, 1.0, 1.0, 50.0), strict=True):
        refuse(box, entry, retry_after=after)
    assert box.due(0.0) == 1.0
    assert box.due(2.0) == 50.0
    assert send_all(box, 2.0) == [1, 2, 3]
    assert box.due(2.0) == 2.0 + TIMEOUT


def test_records_and_letters() -> None:
    box, [entry] = filled(1)
    record = box.record(entry)
    assert record == OutRecord("edge", "c", "e", 1, "id-1", 0, '"body":1', 0)
    assert record.key == ("edge", "c", "e", 1)
    letter = box.letter(entry, "why", 5.0)
    assert (letter.record, letter.reason, letter.at) == (record, "why", 5.0)
    send_all(box)
    box.acknowledge("id-1", 1, 1, upto=False)
    assert entry.content == ""  # it may stay behind others
