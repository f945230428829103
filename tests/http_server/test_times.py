"""How long a client of plain HTTP may let its connection wait, by a clock that jumps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from restsock import Limits, Options, Timeouts
from restsock.client import parse_url
from restsock.connection import Exchange, ExchangeEvent
from restsock.http_server import NEXT_REQUEST
from restsock.protocol import DataReceived, EndReceived, ResponseHead
from restsock.server import Server
from restsock.server._front_door import FrontDoor
from tests.memory_network import Echo, MemoryListener
from tests.plain_client import GET, PlainClient, statuses

TIMES = Timeouts(handshake=10, keep_alive=75, idle=60, close=5)
POST = b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"


class Slow(Echo):
    """Takes its time where the path says so.

    Attributes:
        exchanges: all that it has not answered at once.
        events: what has come on these.
    """

    def __init__(self) -> None:
        super().__init__()
        self.exchanges: list[Exchange] = []
        self.events: list[ExchangeEvent] = []

    def handle(self, exchange: Exchange) -> None:
        if exchange.request.target in (b"/wait", b"/read", b"/stream"):
            self.exchanges.append(exchange)
            exchange.observer = self.events.append
            if exchange.request.target == b"/stream":
                exchange.send_head(ResponseHead(200, [], b"OK"))
        else:
            super().handle(exchange)


@asynccontextmanager
async def served(limits: Limits | None = None) -> AsyncIterator[tuple[PlainClient, Slow, Server]]:
    app = Slow()
    options = Options(timeouts=TIMES, limits=limits or Limits())
    network = MemoryListener()
    door = FrontDoor(None, {"/": app}, None, options)
    async with Server(
        None, 0, open_listeners=network.open, options=options, front_door=door
    ) as server:
        client = PlainClient(await network.open_stream(parse_url("ws://hub/")))
        yield client, app, server
        await client.aclose()


async def ended(client: PlainClient, low: float, high: float) -> bytes:
    """All that comes until the end, which has to be this many seconds from now."""
    begin = trio.current_time()
    data = b""
    try:
        while piece := bytes(await client.stream.receive_some(65536)):
            data += piece
    except trio.BrokenResourceError:
        pass
    assert low <= trio.current_time() - begin <= high
    return data


async def test_an_idle_client_is_let_go(autojump_clock: MockClock) -> None:
    async with served() as (client, _, _):
        await client.get()
        await trio.sleep(60)
        await client.get()
        # Checked every 5 seconds, and then it has some to close.
        assert await ended(client, 75, 75 + 10 + TIMES.close) == b""


async def test_line_ends_are_no_request(autojump_clock: MockClock) -> None:
    """They may come before one (RFC 9112, section 2.2), and keep no connection open."""
    async with served() as (client, _, _), trio.open_nursery() as nursery:
        await client.get()

        async def drip() -> None:
            for _ in range(500):
                try:
                    await client.send(b"\r\n")
                except trio.BrokenResourceError:
                    return
                await trio.sleep(1)

        nursery.start_soon(drip)
        assert await ended(client, 75, 75 + 10 + TIMES.close) == b""
        nursery.cancel_scope.cancel()


async def test_a_slow_head_is_cut_off_however_its_bytes_come(autojump_clock: MockClock) -> None:
    async with served() as (client, app, _), trio.open_nursery() as nursery:
        await client.get()

        async def drip() -> None:
            for byte in b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 500:
                try:
                    await client.send(bytes([byte]))
                except trio.BrokenResourceError:
                    return
                await trio.sleep(1)

        nursery.start_soon(drip)
        assert statuses(await ended(client, 10, 20 + TIMES.close)) == [408]
        nursery.cancel_scope.cancel()
    assert app.seen == ["/"]


async def test_heads_that_come_in_two_pieces_are_not_one_slow_head(
    autojump_clock: MockClock,
) -> None:
    async with served() as (client, _, _):
        # In the middle of a head whenever somebody looks.
        await client.send(GET + GET[:10])
        for _ in range(20):
            await trio.sleep(2.5)
            await client.send(GET[10:] + GET[:10])
            assert (await client.response())[0] == 200
            await trio.sleep(2.5)


async def test_the_first_head_has_as_long_as_a_handshake(autojump_clock: MockClock) -> None:
    async with served() as (client, _, _):
        await client.send(GET[:10])
        assert await ended(client, 10, 10) == b""


async def test_a_body_that_does_not_come(autojump_clock: MockClock) -> None:
    async with served() as (client, app, _):
        await client.send(POST + b"a")
        assert statuses(await ended(client, 60, 70 + TIMES.close)) == [408]
        assert type(app.events[-1]).__name__ == "Failed"


async def test_a_body_that_comes_slowly(autojump_clock: MockClock) -> None:
    async with served() as (client, app, _):
        await client.send(POST)
        for _ in range(10):
            await trio.sleep(50)
            await client.send(b"a")
        await trio.testing.wait_all_tasks_blocked()
        assert all(isinstance(event, DataReceived) for event in app.events)


async def test_an_app_may_take_its_time_to_read(autojump_clock: MockClock) -> None:
    """It is not the client that the connection waits for."""
    async with served(Limits(initial_window=16384)) as (client, app, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send, POST + bytes(100_000))
            await trio.sleep(1000)
            assert all(isinstance(event, DataReceived) for event in app.events)
            exchange = app.exchanges[0]
            while not isinstance(app.events[-1], EndReceived):
                exchange.consume(16384)
                await trio.testing.wait_all_tasks_blocked()
            exchange.send_head(ResponseHead(200, [], b""))
            exchange.send_end()
            assert (await client.response())[0] == 200


async def test_an_app_may_take_its_time_to_answer(autojump_clock: MockClock) -> None:
    async with served() as (client, app, _):
        await client.send(GET.replace(b"/ ", b"/wait "))
        await trio.sleep(5000)
        app.exchanges[0].send_head(ResponseHead(204, [], b""))
        app.exchanges[0].send_end()
        assert (await client.response())[0] == 204


async def test_a_client_that_reads_nothing_is_broken_off(autojump_clock: MockClock) -> None:
    async with served() as (client, app, server):
        await client.send(GET.replace(b"/ ", b"/stream "))
        await trio.testing.wait_all_tasks_blocked()
        # In memory there is no bound; a stream that waits stands for a full socket.
        connection = next(iter(server._http_clients))
        stream: Any = connection._stream
        gate = trio.Event()

        async def full(_: Any) -> None:
            await gate.wait()

        stream.send_all = full
        app.exchanges[0].send_data(bytes(100_000))
        begin = trio.current_time()
        await connection.wait_closed()
        assert 60 <= trio.current_time() - begin <= 71
        assert type(app.events[-1]).__name__ == "Failed"


async def test_a_client_that_reads_nothing_and_goes_on_to_send(autojump_clock: MockClock) -> None:
    """What it sends does not count for what it takes."""
    async with served() as (client, app, server), trio.open_nursery() as nursery:
        await client.send(GET.replace(b"/ ", b"/stream "))
        await trio.testing.wait_all_tasks_blocked()
        connection = next(iter(server._http_clients))
        stream: Any = connection._stream

        async def full(_: Any) -> None:
            await trio.sleep_forever()

        async def drip() -> None:
            for _ in range(500):
                try:
                    await client.send(b"G")
                except trio.BrokenResourceError:
                    return
                await trio.sleep(1)

        stream.send_all = full
        nursery.start_soon(drip)
        app.exchanges[0].send_data(bytes(100_000))
        begin = trio.current_time()
        await connection.wait_closed()
        assert 60 <= trio.current_time() - begin <= 71
        nursery.cancel_scope.cancel()


async def test_a_slow_client_gets_all_of_the_last_response(autojump_clock: MockClock) -> None:
    """However long that takes: `Timeouts.close` is for what comes after it."""
    async with served() as (client, app, server):
        await client.send(
            GET.replace(b"/ ", b"/stream ").replace(b"Host", b"Connection: close\r\nHost")
        )
        await trio.testing.wait_all_tasks_blocked()
        stream: Any = next(iter(server._http_clients))._stream
        send = stream.send_all

        async def slow(data: bytes) -> None:
            for at in range(0, len(data), 5000):
                await trio.sleep(2)
                await send(data[at : at + 5000])

        stream.send_all = slow
        app.exchanges[0].send_data(b"x" * 60_000)
        app.exchanges[0].send_end()
        assert (await client.response())[2] == b"x" * 60_000


# --- a drain ----------------------------------------------------------------------------------


async def test_an_idle_client_is_closed_at_once(autojump_clock: MockClock) -> None:
    """It keeps its end open, as a client does that has a pool and nothing to ask."""
    async with served() as (client, _, server):
        await client.get()
        await trio.sleep(NEXT_REQUEST)
        begin = trio.current_time()
        await server.aclose()
        assert trio.current_time() == begin
        assert await client.rest() == b""


async def test_one_that_was_just_answered_may_ask_once_more(autojump_clock: MockClock) -> None:
    async with served() as (client, app, server), trio.open_nursery() as nursery:
        await client.get()
        begin = trio.current_time()
        nursery.start_soon(server.aclose)
        await trio.sleep(NEXT_REQUEST / 2)
        assert (await client.get("/again"))[1][b"connection"] == b"close"
        await client.aclose()
        await server.wait_closed()
        assert trio.current_time() - begin < NEXT_REQUEST
        assert app.seen == ["/", "/again"]


async def test_one_that_asks_no_more_is_not_waited_for(autojump_clock: MockClock) -> None:
    async with served() as (client, _, server):
        await client.get()
        begin = trio.current_time()
        await server.aclose()
        assert trio.current_time() - begin == pytest.approx(NEXT_REQUEST)
        assert await client.rest() == b""


async def test_one_whose_response_was_under_way_is_not_waited_for(
    autojump_clock: MockClock,
) -> None:
    """Its head, which has left before, did not say that it is the last."""
    async with served() as (client, app, server), trio.open_nursery() as nursery:
        await client.send(GET.replace(b"/ ", b"/stream "))
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(server.aclose)
        await trio.sleep(7)
        begin = trio.current_time()
        app.exchanges[0].send_data(b"the end")
        app.exchanges[0].send_end()
        _, fields, body = await client.response()
        assert b"connection" not in fields
        assert body == b"the end"
        await server.wait_closed()
        assert trio.current_time() - begin == pytest.approx(NEXT_REQUEST)


async def test_one_that_was_told_is_waited_for(autojump_clock: MockClock) -> None:
    async with served() as (client, _, server):
        assert (await client.get("/", "Connection: close"))[1][b"connection"] == b"close"
        begin = trio.current_time()
        await server.aclose()
        assert trio.current_time() - begin == pytest.approx(TIMES.close)
