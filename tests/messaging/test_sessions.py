"""All sessions: looking them up, sending to one, to some, to all."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from restsock._principal import Principal
from restsock.messaging import (
    InvalidMessage,
    MessageTooLarge,
    Messaging,
    MessagingOptions,
    QueueFull,
    SessionClosed,
    UnknownSession,
)
from restsock.protocol import Envelope
from tests.messaging.links import ForeignLink, connect, pair, until


async def three(nursery: trio.Nursery, listener: Messaging, dialers: list[Messaging]) -> list[Any]:
    links = []
    for number, dialer in enumerate(dialers):
        metadata = {
            "peer": {"host": f"10.0.0.{number % 2}"},
            "name": "forged",
            "principal": "forged",
        }
        principal = Principal(f"p-{number}")
        links.append(
            connect(
                nursery,
                dialer,
                listener,
                name=f"edge-{number}",
                metadata=metadata,
                principal=principal,
            )
        )
    return links


async def test_looking_up() -> None:
    dialers = [Messaging() for _ in range(3)]
    async with trio.open_nursery() as nursery, dialers[0], dialers[1], dialers[2]:
        async with Messaging() as listener:
            sessions = listener.sessions
            assert (len(sessions), [*sessions]) == (0, [])
            await three(nursery, listener, dialers)
            first, second, third = sessions
            assert len(sessions) == 3
            assert sessions.get(first.id) is first
            assert sessions.get("nobody") is None
            assert sessions.named("edge-1") is second
            assert sessions.named("nobody") is None
            assert sessions.select() == [first, second, third]
            assert sessions.select({"peer.host": "10.0.0.0"}) == [first, third]
            assert sessions.select({"peer.host": "10.0.0.0", "name": "edge-2"}) == [third]
            assert sessions.select({"name": "forged"}) == []
            assert sessions.select({"principal": "forged"}) == []
            assert sessions.select({"principal": "p-1"}) == [second]
            assert sessions.select({"id": third.id}) == [third]
            assert sessions.select({"peer.port": None}) == []
            assert sessions.select({"peer.host.x": 1}) == []
            assert sessions.select(lambda session: session is second) == [second]
            assert first.connected_at > 0
            assert (first.principal and first.principal.name) == "p-0"
        nursery.cancel_scope.cancel()


async def test_sending_to_one() -> None:
    async with pair() as (dialer, listener, link):
        stream = dialer.messages("messages")
        [session] = listener.sessions
        await listener.sessions.send(session.id, "hello")
        assert (await stream.receive()).body == "hello"
        with pytest.raises(UnknownSession, match="nobody"):
            await listener.sessions.send("nobody", 1)
        link.end("cut")
        with pytest.raises(UnknownSession):
            await listener.sessions.send(session.id, 1)


async def test_broadcast_has_a_result_for_each() -> None:
    dialers = [Messaging() for _ in range(3)]
    async with trio.open_nursery() as nursery, dialers[0], dialers[1], dialers[2]:
        options = MessagingOptions(queue_messages=1, queue_full="drop_newest")
        async with Messaging(options=options) as listener:
            links = await three(nursery, listener, dialers)
            streams = [dialer.messages("news", window=10) for dialer in dialers]
            results = await listener.sessions.broadcast("news", {"a": 1}, headers={"h": "1"})
            assert [(result.name, result.ok) for result in results] == [
                ("edge-0", True),
                ("edge-1", True),
                ("edge-2", True),
            ]
            for stream in streams:
                message = await stream.receive()
                assert (message.body, message.headers) == ({"a": 1}, {"h": "1"})
            stalled = links[1].other
            stalled.stalled, stalled.most = True, 10
            links[2].other.max_message = 20
            results = await listener.sessions.broadcast("news", 2)
            assert [type(result.error) for result in results] == [
                type(None),
                type(None),  # it waits in the queue
                MessageTooLarge,
            ]
            results = await listener.sessions.broadcast("news", 3, where={"name": "edge-1"})
            assert [type(result.error) for result in results] == [QueueFull]
            assert [(await streams[0].receive()).body] == [2]
            with pytest.raises(InvalidMessage):
                await listener.sessions.broadcast("news", object())
            stalled.stalled = False
        nursery.cancel_scope.cancel()


async def test_an_aggregate_goes_back_to_each_origin() -> None:
    dialers = [Messaging() for _ in range(3)]
    async with trio.open_nursery() as nursery, dialers[0], dialers[1], dialers[2]:
        async with Messaging() as listener:
            links = await three(nursery, listener, dialers)
            stream = listener.messages("readings")
            for dialer in dialers:
                await dialer.channel("readings").send(1)
            origins: list[str] = []
            for _ in dialers:
                message = await stream.receive()
                origins += message.origins
                await message.ack()
            links[1].end("cut")
            answers = [dialer.messages("sum") for dialer in dialers]
            results = await listener.send_to([*origins, origins[0]], 3, channel="sum")
            assert [result.session_id for result in results] == origins
            failed = {one.session_id: type(one.error) for one in results if not one.ok}
            assert failed == {links[1].id: UnknownSession}
            for at in (0, 2):
                assert (await answers[at].receive()).body == 3
        nursery.cancel_scope.cancel()


async def test_replies_go_to_who_has_sent() -> None:
    async with pair() as (dialer, listener, _):

        @listener.on("questions")
        async def answer(message: Any) -> None:
            await message.reply({"answer": message.body}, headers={"a": "b"})

        stream = dialer.messages("questions")
        await dialer.channel("questions").send(42)
        message = await stream.receive()
        assert (message.body, message.headers) == ({"answer": 42}, {"a": "b"})


async def test_a_reply_to_a_peer_that_has_gone_waits_for_it() -> None:
    dialer, listener = Messaging(), Messaging()
    async with trio.open_nursery() as nursery, dialer, listener:
        link = connect(nursery, dialer, listener)
        questions, answers = listener.messages("c"), dialer.messages("c")
        await dialer.channel("c").send(1)
        message = await questions.receive()
        link.end("cut")
        await message.reply("later")
        connect(nursery, dialer, listener)
        assert (await answers.receive()).body == "later"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("reply_to", "principal", "allowed"),
    [
        ("foreign", None, True),  # its own session
        ("edge-1", None, True),
        ("edge-2", None, False),
        ("edge-2", Principal("edge-1"), False),
        ("edge-2", Principal("site", may_register=["edge-*"]), True),
        ("hub", Principal("site", may_register=["edge-*"]), False),
    ],
)
@pytest.mark.parametrize("delivery", ["at_most_once", "at_least_once"])
async def test_answers_go_where_the_sender_may_have_them(
    reply_to: str, principal: Principal | None, allowed: bool, delivery: str
) -> None:
    link = ForeignLink(name="edge-1", principal=principal)
    async with Messaging() as listener:
        found = []

        @listener.on("c")
        async def keep(message: Any) -> None:
            found.append(message.reply_to)

        link.session = listener.attach(link)
        payload = {"channel": "c", "body": 1, "reply_to": reply_to, "delivery": delivery}
        link.session.receive(Envelope("data", "1", 0, payload), 10)
        if allowed:
            await until(lambda: found)
            assert found == [reply_to]
        else:
            if delivery == "at_least_once":
                [nack] = await link.wait_sent("nack")
                assert nack.payload["final"] is True
            else:
                assert listener.statistics().messages_dropped == {"reply_to": 1}
            await trio.testing.wait_all_tasks_blocked()
            assert not found


async def test_a_foreign_reply_to_is_used_or_unknown() -> None:
    principal = Principal("site", may_register=["edge-*"])
    link = ForeignLink(name="edge-1", principal=principal)
    async with trio.open_nursery() as nursery, Messaging() as other, Messaging() as listener:
        connect(nursery, other, listener, name="edge-2")
        link.session = listener.attach(link)
        questions, answers = listener.messages("c"), other.messages("c")
        for name in ("edge-2", "edge-3"):
            payload = {"channel": "c", "body": 1, "reply_to": name}
            link.session.receive(Envelope("data", name, 0, payload), 10)
        message = await questions.receive()
        await message.reply("hello")
        assert (await answers.receive()).body == "hello"
        await message.ack()
        message = await questions.receive()
        with pytest.raises(UnknownSession, match="edge-3"):
            await message.reply("hello")
        nursery.cancel_scope.cancel()


async def test_an_ended_session_has_an_error_in_the_results() -> None:
    async with pair() as (_, listener, link):
        [session] = listener.sessions
        link.end("cut")
        [result] = await listener.sessions.send_each([session], "c", 1, None)
        assert isinstance(result.error, SessionClosed)
        assert not result.ok
