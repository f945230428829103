"""`SendQueue`: what may be dropped makes room for the others, the oldest first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from restsock.connection._send_queue import OVERHEAD, SendQueue

SIZE = 100 - OVERHEAD  # of a message that weighs 100


def queue(count: int = 1000) -> SendQueue:
    return SendQueue(count, 500)


def left(queue: SendQueue) -> list[str]:
    found = []
    while queue:
        found.append(str(queue.pop().message)[:1])
    return found


def text(name: str) -> str:
    return name * SIZE


def test_the_oldest_of_what_may_be_dropped_makes_room() -> None:
    waiting = queue()
    for name in "abcde":
        assert waiting.put(text(name), droppable=name != "b")
    assert waiting.room == 0
    assert waiting.put(text("f"), droppable=True)
    assert waiting.put(text("g"))
    assert waiting.dropped == 2
    assert left(waiting) == ["b", "d", "e", "f", "g"]


def test_what_may_not_be_dropped_stays() -> None:
    waiting = queue()
    for name in "abcde":
        assert waiting.put(text(name))
    assert waiting.put(text("f"), droppable=True) is None
    assert waiting.put(text("f")) is None
    assert waiting.dropped == 0
    assert left(waiting) == ["a", "b", "c", "d", "e"]


def test_nothing_is_dropped_for_what_does_not_fit_even_so() -> None:
    waiting = queue()
    waiting.put(text("a"))
    for name in "bcde":
        waiting.put(text(name), droppable=True)
    assert waiting.put("x" * 500, droppable=True) is None
    assert waiting.dropped == 0
    assert waiting.put("x" * (400 - OVERHEAD), droppable=True)
    assert left(waiting) == ["a", "x"]


def test_the_number_counts_too() -> None:
    waiting = SendQueue(2, 10_000)
    for name in "abc":
        assert waiting.put(name, droppable=True)
    assert left(waiting) == ["b", "c"]


@given(
    st.lists(st.tuples(st.sampled_from(["put", "push", "pop"]), st.integers(0, 300)), max_size=60)
)
def test_it_stays_within_its_bounds_and_keeps_the_order(acts: list[tuple[str, int]]) -> None:
    waiting = SendQueue(5, 500)
    number = 0
    accepted: list[tuple[int, bool]] = []
    came: list[int] = []
    for act, size in acts:
        if act == "pop":
            if waiting:
                came.append(int(str(waiting.pop().message).split()[0]))
            continue
        number += 1
        message = f"{number} ".ljust(size)
        if waiting.put(message, droppable=act == "push"):
            accepted.append((number, act == "push"))
        assert len(waiting) <= 5
        assert waiting.room <= 500
    while waiting:
        came.append(int(str(waiting.pop().message).split()[0]))
    assert came == sorted(came)
    kept = {number for number, droppable in accepted if not droppable}
    assert kept <= set(came) <= {number for number, _ in accepted}
    assert len(accepted) - len(came) == waiting.dropped
    assert waiting.room == 500 - OVERHEAD
