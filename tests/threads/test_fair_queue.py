"""Requests that wait for a worker: in turn by connection, and none can take all the room."""

from __future__ import annotations

import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio

from restsock import Connection, Limits, Options, Server, StreamRefused, connect, listen
from restsock.apps.wsgi._handler import WsgiHandler
from restsock.threads._fair_queue import FairQueue
from tests.waiting import until

# --- the queue ----------------------------------------------------------------------------


def take(fair_queue: FairQueue[str]) -> str:
    found = fair_queue.take(lambda owner: True)
    assert found is not None
    owner, item = found
    assert item.startswith(str(owner))
    return item


def test_in_turn() -> None:
    fair_queue: FairQueue[str] = FairQueue()
    assert not fair_queue
    for item in ("a1", "a2", "a3", "b1", "b2", "c1"):
        fair_queue.put(item[0], item)
    assert [take(fair_queue) for _ in range(6)] == ["a1", "b1", "c1", "a2", "b2", "a3"]
    assert not fair_queue


def test_a_turn_is_kept_while_others_come() -> None:
    fair_queue: FairQueue[str] = FairQueue()
    fair_queue.put("a", "a1")
    fair_queue.put("a", "a2")
    assert take(fair_queue) == "a1"
    fair_queue.put("b", "b1")
    fair_queue.put("a", "a3")
    assert [take(fair_queue) for _ in range(3)] == ["a2", "b1", "a3"]


def test_who_may_not_have_their_turn_keeps_it() -> None:
    fair_queue: FairQueue[str] = FairQueue()
    assert fair_queue.take(lambda owner: True) is None
    for item in ("a1", "b1", "a2"):
        fair_queue.put(item[0], item)
    assert fair_queue.take(lambda owner: owner == "c") is None
    assert fair_queue.take(lambda owner: owner == "b") == ("b", "b1")
    assert [take(fair_queue) for _ in range(2)] == ["a1", "a2"]


def test_who_has_the_most() -> None:
    fair_queue: FairQueue[str] = FairQueue()
    for item in ("a1", "b1", "b2"):
        fair_queue.put(item[0], item)
    assert fair_queue.longest() == "b"
    assert (fair_queue.length("a"), fair_queue.length("b"), fair_queue.length("c")) == (1, 2, 0)
    assert fair_queue.items("b") == ["b1", "b2"]
    assert fair_queue.items("c") == []
    fair_queue.remove("b", "b2")
    fair_queue.remove("b", "b1")
    assert fair_queue.length("b") == 0
    assert fair_queue.clear() == ["a1"]
    assert not fair_queue


# --- the workers --------------------------------------------------------------------------


class Gate:
    """A WSGI app whose calls wait to be let through; it tells in which order they began."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.passes: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.waiting = threading.Semaphore(0)

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        self.begun.append(environ["PATH_INFO"])
        self.waiting.release()
        self.passes.get(timeout=20)
        start("200 OK", [])
        return [environ["PATH_INFO"].encode()]

    async def entered(self) -> None:
        """Waits until one more call has begun."""
        assert await trio.to_thread.run_sync(lambda: self.waiting.acquire(timeout=20))


@asynccontextmanager
async def two_callers(
    gate: Gate, *, queue_size: int, max_streams: int = 128
) -> AsyncIterator[tuple[Server, Connection, Connection]]:
    """One worker, and two connections to it."""
    options = Options(limits=Limits(max_streams=max_streams))
    with trio.fail_after(30):
        async with listen(
            "127.0.0.1", 0, app=gate, options=options, workers=1, queue_size=queue_size
        ) as server:
            try:
                async with connect(server.url) as hog, connect(server.url) as other:
                    assert hog.connection is not None
                    assert other.connection is not None
                    yield server, hog.connection, other.connection
            finally:
                for _ in range(100):
                    gate.passes.put(None)


class Answers:
    def __init__(self) -> None:
        self.statuses: dict[str, object] = {}

    async def ask(self, connection: Connection, path: str) -> None:
        try:
            self.statuses[path] = (await connection.request("GET", path)).status
        except StreamRefused:
            self.statuses[path] = "refused"

    def has(self, status: object, times: int) -> bool:
        return list(self.statuses.values()).count(status) == times


async def arrived(server: Server, connection: Connection, count: int) -> None:
    """Waits until the server has got this many requests on the connection."""
    other_end = server.connections.by_id(connection.id)
    assert other_end is not None
    statistics = other_end.statistics
    await until(lambda: statistics().requests_received >= count)


def waiting(server: Server, connection: Connection) -> int:
    """How long the line of a connection is."""
    other_end = server.connections.by_id(connection.id)
    handler = server._endpoint.handler
    assert other_end is not None
    assert isinstance(handler, WsgiHandler)
    assert handler._pool is not None
    return handler._pool.waiting(other_end)


async def test_nobody_waits_behind_all_of_another() -> None:
    gate, answers = Gate(), Answers()
    async with (
        two_callers(gate, queue_size=100) as (server, hog, other),
        trio.open_nursery() as nursery,
    ):
        for number in range(10):
            nursery.start_soon(answers.ask, hog, f"/hog/{number}")
        await arrived(server, hog, 10)
        for number in range(2):
            nursery.start_soon(answers.ask, other, f"/other/{number}")
        await arrived(server, other, 2)
        for _ in range(12):
            gate.passes.put(None)
    order = [path.split("/")[1] for path in gate.begun]
    assert order[:6] == ["hog", "hog", "other", "hog", "other", "hog"]
    assert set(answers.statuses.values()) == {200}
    assert len(answers.statuses) == 12


async def test_a_full_queue_has_room_for_the_one_with_less() -> None:
    gate, answers = Gate(), Answers()
    async with (
        two_callers(gate, queue_size=4) as (server, hog, other),
        trio.open_nursery() as nursery,
    ):
        for number in range(5):  # one is called, four wait
            nursery.start_soon(answers.ask, hog, f"/hog/{number}")
        await arrived(server, hog, 5)
        assert answers.statuses == {}
        nursery.start_soon(answers.ask, hog, "/hog/more")
        await until(lambda: "/hog/more" in answers.statuses)
        assert answers.statuses == {"/hog/more": 503}
        for number in range(2):
            nursery.start_soon(answers.ask, other, f"/other/{number}")
            await until(partial(answers.has, 503, 2 + number))
        # Now both have two waiting, and neither takes more from the other.
        nursery.start_soon(answers.ask, other, "/other/more")
        await until(lambda: "/other/more" in answers.statuses)
        for _ in range(5):
            gate.passes.put(None)
    assert answers.statuses["/other/more"] == 503
    hogs = [status for path, status in answers.statuses.items() if path.startswith("/hog/")]
    assert sorted(hogs, key=str) == [200, 200, 200, 503, 503, 503]
    assert answers.statuses["/other/0"] == answers.statuses["/other/1"] == 200


async def test_who_has_as_much_takes_nothing() -> None:
    """One more is no reason: the two would take the place from each other for ever."""
    gate, answers = Gate(), Answers()
    async with (
        two_callers(gate, queue_size=3) as (server, hog, other),
        trio.open_nursery() as nursery,
    ):
        for number in range(4):  # one is called, three wait
            nursery.start_soon(answers.ask, hog, f"/hog/{number}")
        await arrived(server, hog, 4)
        nursery.start_soon(answers.ask, other, "/other/0")
        await until(partial(answers.has, 503, 1))
        nursery.start_soon(answers.ask, other, "/other/1")
        await until(lambda: "/other/1" in answers.statuses)
        assert answers.statuses["/other/1"] == 503
        assert server.limit_log.counts == {"queue_size": 2}
        for _ in range(4):
            gate.passes.put(None)
    assert answers.statuses["/other/0"] == 200


async def test_requests_that_were_given_up_take_no_room() -> None:
    """Who asks and resets, over and over, does not fill the queue with what nobody waits for."""
    gate, answers = Gate(), Answers()
    async with two_callers(gate, queue_size=8, max_streams=4) as (server, hog, other):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answers.ask, other, "/first")
            await gate.entered()
            for number in range(20):
                async with trio.open_nursery() as one:
                    one.start_soon(answers.ask, hog, f"/given-up/{number}")
                    await arrived(server, hog, number + 1)
                    one.cancel_scope.cancel()
                assert waiting(server, hog) <= 4
            nursery.start_soon(answers.ask, hog, "/meant")
            nursery.start_soon(answers.ask, other, "/second")
            await arrived(server, hog, 21)
            await arrived(server, other, 2)
            for _ in range(3):
                gate.passes.put(None)
        assert server.limit_log.counts == {}  # nobody was refused for them
    assert answers.statuses == {"/first": 200, "/meant": 200, "/second": 200}
    assert not [path for path in gate.begun if path.startswith("/given-up")]
