"""`Heartbeat(data=, on_ping=, on_pong=)` for plain WebSockets, at both roles and in each API."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import Any

import pytest
import trio

import restsock
import restsock.aio
import restsock.sync
import restsock.websockets.aio
import restsock.websockets.sync
from restsock import ConnectionInfo, Heartbeat
from restsock.auth import BearerTokens
from restsock.protocol import Ping, Pong
from restsock.websockets import BlockingServerWebSocket, Endpoint, ServerWebSocket, connect
from tests.e2e.test_heartbeat_functions import Told
from tests.waiting import until
from tests.websockets.site import PATIENCE, listening, raw_client, url_of


def beats(interval: float | None = 0.05, **functions: Any) -> Heartbeat:
    return Heartbeat(interval=interval, timeout=10, **functions)


async def receive_all(websocket: Any) -> None:
    async for _ in websocket:
        pass


async def test_both_ends_of_trio() -> None:
    client, server = Told(), Told()
    served: list[ServerWebSocket] = []

    async def serve(websocket: ServerWebSocket) -> None:
        served.append(websocket)
        await receive_all(websocket)

    here = beats(data=lambda: b"here", on_ping=client.ping, on_pong=client.pong_async)
    there = beats(data=b"there", on_ping=server.ping_async, on_pong=server.pong_async)
    auth = BearerTokens({"s3cret-token": "edge-1"})
    async with listening(Endpoint(serve, heartbeat=there, auth=auth)) as listener:
        credentials = restsock.auth.Bearer("s3cret-token")
        async with connect(url_of(listener), heartbeat=here, auth=credentials):
            for told in (client, server):
                await until(partial(told.has, 3))
    assert {ping[8:] for ping in client.pings} == {b"there"} == {data for data, _ in server.pongs}
    assert {ping[8:] for ping in server.pings} == {b"here"} == {data for data, _ in client.pongs}
    assert server.infos == {(served[0].id, None)}
    assert client.infos == {("", None)}


def test_both_ends_in_threads() -> None:
    client, server = Told(), Told()

    def serve(websocket: BlockingServerWebSocket) -> None:
        for _ in websocket:
            pass

    here = beats(data=b"here", on_ping=client.ping, on_pong=client.pong)
    there = beats(on_ping=server.ping_async, on_pong=server.pong_async)
    endpoint = Endpoint(serve, heartbeat=there)
    with restsock.sync.listen("127.0.0.1", 0, endpoints={"/ws": endpoint}) as listener:
        with restsock.websockets.sync.connect(url_of(listener), proxy=False, heartbeat=here):
            trio.run(until, lambda: client.has(3) and server.has(3))
    assert {ping[8:] for ping in server.pings} == {b"here"}
    assert all(isinstance(place, int) for place in client.places)
    assert threading.get_ident() not in client.places


def test_both_ends_of_asyncio() -> None:
    async def run() -> None:
        client, server = Told(), Told()
        here = beats(on_ping=client.ping_async, on_pong=client.pong_async)
        there = beats(on_ping=server.ping_async, on_pong=server.pong_async)
        endpoint = Endpoint(receive_all, heartbeat=there)
        async with restsock.aio.listen("127.0.0.1", 0, endpoints={"/ws": endpoint}) as listener:
            url = url_of(listener)
            async with restsock.websockets.aio.connect(url, proxy=False, heartbeat=here):
                await until(lambda: client.has(3) and server.has(3))
        assert client.places == server.places == {asyncio.get_running_loop()}

    asyncio.run(asyncio.wait_for(run(), PATIENCE))


async def test_pings_and_pongs_of_another_make() -> None:
    told = Told()
    heartbeat = beats(30, data=b"x", on_ping=told.ping_async, on_pong=told.pong_async)
    async with (
        listening(Endpoint(receive_all, heartbeat=heartbeat)) as listener,
        raw_client(listener) as client,
    ):
        client.websocket.send_ping(b"all of it")
        await client.send(client.websocket.data_to_send())
        assert await client.next() == Pong(b"all of it")
        await until(lambda: told.pings)
        assert told.pings == [b"all of it"]
        client.websocket._send(client.websocket._control(0x8A, b"nobody asked"))
        await client.send(client.websocket.data_to_send())
    assert told.pongs == []


@pytest.mark.parametrize("interval", [None, 0.05])
async def test_functions_that_fail_or_stand_end_nothing(interval: float | None) -> None:
    """Pings are told also where this end sends none."""
    begun = trio.Event()

    async def on_ping(connection: ConnectionInfo, data: bytes) -> None:
        begun.set()
        await trio.sleep_forever()

    heartbeat = beats(interval, data=lambda: "no bytes", on_ping=on_ping)
    async with (
        listening(Endpoint(receive_all, heartbeat=heartbeat)) as listener,
        raw_client(listener) as client,
    ):
        for number in range(40):
            client.websocket.send_ping(b"%d" % number)
            await client.send(client.websocket.data_to_send())
            while (event := await client.next()) != Pong(b"%d" % number):
                assert isinstance(event, Ping)
                assert len(event.payload) == 8
        await begun.wait()
        await until(lambda: listener.statistics().limits.get("heartbeat_calls", 0) >= 40 - 17)
        assert listener.statistics().http_clients == 1
