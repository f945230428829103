"""Raw bytes of an upgraded exchange: in order with what was before them, bounded, both ways."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

import restsock
from restsock.connection import AsyncExchange, Exchange, Handler
from restsock.http_server import RawExchange, accept_raw
from restsock.protocol import ResponseHead
from restsock.testing import connected_pair
from tests.plain_client import dial
from tests.tls_pair import contexts

REQUEST = b"GET /raw HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n"
HEAD = ResponseHead(
    101, [(b"Connection", b"upgrade"), (b"Upgrade", b"raw")], b"Switching Protocols"
)
# Bytes: one batch of the writer, and more than the socket takes.
_LONG = 60_000


class Serving:
    """A handler that gives each upgraded exchange to the test, and answers others at length."""

    def __init__(self) -> None:
        self.opened: list[RawExchange] = []
        self.ready = trio.Event()

    def handle(self, exchange: Exchange) -> None:
        driver = accept_raw(exchange, limit=16 * 1024)
        if exchange.request.upgrade is None:
            driver.send_head(ResponseHead(200, [(b"Content-Length", b"%d" % _LONG)]))
            driver.send_nowait(bytes(_LONG))
            driver.send_end()
            return
        driver.send_head(HEAD)
        assert isinstance(driver, RawExchange)
        driver.begin_raw()
        self.opened.append(driver)
        self.ready.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        yield


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
async def test_bytes_cross_both_ways_and_the_end_is_after_them(tls: bool) -> None:
    serving = Serving()
    handler: Handler = serving
    here, there = contexts()
    async with restsock.listen(
        "127.0.0.1", 0, endpoints={"/": handler}, tls=there if tls else None
    ) as server:
        async with dial(server, here if tls else None) as client:
            await client.send(REQUEST + b"early")
            with trio.fail_after(30):
                await serving.ready.wait()
            (driver,) = serving.opened
            assert await driver.receive_data() == b"early"
            await client.send(b"more")
            assert await driver.receive_data() == b"more"
            driver.send_nowait(b"a")
            assert await driver.send_data(b"b" * 100_000)
            driver.send_end()
            received = await client.rest()
            head, _, body = received.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
            assert body == b"a" + b"b" * 100_000
            assert await driver.receive_data() == b""


async def test_the_101_is_after_the_response_before_it() -> None:
    """The client has both under way at once, and reads slowly."""
    serving = Serving()
    options = restsock.Options(sockets=restsock.SocketOptions(send_buffer=4096))
    async with restsock.listen("127.0.0.1", 0, endpoints={"/": serving}, options=options) as server:
        async with dial(server, buffer=4096) as client:
            await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + REQUEST)
            with trio.fail_after(30):
                await serving.ready.wait()
            (driver,) = serving.opened
            for number in range(100):
                driver.send_nowait(b"<%d>" % number)
            assert driver.unsent > 0
            received = b""
            expected = b"".join(b"<%d>" % number for number in range(100))
            while not received.endswith(expected):
                data = await client.receive()
                assert data
                received += data
            _, _, body = received.partition(b"\r\n\r\n")
            assert body[:_LONG] == bytes(_LONG)
            assert body[_LONG:].startswith(b"HTTP/1.1 101 ")
            assert body.partition(b"Protocols")[2].partition(b"\r\n\r\n")[2] == expected


async def test_who_does_not_read_stops_the_client_and_goes_on_later() -> None:
    serving = Serving()
    async with restsock.listen("127.0.0.1", 0, endpoints={"/": serving}) as server:
        async with dial(server) as client, trio.open_nursery() as nursery:
            await client.send(REQUEST)
            with trio.fail_after(30):
                await serving.ready.wait()
            (driver,) = serving.opened
            nursery.start_soon(client.send, bytes(50_000_000))
            await trio.testing.wait_all_tasks_blocked(0.1)
            assert 16 * 1024 < driver.unread < 1_000_000
            received = 0
            with trio.fail_after(60):
                while received < 50_000_000:
                    received += len(await driver.receive_data())
            assert received == 50_000_000


async def test_who_sends_waits_for_a_client_that_does_not_read() -> None:
    serving = Serving()
    async with restsock.listen("127.0.0.1", 0, endpoints={"/": serving}) as server:
        async with dial(server, buffer=4096) as client:
            await client.send(REQUEST)
            with trio.fail_after(30):
                await serving.ready.wait()
            (driver,) = serving.opened
            sent = 0
            with trio.move_on_after(0.3):
                while True:
                    await driver.send_data(bytes(10_000))
                    sent += 10_000
            assert driver.write_paused
            assert driver.unsent > 16 * 1024
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.rest)
                with trio.fail_after(30):
                    assert await driver.send_data(b"end")
                driver.send_end()


async def test_over_a_tunnel_it_is_an_exchange_like_any_other() -> None:
    drivers: list[AsyncExchange] = []

    class Tunnelled(Serving):
        def handle(self, exchange: Exchange) -> None:
            driver = accept_raw(exchange, limit=16 * 1024)
            drivers.append(driver)
            driver.send_head(HEAD)
            driver.send_nowait(b"raw")
            driver.send_end()

    async with connected_pair(app_b=Tunnelled()) as (dialer, _):
        fields = {"Connection": "upgrade", "Upgrade": "raw"}
        async with dialer.stream("GET", "/", headers=fields) as response:
            assert (response.status, await response.receive()) == (101, b"raw")
            response.send_end()
    assert not isinstance(drivers[0], RawExchange)
