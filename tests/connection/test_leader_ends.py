"""Threads that read and write a connection themselves, when it ends or something is in the way."""

from __future__ import annotations

import os
import select
import ssl
import threading

import pytest
import trio
import trio.lowlevel
import trio.testing

from restsock._exceptions import ConnectionClosed, StreamRefused, StreamReset
from restsock._options import Options, Timeouts
from restsock.connection import AsyncExchange, Connection
from restsock.connection._exchange_events import Writable
from restsock.connection._leader import sleeper
from restsock.connection._reader import Reader
from restsock.protocol import ResetCode
from restsock.threads import ThreadExchange
from restsock.threads._inbox import ThreadInbox

from . import sockets
from .peers import TaskHandler
from .sockets import Scripted, alone, while_the_loop_stands
from .test_leader import HEAD, QUIET, Elsewhere, ask, respond, until_led

pytestmark = pytest.mark.skipif(sleeper() is None, reason="threads cannot lead on this system")


@pytest.fixture(autouse=True, params=["tcp", "tls"])
def _carrier(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "carrier", request.param)


@pytest.mark.parametrize("led", [False, True], ids=["loop", "thread"])
@pytest.mark.parametrize("how", ["close", "broken"])
async def test_an_end_that_a_stand_in_reads_is_the_loops(how: str, led: bool) -> None:
    """The socket has nothing to say any more, and nobody is woken by it."""
    async with alone(options=QUIET) as (dialer, far):
        exchange = ask(dialer)
        far.arrived()
        leader = None
        fd = dialer.reader._fd
        if how == "close":
            far.connection._websocket.close(1001, "bye")
        else:
            far.connection._websocket.send_binary(b"short")

        def stand_in() -> None:
            far.say()
            dialer.reader._fd = fd
            dialer.reader.read_here()

        if led:
            leader = Elsewhere(exchange.receive_head, 60, 60)
            holder = await until_led(dialer)
            dialer.reader._fd = holder._event  # it sleeps on, as if the stand-in were quicker
            holder.wake()
            await until_led(dialer)
        while_the_loop_stands(stand_in)
        assert dialer.reader._ending is not None
        with trio.fail_after(3):
            closed = await dialer.wait_closed()
        assert closed.code == {"close": 1001, "broken": 4002}[how]
        if leader is not None:
            with pytest.raises(ConnectionClosed):
                await leader.result()


async def test_what_a_thread_leaves_as_a_run_is_cancelled() -> None:
    """Tasks of a connection take their time to end; it takes no new ones then."""
    options = Options(heartbeat=QUIET.heartbeat, timeouts=Timeouts(request=60))

    async def serve(exchange: AsyncExchange) -> None:
        exchange.close()

    async with trio.open_nursery() as nursery:
        async with alone(TaskHandler(nursery, serve), options=options) as (dialer, far):
            refused = ask(dialer)
            far.arrived()
            gone = trio.Event()

            async def slow() -> None:
                with trio.move_on_after(5, shield=True):
                    await gone.wait()

            dialer.lifecycle.start_soon(slow)
            await trio.testing.wait_all_tasks_blocked()
            far.scope.cancel()
            await trio.testing.wait_all_tasks_blocked()
            assert dialer.closed is None
            far.multiplexer.open_stream(HEAD, end=True)
            far.multiplexer.reset_stream(refused.exchange.id, ResetCode.REFUSED, "no")
            far.say()
            while_the_loop_stands(dialer.reader.read_here)
            await trio.testing.wait_all_tasks_blocked()
            gone.set()
            with trio.fail_after(1):
                await dialer.wait_closed()


async def test_nothing_is_started_behind_an_end_that_was_read() -> None:
    async with alone(options=QUIET) as (dialer, far):
        far.connection._websocket.close(1001, "bye")

        def late() -> bool:
            far.say()
            dialer.reader.read_here()
            assert dialer.reader._ending is not None
            return dialer.takes_requests

        assert while_the_loop_stands(late) is False


async def test_a_stand_in_does_not_wait_for_a_lock() -> None:
    async with alone(options=QUIET) as (dialer, _):
        with dialer.lock:
            while_the_loop_stands(dialer.reader.read_here)


async def test_without_descriptors_threads_wait_on_their_queues(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none_left(*args: object) -> int:
        raise OSError(24, "too many open files")

    for module, name in ((os, "eventfd"), (select, "epoll")):
        with monkeypatch.context() as patched:
            patched.setattr(module, name, none_left)
            async with alone(options=QUIET) as (dialer, far):
                exchange = ask(dialer)
                far.arrived()
                waiting = Elsewhere(exchange.receive_head, 5, 5)
                respond(far, exchange.exchange.id)
                far.say()
                assert (await waiting.result()).status == 200


async def test_who_is_sent_elsewhere_leaves_what_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that streams sends for all; then its own request is refused."""
    async with alone(options=QUIET) as (dialer, far):
        exchange = while_the_loop_stands(
            lambda: ThreadExchange.open(dialer, HEAD, end=False, announce=True)
        )
        while_the_loop_stands(exchange.wait_started, 60)
        far.arrived()
        exchange.exchange.resubmit = lambda again: None  # it waits
        led = threading.Event()
        Scripted(dialer, 100)  # of the first batch
        exchange.send_data(bytes(40_000), flush=False)

        def lead(self: Reader, *args: object, **kwargs: object) -> bool:
            assert dialer.writer.sends_due
            with dialer.lock:
                exchange.exchange.requeue(StreamRefused("too busy"))
            led.set()
            return True

        monkeypatch.setattr(Reader, "read_until", lead)
        uploader = Elsewhere(exchange.drain)
        with trio.fail_after(5):
            while not led.is_set():
                await trio.lowlevel.checkpoint()
            while dialer.writer.sends_due:
                await trio.lowlevel.checkpoint()
        exchange.close()  # as another thread may
        with pytest.raises(StreamReset):
            await uploader.result()


async def test_behind_broken_tls_nothing_is_sent_and_nothing_raised() -> None:
    if sockets.carrier != "tls":
        return  # one of both carriers
    async with alone(options=QUIET) as (dialer, far):
        waiting = while_the_loop_stands(
            lambda: ThreadExchange.open(dialer, HEAD, end=False, announce=True)
        )
        far.arrived()
        there = far.connection.writer.direct_socket
        assert there is not None
        there.write(b"\x17\x03\x03\x00\x20" + bytes(32))

        def send() -> None:
            dialer.reader.read_here()
            assert isinstance(dialer.reader._ending, ssl.SSLError)
            waiting.send_data(b"late", flush=True)

        while_the_loop_stands(send)
        with pytest.raises(ssl.SSLError, match=r"(?i)bad.record.mac"):
            far.arrived()  # it is told why
        with trio.fail_after(5):
            assert (
                "decryption failed" in (await dialer.wait_closed()).reason.replace("_", " ").lower()
            )


async def test_the_end_wakes_the_leader() -> None:
    async with alone(options=QUIET) as (dialer, _):
        queue = ThreadInbox(dialer.token)  # of an exchange that has ended already
        leader = Elsewhere(dialer.reader.read_until, queue, 4)
        await until_led(dialer)
        dialer.lifecycle.abort(dialer.lifecycle.lost("gone"))
        with trio.fail_after(1):
            await leader.result()


class Interrupt(BaseException):
    """A Ctrl-C in the thread of a test."""


class InterruptedLock:
    """Stands in for a connection's lock; one wait for it is interrupted.

    Args:
        connection: whose lock it is.
        passes: how often it is taken before that.
    """

    def __init__(self, connection: Connection, passes: int) -> None:
        self._lock = connection.writer.lock
        self._passes = passes
        connection.writer.lock = self  # type: ignore[assignment]

    def __enter__(self) -> None:
        self._passes -= 1
        if self._passes == -1:
            raise Interrupt
        self._lock.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self._lock.release()

    acquire = property(lambda self: self._lock.acquire)
    release = property(lambda self: self._lock.release)


async def test_who_is_interrupted_while_it_waits_for_the_lock_wants_it_no_more() -> None:
    async with alone(options=QUIET) as (dialer, _):
        InterruptedLock(dialer, 0)
        with pytest.raises(Interrupt):
            while_the_loop_stands(dialer.writer.run_here, int)
        assert not dialer.writer.wanting


async def test_a_lead_that_an_interrupt_keeps_from_being_given_back_ends_the_connection() -> None:
    async with alone(options=QUIET) as (dialer, _):
        queue = ThreadInbox(dialer.token)
        queue(Writable())
        InterruptedLock(dialer, 1)
        with pytest.raises(Interrupt):
            while_the_loop_stands(dialer.reader.read_until, queue, 1)
        with trio.fail_after(1):
            assert "interrupted" in (await dialer.wait_closed()).reason


async def test_what_an_interrupt_keeps_from_being_handed_over_leaves() -> None:
    async with alone(options=QUIET) as (dialer, far):
        exchange = while_the_loop_stands(lambda: ThreadExchange.open(dialer, HEAD, end=False))
        far.arrived()

        def send() -> None:
            Scripted(dialer, 10)
            dialer.writer.run_here(exchange.exchange.send_data, bytes(1000), stays=True)
            InterruptedLock(dialer, 0)
            dialer.writer.hand_over()

        with pytest.raises(Interrupt):
            while_the_loop_stands(send)
        assert dialer.writer.sends_due
        await trio.testing.wait_all_tasks_blocked()
        assert not dialer.writer.sends_due
