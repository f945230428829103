"""A connection that is to end finishes what it carries."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from restsock import ConnectionClosed, Limits, Options, Response, StreamRefused, Timeouts
from restsock.connection import AsyncExchange
from restsock.connection._lifecycle import State
from restsock.protocol import ResponseHead

from .peers import pair


class Gate:
    """An app that answers once it is opened."""

    def __init__(self) -> None:
        self.opened = trio.Event()
        self.begun = 0

    async def __call__(self, exchange: AsyncExchange) -> None:
        self.begun += 1
        await self.opened.wait()
        exchange.send_head(ResponseHead(200, []))
        exchange.send_end()


async def test_an_idle_connection_ends_at_once(autojump_clock: MockClock) -> None:
    async with pair() as (dialer, listener):
        closed = await listener.drain(code=1012, reason="restart")
        assert trio.current_time() < 0.1
        assert (closed.clean, closed.code, closed.by_peer) == (True, 1012, False)
        there = await dialer.wait_closed()
        assert (there.clean, there.code, there.reason, there.by_peer) == (
            True,
            1012,
            "restart",
            True,
        )


async def test_what_is_in_flight_goes_on_both_ways(autojump_clock: MockClock) -> None:
    gate = Gate()
    responses: list[Response] = []
    async with pair(gate) as (dialer, listener), trio.open_nursery() as nursery:

        async def call(connection: object) -> None:
            responses.append(await connection.request("GET", "/"))  # type: ignore[attr-defined]

        for connection in (dialer, listener):
            nursery.start_soon(call, connection)
        await trio.testing.wait_all_tasks_blocked()
        assert gate.begun == 2
        nursery.start_soon(listener.drain)
        await trio.sleep(20)
        assert (listener.lifecycle.state, dialer.lifecycle.state) == (State.DRAINING, State.OPEN)
        assert listener.leaving
        assert dialer.leaving
        assert not listener.takes_requests
        assert not dialer.takes_requests
        assert listener.closed is None
        for connection in (dialer, listener):
            with pytest.raises(StreamRefused) as caught:
                await connection.request("GET", "/late")
            assert caught.value.may_have_run is False
        gate.opened.set()
        closed = await listener.wait_closed()
        assert (closed.clean, closed.code) == (True, 1001)
        assert trio.current_time() == pytest.approx(20, abs=0.1)
    assert [response.status for response in responses] == [200, 200]
    assert gate.begun == 2


async def test_a_long_answer_leaves_whole(autojump_clock: MockClock) -> None:
    async def serve(exchange: AsyncExchange) -> None:
        exchange.send_head(ResponseHead(200, []))
        for _ in range(100):
            await exchange.send_data(bytes(30_000))
        exchange.send_end()

    async with pair(serve) as (dialer, listener):
        async with dialer.stream("GET", "/") as response:
            await trio.testing.wait_all_tasks_blocked()
            listener.drain_soon()
            assert len(await response.read()) == 3_000_000
        assert (await dialer.wait_closed()).clean


@pytest.mark.parametrize("grace", [0, 7, None])
async def test_the_grace_has_an_end(grace: float | None, autojump_clock: MockClock) -> None:
    gate = Gate()
    options = Options(timeouts=Timeouts(grace=11))
    async with pair(gate, options=options) as (dialer, listener), trio.open_nursery() as nursery:

        async def call() -> None:
            with pytest.raises(ConnectionClosed) as caught:
                await dialer.request("GET", "/")
            assert caught.value.may_have_run is True

        nursery.start_soon(call)
        await trio.testing.wait_all_tasks_blocked()
        closed = await listener.drain(grace)
        assert closed.code == 1001
        assert trio.current_time() == pytest.approx(11 if grace is None else grace, abs=0.1)


async def test_a_cancelled_drain_closes(autojump_clock: MockClock) -> None:
    gate = Gate()
    async with pair(gate) as (dialer, listener), trio.open_nursery() as nursery:

        async def call() -> None:
            with pytest.raises(ConnectionClosed):
                await dialer.request("GET", "/")

        nursery.start_soon(call)
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(3):
            await listener.drain()
        await listener.wait_closed()
        assert trio.current_time() == pytest.approx(3, abs=0.1)


async def test_a_caller_that_leaves_lets_it_end(autojump_clock: MockClock) -> None:
    gate = Gate()
    async with pair(gate) as (dialer, listener), trio.open_nursery() as nursery:

        async def call() -> None:
            with trio.move_on_after(4):
                await dialer.request("GET", "/")

        nursery.start_soon(call)
        await trio.testing.wait_all_tasks_blocked()
        await listener.drain()
        assert trio.current_time() == pytest.approx(4, abs=0.1)
        gate.opened.set()


async def test_what_waits_for_a_free_stream_is_not_started(autojump_clock: MockClock) -> None:
    gate = Gate()
    options = Options(limits=Limits(max_streams=1))
    async with pair(gate, options=options) as (dialer, _), trio.open_nursery() as nursery:
        nursery.start_soon(dialer.request, "GET", "/")
        await trio.testing.wait_all_tasks_blocked()

        async def late() -> None:
            with pytest.raises(StreamRefused) as caught:
                await dialer.request("GET", "/late")
            assert caught.value.may_have_run is False

        nursery.start_soon(late)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(dialer.drain)
        await trio.testing.wait_all_tasks_blocked()
        gate.opened.set()
    assert gate.begun == 1


async def test_both_may_drain_at_once(autojump_clock: MockClock) -> None:
    gate = Gate()
    async with pair(gate) as (dialer, listener), trio.open_nursery() as nursery:
        nursery.start_soon(dialer.request, "GET", "/")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(dialer.drain)
        nursery.start_soon(listener.drain)
        await trio.sleep(5)
        gate.opened.set()
        await listener.wait_closed()
        await dialer.wait_closed()
        assert trio.current_time() == pytest.approx(5, abs=0.1)
        await dialer.drain()  # behind the end it is harmless
        with pytest.raises(ValueError, match="not a close code"):
            await dialer.drain(code=1006)


async def test_what_looks_for_the_end_of_it_is_told_of_it_beforehand() -> None:
    codes: list[int] = []
    async with pair() as (dialer, listener):
        await trio.testing.wait_all_tasks_blocked()
        dialer.on_leaving = codes.append
        await listener.drain(code=1012)
        await dialer.wait_closed()
    assert codes == [1012]


@pytest.mark.parametrize("grace", [0, 0.5, 30])
def test_a_grace_that_is_one(grace: float) -> None:
    assert Timeouts(grace=grace).grace == grace


@pytest.mark.parametrize("grace", [-1, float("inf"), float("nan"), None, True, False, "1"])
def test_a_grace_that_is_none(grace: object) -> None:
    with pytest.raises(ValueError, match=r"Timeouts\.grace"):
        Timeouts(grace=grace)  # type: ignore[arg-type]
