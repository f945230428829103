"""The API for asyncio, httpx, and the pairs for tests."""

from __future__ import annotations

import asyncio

import httpx
from typing_extensions import assert_type

import restsock
import restsock.aio
from restsock.messaging.aio import Message, Messaging, Session
from restsock.testing import AioNetwork, PairFactory, aio_pair


async def serve(request: restsock.Request) -> restsock.Response:
    return restsock.Response(204)


async def dial(url: str) -> None:
    async with restsock.aio.connect(url, app=serve, name="edge-1") as client:
        assert_type(client, restsock.aio.Client)
        assert_type(await client.request("GET", "/pets", timeout=10), restsock.Response)
        async with client.stream("GET", "/log") as streamed:
            assert_type(streamed, restsock.aio.StreamedResponse)
            assert_type(await streamed.receive(), bytes)
        assert_type(await client.wait_connected(), restsock.aio.Connection)
        assert_type(client.connection, restsock.aio.Connection | None)


async def accept() -> None:
    async with restsock.aio.listen("127.0.0.1", 0, app=serve) as server:
        assert_type(server, restsock.aio.Server)
        assert_type(server.route("edge-1"), restsock.aio.Route)
        assert_type(await server.request("edge-1", "GET", "/"), restsock.Response)
        async with httpx.AsyncClient(transport=server.transport("edge-1")) as http:
            assert_type(await http.get("http://edge-1/pets"), httpx.Response)
        async for event in server.events():
            assert_type(event, restsock.ConnectionEvent)


async def test(restsock_pair: PairFactory) -> None:
    async with aio_pair(serve) as (client, server):
        assert_type(client, restsock.aio.Client)
        assert_type(server, restsock.aio.Server)
    async with restsock_pair.aio(serve) as pair:
        assert_type(pair.network, AioNetwork)
        await pair.network.cut()


asyncio.run(dial("ws://127.0.0.1:8000/"))


async def exchange_messages() -> None:
    messaging = Messaging(store=restsock.messaging.MemoryStore())

    @messaging.on("readings")
    async def keep(message: Message) -> None:
        assert_type(message.session, Session)
        await message.reply({"ok": True})

    async with messaging, restsock.aio.listen("127.0.0.1", 0, messaging=messaging):
        assert_type(await messaging.channel("c", to="edge-1").send(1), str)
        for session in messaging.sessions:
            assert_type(session, Session)
            await session.ask("status", timeout=5)
        async for message in messaging.messages("readings", window=2):
            assert_type(message, Message)
            await message.ack()
