"""Sessions begin calls in turn, a few in each pass of the loop."""

from __future__ import annotations

from collections.abc import Callable

import trio

from restsock.gateway._turns import Turns


class Session:
    """Takes so many messages, each as soon as it may."""

    def __init__(self, turns: Turns, name: str, count: int, taken: list[str]) -> None:
        self._turns = turns
        self._name = name
        self.left = count
        self._taken = taken

    def take(self) -> None:
        while self.left and self._turns.come(self.take, busy=self.left > 1):
            self.left -= 1
            self._taken.append(self._name)


async def passes(until: Callable[[], bool]) -> int:
    count = 0
    while not until():
        count += 1
        await trio.lowlevel.checkpoint()
    return count


async def test_few_messages_are_taken_at_once() -> None:
    taken: list[str] = []
    Session(Turns(), "a", 8, taken).take()
    assert taken == ["a"] * 8


async def test_of_sessions_with_a_single_message_many_have_their_turn_at_once() -> None:
    taken: list[str] = []
    turns = Turns()
    busy = Session(turns, "busy", 1000, taken)
    busy.take()
    before = len(taken)
    others = [Session(turns, "one", 1, taken) for _ in range(15)]
    for session in others:
        session.take()
    assert taken[before:] == ["one"] * 15


async def test_of_many_messages_some_are_taken_in_each_pass() -> None:
    taken: list[str] = []
    session = Session(Turns(), "a", 1000, taken)
    session.take()
    assert 1 < len(taken) < 100
    most, before = 0, len(taken)
    while session.left:
        await trio.lowlevel.checkpoint()
        most, before = max(most, len(taken) - before), len(taken)
    assert most <= 26  # of two passes, by the order of the tasks
    assert len(taken) == 1000


async def test_a_session_with_many_messages_does_not_keep_others_waiting() -> None:
    taken: list[str] = []
    turns = Turns()
    sessions = [Session(turns, name, 500, taken) for name in "abcd"]
    for session in sessions:
        session.take()
    few = Session(turns, "few", 1, taken)
    few.take()
    assert not few.left  # its turn was at once
    await passes(lambda: not any(session.left for session in sessions))
    rest = taken[200:1500]
    assert all(300 <= rest.count(name) <= 350 for name in "bcd")  # in turn


async def test_turns_go_on_after_a_rest() -> None:
    turns = Turns()
    for _ in range(3):
        taken: list[str] = []
        session = Session(turns, "a", 300, taken)
        session.take()
        await passes(lambda session=session: not session.left)  # type: ignore[misc]
        await trio.lowlevel.checkpoint()
        assert len(taken) == 300
