"""From the edge over a hub to NATS: the ack to the edge leaves when NATS has the message."""

from __future__ import annotations

import json
from typing import Any

import trio
from nats.js.api import StreamConfig

from restsock import Backoff
from restsock.messaging import Messaging
from restsock.messaging.bridge import publish_to
from restsock.messaging.nats import Nats, NatsOptions
from tests.messaging.nats.server import NatsServer
from tests.messaging.test_connections import joined

QUICK = NatsOptions(ack_timeout=2, backoff=Backoff(initial=0.05, cap=0.2))


async def add_stream(nats: Nats, name: str = "READINGS", *subjects: str) -> None:
    async def add() -> None:
        link = await nats.link()
        config = StreamConfig(name=name, subjects=[*subjects] or ["readings.>"])
        await link.client.jetstream().add_stream(config)

    await nats.call(add)


async def stored(nats: Nats, name: str = "READINGS") -> list[Any]:
    """All messages of a stream, in its order: subject, body, headers."""

    async def read() -> list[Any]:
        js = (await nats.link()).client.jetstream()
        last = (await js.stream_info(name)).state.last_seq
        found = [await js.get_msg(name, seq) for seq in range(1, last + 1)]
        return [(one.subject, one.data, one.headers) for one in found]

    result: list[Any] = await nats.call(read)
    return result


async def test_what_comes_is_stored_once_and_in_order(nats_server: NatsServer) -> None:
    edge, hub = Messaging(), Messaging()
    async with Nats(nats_server.url, options=QUICK) as nats:
        await add_stream(nats)
        hub.on("readings")(publish_to(nats.jetstream(), "readings.{peer}"))
        async with joined(edge, hub):
            channel = edge.channel("readings", delivery="at_least_once")
            ids = [await channel.send({"t": n}, headers={"Unit": "C"}) for n in range(50)]
            await channel.send(b"\0\1")
            with trio.fail_after(20):
                await channel.drain()
            found = await stored(nats)
    assert [json.loads(body) for _, body, _ in found[:50]] == [{"t": n} for n in range(50)]
    assert [headers["Nats-Msg-Id"] for _, _, headers in found[:50]] == ids
    subject, _, headers = found[0]
    assert subject == "readings.edge-1"
    assert headers["Unit"] == "C"
    assert headers["Restsock-Peer"] == "edge-1"
    assert headers["Content-Type"] == "application/json"
    assert found[50][1] == b"\0\1"
    assert found[50][2]["Content-Type"] == "application/octet-stream"


async def test_two_handlers_may_publish_to_one_stream(nats_server: NatsServer) -> None:
    """It stores one message of an id, whatever the subjects."""
    edge, hub = Messaging(), Messaging()
    async with Nats(nats_server.url, options=QUICK) as nats:
        await add_stream(nats, "READINGS", "readings.>", "copies.>")
        hub.on("readings")(publish_to(nats.jetstream(), "readings.{peer}"))
        hub.on("readings")(publish_to(nats.jetstream(), "copies.{peer}", id_suffix=":copy"))
        async with joined(edge, hub):
            channel = edge.channel("readings", delivery="at_least_once")
            ids = [await channel.send(n) for n in range(3)]
            with trio.fail_after(20):
                await channel.drain()
            found = await stored(nats)
    seen = {(subject, headers["Nats-Msg-Id"]) for subject, _, headers in found}
    plain = {("readings.edge-1", id) for id in ids}
    assert seen == plain | {("copies.edge-1", f"{id}:copy") for id in ids}


async def test_nothing_is_lost_when_the_server_is_killed(nats_server: NatsServer) -> None:
    edge, hub = Messaging(), Messaging()
    async with Nats(nats_server.url, options=QUICK) as nats:
        await add_stream(nats)
        hub.on("readings")(publish_to(nats.jetstream(), "readings.{peer}"))
        async with joined(edge, hub):
            channel = edge.channel("readings", delivery="at_least_once")
            with trio.fail_after(40):
                for n in range(300):
                    await channel.send(n)
                    if n % 100 == 50:
                        while len(await stored(nats)) < n - 40:  # noqa: ASYNC110  # NATS tells nobody
                            await trio.sleep(0.01)
                        await nats_server.kill()
                    elif n % 100 == 70:
                        await nats_server.start()
                await channel.drain()
            assert nats.connections == 4
            found = await stored(nats)
        assert edge.dead_letters == []
    assert [json.loads(body) for _, body, _ in found] == [*range(300)]
