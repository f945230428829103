"""A wire that breaks, a listener that restarts: peers find each other again and go on.

Over real sockets, with a proxy between that breaks on demand.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import requests
import trio

import restsock
from restsock.client import Client
from restsock.connection import Request, Response
from restsock.server import ConnectionEvent, Server, Subscription
from restsock.testing import FaultyProxy
from tests.waiting import until

QUICK = restsock.Backoff(initial=0.02, factor=2, cap=0.1)
OPTIONS = restsock.Options(
    heartbeat=restsock.Heartbeat(interval=5, timeout=5), timeouts=restsock.Timeouts(close=2)
)


async def edge_app(request: Request) -> Response:
    if request.path == "/hang":
        await trio.sleep_forever()
    return Response(200, {"X-Peer": "edge"}, f"edge {request.target} {len(await request.read())}")


async def hub_app(request: Request) -> Response:
    return Response(200, {"X-Peer": "hub"}, f"hub {request.target} {len(await request.read())}")


def hub(port: int = 0) -> Server:
    return restsock.listen("127.0.0.1", port, app=hub_app, options=OPTIONS)


def edge(port: int, name: str = "edge-1", **options: Any) -> Client:
    return restsock.connect(
        f"ws://127.0.0.1:{port}/",
        app=edge_app,
        name=name,
        metadata={"name": name},
        options=OPTIONS,
        backoff=QUICK,
        **options,
    )


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[Server, FaultyProxy, Client]]:
    """A listener, a proxy in front of it, and a client that dials the proxy."""
    async with hub() as server, FaultyProxy(*server.address) as proxy:
        async with edge(proxy.port) as client:
            yield server, proxy, client


async def next_of(events: Subscription, type: str) -> ConnectionEvent:
    with trio.fail_after(10):
        async for event in events:
            if event.type == type:
                return event
    raise AssertionError(f"no {type}")


async def test_a_cut_wire() -> None:
    async with pair() as (server, proxy, client):
        route = server.route("edge-1")
        assert (await route.request("GET", "/1")).text == "edge /1 0"
        events = server.events()
        (before,) = server.connections
        assert client.connection is not None
        assert before.id == client.connection.id
        for round in range(5):
            await proxy.cut()
            failure = await next_of(events, "ConnectionFailure")
            assert failure.connection_id == before.id
            received = await next_of(events, "ConnectionReceived")
            assert (received.name, received.metadata) == ("edge-1", {"name": "edge-1"})
            (after,) = server.connections
            assert after.id == received.connection_id != before.id
            assert (await client.wait_connected()).id == after.id
            assert server.connections.by_id(before.id) is None
            assert server.connections.by_metadata({"name": "edge-1"}) == [after]
            # Route and client are the same objects as before.
            assert (await route.request("PUT", f"/{round}", body=b"12")).text == f"edge /{round} 2"
            assert (await client.request("PUT", f"/{round}", body=b"1")).text == f"hub /{round} 1"
            before = after


async def test_requests_made_while_the_wire_is_down_wait_for_it() -> None:
    async with pair() as (server, proxy, client):
        connection = client.connection
        assert connection is not None
        await proxy.refuse()
        await proxy.cut()
        await connection.wait_closed()
        answers: list[str] = []

        async def ask(requester: Any, target: str) -> None:
            answers.append((await requester.request("POST", target, body=b"123")).text)

        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(ask, client, f"/{number}")
                nursery.start_soon(ask, server.route("edge-1"), f"/{number}")
            await until(lambda: client.statistics().waiting == 10)
            await until(lambda: client.statistics().failures >= 2)
            assert answers == []
            await proxy.accept()
        assert sorted(answers) == sorted(
            [f"hub /{n} 3" for n in range(10)] + [f"edge /{n} 3" for n in range(10)]
        )


async def test_a_session_of_requests_survives() -> None:
    async with pair() as (server, proxy, client):
        events = server.events()
        session = requests.Session()
        session.trust_env = False
        session.mount("http://hub/", client.adapter())
        session.mount("http://edge/", server.adapter("edge-1"))

        def get(url: str) -> str:
            return session.get(url, timeout=5).text

        for round in range(3):
            assert await trio.to_thread.run_sync(get, f"http://hub/{round}") == f"hub /{round} 0"
            assert await trio.to_thread.run_sync(get, f"http://edge/{round}") == f"edge /{round} 0"
            await proxy.cut()
            await next_of(events, "ConnectionFailure")


async def test_what_was_in_flight_says_whether_it_may_have_run() -> None:
    async with pair() as (server, proxy, _):
        caught: list[restsock.ConnectionClosed] = []

        async def hang() -> None:
            with pytest.raises(restsock.ConnectionClosed) as info:
                await server.route("edge-1").request("POST", "/hang")
            caught.append(info.value)

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(hang)
            await until(lambda: len(server.connections) == 1)
            (connection,) = server.connections
            await until(lambda: connection.statistics().requests_sent == 5)
            # Sent is one thing, arrived another: this one is answered behind the five.
            await server.route("edge-1").request("GET", "/")
            await proxy.cut()
        assert [error.may_have_run for error in caught] == [True] * 5


async def test_a_listener_that_restarts() -> None:
    async with trio.open_nursery() as nursery:
        async with hub() as first:
            port = first.address[1]
            client: Client = await nursery.start(stay, edge(port))
            await until(lambda: len(first.connections) == 1)
            events = first.events()
        assert [(e.type, e.code) async for e in events] == [("ConnectionClosed", 1001)]
        assert not client.closed
        async with hub(port) as second:
            assert (await client.request("GET", "/")).text == "hub / 0"
            assert (await second.route("edge-1").request("GET", "/")).text == "edge / 0"
            # This is the end, says this listener; and it is.
            await second.aclose(1000, "closed for good")
            closed = await client.wait_closed()
            assert (closed.code, closed.reason) == (1000, "closed for good")
            with pytest.raises(restsock.ConnectionClosed):
                await client.request("GET", "/")
        nursery.cancel_scope.cancel()


async def stay(
    client: Client, task_status: trio.TaskStatus[Client] = trio.TASK_STATUS_IGNORED
) -> None:
    async with client:
        task_status.started(client)
        await trio.sleep_forever()


async def test_a_crowd_that_loses_its_listener_comes_back() -> None:
    async with hub() as server, FaultyProxy(*server.address) as proxy:
        async with trio.open_nursery() as nursery:
            stop = trio.Event()

            async def peer(number: int) -> None:
                async with edge(proxy.port, f"edge-{number}"):
                    await stop.wait()

            for number in range(30):
                nursery.start_soon(peer, number)
            names = {f"edge-{number}" for number in range(30)}
            for _ in range(3):
                await until(lambda: {c.name for c in server.connections} == names)
                old = list(server.connections)
                await proxy.cut()
                for connection in old:
                    await connection.wait_closed()
            await until(lambda: len(server.connections) == 30)
            stop.set()
        await until(lambda: len(server.connections) == 0)
