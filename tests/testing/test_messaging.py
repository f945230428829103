"""Messages between the two ends of pairs in memory."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import trio

import restsock.messaging.aio
import restsock.messaging.sync
from restsock.messaging import Messaging
from restsock.testing import PairFactory, aio_pair, connected_pair, sync_pair, trio_pair
from tests.messaging.test_connections import Kept


async def _exchange(client: Messaging, server: Messaging) -> None:
    kept = Kept(server, "readings")
    channel = client.channel("readings", delivery="at_least_once")
    await channel.send(21.5)
    with trio.fail_after(20):
        await channel.drain()
    assert kept.bodies == [21.5]
    [session] = server.sessions
    assert (await session.ask("status"))["healthy"]


async def test_on_trio() -> None:
    async with Messaging() as client, Messaging() as server:
        async with trio_pair(messaging=client, server_messaging=server) as pair:
            await _exchange(client, server)
            await pair.network.cut()
            await _exchange(client, server)


async def test_on_one_wire() -> None:
    async with Messaging() as dialer, Messaging() as listener:
        async with connected_pair(name="edge-1", messaging_a=dialer, messaging_b=listener):
            await _exchange(dialer, listener)
            assert listener.sessions.named("edge-1") is not None
        assert [*dialer.sessions, *listener.sessions] == []
    with pytest.raises(RuntimeError, match="is not open"):
        async with connected_pair(messaging_a=Messaging()):
            pass


def _ask(client: Any, server: Any) -> None:
    with server.messages("readings") as stream:
        client.channel("readings").send(1)
        message = stream.receive(timeout=20)
        assert message.body == 1
        message.ack()
    [session] = server.sessions
    assert session.ask("status")["healthy"]


def test_in_threads() -> None:
    kind = restsock.messaging.sync.Messaging
    with kind() as client, kind() as server:
        with sync_pair(messaging=client, server_messaging=server):
            _ask(client, server)
        # And as arguments of `connect` and `listen`.
        with sync_pair(client={"messaging": client}, server={"messaging": server}):
            _ask(client, server)


def test_of_the_fixture(restsock_pair: PairFactory) -> None:
    kind = restsock.messaging.sync.Messaging
    with kind() as client, kind() as server:
        restsock_pair(messaging=client, server_messaging=server)
        _ask(client, server)
        restsock_pair.close()


def test_on_asyncio() -> None:
    async def main() -> None:
        kind = restsock.messaging.aio.Messaging
        async with kind() as client, kind() as server:
            async with aio_pair(messaging=client, server_messaging=server):
                stream = server.messages("readings")
                await client.channel("readings").send(1)
                message = await stream.receive()
                assert message.body == 1
                [session] = server.sessions
                assert (await session.ask("status"))["healthy"]

    asyncio.run(main())
