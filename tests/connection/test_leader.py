"""A thread that waits reads the socket itself, and leaves to the loop what is the loop's."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar, cast

import pytest
import trio
import trio.lowlevel
import trio.testing

from restsock._exceptions import ConnectionClosed, RequestTimeout
from restsock._options import Heartbeat, Options
from restsock.connection import AsyncExchange, Connection
from restsock.connection._leader import Lead, Sleeper, sleeper
from restsock.connection._ready_poll import ReadyPoll, ready_poll
from restsock.protocol import RequestHead, ResetCode, ResponseHead
from restsock.threads import ThreadExchange

from . import sockets
from .peers import TaskHandler
from .sockets import Far, Posts, alone, is_free, while_the_loop_stands

HEAD = RequestHead(b"POST", b"/", [(b"Host", b"edge-1")])
QUIET = Options(heartbeat=Heartbeat(interval=None))

T = TypeVar("T")

pytestmark = pytest.mark.skipif(sleeper() is None, reason="threads cannot lead on this system")


@pytest.fixture(autouse=True, params=["tcp", "tls"])
def _carrier(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "carrier", request.param)


class Elsewhere:
    """A function in a thread beside a loop that goes on."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self._outcome: Future[Any] = Future()
        self._done = trio.Event()
        token = trio.lowlevel.current_trio_token()

        def run() -> None:
            try:
                self._outcome.set_result(function(*args))
            except BaseException as exc:  # noqa: BLE001  # raised by `result`
                self._outcome.set_exception(exc)
            token.run_sync_soon(self._done.set)

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    async def result(self) -> Any:
        with trio.fail_after(5):
            await self._done.wait()
        self.thread.join(5)
        return self._outcome.result(0)


async def until_led(connection: Connection) -> Sleeper:
    """Waits until a thread leads, and sleeps."""
    with trio.fail_after(5):
        while True:
            lead = connection.reader.lead
            if lead is not None and lead.holder is not None and lead.holder.asleep:
                return lead.holder
            await trio.lowlevel.checkpoint()


def ask(dialer: Connection) -> ThreadExchange:
    return while_the_loop_stands(lambda: ThreadExchange.open(dialer, HEAD))


def respond(far: Far, stream: int, body: bytes = b"answer") -> None:
    far.multiplexer.send_head(stream, ResponseHead(200, []))
    far.multiplexer.send_data(stream, body)
    far.multiplexer.send_end(stream)


async def test_an_answer_is_read_without_the_loop() -> None:
    async with alone(options=QUIET) as (dialer, far):
        exchange = ask(dialer)
        far.arrived()
        posts = Posts(dialer)
        respond(far, exchange.exchange.id)
        far.say()

        def read() -> tuple[int, bytes]:
            return exchange.receive_head(1, 1).status, exchange.receive_data(1)

        assert while_the_loop_stands(read) == (200, b"answer")
        assert posts.functions == []
        assert dialer.reader.lead is not None
        assert dialer.reader.lead.holder is None
        assert is_free(dialer.lock)


async def test_the_loop_leads_again_afterwards() -> None:
    async with alone(options=QUIET) as (dialer, far):
        for _ in range(3):
            exchange = ask(dialer)
            far.arrived()
            respond(far, exchange.exchange.id)
            far.say()
            assert while_the_loop_stands(exchange.receive_head, 1, 1).status == 200
            waiting = AsyncExchange.open(dialer, HEAD)
            far.arrived()
            respond(far, waiting.exchange.id)
            far.say()
            with trio.fail_after(5):
                assert (await waiting.receive_head()).status == 200


async def test_what_comes_for_others_reaches_them() -> None:
    """A thread on its queue, and a task of the loop."""
    async with alone(options=QUIET) as (dialer, far):
        first, second = ask(dialer), ask(dialer)
        task = AsyncExchange.open(dialer, HEAD)
        far.arrived()
        leader = Elsewhere(first.receive_head, 5, 5)
        await until_led(dialer)
        follower = Elsewhere(second.receive_head, 5, 5)
        for exchange in (second.exchange, task.exchange):
            respond(far, exchange.id)
        far.say()
        assert (await follower.result()).status == 200
        with trio.fail_after(5):
            assert (await task.receive_head()).status == 200
        respond(far, first.exchange.id)
        far.say()
        assert (await leader.result()).status == 200


async def test_who_stays_away_from_a_long_body_holds_nobody_up() -> None:
    """The loop is not woken for each piece, but looks in by the clock."""
    async with alone(options=QUIET) as (dialer, far):
        stream = ask(dialer)
        far.arrived()
        far.multiplexer.send_head(stream.exchange.id, ResponseHead(200, []))
        far.say()
        assert while_the_loop_stands(stream.receive_head, 1, 1).status == 200
        lead = dialer.reader.lead
        assert lead is not None
        for _ in range(3):
            task = AsyncExchange.open(dialer, HEAD)
            far.arrived()
            far.multiplexer.send_data(stream.exchange.id, bytes(20_000))
            far.say()
            assert len(while_the_loop_stands(stream.receive_data, 1)) == 20_000
            assert lead.soon
            respond(far, task.exchange.id)
            far.say()
            with trio.fail_after(5):
                assert (await task.receive_head()).status == 200
        with trio.fail_after(5):
            while lead.shared:  # as nobody comes back, that ends
                await trio.lowlevel.checkpoint()
        assert not readable(ready_poll())
        far.connection._websocket.send_ping(b"wake up")
        far.say()
        assert readable(ready_poll())


async def test_who_has_all_of_a_long_body_holds_nobody_up() -> None:
    """The loop is woken for what comes next, though the thread was going to come back."""
    async with alone(options=QUIET) as (dialer, far):
        stream = ask(dialer)
        far.arrived()
        far.multiplexer.send_head(stream.exchange.id, ResponseHead(200, []))
        far.multiplexer.send_data(stream.exchange.id, bytes(20_000))
        far.say()

        def read() -> int:
            stream.receive_head(1, 1)
            return len(stream.receive_data(1))

        assert while_the_loop_stands(read) == 20_000
        lead = dialer.reader.lead
        assert lead is not None
        assert lead.soon
        lead.look_in()
        assert lead.shared
        stream.release()
        assert not lead.soon
        far.multiplexer.send_end(stream.exchange.id)
        far.say()
        assert readable(ready_poll())


class OnlyPoll:
    """Stands in for the poll of a loop; one socket, and its lead."""

    def __init__(self, fd: int) -> None:
        self._epoll = select.epoll()
        self._epoll.register(fd, select.EPOLLIN)
        self.lead = Lead(fd, cast("ReadyPoll", self), cast("Any", None))

    def arm(self, fd: int, reader: object, *, armed: bool) -> None:
        self._epoll.modify(fd, select.EPOLLIN if armed else 0)


def test_a_lead_that_is_shared_wakes_nobody_until_its_thread_stays_away() -> None:
    here, there = socket.socketpair()
    with here, there:
        poll = OnlyPoll(here.fileno())
        lead, holder = poll.lead, Sleeper()
        there.send(b"x")
        assert readable(poll)
        lead.take(holder)
        assert not readable(poll)
        lead.give_back(soon=True)
        assert readable(poll)  # the loop does not know yet that it is to look in
        lead.look_in()
        assert lead.shared
        for _ in range(2):
            assert not readable(poll)
            lead.take(holder)
            lead.give_back(soon=True)
            assert not readable(poll)
            lead.look_in()
            assert lead.shared
        lead.look_in()  # not given back since
        assert not lead.shared
        assert readable(poll)


def test_a_lead_that_is_shared_wakes_the_loop_for_a_thread_that_does_not_come_back() -> None:
    here, there = socket.socketpair()
    with here, there:
        poll = OnlyPoll(here.fileno())
        lead, holder = poll.lead, Sleeper()
        there.send(b"x")
        lead.take(holder)
        lead.give_back(soon=True)
        lead.look_in()
        lead.take(holder)
        lead.give_back(soon=False)
        assert readable(poll)
        lead.look_in()
        assert not lead.shared
        assert readable(poll)


def readable(poll: ReadyPoll | OnlyPoll | None) -> bool:
    assert poll is not None
    return bool(select.select([poll._epoll], [], [], 0)[0])


async def test_the_peers_requests_are_the_loops_and_nothing_passes_them() -> None:
    served: list[int] = []

    async def serve(exchange: AsyncExchange) -> None:
        served.append(threading.get_ident())
        exchange.send_head(ResponseHead(204, []))
        exchange.send_end()

    async with trio.open_nursery() as nursery:
        async with alone(TaskHandler(nursery, serve), options=QUIET) as (dialer, far):
            exchange = ask(dialer)
            far.arrived()
            leader = Elsewhere(exchange.receive_head, 5, 5)
            await until_led(dialer)
            for _ in range(5):
                far.multiplexer.open_stream(HEAD, end=True)
            respond(far, exchange.exchange.id)
            far.say()
            assert (await leader.result()).status == 200
            await trio.testing.wait_all_tasks_blocked()
            assert served == [threading.get_ident()] * 5


async def test_events_behind_a_request_wait_for_the_loop() -> None:
    async def serve(exchange: AsyncExchange) -> None:
        exchange.close()

    async with trio.open_nursery() as nursery:
        handler = TaskHandler(nursery, serve)
        async with alone(handler, options=QUIET) as (dialer, far):
            exchange = ask(dialer)
            far.arrived()
            far.multiplexer.open_stream(HEAD, end=True)
            respond(far, exchange.exchange.id)
            far.say()
            with pytest.raises(RequestTimeout):
                while_the_loop_stands(exchange.receive_head, 0.05, 0.05)
            assert handler.exchanges == []
            await trio.testing.wait_all_tasks_blocked()
            assert len(handler.exchanges) == 1
            assert while_the_loop_stands(exchange.receive_head, 1, 1).status == 200


async def test_the_time_is_kept() -> None:
    async with alone(options=QUIET) as (dialer, far):
        exchange = ask(dialer)
        far.arrived()
        with pytest.raises(RequestTimeout) as caught:
            while_the_loop_stands(exchange.receive_head, 0.02, 0.02)
        assert caught.value.phase == "head"
        assert dialer.reader.lead is not None
        assert dialer.reader.lead.holder is None


@pytest.mark.parametrize("how", ["close", "cut", "broken", "here"])
async def test_an_end_that_the_leader_meets_is_the_loops(how: str) -> None:
    async with alone(options=QUIET) as (dialer, far):
        exchange = ask(dialer)
        far.arrived()
        leader = Elsewhere(exchange.receive_head, 5, 5)
        await until_led(dialer)
        if how == "close":
            far.connection._websocket.close(1001, "bye")
            far.say()
        elif how == "cut":
            await trio.aclose_forcefully(far.connection._stream)
        elif how == "broken":
            far.connection._websocket.send_binary(b"short")
            far.say()
        else:
            dialer.lifecycle.abort(dialer.lifecycle.lost("gone"))
        with pytest.raises(ConnectionClosed):
            await leader.result()
        with trio.fail_after(5):
            closed = await dialer.wait_closed()
        assert closed.code == {"close": 1001, "cut": 1006, "broken": 4002, "here": 1006}[how]
        assert closed.clean is (how == "close")


async def test_a_reset_wakes_the_leader() -> None:
    async with alone(options=QUIET) as (dialer, far):
        exchange = ask(dialer)
        far.arrived()
        leader = Elsewhere(exchange.wait, 5)
        await until_led(dialer)
        far.multiplexer.reset_stream(exchange.exchange.id, ResetCode.INTERNAL, "no")
        far.say()
        assert await leader.result() is True
        assert exchange.inbox.error is not None


async def test_pings_are_answered_by_the_leader() -> None:
    async with alone(options=QUIET) as (dialer, far):
        exchange = ask(dialer)
        far.arrived()
        far.connection._websocket.send_ping(b"alive")
        far.say()
        with pytest.raises(RequestTimeout):
            while_the_loop_stands(exchange.receive_head, 0.05, 0.05)
        far.arrived()
        assert [event for event in far.heard if type(event).__name__ == "Pong"]


async def test_an_interrupt_while_it_sleeps_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupt(BaseException):
        pass

    def sleep(self: Sleeper, socket: int, seconds: float, *, sending: bool) -> bool:
        raise Interrupt

    async with alone(options=QUIET) as (dialer, far):
        exchange = ask(dialer)
        other = AsyncExchange.open(dialer, HEAD)
        far.arrived()
        monkeypatch.setattr(Sleeper, "sleep", sleep)
        with pytest.raises(Interrupt):
            while_the_loop_stands(exchange.receive_head, 1, 1)
        monkeypatch.undo()
        assert dialer.reader.lead is not None
        assert dialer.reader.lead.holder is None
        respond(far, other.exchange.id)
        far.say()
        with trio.fail_after(5):
            assert (await other.receive_head()).status == 200


async def test_without_epoll_threads_wait_on_their_queues(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("restsock.connection._leader._CAN_LEAD", False)
    monkeypatch.setattr("restsock.connection._ready_poll._HAS_EPOLL", False)
    async with alone(options=QUIET) as (dialer, far):
        exchange = ask(dialer)
        far.arrived()
        waiting = Elsewhere(exchange.receive_head, 5, 5)
        respond(far, exchange.exchange.id)
        far.say()
        assert (await waiting.result()).status == 200
        assert dialer.reader.lead is None


def test_a_sleeper_of_a_child_is_its_own() -> None:
    mine = sleeper()
    assert mine is sleeper()
    pid = os.fork()
    if pid == 0:
        os._exit(0 if sleeper() is not mine else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_wake_up_before_the_sleep_is_not_lost() -> None:
    mine = Sleeper()
    mine.wake()
    mine.wake()
    here, there = os.pipe()
    assert mine.sleep(here, 60) is False
    os.write(there, b"x")
    assert mine.sleep(here, 60) is True
    os.read(here, 1)
    assert mine.sleep(here, 0) is False
    assert mine.sleep(there, 60, sending=True) is True
    os.close(here)
    os.close(there)
