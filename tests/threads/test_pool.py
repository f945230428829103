"""Worker threads: who is called, what waits, and how they end."""

from __future__ import annotations

import queue
import threading

import trio
import trio.lowlevel
import trio.testing

from restsock.threads import WorkerPool

PATIENCE = 10


class Doing:
    """Work that takes until it is let go.

    Attributes:
        begun: what was begun, and by which thread, in order.
    """

    def __init__(self) -> None:
        self.begun: queue.SimpleQueue[tuple[str, threading.Thread]] = queue.SimpleQueue()
        self._gates: dict[str, threading.Event] = {}

    def __call__(self, item: str) -> None:
        self.begun.put((item, threading.current_thread()))
        assert self.gate(item).wait(PATIENCE)

    def gate(self, item: str) -> threading.Event:
        return self._gates.setdefault(item, threading.Event())

    async def next(self) -> tuple[str, threading.Thread]:
        return await trio.to_thread.run_sync(lambda: self.begun.get(timeout=PATIENCE))


async def finish(doing: Doing, done: list[str], *items: str) -> None:
    """Lets items come to their end, one after the other: their workers are free then."""
    for item in items:
        doing.gate(item).set()
        with trio.fail_after(PATIENCE):
            while item not in done:
                await trio.lowlevel.checkpoint()


async def test_the_last_to_become_idle_is_called_first() -> None:
    doing = Doing()
    done: list[str] = []
    pool = WorkerPool(doing, name="test", number=3, done=done.append)
    threads = {}
    for item in ("a", "b", "c"):
        pool.give(item)
        _, threads[item] = await doing.next()
    assert len({*threads.values()}) == 3
    await finish(doing, done, "b", "c", "a")
    for item, before in (("d", "a"), ("e", "c"), ("f", "b")):
        pool.give(item)
        assert await doing.next() == (item, threads[before])
    assert pool.items == 3
    await finish(doing, done, "d", "e", "f")
    assert pool.items == 0
    assert await pool.finish(PATIENCE) == []
    assert not any(thread.is_alive() for thread in threads.values())


async def test_what_waits_is_done_in_turn() -> None:
    doing = Doing()
    told: list[tuple[str, int]] = []
    pool = WorkerPool(
        doing, name="test", number=1, told=lambda item, depth: told.append((item, depth))
    )
    items = ("a1", "a2", "a3", "b1")
    for item in items:
        pool.give(item, item[0])
    assert told == [("a2", 1), ("a3", 2), ("b1", 3)]
    for item in items:
        doing.gate(item).set()
    assert await pool.finish(PATIENCE) == []
    assert [(await doing.next())[0] for _ in items] == ["a1", "a2", "b1", "a3"]
    assert told[3:] == [("a2", 2), ("b1", 1), ("a3", 0)]


async def test_an_owner_has_its_share() -> None:
    doing = Doing()
    done: list[str] = []
    pool = WorkerPool(doing, name="test", number=4, share=2, done=done.append)
    for item in ("a1", "a2", "a3", "b1"):
        pool.give(item, item[0])
    assert len(pool.workers) == 3
    assert pool.waiting("a") == 1
    assert {(await doing.next())[0] for _ in range(3)} == {"a1", "a2", "b1"}
    await finish(doing, done, "b1")
    assert pool.waiting("a") == 1  # although a worker is idle
    await finish(doing, done, "a1")
    assert (await doing.next())[0] == "a3"
    await finish(doing, done, "a2", "a3")
    assert await pool.finish(PATIENCE) == []


async def test_what_waits_can_be_given_up() -> None:
    doing = Doing()
    pool = WorkerPool(doing, name="test", number=1)
    for item in ("a1", "a2", "a3", "a4", "a5"):
        pool.give(item, item[0])
    assert pool.make_room("b") == "a5"
    assert pool.make_room("a") is None  # nobody has more than its part
    pool.drop("a", lambda item: item == "a3")
    assert (pool.waiting("a"), pool.depth, pool.items) == (2, 2, 3)
    assert pool.clear() == ["a2", "a4"]
    assert pool.items == 1
    doing.gate("a1").set()
    assert await pool.finish(PATIENCE) == []
    assert [(await doing.next())[0]] == ["a1"]
    assert doing.begun.empty()


async def test_a_worker_that_is_stuck_ends_later(autojump_clock: trio.testing.MockClock) -> None:
    doing = Doing()
    pool = WorkerPool(doing, name="test", number=1)
    pool.give("a")
    pool.give("b")
    (worker,) = await pool.finish(1)
    assert worker.item == "a"
    assert trio.current_time() == 1
    doing.gate("a").set()
    worker.thread.join(PATIENCE)
    assert not worker.thread.is_alive()
    assert doing.begun.get()[0] == "a"
    assert doing.begun.empty()
