"""Inboxes and lines: what is new, whose turn it is, and what is known of what came before."""

from __future__ import annotations

from typing import Any

import pytest

from restsock.messaging.engine import Delivery, Inbox, Line, Mark
from restsock.messaging.engine._inbox import Epoch
from restsock.messaging.engine._payloads import Data

SESSION = object()


def data(seq: int, *, epoch: str = "e", id: str = "") -> Data:
    return Data(id or f"id-{seq}", 0, "c", seq, reliable=True, epoch=epoch, seq=seq)


def inbox(upto: int = 0, done: tuple[int, ...] = ()) -> tuple[Inbox, Epoch]:
    box = Inbox("s", "c")
    epoch = box.epochs["e"] = Epoch("s", "c", "e", upto, done)
    return box, epoch


def put(box: Inbox | Line, *seqs: int, session: object = SESSION) -> list[str]:
    return [box.receive(data(seq), 10, session, 0.0)[0] for seq in seqs]


def begin(box: Inbox | Line, window: int = 1, *, ordered: bool = True) -> list[int]:
    begun = []
    while (delivery := box.next(window, ordered=ordered)) is not None:
        STARTED[delivery.data.seq] = delivery
        begun.append(delivery.data.seq)
    return begun


STARTED: dict[int, Delivery] = {}


def end(box: Inbox, seq: int, *, handled: bool = True) -> Mark | None:
    return box.finish(STARTED.pop(seq), 0.0, handled=handled)


def test_one_at_a_time_and_in_order() -> None:
    box, epoch = inbox()
    assert put(box, 2, 1, 3) == ["new"] * 3
    assert begin(box) == [1]
    assert end(box, 1) == Mark("s", "c", "e", 1)
    assert begin(box) == [2]
    end(box, 2)
    assert begin(box) == [3]
    assert end(box, 3) == Mark("s", "c", "e", 3)
    assert epoch.upto == 3
    assert box.idle


def test_several_at_once_begin_in_order() -> None:
    box, epoch = inbox()
    put(box, 1, 2, 3, 5)
    assert begin(box, 4) == [1, 2, 3]  # 4 is missing
    assert end(box, 2) == Mark("s", "c", "e", 0, (2,))
    assert begin(box, 4) == []
    put(box, 4)
    assert begin(box, 4) == [4, 5]
    end(box, 1)
    assert (epoch.upto, box.active) == (2, 3)


def test_without_order_whatever_is_here() -> None:
    box, _ = inbox()
    put(box, 7, 3, 5)
    assert begin(box, 2, ordered=False) == [3, 5]
    end(box, 5)
    assert begin(box, 2, ordered=False) == [7]


def test_what_was_dealt_with_or_is_here_is_not_new() -> None:
    box, _ = inbox(upto=5, done=(7,))
    assert put(box, 5, 1, 7, 6, 6) == ["duplicate"] * 3 + ["new", "again"]
    assert begin(box) == [6]
    assert put(box, 6) == ["again"]
    end(box, 6)
    assert put(box, 6, 7, 8) == ["duplicate", "duplicate", "new"]


def test_what_has_failed_holds_up_the_others_until_it_comes_again() -> None:
    box, _ = inbox()
    put(box, 1, 2)
    assert begin(box) == [1]
    STARTED[1].handled_by = {7}
    assert end(box, 1, handled=False) is None
    assert begin(box) == []
    assert put(box, 1) == ["new"]
    assert begin(box) == [1]
    assert STARTED[1].handled_by == {7}  # who has handled it is not asked again
    end(box, 1)
    assert begin(box) == [2]


def test_or_until_the_sender_says_that_it_does_not() -> None:
    box, epoch = inbox()
    put(box, 1, 2, 4, 5)
    begin(box)
    end(box, 1, handled=False)
    dropped, missed = epoch.skip(5)
    assert [delivery.data.seq for delivery in dropped] == [2, 4]
    assert missed == 3  # 2, 3 and 4; the first one was refused here
    assert begin(box) == [5]
    assert STARTED[5].missed == 3
    end(box, 5)
    assert epoch.upto == 5
    assert epoch.skip(3) == ([], 0)
    assert put(box, 2) == ["duplicate"]


def test_what_is_being_handled_goes_on_when_it_is_skipped() -> None:
    box, epoch = inbox()
    put(box, 1, 3)
    assert begin(box) == [1]
    dropped, missed = epoch.skip(3)
    assert (dropped, missed) == ([], 1)
    assert begin(box) == []  # one at a time
    assert end(box, 1) == Mark("s", "c", "e", 2)
    assert begin(box) == [3]
    epoch.skip(9)
    assert end(box, 3, handled=False) is None


def test_what_a_session_leaves_comes_again() -> None:
    box, epoch = inbox()
    other = object()
    put(box, 1, 2)
    put(box, 3, session=other)
    assert begin(box) == [1]
    assert [delivery.data.seq for delivery in epoch.drop(SESSION)] == [2]
    assert not box.idle
    assert put(box, 2) == ["new"]
    end(box, 1)
    assert begin(box) == [2]


def test_a_run_of_the_sender_after_another() -> None:
    box, _ = inbox()
    box.epochs["f"] = Epoch("s", "c", "f")
    put(box, 1)
    assert box.receive(data(1, epoch="f"), 10, SESSION, 0.0)[0] == "new"
    assert begin(box) == [1]
    assert box.next(1, ordered=True) is None  # one at a time, of whatever epoch
    end(box, 1)
    delivery = box.next(1, ordered=True)
    assert delivery is not None
    assert delivery.data.epoch == "f"


def line() -> Line:
    return Line("s", "c", epochs=2, ids=2, seconds=10.0)


def once(seq: int, epoch: str = "e") -> Data:
    return Data(f"id-{seq}", 0, "c", seq, reliable=False, epoch=epoch, seq=seq)


def receive(box: Line, message: Data, now: float = 0.0) -> Any:
    verdict, delivery = box.receive(message, 10, SESSION, now)
    return verdict if delivery is None else (verdict, delivery.missed)


def test_at_most_once_never_twice_and_with_what_is_missing() -> None:
    box = line()
    assert receive(box, once(5)) == ("new", None)
    assert receive(box, once(6)) == ("new", 0)
    assert receive(box, once(6)) == "duplicate"
    assert receive(box, once(2)) == "duplicate"
    assert receive(box, once(9)) == ("new", 2)
    assert box.last == ("e", 9)
    assert receive(box, once(1, "f")) == ("new", None)
    assert receive(box, once(10)) == ("new", 0)
    assert receive(box, once(1, "g")) == ("new", None)
    assert receive(box, once(1, "f")) == ("new", None)  # it was forgotten
    assert receive(box, once(0, "")) == ("new", None)  # no number
    box.begin_epoch("h", 4)
    assert receive(box, once(5, "h")) == ("new", 0)
    box.begin_epoch("h", 2)
    assert receive(box, once(5, "h")) == "duplicate"


@pytest.mark.parametrize("window", [1, 3])
def test_they_begin_as_they_come(window: int) -> None:
    box = line()
    for seq in (1, 2, 3, 4):
        receive(box, once(seq))
    begun = [box.next(window, ordered=True) for _ in range(4)]
    assert [one.data.seq for one in begun if one] == [1, 2, 3][:window]
    assert not box.idle
    assert begun[0] is not None
    box.finish(begun[0], 0.0, handled=True)
    following = box.next(window, ordered=True)
    assert following is not None
    assert following.data.seq == window + 1


def by_id(id: str) -> Data:
    return Data(id, 0, "c", id, reliable=True)


def test_those_without_a_number_are_known_by_their_ids_for_a_while() -> None:
    box = line()
    assert receive(box, by_id("a")) == ("new", None)
    assert receive(box, by_id("a")) == ("again", None)
    delivery = box.next(1, ordered=True)
    assert delivery is not None
    box.finish(delivery, 0.0, handled=False)
    assert receive(box, by_id("a"))[0] == "new"
    delivery = box.next(1, ordered=True)
    assert delivery is not None
    box.finish(delivery, 0.0, handled=True)
    assert receive(box, by_id("a"), 9.9) == "duplicate"
    assert receive(box, by_id("a"), 10.0)[0] == "new"
    for id in ("b", "d", "f"):
        receive(box, by_id(id))
    for _ in range(4):
        delivery = box.next(1, ordered=True)
        assert delivery is not None
        box.finish(delivery, 20.0, handled=True)
    assert [receive(box, by_id(id), 21.0) for id in ("d", "f")] == ["duplicate"] * 2
    assert receive(box, by_id("b"), 21.0)[0] == "new"  # more than so many are not known


def test_one_in_the_middle_may_be_refused() -> None:
    box = line()
    deliveries = [box.receive(by_id(id), 10, SESSION, 0.0)[1] for id in "abc"]
    for at in (1, 0):
        delivery = deliveries[at]
        assert delivery is not None
        box.refuse(delivery)
    left = box.next(1, ordered=True)
    assert left is deliveries[2]
    assert receive(box, by_id("a"))[0] == "new"
