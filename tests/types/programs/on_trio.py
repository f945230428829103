"""The API for trio, and its pairs for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

from typing_extensions import assert_type

import restsock
from restsock.testing import FaultyProxy, Network, Pair, connected_pair, trio_pair


async def serve(request: restsock.Request) -> restsock.Response:
    assert_type(request.path, str)
    assert_type(await request.read(), bytes)
    return restsock.Response(200, {"Content-Type": "text/plain"}, "hello")


async def pieces() -> AsyncIterator[bytes]:
    yield b"piece"


async def dial(url: str) -> restsock.Closed:
    client = restsock.connect(url, app=serve, name="edge-1", metadata={"city": "Ghent"})
    assert_type(client, restsock.Client)
    async with client as entered:
        assert_type(entered, restsock.Client)
        response = await client.request("POST", "/pets", body=pieces(), timeout=10)
        assert_type(response, restsock.Response)
        assert_type(response.status, int)
        assert_type(response.text, str)
        async with client.stream("GET", "/log") as streamed:
            assert_type(streamed, restsock.StreamedResponse)
            async for data in streamed:
                assert_type(data, bytes)
        assert_type(client.connection, restsock.Connection | None)
        assert_type(client.statistics(), restsock.ClientStatistics)
        assert_type(client.health(), restsock.Health)
    return await client.wait_closed()


async def accept() -> None:
    async with restsock.listen("127.0.0.1", 0, app=serve, names="share") as server:
        assert_type(server, restsock.Server)
        assert_type(server.address, tuple[str, int])
        route = server.route("edge-1")
        assert_type(route, restsock.Route)
        assert_type(await route.request("GET", "/"), restsock.Response)
        async for event in server.events():
            assert_type(event, restsock.ConnectionEvent)
            assert_type(event.name, str | None)
        for connection in server.connections:
            assert_type(connection, restsock.Connection)
        try:
            await server.request("edge-2", "GET", "/")
        except restsock.PeerNotFound as exc:
            assert_type(exc.may_have_run, bool)


async def test() -> None:
    async with trio_pair(serve, serve, name="edge-1") as (client, server):
        assert_type(client, restsock.Client)
        assert_type(server, restsock.Server)
    async with trio_pair(serve, client={"backoff": restsock.Backoff(tries=1)}) as pair:
        assert_type(pair.network, Network)
        await pair.network.cut("eof")
        pair.network.slow(0.1, rate=1000)
    async with connected_pair(serve) as connections:
        assert_type(connections, Pair)
        assert_type(connections.dialer, restsock.Connection)
    async with FaultyProxy("127.0.0.1", 8000) as proxy:
        assert_type(proxy.port, int)
        await proxy.cut()
