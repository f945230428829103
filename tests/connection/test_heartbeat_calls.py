"""The functions for pings and pongs: what they are told, and that they hold nothing up."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest
import trio
import trio.testing

from restsock import ConnectionInfo, Heartbeat, Options
from restsock._limit_log import LimitLog
from restsock.connection import HeartbeatCalls, heartbeat_calls
from restsock.protocol import Ping, Pong, WebSocket
from tests.waiting import until

from .peers import handshake
from .sockets import Far, alone, socket_streams

Clock = trio.testing.MockClock
INFO = ConnectionInfo("1", "edge-1", None)
LOG = logging.getLogger("restsock.connection")


def options(**heartbeat: Any) -> Options:
    return Options(heartbeat=Heartbeat(interval=15, timeout=10, **heartbeat))


def far_websocket(far: Far) -> WebSocket:
    websocket = far.connection._websocket
    assert isinstance(websocket, WebSocket)
    return websocket


def pings_of(far: Far) -> list[bytes]:
    """The data of the pings that have come."""
    far.arrived()
    return [event.payload[8:] for event in far.heard if isinstance(event, Ping)]


def latest_pong(far: Far) -> bytes:
    far.arrived()
    return [event.payload for event in far.heard if isinstance(event, Pong)][-1]


def made(nursery: trio.Nursery, log: LimitLog | None = None, **heartbeat: Any) -> HeartbeatCalls:
    calls = heartbeat_calls(
        Heartbeat(**heartbeat), lambda: INFO, nursery.start_soon, log or LimitLog(LOG)
    )
    assert calls is not None
    return calls


# --- on a connection ----------------------------------------------------------------------------


async def test_pongs_are_told_with_their_data_and_time(autojump_clock: Clock) -> None:
    told: list[Any] = []

    async def on_pong(connection: ConnectionInfo, data: bytes, seconds: float) -> None:
        told.append((connection, data, seconds))

    async with alone(options=options(data=b"x" * 117, on_pong=on_pong)) as (dialer, far):
        info = ConnectionInfo(dialer.id, "edge-1", None)
        for number in range(1, 4):
            assert pings_of(far) == [b"x" * 117] * number
            await trio.sleep(2)
            far.say()
            await trio.sleep(13)
            await trio.testing.wait_all_tasks_blocked()
            assert told == [(info, b"x" * 117, 2.0)] * number
            assert dialer.round_trip == 2.0


async def test_other_pongs_are_not_told(autojump_clock: Clock) -> None:
    told: list[bytes] = []
    heartbeat = options(data=b"abc", on_pong=lambda connection, data, seconds: told.append(data))
    async with alone(options=heartbeat) as (dialer, far):
        far.arrived()
        websocket = far_websocket(far)
        websocket.pongs.clear()
        number = (1).to_bytes(8, "big")
        for payload in (b"", number, number + b"abd", number + b"abcd", b"\1" * 8 + b"abc"):
            websocket._send(websocket._control(0x8A, payload))
        far.say()
        await trio.sleep(1)
        await trio.testing.wait_all_tasks_blocked()
        assert told == []
        assert dialer.statistics().round_trip is None
        websocket._send(websocket._control(0x8A, number + b"abc"))
        far.say()
        await until(lambda: told)
        assert told == [b"abc"]
        assert dialer.statistics().round_trip == 1.0


async def test_pings_are_told_and_answered_whatever_becomes_of_it(autojump_clock: Clock) -> None:
    told: list[bytes] = []

    async def on_ping(connection: ConnectionInfo, data: bytes) -> None:
        told.append(data)
        raise ValueError("on purpose")

    async with alone(options=options(on_ping=on_ping)) as (dialer, far):
        websocket = far_websocket(far)
        for payload in (b"", b"short", b"12345678", b"12345678data"):
            websocket.send_ping(payload)
            far.say()
            await trio.testing.wait_all_tasks_blocked()
            assert latest_pong(far) == payload
        assert told == [b"", b"", b"", b"data"]
        assert dialer.closed is None


async def test_a_function_that_stands_holds_nothing_up(autojump_clock: Clock) -> None:
    """It has the connection's own task, which ends with the connection."""
    begun = trio.Event()
    cancelled = trio.Event()

    async def on_ping(connection: ConnectionInfo, data: bytes) -> None:
        begun.set()
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    async with alone(options=options(on_ping=on_ping)) as (dialer, far):
        websocket = far_websocket(far)
        for number in range(100):
            websocket.send_ping(b"%d" % number)
            far.say()
            await trio.testing.wait_all_tasks_blocked()
            assert latest_pong(far) == b"%d" % number
        await begun.wait()
        websocket.close(1000)
        far.say()
        await dialer.wait_closed()
        assert cancelled.is_set()


async def test_the_data_of_each_ping_comes_from_a_function(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    answers: list[Any] = [b"one", b"", "text", b"x" * 118, RuntimeError("secret"), None, b"last"]

    def data() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with alone(options=options(data=data)) as (dialer, far):
        for _ in range(6):
            far.arrived()
            far.say()
            await trio.sleep(15)
            await trio.testing.wait_all_tasks_blocked()
        assert pings_of(far) == [b"one", b"", b"", b"", b"", b"", b"last"]
        assert dialer.closed is None
    text = caplog.text
    assert "Heartbeat.data failed: it gave str, not bytes" in text
    assert "Heartbeat.data failed: it gave 118 bytes, more than 117" in text
    assert "Heartbeat.data failed: RuntimeError" in text
    assert "secret" not in text


async def test_of_a_connection_that_is_turned_away_nobody_is_told(autojump_clock: Clock) -> None:
    """As a server does with a name that has been taken meanwhile: it begins, and is closed."""

    def data() -> bytes:
        raise AssertionError

    streams = socket_streams()
    dialer, listener = await handshake(*streams, options=options(data=data, on_ping=data))
    far = Far(dialer)
    listener.heartbeat.calls = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listener.run)
        await trio.testing.wait_all_tasks_blocked()
        assert pings_of(far) == [b""]
        far_websocket(far).send_ping(b"12345678")
        far.say()
        await trio.testing.wait_all_tasks_blocked()
        assert latest_pong(far) == b"12345678"
        assert listener.closed is None
        nursery.cancel_scope.cancel()
    await trio.aclose_forcefully(dialer._stream)


# --- alone --------------------------------------------------------------------------------------


async def test_calls_keep_their_order_and_too_many_are_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[bytes] = []
    go_on = trio.Event()

    async def on_ping(connection: ConnectionInfo, data: bytes) -> None:
        await go_on.wait()
        told.append(data)

    log = LimitLog(LOG)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            calls = made(nursery, log, on_ping=on_ping)
            calls.ping(b"0")
            await trio.testing.wait_all_tasks_blocked()  # it is under way, and waits for no turn
            for number in range(1, 30):
                calls.ping(b"%d" % number)
            go_on.set()
        assert told == [b"%d" % number for number in range(17)]
        assert log.counts == {"heartbeat_calls": 13}
        words = "Heartbeat.on_ping does not keep up: it is not told of everything"
        assert caplog.messages == [words]
        async with trio.open_nursery() as nursery:
            calls = made(nursery, log, on_ping=on_ping)
            calls.ping(b"again")
            await trio.testing.wait_all_tasks_blocked()
            calls.ping(b"and again")  # after the task had come to its end
        assert told[-2:] == [b"again", b"and again"]


async def test_a_plain_function_has_a_thread_and_few_have_one_at_once() -> None:
    threads: set[int] = set()
    running, most = 0, 0
    lock = threading.Lock()
    full, go_on = threading.Event(), threading.Event()

    def on_pong(connection: ConnectionInfo, data: bytes, seconds: float) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            threads.add(threading.get_ident())
            if running == 8:
                full.set()
        assert go_on.wait(10)
        with lock:
            running -= 1

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                made(nursery, on_pong=on_pong).pong(b"", 0.5)
            assert await trio.to_thread.run_sync(full.wait, 10)
            go_on.set()
    assert most == 8
    assert threading.get_ident() not in threads


async def test_what_fails_is_told_without_its_words(caplog: pytest.LogCaptureFixture) -> None:
    def on_ping(connection: ConnectionInfo, data: bytes) -> None:
        raise ValueError("secret")

    async with trio.open_nursery() as nursery:
        made(nursery, on_ping=on_ping).ping(b"")
    (record,) = caplog.records
    assert record.message.startswith("Heartbeat.on_ping failed: ValueError (")
    assert "secret" not in record.message
    assert (record.connection_id, record.connection_name) == ("1", "edge-1")  # type: ignore[attr-defined]


async def test_without_functions_there_is_nothing_to_call() -> None:
    def start(*_: Any) -> None:
        raise AssertionError

    log = LimitLog(LOG)
    assert heartbeat_calls(Heartbeat(data=b"x"), lambda: INFO, start, log) is None
    calls = heartbeat_calls(Heartbeat(data=lambda: b"x"), lambda: INFO, start, log)
    assert calls is not None
    assert calls.data() == b"x"
    calls.ping(b"")
    calls.pong(b"", 0.5)
