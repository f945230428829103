"""The same time for each of many: who is given up, when, and by how many tasks."""

from __future__ import annotations

import threading

import trio
from trio.testing import MockClock

from restsock.connection import Deadlines


class Watched:
    """Deadlines whose task is started when they say so, and what they have given up, and when."""

    def __init__(self, nursery: trio.Nursery, seconds: float) -> None:
        self.deadlines = Deadlines[str](threading.RLock(), self._note)
        self.given_up: list[tuple[str, float]] = []
        self.started = 0
        self._nursery = nursery
        self._seconds = seconds

    def _note(self, key: str) -> None:
        self.given_up.append((key, trio.current_time()))

    def add(self, key: str) -> None:
        if self.deadlines.add(key, trio.current_time() + self._seconds):
            self.started += 1
            self._nursery.start_soon(self.deadlines.watch)


async def test_each_has_its_time(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        watched = Watched(nursery, 10)
        for key in "abc":
            watched.add(key)
            await trio.sleep(1)
        watched.deadlines.remove("b")
        watched.deadlines.remove("never there")
        assert len(watched.deadlines) == 2
    assert watched.given_up == [("a", 10), ("c", 12)]
    assert (watched.started, len(watched.deadlines)) == (1, 0)


async def test_one_that_is_added_again_has_another_time(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        watched = Watched(nursery, 10)
        watched.add("a")
        watched.add("b")
        await trio.sleep(5)
        watched.add("a")
    assert watched.given_up == [("b", 10), ("a", 15)]
    assert watched.started == 1


async def test_the_next_after_the_last_starts_it_again(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        watched = Watched(nursery, 10)
        watched.add("a")
        await trio.sleep(1)
        watched.deadlines.remove("a")
        await trio.sleep(10)
        assert not nursery.child_tasks
        watched.add("b")
    assert watched.given_up == [("b", 21)]
    assert watched.started == 2


async def test_one_may_be_added_by_what_gives_another_up(autojump_clock: MockClock) -> None:
    again = ["b", "c"]

    def give_up(key: str) -> None:
        given_up.append((key, trio.current_time()))
        if again:
            assert not deadlines.add(again.pop(0), trio.current_time() + 10)

    given_up: list[tuple[str, float]] = []
    deadlines = Deadlines[str](threading.RLock(), give_up)
    assert deadlines.add("a", 10)
    await deadlines.watch()
    assert given_up == [("a", 10), ("b", 20), ("c", 30)]
