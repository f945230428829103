"""What a peer can make an app on the loop run and hold: bounded by the connection's limits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from restsock import Limits, Options, Request, Response, StreamRefused, Timeouts
from restsock.apps import make_handler
from restsock.apps.asgi._call import TrioCall
from restsock.apps.asgi._inbound import Inbound
from restsock.connection import AsyncExchange, Connection
from restsock.protocol import DataReceived, RequestHead
from restsock.testing import connected_pair
from tests.apps.serving import linked, served

HOST = (b"Host", b"edge")


class Counted:
    """An ASGI app that counts its calls; one for `/` never ends by itself."""

    def __init__(self) -> None:
        self.running = self.peak = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            if scope["path"] == "/":
                await trio.sleep_forever()
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"ok"})
            await trio.sleep(100)  # in the background
        finally:
            self.running -= 1


async def abandon(dialer: Connection) -> None:
    exchange = AsyncExchange.open(dialer, RequestHead(b"GET", b"/", [HOST]))
    await trio.testing.wait_all_tasks_blocked()
    exchange.close()
    await trio.testing.wait_all_tasks_blocked()


async def test_abandoned_requests_count_until_their_calls_end(autojump_clock: MockClock) -> None:
    app = Counted()
    # A request that is refused is asked again for as long as that.
    options = Options(limits=Limits(max_streams=4), timeouts=Timeouts(connect=0.5))
    async with connected_pair(app_b=app, options=options, loop_b="trio") as (dialer, listener):
        for _ in range(10):
            await abandon(dialer)
        assert app.peak == 4
        with pytest.raises(StreamRefused, match="still running"):
            await dialer.request("GET", "/short")
        await trio.sleep(options.timeouts.disconnect * 2)
        assert app.running == 0
        assert (await dialer.request("GET", "/short")).content == b"ok"
        assert listener.multiplexer.open_streams == 0
        await abandon(dialer)


async def test_each_connection_has_a_count_of_its_own(autojump_clock: MockClock) -> None:
    app = Counted()
    handler = make_handler(app, interface="asgi", loop="trio")
    async with served(handler) as first, linked(handler) as second:
        for _ in range(Limits().max_streams):
            await abandon(first)
        with pytest.raises(StreamRefused):
            await first.request("GET", "/short", timeout=0.5)
        assert (await second.request("GET", "/short")).content == b"ok"
        await first.aclose()


async def test_the_background_of_a_complete_response_does_not_count(
    autojump_clock: MockClock,
) -> None:
    app = Counted()
    options = Options(limits=Limits(max_streams=1))
    async with connected_pair(app_b=app, options=options, loop_b="trio") as (dialer, _):
        for _ in range(3):
            assert (await dialer.request("GET", "/short")).content == b"ok"
        assert app.running == 3


async def test_small_pieces_are_held_as_one() -> None:
    consumed: list[int] = []
    connection = SimpleNamespace(limits=Limits())
    exchange: Any = SimpleNamespace(connection=connection, consume=consumed.append)
    inbound = Inbound(exchange, TrioCall())
    for number in range(5000):
        inbound(DataReceived(1, bytes([number % 251])))
    inbound(DataReceived(1, b"x" * 10_000))
    assert len(inbound.pieces) <= 3
    assert inbound.take_all() == bytes(number % 251 for number in range(5000)) + b"x" * 10_000
    assert consumed == [15_000]


async def many(request: Request) -> Response:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 3000

    return Response(200, body=body())


async def many_asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200})
        for _ in range(100):
            part = {"type": "http.response.body", "body": b"x" * 3000, "more_body": True}
            await send(part)
        await send({"type": "http.response.body"})


@pytest.mark.parametrize("app", [many, many_asgi])
async def test_the_send_buffer_is_that_of_the_connection(
    app: Any, autojump_clock: MockClock
) -> None:
    # The handler is told other limits than the connection that it serves.
    own = Options(limits=Limits(send_buffer=2048))
    loop = "trio" if app is many_asgi else "auto"
    async with served(make_handler(app, options=own, loop=loop)) as dialer:
        assert len((await dialer.request("GET", "/", timeout=10)).content) == 300_000
