"""One task that reads for all connections of a loop."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pytest
import trio
import trio.testing

import restsock
from restsock._blocked import loop_watch
from restsock._options import Heartbeat, Options
from restsock.connection import Exchange, Failed, Handler
from restsock.connection._exchange_table import ExchangeTable
from restsock.connection._leader import sleeper
from restsock.connection._reader import _READS, Reader
from restsock.connection._ready_poll import _AT_ONCE, ReadyPoll, ready_poll
from restsock.threads._inbox import ThreadInbox

from .peers import handshake
from .sockets import Scripted, alone, socket_streams, while_the_loop_stands
from .test_leader import HEAD, Elsewhere, until_led

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="there is no epoll")

Clock = trio.testing.MockClock
QUIET = Options(heartbeat=Heartbeat(interval=None))


class Socket:
    """One end of a pair; its poll is to read it.

    Attributes:
        reads: how often it was told to.
        then: what it does then; without anything it leaves the bytes where they are.
    """

    def __init__(self, poll: ReadyPoll) -> None:
        self.here, self.there = socket.socketpair()
        self.reads = 0
        self.then: Callable[[], object] = int
        self.poll = poll
        self.fd = self.here.fileno()
        poll.add(self.fd, self, None)

    def read_ready(self) -> None:
        self.reads += 1
        self.then()

    read_here = read_ready

    def close(self) -> None:
        self.poll.remove(self.fd, self)
        self.here.close()
        self.there.close()


@contextmanager
def some(number: int) -> Generator[tuple[ReadyPoll, list[Socket]], None, None]:
    poll = ready_poll()
    assert poll is not None
    found = [Socket(poll) for _ in range(number)]
    try:
        yield poll, found
    finally:
        for one in found:
            if one.here.fileno() >= 0:
                one.close()


def tasks() -> int:
    """Those of the polls of this loop."""
    system = trio.lowlevel.current_root_task()
    assert system is not None
    names = [task.name for nursery in system.child_nurseries for task in nursery.child_tasks]
    return names.count("restsock-ready-poll")


async def turns(number: int) -> None:
    for _ in range(number):
        await trio.lowlevel.checkpoint()


# --- whose turn it is ---------------------------------------------------------------------------


async def test_those_that_are_ready_take_turns_with_each_other_and_with_other_tasks() -> None:
    with some(3 * _AT_ONCE) as (_, sockets):
        await turns(2)
        for one in sockets:
            one.there.send(b"x")
        last = 0
        while (total := sum(one.reads for one in sockets)) < 4 * len(sockets):
            assert total - last <= 2 * _AT_ONCE  # the order within a turn is a matter of chance
            last = total
            assert max(one.reads for one in sockets) - min(one.reads for one in sockets) <= 1
            await trio.lowlevel.checkpoint()


async def test_one_that_has_a_lot_lets_others_read(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(Scripted):
        reads = 0

        def read_now(self, size: int) -> bytes:
            Endless.reads += 1
            return bytes(size)

    async with alone(options=QUIET) as (dialer, _):
        Endless(dialer)
        taken: list[int] = []

        def receive(_: Reader, data: bytes) -> int:
            taken.append(len(data))
            return len(data)

        monkeypatch.setattr(Reader, "_receive", receive)
        dialer.reader.read_ready()
        assert len(taken) == _READS
        assert sum(taken) <= 1024 * 1024


async def test_an_idle_one_is_not_asked() -> None:
    with some(3) as (_, (one, two, three)):
        await turns(3)
        two.there.send(b"x")
        two.then = lambda: two.here.recv(1)
        await trio.testing.wait_all_tasks_blocked()
        assert [one.reads, two.reads, three.reads] == [0, 1, 0]


# --- coming and going ---------------------------------------------------------------------------


async def test_the_task_is_there_while_there_are_connections() -> None:
    for _ in range(2):
        with some(2) as (poll, (one, two)):
            assert ready_poll() is poll
            await trio.testing.wait_all_tasks_blocked()
            one.close()
            assert tasks() == 1
            two.close()
            assert ready_poll() is not poll
        await trio.testing.wait_all_tasks_blocked()
        assert tasks() == 0


async def test_one_ends_another_that_is_ready() -> None:
    with some(2) as (_, (one, two)):
        one.then, two.then = two.close, one.close
        for each in (one, two):
            each.there.send(b"x")
        await turns(3)
        assert min(one.reads, two.reads) == 0
        assert max(one.reads, two.reads) > 0


async def test_one_ends_all_that_are_ready() -> None:
    def close_all() -> None:
        for one in sockets:
            one.close()

    with some(3) as (_, sockets):
        for each in sockets:
            each.then = close_all
            each.there.send(b"x")
        await trio.testing.wait_all_tasks_blocked()
        assert sum(one.reads for one in sockets) == 1
        assert tasks() == 0


async def test_a_number_that_is_used_again() -> None:
    with some(2) as (poll, (_, old)):
        old.here.close()  # without a word
        old.there.close()
        new = Socket(poll)
        assert new.fd == old.fd
        poll.remove(old.fd, old)
        poll.arm(old.fd, old, armed=False)
        new.there.send(b"x")
        new.then = lambda: new.here.recv(1)
        await trio.testing.wait_all_tasks_blocked()
        assert (old.reads, new.reads) == (0, 1)
        new.close()


async def test_what_is_disarmed_is_seen_when_it_is_armed_again() -> None:
    with some(2) as (poll, (one, two)):
        poll.arm(one.fd, one, armed=False)
        for each in (one, two):
            each.then = lambda each=each: each.here.recv(1)  # type: ignore[misc]
            each.there.send(b"x")
        await trio.testing.wait_all_tasks_blocked()
        assert (one.reads, two.reads) == (0, 1)
        poll.arm(one.fd, one)
        await trio.testing.wait_all_tasks_blocked()
        assert (one.reads, two.reads) == (1, 1)


async def test_one_that_is_disarmed_is_read_by_the_clock(autojump_clock: Clock) -> None:
    with some(2) as (poll, (one, busy)):
        poll.arm(one.fd, one, armed=False)
        busy.there.send(b"x")  # it is ready all the time
        poll.by_clock(one.fd, 0.002)
        poll.by_clock(one.fd, 0.002)
        for reads in range(3):
            await turns(10)
            assert one.reads == reads
            autojump_clock.jump(0.002)
            await turns(10)
            assert one.reads == reads + 1
        assert busy.reads > 10
        poll.by_clock(one.fd, None)
        poll.by_clock(one.fd, None)
        autojump_clock.jump(0.01)
        await turns(10)
        assert one.reads == 3


async def test_one_that_is_read_by_the_clock_may_end() -> None:
    with some(1) as (poll, (one,)):
        poll.by_clock(one.fd, 0.002)
        one.then = one.close
        with trio.fail_after(5):
            while not poll._epoll.closed:
                await trio.lowlevel.checkpoint()
        assert one.reads == 1
        assert not poll._by_clock


async def test_a_thread_reads_for_those_that_are_ready(caplog: pytest.LogCaptureFixture) -> None:
    with some(3) as (poll, (one, two, three)):
        one.then = lambda: 1 / 0
        for each in (one, three):
            each.there.send(b"x")
        poll.arm(three.fd, three, armed=False)
        poll.by_clock(three.fd, 0.002)
        while_the_loop_stands(poll.read_here)
        assert [one.reads, two.reads, three.reads] == [1, 0, 1]
        assert "ZeroDivisionError" in caplog.text
    poll.read_here()  # the last has left


async def test_the_shortest_interval_counts() -> None:
    with some(1) as (poll, _):
        watch = loop_watch()
        first = watch._stand_ins[poll.read_here]
        here, there = socket.socketpair()
        with here, there:
            one = Socket(poll)
            poll.remove(one.fd, one)
            poll.add(one.fd, one, 1)
            assert watch._stand_ins[poll.read_here] < first
            poll.add(here.fileno(), one, None)
            assert watch._stand_ins[poll.read_here] < first
            poll.remove(here.fileno(), one)
            one.close()
    assert poll.read_here not in watch._stand_ins


def test_a_run_that_is_over_before_its_connections() -> None:
    async def main() -> ReadyPoll:
        poll = ready_poll()
        assert poll is not None
        found.append(Socket(poll))
        await trio.testing.wait_all_tasks_blocked()
        return poll

    found: list[Socket] = []
    poll = trio.run(main)
    assert poll._epoll.closed
    assert not [one for one in threading.enumerate() if one.name == "restsock-watch"]
    for end in (found[0].here, found[0].there):
        end.close()


def test_each_loop_has_its_own() -> None:
    polls: list[ReadyPoll | None] = []
    both = threading.Barrier(2, timeout=10)

    async def main() -> None:
        async with alone(options=QUIET) as (dialer, far):
            polls.append(ready_poll())
            await trio.to_thread.run_sync(both.wait)
            far.multiplexer.open_stream(HEAD, end=True)
            far.say()
            await trio.testing.wait_all_tasks_blocked()
            assert far.arrived()
            await trio.to_thread.run_sync(both.wait)
            dialer.close_soon()

    threads = [threading.Thread(target=trio.run, args=(main,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(set(polls)) == 2
    assert None not in polls


# --- connections --------------------------------------------------------------------------------


async def test_what_goes_wrong_in_one_is_its_owners(monkeypatch: pytest.MonkeyPatch) -> None:
    real = ExchangeTable.dispatch
    bad: list[ExchangeTable] = []

    def dispatch(self: ExchangeTable) -> None:
        if self in bad:
            raise ZeroDivisionError
        real(self)

    monkeypatch.setattr(ExchangeTable, "dispatch", dispatch)
    async with alone(options=QUIET) as (good, good_far):
        with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
            async with alone(options=QUIET) as (dialer, far):
                bad.append(dialer.exchange_table)
                far.connection._websocket.send_ping(b"")
                far.say()
                await dialer.wait_closed()
                assert dialer.closed is not None
                assert dialer.closed.code == 1011
        good_far.multiplexer.open_stream(HEAD, end=True)
        good_far.say()
        await trio.testing.wait_all_tasks_blocked()
        assert good_far.arrived()
        assert good.closed is None


async def test_a_lead_beside_the_task() -> None:
    if sleeper() is None:
        return  # threads cannot lead on this system
    async with alone(options=QUIET) as (one, far_one), alone(options=QUIET) as (_, far_two):
        queue = ThreadInbox(one.token)
        leader = Elsewhere(one.reader.read_until, queue, 5)
        await until_led(one)
        for far in (far_one, far_two):
            far.arrived()
            far.multiplexer.open_stream(HEAD, end=True)
            far.say()
        with trio.fail_after(5):
            for far in (far_one, far_two):
                while not far.arrived():
                    await trio.lowlevel.checkpoint()
            queue(Failed(restsock.RestsockError()))
            assert await leader.result()
        assert one.reader.lead is not None
        assert one.reader.lead.holder is None
        far_one.multiplexer.open_stream(HEAD, end=True)
        far_one.say()
        await trio.testing.wait_all_tasks_blocked()
        assert far_one.arrived()


VARIABLE: ContextVar[str] = ContextVar("VARIABLE", default="nothing")


class Look(Handler):
    def __init__(self, seen: list[str]) -> None:
        self.seen = seen

    def handle(self, exchange: Exchange) -> None:
        self.seen.append(VARIABLE.get())
        exchange.observer = lambda _: None

    def running(self) -> Any:
        raise NotImplementedError


async def test_requests_are_served_in_the_context_of_the_run() -> None:
    seen: list[str] = []
    VARIABLE.set("mine")
    async with alone(Look(seen), options=QUIET) as (_, far):
        VARIABLE.set("changed later")
        far.multiplexer.open_stream(HEAD, end=True)
        far.say()
        await trio.testing.wait_all_tasks_blocked()
    assert seen == ["mine"]


async def test_a_request_that_comes_with_the_handshake_is_served_in_it_too() -> None:
    seen: list[str] = []
    VARIABLE.set("mine")
    dialer, listener = await handshake(*socket_streams(), options=QUIET)
    listener.multiplexer.open_stream(HEAD, end=True)
    dialer._pipeline.decode(listener.writer.take_output())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dialer.run, Look(seen))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    await trio.aclose_forcefully(listener._stream)
    assert seen == ["mine"]


async def test_idle_ones_end_with_a_server_that_is_cancelled() -> None:
    async with (
        restsock.listen("127.0.0.1", 0) as server,
        restsock.connect(server.url),
        restsock.connect(server.url),
    ):
        while len(server.connections) < 2:
            await trio.lowlevel.checkpoint()
        accepted = list(server.connections)
        events = server.events()
        await trio.testing.wait_all_tasks_blocked()
        sockets = [connection.writer.direct_socket for connection in accepted]
        assert server._nursery is not None
        server._nursery.cancel_scope.cancel()
        await server.wait_closed()
        assert [event.type async for event in events] == ["ConnectionFailure"] * 2
        for connection, direct_socket in zip(accepted, sockets, strict=True):
            assert (await connection.wait_closed()).reason == "cancelled"
            assert direct_socket is not None
            assert direct_socket.fileno() == -1
