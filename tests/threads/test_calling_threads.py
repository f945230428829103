"""Threads that use a connection themselves, under its lock, and what they leave to its loop."""

from __future__ import annotations

import os
import socket
import threading
from typing import Any

import pytest
import trio
import trio.testing

from restsock._exceptions import ConnectionClosed, RestsockError
from restsock._options import Heartbeat, Limits, Options
from restsock.connection import (
    AsyncExchange,
    Connection,
    Exchange,
    ExchangeEvent,
    Failed,
    Started,
    Writable,
)
from restsock.connection._direct_socket import direct_socket_of
from restsock.protocol import (
    DataReceived,
    EndReceived,
    RequestHead,
    RequestReceived,
    ResetCode,
    ResponseHead,
    ResponseReceived,
    StreamFailed,
)
from restsock.threads import ThreadExchange
from restsock.threads._flow import _SHORT
from tests.connection import sockets
from tests.connection.sockets import (
    Far,
    Posts,
    Scripted,
    alone,
    is_free,
    socket_streams,
    while_the_loop_stands,
)

HEAD = RequestHead(b"POST", b"/", [(b"Host", b"edge-1")])
UPGRADE = RequestHead(
    b"GET", b"/", [(b"Host", b"edge-1"), (b"Connection", b"upgrade"), (b"Upgrade", b"shout")]
)
SWITCH = ResponseHead(101, [(b"Connection", b"upgrade"), (b"Upgrade", b"shout")])
QUIET = Options(heartbeat=Heartbeat(interval=None))
ONE = Options(limits=Limits(max_streams=1), heartbeat=Heartbeat(interval=None))


@pytest.fixture(autouse=True, params=["tcp", "tls"])
def _carrier(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "carrier", request.param)


def kinds(events: list[Any]) -> list[type]:
    return [type(event) for event in events]


class Observer:
    """Notes the events, and on which thread they were told."""

    def __init__(self) -> None:
        self.events: list[tuple[type, int]] = []

    def __call__(self, event: ExchangeEvent) -> None:
        self.events.append((type(event), threading.get_ident()))

    def threads_of(self, kind: type) -> list[int]:
        return [thread for event, thread in self.events if event is kind]


class Accepting:
    """A handler that keeps the requests for threads to serve."""

    def __init__(self) -> None:
        self.accepted: list[ThreadExchange] = []

    def handle(self, exchange: Exchange) -> None:
        connection = exchange.connection
        assert connection is not None
        limits = connection.limits
        self.accepted.append(ThreadExchange.accept(exchange, token=connection.token, limits=limits))

    def running(self) -> Any:
        raise AssertionError


# --- without the loop ---------------------------------------------------------------------------


async def test_a_short_call_leaves_without_the_loop() -> None:
    async with alone(options=QUIET) as (dialer, far):
        posts = Posts(dialer)
        direct_socket = Scripted(dialer)
        exchange = while_the_loop_stands(
            lambda: ThreadExchange.open(dialer, HEAD, body=b"short", announce=True)
        )
        assert kinds(far.arrived()) == [RequestReceived, DataReceived, EndReceived]
        assert len(direct_socket.wrote) == far.messages() == 1  # all of it is one frame
        assert posts.functions == []
        assert exchange.exchange.any_thread
        while_the_loop_stands(exchange.wait_started, 0)
        assert dialer.statistics().requests_sent == 1
        assert dialer.statistics().open_streams == 1


async def test_a_workers_short_answer_leaves_without_the_loop() -> None:
    handler = Accepting()
    async with alone(handler, options=QUIET) as (dialer, far):
        far.multiplexer.open_stream(HEAD, end=True)
        far.say()
        await trio.testing.wait_all_tasks_blocked()
        (exchange,) = handler.accepted
        assert exchange.exchange.any_thread
        posts = Posts(dialer)
        exchange.inbox.token = dialer.token
        direct_socket = Scripted(dialer)

        def serve() -> None:
            assert exchange.receive_data(0) == b""
            exchange.send_head(ResponseHead(200, []))
            exchange.send_data(b"answer", flush=False)
            assert direct_socket.wrote == []
            exchange.send_end()
            exchange.close()

        while_the_loop_stands(serve)
        assert kinds(far.arrived())[:3] == [ResponseReceived, DataReceived, EndReceived]
        assert len(direct_socket.wrote) == 1
        assert posts.functions == []
        assert dialer.statistics().open_streams == 0


async def test_a_long_body_is_left_to_the_loop_and_what_is_short_passes_it() -> None:
    async with alone(options=QUIET) as (dialer, far):
        posts = Posts(dialer)

        def upload() -> ThreadExchange:
            exchange = ThreadExchange.open(dialer, HEAD, end=False)
            exchange.send_data(b"1" * _SHORT)
            return exchange

        exchange = while_the_loop_stands(upload)
        assert b"".join(data_of(far)) == b"1" * _SHORT
        assert posts.functions == []

        def go_on() -> None:
            exchange.send_data(b"2" * (_SHORT + 1))
            exchange.send_data(b"3")
            exchange.send_end()
            ThreadExchange.open(dialer, HEAD, body=b"short")

        while_the_loop_stands(go_on)
        assert data_of(far) == [b"short"]
        assert posts.functions == [exchange._flow._pump]
        await trio.testing.wait_all_tasks_blocked()
        assert b"".join(data_of(far)) == b"2" * (_SHORT + 1) + b"3"
        assert posts.functions == [exchange._flow._pump]


def data_of(far: Far) -> list[bytes]:
    return [event.data for event in far.arrived() if isinstance(event, DataReceived)]


async def test_what_the_socket_does_not_take_from_a_thread_the_loop_sends() -> None:
    async with alone(options=QUIET) as (dialer, far):
        far.arrived()
        ping = far.bytes
        Scripted(dialer, 10)
        body = bytes(range(256)) * 40
        while_the_loop_stands(lambda: ThreadExchange.open(dialer, HEAD, body=body))
        assert far.arrived() == []
        assert far.bytes == ping + 10
        # Behind a piece that is left, nobody writes but the loop.
        while_the_loop_stands(lambda: ThreadExchange.open(dialer, HEAD, body=b"second"))
        assert far.arrived() == []
        assert far.bytes == ping + 10
        await trio.testing.wait_all_tasks_blocked()
        assert b"".join(data_of(far)) == body + b"second"
        # The first ping, which had come before, is among both.
        assert dialer.statistics().bytes_sent == far.bytes


async def test_two_threads_that_need_the_writer_get_one() -> None:
    async with alone(options=QUIET) as (dialer, far):
        far.arrived()
        exchanges = [Exchange(HEAD, Observer(), body=bytes(60_000)) for _ in range(6)]

        def submit() -> None:
            for exchange in exchanges:
                dialer.submit(exchange)

        while_the_loop_stands(dialer.writer.run_here, submit)
        posts = Posts(dialer)
        while_the_loop_stands(dialer.writer.run_here, lambda: None)
        assert posts.functions == [dialer.writer._start]  # behind one that is posted already
        sizes = []
        for _ in range(10):
            await trio.testing.wait_all_tasks_blocked()
            sizes += [len(data) for data in data_of(far)]
        assert sum(sizes) == 6 * 60_000
        assert dialer.closed is None


async def test_a_fork_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with alone(options=QUIET) as (dialer, far):
        exchange = while_the_loop_stands(lambda: ThreadExchange.open(dialer, HEAD, end=False))
        far.arrived()
        monkeypatch.setattr(os, "getpid", lambda: -1)
        try:
            with dialer.lock:
                for step in (lambda: exchange.send_data(b"body"), lambda: exchange.wait(1)):
                    with pytest.raises(RestsockError, match="does not survive a fork"):
                        while_the_loop_stands(step)
        finally:
            monkeypatch.undo()
        await trio.testing.wait_all_tasks_blocked()
        assert far.arrived() == []


async def test_a_request_in_a_fork_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its socket is the parent's, and its lock may be held by a thread that is not there."""
    async with alone(options=QUIET) as (dialer, far):
        far.arrived()
        before = far.bytes
        monkeypatch.setattr(os, "getpid", lambda: -1)
        try:
            with dialer.lock, pytest.raises(RestsockError, match="does not survive a fork"):
                while_the_loop_stands(lambda: ThreadExchange.open(dialer, HEAD))
        finally:
            monkeypatch.undo()
        far.arrived()
        assert far.bytes == before


async def test_without_a_direct_socket_the_loop_does_it_all() -> None:
    async with alone(options=QUIET) as (dialer, far):
        dialer.writer.direct_socket = None
        posts = Posts(dialer)
        assert not dialer.can_run_here

        def call() -> None:
            exchange = ThreadExchange.open(dialer, HEAD, end=False)
            exchange.send_data(b"body")
            exchange.send_end()

        while_the_loop_stands(call)
        assert far.arrived() == []
        assert posts.functions
        await trio.testing.wait_all_tasks_blocked()
        assert kinds(far.arrived()) == [RequestReceived, DataReceived, EndReceived]


async def test_a_full_connection_is_the_loops_to_wait_for() -> None:
    async with alone(options=ONE) as (dialer, far):
        exchange = Exchange(HEAD, Observer(), end=True)
        again = Exchange(HEAD, Observer(), end=True)
        guard = lambda function, *args: function(*args)  # noqa: E731
        assert while_the_loop_stands(dialer.exchange_table.start_here, exchange, guard)
        assert not while_the_loop_stands(dialer.exchange_table.start_here, again, guard)
        assert again.connection is None
        assert kinds(far.arrived()) == [RequestReceived, EndReceived]


async def test_a_thread_does_not_pass_those_who_wait() -> None:
    async with alone(options=ONE) as (dialer, _):
        first = AsyncExchange.open(dialer, HEAD)
        AsyncExchange.open(dialer, HEAD)
        assert dialer.statistics().waiting_requests == 1
        # The stream is free, and the one who waits has not been told yet.
        dialer.multiplexer.reset_stream(first.exchange.id, ResetCode.CANCEL)
        assert dialer.multiplexer.can_open
        late = Exchange(HEAD, Observer())
        assert not while_the_loop_stands(
            dialer.exchange_table.start_here, late, lambda f, *a: f(*a)
        )


# --- what is left to the loop -------------------------------------------------------------------


async def test_a_thread_leaves_the_news_of_room_to_the_loop() -> None:
    here = threading.get_ident()
    async with alone(options=QUIET) as (dialer, _):
        on_loop, anywhere = Observer(), Observer()
        size = dialer.limits.send_buffer * 5 // 4
        for observer in (on_loop, anywhere):
            exchange = Exchange(HEAD, observer, end=False)
            exchange.any_thread = observer is anywhere
            dialer.submit(exchange)
            observer.events.clear()
            while_the_loop_stands(dialer.writer.run_here, exchange.send_data, bytes(size))
            assert exchange.buffered <= dialer.limits.send_buffer // 2
            if observer is on_loop:
                assert observer.events == []
            else:
                ((kind, thread),) = observer.events
                assert kind is Writable
                assert thread != here
            await trio.testing.wait_all_tasks_blocked()
            assert kinds([kind for kind, _ in observer.events]) == [type]
        assert on_loop.events == [(Writable, here)]
        assert len(anywhere.events) == 1


async def test_a_stream_that_a_thread_frees_goes_to_the_next_on_the_loop() -> None:
    here = threading.get_ident()
    async with alone(options=ONE) as (dialer, far):
        first = Exchange(HEAD, Observer(), end=False)
        dialer.submit(first)
        observer = Observer()
        second = Exchange(HEAD, observer)
        dialer.submit(second)
        while_the_loop_stands(dialer.writer.run_here, first.reset)
        assert kinds(far.arrived())[:2] == [RequestReceived, StreamFailed]
        assert observer.events == []
        await trio.testing.wait_all_tasks_blocked()
        assert observer.threads_of(Started) == [here]
        assert kinds(far.arrived()) == [RequestReceived, EndReceived]


async def test_a_threads_last_byte_lets_the_next_request_start() -> None:
    async with alone(options=ONE) as (dialer, far):
        exchange = while_the_loop_stands(lambda: ThreadExchange.open(dialer, UPGRADE))
        far.arrived()
        far.multiplexer.send_head(exchange.exchange.id, SWITCH)
        far.multiplexer.send_end(exchange.exchange.id)
        far.say()
        await trio.testing.wait_all_tasks_blocked()
        waiting = AsyncExchange.open(dialer, HEAD)
        await trio.testing.wait_all_tasks_blocked()
        assert not waiting.started
        while_the_loop_stands(exchange.send_end)
        assert not waiting.started
        await trio.testing.wait_all_tasks_blocked()
        assert waiting.started
        assert RequestReceived in kinds(far.arrived())


async def test_a_thread_that_uses_up_the_connection_leaves_the_close_to_the_loop() -> None:
    async with alone(options=QUIET) as (dialer, far):
        dialer.multiplexer.next_id = 2**32 - 1
        exchange = Exchange(HEAD, Observer())
        assert while_the_loop_stands(
            dialer.exchange_table.start_here, exchange, lambda f, *a: f(*a)
        )
        assert dialer.multiplexer.exhausted
        while_the_loop_stands(dialer.writer.run_here, exchange.reset)
        assert not far.connection._websocket.close_received
        await trio.testing.wait_all_tasks_blocked()
        far.arrived()
        assert far.connection._websocket.close_received
        far.say()  # the answer
        closed = await dialer.wait_closed()
        assert (closed.clean, closed.code) == (True, 1001)


# --- an interrupt -------------------------------------------------------------------------------


class Interrupt(BaseException):
    """Like KeyboardInterrupt: nobody in the library knows of it."""


def interrupt(*args: object) -> None:
    raise Interrupt


class _Interrupting(int):
    """A number of bytes that were written, and whoever looks at it is interrupted."""

    def __radd__(self, other: int) -> int:
        raise Interrupt


class _Behind(Scripted):
    """Writes a part, and then the thread is interrupted."""

    __slots__ = ()

    def write(self, data: bytes) -> int:
        return _Interrupting(super().write(data))


class _Rest:
    """The same, one line later: when the rest is cut off."""

    def __init__(self, taken: int) -> None:
        self.taken = taken

    def __radd__(self, other: int) -> int:
        return other + self.taken

    def __index__(self) -> int:
        raise Interrupt


class _AtTheRest(Scripted):
    """Writes a part, and the thread is interrupted while it looks what is left."""

    __slots__ = ()

    def write(self, data: bytes) -> int:
        return _Rest(super().write(data))  # type: ignore[return-value]


class _Before(Scripted):
    """The thread is interrupted before anything is written."""

    __slots__ = ()

    def write(self, data: bytes) -> int:
        raise Interrupt


async def interrupted(
    dialer: Connection, others: dict[AsyncExchange | ThreadExchange, bool]
) -> None:
    """The connection ends, and everybody learns why; the lock is nobody's."""
    # Not asked for in another new thread, which may be taken for the one that has gone.
    if not (free := dialer.lock.acquire(blocking=False)):
        dialer.lock = threading.RLock()  # so that the test fails, and does not hang
    assert free
    dialer.lock.release()
    with trio.fail_after(5):
        closed = await dialer.wait_closed()
    assert (closed.clean, closed.code, closed.by_peer) == (False, 1006, False)
    assert "interrupted" in closed.reason
    for other, may_have_run in others.items():
        error = other.inbox.error if isinstance(other, ThreadExchange) else other.error
        assert isinstance(error, ConnectionClosed)
        assert error.may_have_run is may_have_run
    assert is_free(dialer.lock)


async def test_an_interrupt_under_the_lock_ends_the_connection() -> None:
    async with alone(options=ONE) as (dialer, far):
        running = while_the_loop_stands(lambda: ThreadExchange.open(dialer, HEAD, body=b"body"))
        waiting = AsyncExchange.open(dialer, HEAD)
        with pytest.raises(Interrupt):
            while_the_loop_stands(dialer.writer.run_here, interrupt)
        await interrupted(dialer, {running: True, waiting: False})
        assert kinds(far.arrived()) == [RequestReceived, DataReceived, EndReceived]


async def test_an_interrupt_in_a_step_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async with alone(options=QUIET) as (dialer, far):
        other = AsyncExchange.open(dialer, HEAD, end=False)
        exchange = while_the_loop_stands(lambda: ThreadExchange.open(dialer, HEAD, end=False))
        monkeypatch.setattr(dialer.multiplexer.__class__, "send_data", interrupt)
        with pytest.raises(Interrupt):
            while_the_loop_stands(exchange.send_data, b"body")
        monkeypatch.undo()
        await interrupted(dialer, {exchange: True, other: True})
        assert kinds(far.arrived()) == [RequestReceived, RequestReceived]


async def test_what_an_interrupt_has_lost_is_not_missing_without_a_word() -> None:
    """The thread that reads for all is interrupted between an event and the one it is for."""
    async with alone(options=QUIET) as (dialer, far):
        other = while_the_loop_stands(lambda: ThreadExchange.open(dialer, HEAD))
        stream_id = other.exchange.id
        far.arrived()
        far.multiplexer.send_head(stream_id, ResponseHead(200, []))
        far.multiplexer.send_data(stream_id, b"the body")
        far.multiplexer.send_end(stream_id)
        told = other.exchange.observer

        def tell(event: ExchangeEvent) -> None:
            if isinstance(event, DataReceived):
                raise Interrupt
            told(event)

        other.exchange.observer = tell
        direct_socket = dialer.writer.direct_socket
        assert direct_socket is not None

        def read() -> None:
            far.say()
            dialer.writer.run_here(dialer.reader._read, direct_socket)

        with pytest.raises(Interrupt):
            while_the_loop_stands(read)
        other.exchange.observer = told
        # The loop may come here, with more to read, before it ends the connection.
        far.connection._websocket.send_ping(b"8 bytes.")
        far.say()
        dialer.reader.read_ready()
        await interrupted(dialer, {other: True})


@pytest.mark.parametrize("direct_socket", [_Before, _Behind, _AtTheRest])
@pytest.mark.parametrize("taken", [0, 7, None])
async def test_an_interrupt_between_two_bytes_is_followed_by_none(
    direct_socket: type[Scripted], taken: int | None
) -> None:
    async with alone(options=QUIET) as (dialer, far):
        other = AsyncExchange.open(dialer, HEAD)
        assert kinds(far.arrived()) == [RequestReceived, EndReceived]
        before = far.bytes
        script = direct_socket(dialer, taken)
        with pytest.raises(Interrupt):
            while_the_loop_stands(lambda: ThreadExchange.open(dialer, HEAD, body=b"body"))
        # The loop has not heard of it yet, and another thread comes.
        Scripted(dialer)
        late = while_the_loop_stands(lambda: ThreadExchange.open(dialer, HEAD, body=b"late"))
        far.arrived()
        assert far.bytes - before == len(b"".join(script.wrote))
        await interrupted(dialer, {other: True, late: False})
        far.arrived()
        assert far.bytes - before == len(b"".join(script.wrote))


async def test_behind_an_interrupt_nobody_sends() -> None:
    """What the multiplexer was in the middle of is not known, until the loop has ended it all."""
    async with alone(options=QUIET) as (dialer, far):
        other = while_the_loop_stands(lambda: ThreadExchange.open(dialer, HEAD, end=False))
        far.arrived()
        before = far.bytes
        with pytest.raises(Interrupt):
            while_the_loop_stands(dialer.writer.run_here, interrupt)
        while_the_loop_stands(other.send_data, b"more")
        late = while_the_loop_stands(lambda: ThreadExchange.open(dialer, HEAD))
        on_loop = AsyncExchange.open(dialer, HEAD)
        far.arrived()
        assert far.bytes == before
        await interrupted(dialer, {other: True, late: False, on_loop: False})
        far.arrived()
        assert far.bytes == before


async def test_an_interrupt_of_a_loop_that_has_ended_is_only_raised() -> None:
    async with alone(options=QUIET) as (dialer, _):
        pass

    class Ended:
        def run_sync_soon(self, *args: object) -> None:
            raise trio.RunFinishedError

    dialer.token = Ended()  # type: ignore[assignment]
    with pytest.raises(Interrupt):
        while_the_loop_stands(dialer.writer.run_here, interrupt)
    assert is_free(dialer.lock)


async def test_an_error_of_a_thread_ends_nobody_elses_cork() -> None:
    """A cork inside `run_here`, an error in it, and the next to come sends as ever."""
    async with alone(options=QUIET) as (dialer, far):
        exchange = while_the_loop_stands(lambda: ThreadExchange.open(dialer, HEAD, end=False))
        assert dialer.writer._corked == 0
        assert not dialer.writer.off_loop
        while_the_loop_stands(exchange.send_data, b"more")
        assert dialer.writer._corked == 0
        assert not dialer.writer.off_loop
        assert data_of(far) == [b"more"]


# --- behind the end -----------------------------------------------------------------------------


async def test_behind_the_end_nothing_is_written_whoever_has_the_number_now() -> None:
    async with alone(options=QUIET) as (dialer, far):
        thread = while_the_loop_stands(lambda: ThreadExchange.open(dialer, HEAD, end=False))
        asynchronous = AsyncExchange.open(dialer, HEAD, end=False)
        number = dialer._stream.socket.fileno()  # type: ignore[attr-defined]
        direct_socket = dialer.writer.direct_socket
        await trio.aclose_forcefully(far.connection._stream)
        await dialer.wait_closed()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.setblocking(False)
            taken = os.dup2(ours.fileno(), number) if ours.fileno() != number else number
            try:
                assert not dialer.can_run_here
                dialer.multiplexer.send_goaway(1000, "something to send")

                def late() -> None:
                    thread.send_data(b"late")
                    thread.send_end()
                    thread.close()
                    dialer.writer.run_here(thread.exchange.send_data, b"late")
                    dialer.writer.run_here(dialer.writer.wake)
                    dialer.writer.run_here(lambda: None)
                    late = ThreadExchange.open(dialer, HEAD)
                    assert late.exchange.id == 0

                while_the_loop_stands(late)
                asynchronous.exchange.send_data(b"late")
                asynchronous.close()
                dialer.writer.cork()
                dialer.writer.uncork()
                dialer.writer.flush()
                assert direct_socket is not None
                assert direct_socket.write(b"late") == 0
                await trio.testing.wait_all_tasks_blocked()
                with pytest.raises(BlockingIOError):
                    theirs.recv(100)
            finally:
                if taken != ours.fileno():
                    os.close(taken)


async def test_a_direct_socket_knows_that_it_is_closed() -> None:
    here, there = socket_streams()
    direct_socket = direct_socket_of(here)
    assert direct_socket is not None
    number = here.socket.fileno()
    await here.aclose()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        if ours.fileno() != number:
            os.dup2(ours.fileno(), number)
        try:
            assert direct_socket.write(b"late") == 0
            with pytest.raises(OSError, match="Bad file descriptor"):
                direct_socket.read_now(100)
            with pytest.raises(BlockingIOError):
                theirs.recv(100)
        finally:
            if ours.fileno() != number:
                os.close(number)
    await there.aclose()


async def test_a_request_behind_the_end_fails_and_has_not_run() -> None:
    async with alone(options=QUIET) as (dialer, far):
        await trio.aclose_forcefully(far.connection._stream)
        await dialer.wait_closed()
        exchange = while_the_loop_stands(lambda: ThreadExchange.open(dialer, HEAD))
        await trio.testing.wait_all_tasks_blocked()
        error = exchange.inbox.error
        assert isinstance(error, ConnectionClosed)
        assert error.may_have_run is False


# --- together -----------------------------------------------------------------------------------


async def test_a_batch_is_one_send_at_the_end() -> None:
    handler = Accepting()
    async with alone(handler, options=QUIET) as (dialer, far):
        far.multiplexer.open_stream(HEAD, end=True)
        far.say()
        await trio.testing.wait_all_tasks_blocked()
        exchange = handler.accepted[0].exchange
        far.arrived()
        direct_socket = Scripted(dialer)
        messages = far.messages()
        with exchange.batch():
            exchange.send_head(ResponseHead(200, []))
            with exchange.batch():
                exchange.send_data(b"an ")
            assert not is_free(dialer.lock)
            exchange.send_data(b"answer")
            exchange.send_end()
            assert direct_socket.wrote == []
        assert is_free(dialer.lock)
        assert len(direct_socket.wrote) == 1
        # The loop's own call sent it: no task had to run.
        events = far.arrived()
        assert kinds(events)[:3] == [ResponseReceived, DataReceived, EndReceived]
        assert events[1].data == b"an answer"  # type: ignore[union-attr]
        assert far.messages() - messages <= 2


async def test_what_was_sent_before_an_error_leaves_and_the_lock_is_free() -> None:
    async with alone(options=QUIET) as (dialer, far):
        exchange = AsyncExchange.open(dialer, HEAD, end=False).exchange
        far.arrived()
        with pytest.raises(Interrupt), exchange.batch():
            exchange.send_data(b"before")
            raise Interrupt
        assert is_free(dialer.lock)
        assert data_of(far) == [b"before"]
        assert dialer.closed is None


async def test_an_interrupt_while_it_is_sent_leaves_the_lock_free() -> None:
    async with alone(options=QUIET) as (dialer, _):
        exchange = AsyncExchange.open(dialer, HEAD, end=False).exchange
        _Before(dialer)
        with pytest.raises(Interrupt), exchange.batch():
            exchange.send_data(b"before")
        assert is_free(dialer.lock)


async def test_a_batch_before_there_is_a_connection() -> None:
    observer = Observer()
    exchange = Exchange(HEAD, observer, end=False)
    async with alone(options=QUIET) as (dialer, far):
        with exchange.batch():
            exchange.send_data(b"early")
            dialer.submit(exchange)
        assert data_of(far) == [b"early"]
        exchange.reset(ResetCode.CANCEL)
        assert Failed not in kinds(observer.events)
