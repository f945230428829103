"""From NATS down to the peers: NATS is told when a peer has handled a message."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio

from restsock.messaging import InvalidMessage, Message, Messaging, MessagingError
from restsock.messaging.bridge import send_down
from restsock.messaging.nats import Nats
from tests.messaging.nats.server import NatsServer
from tests.messaging.nats.test_publish import QUICK, add_stream
from tests.messaging.test_connections import Kept, joined
from tests.waiting import until


async def put(nats: Nats, subject: str, *values: Any) -> None:
    publisher = nats.jetstream()
    for value in values:
        body = json.dumps(value).encode()
        await publisher.publish(subject, body, id=f"{subject} {value}", headers={"Unit": "C"})


async def consumer(nats: Nats, stream: str = "COMMANDS", durable: str = "hub") -> Any:
    async def read() -> Any:
        return await (await nats.link()).client.jetstream().consumer_info(stream, durable)

    return await nats.call(read)


async def until_acknowledged(nats: Nats, count: int) -> None:
    with trio.fail_after(30):
        while True:
            info = await consumer(nats)
            if info.ack_floor.stream_seq == count and not info.num_ack_pending:
                return
            await trio.sleep(0.02)


async def registered(hub: Messaging) -> None:
    await until(lambda: hub.sessions.named("edge-1"))


async def test_jetstream_is_told_once_the_peer_has_handled_it(nats_server: NatsServer) -> None:
    edge, hub = Messaging(), Messaging()
    handled: list[Any] = []
    goes_on = trio.Event()

    @edge.on("commands")
    async def handle(message: Message) -> None:
        await goes_on.wait()
        handled.append((message.body, dict(message.headers)))

    async with Nats(nats_server.url, options=QUICK) as nats:
        await add_stream(nats, "COMMANDS", "commands.>")
        async with joined(edge, hub), trio.open_nursery() as nursery:
            await registered(hub)
            down = nats.pull("COMMANDS", "hub", ack_wait=1)
            await nursery.start(
                lambda task_status: send_down(
                    hub, down, "commands.{peer}", channel="commands", task_status=task_status
                )
            )
            await put(nats, "commands.edge-1", 1, 2, 3)
            await trio.sleep(2)  # twice the time for an ack: more is asked for
            info = await consumer(nats)
            assert info.num_ack_pending == 3
            assert not info.num_redelivered
            goes_on.set()
            await until_acknowledged(nats, 3)
            nursery.cancel_scope.cancel()
    assert handled == [(n, {"Unit": "C"}) for n in (1, 2, 3)]


async def test_nothing_is_lost_or_twice_when_the_server_is_killed(nats_server: NatsServer) -> None:
    edge, hub = Messaging(), Messaging()
    commands = Kept(edge, "commands")
    async with Nats(nats_server.url, options=QUICK) as nats:
        await add_stream(nats, "COMMANDS", "commands.>")
        async with joined(edge, hub), trio.open_nursery() as nursery:
            await registered(hub)
            down = nats.pull("COMMANDS", "hub", window=16, ack_wait=2)
            await nursery.start(
                lambda task_status: send_down(
                    hub, down, "commands.{peer}", channel="commands", task_status=task_status
                )
            )
            for part in range(3):
                await put(nats, "commands.edge-1", *range(part * 50, part * 50 + 50))
                await commands.wait(part * 50 + 20)
                await nats_server.kill()
                await nats_server.start()
            await put(nats, "commands.edge-1", 150)
            await commands.wait(151)
            await until_acknowledged(nats, 151)
            nursery.cancel_scope.cancel()
    assert commands.bodies == [*range(151)]


async def test_a_peer_that_is_away_gets_it_later(nats_server: NatsServer) -> None:
    edge, hub = Messaging(), Messaging()
    commands = Kept(edge, "commands")
    async with Nats(nats_server.url, options=QUICK) as nats:
        await add_stream(nats, "COMMANDS", "commands.>")
        async with joined(edge, hub), trio.open_nursery() as nursery:
            await registered(hub)
            down = nats.pull("COMMANDS", "hub")
            await put(nats, "commands.edge-2", 7)
            await put(nats, "commands.edge-1", 8)
            await nursery.start(
                lambda task_status: send_down(
                    hub,
                    down,
                    "commands.{peer}",
                    channel="commands",
                    retry_after=0.2,
                    task_status=task_status,
                )
            )
            assert await commands.wait(1) == [8]  # the other one does not hold it up
            with trio.fail_after(10):
                while not (await consumer(nats)).num_redelivered:  # noqa: ASYNC110  # NATS tells nobody
                    await trio.sleep(0.02)
            nursery.cancel_scope.cancel()


async def test_what_a_peer_refuses_comes_again(nats_server: NatsServer) -> None:
    edge, hub = Messaging(), Messaging()
    seen: list[Any] = []

    @edge.on("commands")
    async def handle(message: Message) -> None:
        seen.append(message.body)
        if len(seen) == 1:
            raise InvalidMessage("not yet")

    async with Nats(nats_server.url, options=QUICK) as nats:
        await add_stream(nats, "COMMANDS", "commands.>")
        async with joined(edge, hub), trio.open_nursery() as nursery:
            await registered(hub)
            await nursery.start(
                lambda task_status: send_down(
                    hub,
                    nats.pull("COMMANDS", "hub"),
                    "commands.{peer}.{channel}",
                    retry_after=0.1,
                    task_status=task_status,
                )
            )
            await put(nats, "commands.edge-1.commands", 5)
            await until_acknowledged(nats, 1)
            nursery.cancel_scope.cancel()
    assert seen == [5, 5]
    assert len(hub.dead_letters) == 1


async def test_core_nats_to_all_sessions(nats_server: NatsServer) -> None:
    edge, hub = Messaging(), Messaging()
    news = Kept(edge, "news")
    async with Nats(nats_server.url, options=QUICK) as nats:
        async with joined(edge, hub), trio.open_nursery() as nursery:
            await registered(hub)
            for _ in range(2):  # a queue group: each message goes to one of them
                await nursery.start(
                    lambda task_status: send_down(
                        hub,
                        nats.subscribe("news", queue="hubs"),
                        "news",
                        channel="news",
                        task_status=task_status,
                    )
                )
            core = nats.core()
            for n in range(20):
                await core.publish("news", b"%d" % n, id=str(n), headers={})
            await core.publish("news", b"\xff", id="20", headers={})
            await news.wait(21)
            found = [body for body in news.bodies if body != b"\xff"]
            assert sorted(found) == [*range(20)]
            # A connection that is made anew has the subscription, too.
            await nats_server.kill()
            await nats_server.start()
            with trio.fail_after(20):
                while len(news.bodies) == 21:
                    await core.publish("news", b'"again"', id="21", headers={})
                    await trio.sleep(0.02)
            nursery.cancel_scope.cancel()
    assert news.bodies[21] == "again"
    assert b"\xff" in news.bodies


async def test_messages_of_a_stream_that_was_made_anew_are_new(nats_server: NatsServer) -> None:
    """Its numbers begin at 1 again."""
    edge, hub = Messaging(), Messaging()
    commands = Kept(edge, "commands")
    async with Nats(nats_server.url, options=QUICK) as nats:
        await add_stream(nats, "COMMANDS", "commands.>")
        async with joined(edge, hub), trio.open_nursery() as nursery:
            await registered(hub)
            await nursery.start(
                lambda task_status: send_down(
                    hub,
                    nats.pull("COMMANDS", "hub"),
                    "commands.{peer}",
                    channel="commands",
                    task_status=task_status,
                )
            )
            await put(nats, "commands.edge-1", 1, 2)
            await commands.wait(2)
            await until_acknowledged(nats, 2)
            await nats.run(lambda client: client.jetstream().delete_stream("COMMANDS"))
            await add_stream(nats, "COMMANDS", "commands.>")
            await put(nats, "commands.edge-1", 3, 4)
            await commands.wait(4)
            nursery.cancel_scope.cancel()
    assert commands.bodies == [1, 2, 3, 4]


async def test_a_stream_that_is_not_there_is_an_error_at_once(nats_server: NatsServer) -> None:
    async with Messaging() as hub, Nats(nats_server.url, options=QUICK) as nats:
        with pytest.raises(MessagingError, match="no stream 'NOTHING'"):
            await send_down(hub, nats.pull("NOTHING", "hub"), "commands.{peer}")


async def test_at_the_end_acks_leave_and_the_rest_is_given_back(nats_server: NatsServer) -> None:
    async with Nats(nats_server.url, options=QUICK) as nats:
        await add_stream(nats, "COMMANDS", "commands.>")
        await put(nats, "commands.a", 1, 2, 3, 4)
        async with nats.pull("COMMANDS", "hub").open() as messages:
            for number in range(4):
                message = await messages.__anext__()
                if number < 2:
                    message.ack()
        info = await consumer(nats)
        assert info.ack_floor.stream_seq == 2
        # At once, and not after `ack_wait`.
        found = []
        with trio.fail_after(5):
            async with nats.pull("COMMANDS", "hub").open() as messages:
                async for message in messages:
                    message.ack()
                    found.append(message.body)
                    if len(found) == 2:
                        break
    assert sorted(found) == [b"3", b"4"]


async def test_no_more_is_pulled_than_the_window(nats_server: NatsServer) -> None:
    async with Nats(nats_server.url, options=QUICK) as nats:
        await add_stream(nats, "COMMANDS", "commands.>")
        await put(nats, "commands.a", *range(30))
        async with nats.pull("COMMANDS", "hub", window=4).open() as messages:
            held = [await messages.__anext__() for _ in range(4)]
            with trio.move_on_after(0.3) as waited:
                await messages.__anext__()
            assert waited.cancelled_caught
            assert (await consumer(nats)).num_ack_pending == 4
            for message in held:
                message.ack()
            found = [message.body for message in held]
            with trio.fail_after(10):
                while len(found) < 30:
                    message = await messages.__anext__()
                    message.ack()
                    found.append(message.body)
    assert found == [b"%d" % n for n in range(30)]
