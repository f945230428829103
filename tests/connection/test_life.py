"""How a connection lives: heartbeats between two reads, a writer only while there is one to need.

Most tests are over real sockets, and under a clock that jumps: what one end has written is there
for the other at once, so no time has to pass for it.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from restsock._exceptions import ConnectionClosed
from restsock._options import Heartbeat, Options, Timeouts
from restsock.connection import AsyncExchange, Connection
from restsock.protocol import CloseReceived, DataReceived, RequestHead, ResponseReceived, WebSocket
from tests.tls_pair import tls_streams

from .peers import handshake
from .sockets import Far, Scripted, alone, socket_streams

HEAD = RequestHead(b"POST", b"/", [(b"Host", b"edge-1")])
QUIET = Options(heartbeat=Heartbeat(interval=None))
BEATS = Options(heartbeat=Heartbeat(interval=15, timeout=10))
Clock = trio.testing.MockClock


def close_code(far: Far) -> int | None:
    """What the far end was told, if it was."""
    last = far.heard[-1] if far.heard else None
    return last.code if isinstance(last, CloseReceived) else None


def tasks_of(connection: Connection) -> int:
    """How many tasks do something for it, or have yet to begin."""
    nursery = connection.lifecycle._nursery
    names = [] if nursery is None else [task.name for task in nursery.child_tasks]
    waiting = [function.__name__ for function, _ in connection.lifecycle._waiting or ()]
    return len([name for name in names + waiting if "sleep_forever" not in name])


# --- heartbeat ----------------------------------------------------------------------------------


async def test_pings_leave_at_the_interval(autojump_clock: Clock) -> None:
    async with alone(options=BEATS) as (dialer, far):
        for number in range(1, 30):
            far.arrived()
            assert far.pings() == number
            far.say()  # the pong
            await trio.sleep(15)
            await trio.testing.wait_all_tasks_blocked()
        assert dialer.closed is None
        assert dialer.round_trip == 0
        assert tasks_of(dialer) == 0


async def test_pings_leave_at_the_interval_whatever_else_goes_on(autojump_clock: Clock) -> None:
    """Bytes that come in put off the verdict, but not the pings, which measure the round trip."""
    async with alone(options=BEATS) as (dialer, far):
        for _ in range(40):
            await trio.sleep(3)
            far.connection._websocket.send_binary(b"\xff" + bytes(7))  # an unknown frame
            far.say()
            await trio.testing.wait_all_tasks_blocked()
        far.arrived()
        assert far.pings() == 1 + 40 * 3 // 15
        assert dialer.closed is None


async def test_only_the_answer_to_the_latest_ping_is_measured(autojump_clock: Clock) -> None:
    async with alone(options=BEATS) as (dialer, far):
        websocket = far.connection._websocket
        assert isinstance(websocket, WebSocket)
        websocket._send(websocket._protocol.pong(bytes(7) + b"\x07"))
        far.say()
        await trio.sleep(3)
        assert dialer.round_trip is None
        far.arrived()
        far.say()
        await trio.testing.wait_all_tasks_blocked()
        assert dialer.round_trip == pytest.approx(3)
        assert dialer.multiplexer.round_trip == dialer.round_trip


async def test_without_an_interval_one_ping_leaves_and_silence_is_no_reason(
    autojump_clock: Clock,
) -> None:
    async with alone(options=QUIET) as (dialer, far):
        await trio.sleep(24 * 3600)
        far.arrived()
        assert far.pings() == 1
        assert dialer.closed is None


async def test_silence_ends_it_and_the_peer_is_told(autojump_clock: Clock) -> None:
    started = trio.current_time()
    async with alone(options=BEATS) as (dialer, far):
        exchange = AsyncExchange.open(dialer, HEAD)
        closed = await dialer.wait_closed()
        assert trio.current_time() - started == pytest.approx(25)
        assert (closed.clean, closed.code, closed.by_peer) == (False, 4003, False)
        far.arrived()
        assert far.pings() == 2
        assert close_code(far) == 4003
        with pytest.raises(ConnectionClosed) as caught:
            await exchange.receive_head()
        assert caught.value.may_have_run is True


async def test_silence_is_counted_from_the_last_byte(autojump_clock: Clock) -> None:
    started = trio.current_time()
    async with alone(options=BEATS) as (dialer, far):
        await trio.sleep(20)
        far.connection._websocket.send_binary(b"\xff" + bytes(7))
        far.say()
        await dialer.wait_closed()
        assert trio.current_time() - started == pytest.approx(45)


async def test_a_busy_loop_is_not_a_silent_peer(autojump_clock: Clock) -> None:
    async with alone(options=BEATS) as (dialer, far):
        for _ in range(20):
            far.connection._websocket.send_ping(b"alive")
            far.say()
            autojump_clock.jump(30)
            await trio.testing.wait_all_tasks_blocked()
            assert dialer.closed is None
        autojump_clock.jump(30)
        await trio.testing.wait_all_tasks_blocked()
        assert dialer.closed is not None


class _Hasty(Scripted):
    """Is woken once although there is nothing to read."""

    __slots__ = ("reads",)

    def read_now(self, size: int) -> bytes:
        self.reads = getattr(self, "reads", 0) + 1
        if self.reads == 1:
            raise BlockingIOError
        return super().read_now(size)


async def test_a_wake_up_for_nothing() -> None:
    dialer, listener = await handshake(*socket_streams(), options=QUIET)
    direct_socket = _Hasty(dialer)
    far = Far(listener)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dialer.run)
        await trio.testing.wait_all_tasks_blocked()
        far.multiplexer.open_stream(HEAD, end=True)
        far.say()
        await trio.testing.wait_all_tasks_blocked()
        assert any(isinstance(event, ResponseReceived) for event in far.arrived())
        assert direct_socket.reads >= 2
        nursery.cancel_scope.cancel()
    await trio.aclose_forcefully(listener._stream)


# --- and in memory, where there is no direct socket ---------------------------------------------


@asynccontextmanager
async def tls_pair(options: Options) -> AsyncGenerator[tuple[Connection, Connection], None]:
    dialed, accepted = trio.testing.memory_stream_pair()
    ends = await tls_streams(dialed, accepted)
    dialer, listener = await handshake(*ends, options=options)
    assert dialer.writer.direct_socket is listener.writer.direct_socket is None
    yield dialer, listener
    await trio.aclose_forcefully(dialed)
    await trio.aclose_forcefully(accepted)


async def test_with_tls_pings_leave_at_the_interval(autojump_clock: Clock) -> None:
    async with tls_pair(BEATS) as (dialer, listener):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dialer.run)
            nursery.start_soon(listener.run)
            await trio.sleep(15 * 100 + 1)
            assert dialer.heartbeat.pings == listener.heartbeat.pings == 101
            assert dialer.closed is listener.closed is None
            assert (await dialer.request("GET", "/")).status == 503
            await dialer.aclose()
        assert dialer.closed is not None
        assert dialer.closed.clean


async def test_with_tls_silence_ends_it(autojump_clock: Clock) -> None:
    async with tls_pair(BEATS) as (dialer, _):
        started = trio.current_time()
        closed = await dialer.run()
        assert trio.current_time() - started == pytest.approx(25)
        assert (closed.clean, closed.code) == (False, 4003)


# --- the writer ---------------------------------------------------------------------------------


async def test_a_writer_works_while_it_is_needed() -> None:
    async with alone(options=QUIET) as (dialer, far):
        assert tasks_of(dialer) == 0
        for takes in ([], [5], [0], []):
            direct_socket = Scripted(dialer, *takes)
            exchange = AsyncExchange.open(dialer, HEAD, body=b"body" * 1000)
            assert tasks_of(dialer) == (1 if takes else 0)
            await trio.testing.wait_all_tasks_blocked()
            assert tasks_of(dialer) == 0
            assert not dialer.writer.writing
            got = b"".join(e.data for e in far.arrived() if isinstance(e, DataReceived))
            assert got == b"body" * 1000
            assert len(direct_socket.wrote) == 1  # the rest is the writer's
            exchange.close()
            await trio.testing.wait_all_tasks_blocked()
            far.arrived()


async def test_a_writer_sends_what_becomes_due_while_it_works() -> None:
    async with alone(options=QUIET) as (dialer, far):
        Scripted(dialer, 3)
        AsyncExchange.open(dialer, HEAD, body=b"1")
        direct_socket = Scripted(dialer)
        AsyncExchange.open(dialer, HEAD, body=b"2")
        assert tasks_of(dialer) == 1
        await trio.testing.wait_all_tasks_blocked()
        got = [event.data for event in far.arrived() if isinstance(event, DataReceived)]
        assert got == [b"1", b"2"]
        assert direct_socket.wrote == []
        assert tasks_of(dialer) == 0


async def test_more_than_a_batch_leaves_without_another_word() -> None:
    """The socket takes all of the first batch, and the writer has to do the others."""
    async with alone(options=QUIET) as (dialer, far):
        direct_socket = Scripted(dialer)
        sent = bytes(50_000)
        exchanges = [AsyncExchange.open(dialer, HEAD, end=False) for _ in range(3)]
        direct_socket.wrote.clear()
        dialer.writer.cork()
        for exchange in exchanges:
            exchange.exchange.send_data(sent)
        dialer.writer.uncork()
        await trio.testing.wait_all_tasks_blocked()
        got = [len(event.data) for event in far.arrived() if isinstance(event, DataReceived)]
        assert sum(got) == 3 * len(sent)
        assert len(direct_socket.wrote) == 1
        assert tasks_of(dialer) == 0


async def test_in_memory_there_is_a_writer_for_each_word(autojump_clock: Clock) -> None:
    dialed, accepted = trio.testing.memory_stream_pair()
    dialer, listener = await handshake(dialed, accepted, options=QUIET)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dialer.run)
        nursery.start_soon(listener.run)
        await trio.testing.wait_all_tasks_blocked()
        idle = tasks_of(dialer)
        for _ in range(3):
            assert (await dialer.request("GET", "/")).status == 503
            await trio.testing.wait_all_tasks_blocked()
            assert tasks_of(dialer) == idle
        await dialer.aclose()


@pytest.mark.parametrize("word", ["request", "close"])
async def test_a_socket_that_takes_no_more_ends_it_behind_the_linger(
    autojump_clock: Clock, word: str
) -> None:
    async with alone(options=QUIET) as (dialer, _):
        dialer._stream.socket.shutdown(socket.SHUT_WR)  # type: ignore[attr-defined]
        started = trio.current_time()
        exchange = AsyncExchange.open(dialer, HEAD) if word == "request" else None
        if word == "close":
            dialer.close_soon()
        await trio.testing.wait_all_tasks_blocked()
        assert dialer.closed is None
        # A second writer would meet the same end, and none is started.
        AsyncExchange.open(dialer, HEAD)
        assert tasks_of(dialer) == 1
        closed = await dialer.wait_closed()
        assert trio.current_time() - started == pytest.approx(1)
        assert not closed.clean
        assert closed.code == (1006 if word == "request" else 1000)
        if exchange is not None:
            assert "takes no more bytes" in closed.reason
            with pytest.raises(ConnectionClosed) as caught:
                await exchange.receive_head()
            assert caught.value.may_have_run is True


async def test_the_reader_knows_more_than_a_writer_that_failed(autojump_clock: Clock) -> None:
    async with alone(options=QUIET) as (dialer, far):
        dialer._stream.socket.shutdown(socket.SHUT_WR)  # type: ignore[attr-defined]
        AsyncExchange.open(dialer, HEAD)
        await trio.sleep(0.5)
        far.connection._websocket.close(4001, "no more")
        far.say()
        closed = await dialer.wait_closed()
        assert (closed.code, closed.reason, closed.by_peer) == (4001, "no more", True)


# --- close frames -------------------------------------------------------------------------------


def go(dialer: Connection, far: Far) -> None:
    far.connection._websocket.close(1001, "bye")


def rubbish(dialer: Connection, far: Far) -> None:
    far.connection._websocket.send_binary(b"short")


@pytest.mark.parametrize("takes", [[], [0], [1]], ids=["direct", "writer", "both"])
@pytest.mark.parametrize(("say", "code", "clean"), [(go, 1001, True), (rubbish, 4002, False)])
async def test_the_last_word_leaves(
    autojump_clock: Clock, takes: list[int], say: Callable[..., Any], code: int, clean: bool
) -> None:
    async with alone(options=QUIET) as (dialer, far):
        far.arrived()
        direct_socket = Scripted(dialer, *takes)
        say(dialer, far)
        far.say()
        closed = await dialer.wait_closed()
        far.arrived()
        assert close_code(far) == code
        assert (closed.clean, closed.code) == (clean, code)
        assert len(direct_socket.wrote) == 1


@pytest.mark.parametrize("takes", [[], [0], [1]], ids=["direct", "writer", "both"])
async def test_a_close_of_ours_comes_behind_all_that_was_sent(
    autojump_clock: Clock, takes: list[int]
) -> None:
    async with alone(options=QUIET) as (dialer, far):
        Scripted(dialer, *takes)
        AsyncExchange.open(dialer, HEAD, body=b"last")
        dialer.close_soon(1001, "bye")
        await trio.testing.wait_all_tasks_blocked()
        events = far.arrived()
        assert [e.data for e in events if isinstance(e, DataReceived)] == [b"last"]
        assert close_code(far) == 1001
        assert dialer.closed is None
        far.say()
        closed = await dialer.wait_closed()
        assert (closed.clean, closed.code, closed.by_peer) == (True, 1001, False)


async def test_a_close_before_it_runs_is_kept(autojump_clock: Clock) -> None:
    dialer, listener = await handshake(*socket_streams(), options=QUIET)
    dialer.close_soon(1001, "never mind")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dialer.run)
        closed = await listener.run()
    assert (closed.clean, closed.code, closed.reason) == (True, 1001, "never mind")
    assert dialer.closed is not None
    assert dialer.closed.clean


async def test_a_close_before_it_runs_has_its_time(autojump_clock: Clock) -> None:
    dialer, listener = await handshake(*socket_streams(), options=QUIET)
    dialer.close_soon()
    started = trio.current_time()
    closed = await dialer.run()  # and nobody answers
    assert trio.current_time() - started == pytest.approx(Timeouts().close)
    assert (closed.clean, closed.code) == (False, 1000)
    await trio.aclose_forcefully(listener._stream)
