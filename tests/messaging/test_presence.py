"""Presence: who is connected, and to what, is what the registry of sessions says at that moment."""

from __future__ import annotations

import pytest
import trio

from restsock.messaging import Messaging, Session
from tests.messaging.links import ForeignLink, connect, until


def readers(messaging: Messaging, channel: str) -> list[Session]:
    return messaging.sessions.select(lambda session: channel in session.subscriptions)


async def test_a_peer_is_present_while_it_is_connected_and_who_waits_is_told() -> None:
    listener, dialer = Messaging(), Messaging()
    sessions = listener.sessions
    seen: list[bool] = []

    def present() -> bool:
        return sessions.named("edge-1") is not None

    async def watch() -> None:
        for _ in range(2):
            await listener.wait_until(present)
            seen.append(True)
            await listener.wait_until(lambda: not present())
            seen.append(False)

    async with trio.open_nursery() as nursery, dialer, listener:
        nursery.start_soon(watch)
        await until(lambda: seen == [])
        link = connect(nursery, dialer, listener, name="edge-1")
        await until(lambda: seen == [True])
        session = sessions.named("edge-1")
        assert session is not None
        assert [*sessions] == [session]
        link.end("cut")
        assert [*sessions] == []
        assert sessions.named("edge-1") is sessions.get(session.id) is None
        assert not session.open
        await until(lambda: seen == [True, False])
        connect(nursery, dialer, listener, name="edge-1")
        await until(lambda: seen == [True, False, True])
        again = sessions.named("edge-1")
        assert again is not None
        assert again.id != session.id
        nursery.cancel_scope.cancel()


async def test_a_name_with_two_connections_is_present_until_both_have_ended() -> None:
    listener, dialer = Messaging(), Messaging()
    async with trio.open_nursery() as nursery, dialer, listener:
        first = connect(nursery, dialer, listener, name="edge-1")
        second = connect(nursery, dialer, listener, name="edge-1")
        one, two = listener.sessions
        assert listener.sessions.named("edge-1") is two
        second.end("cut")
        assert listener.sessions.named("edge-1") is one
        first.end("cut")
        assert listener.sessions.named("edge-1") is None
        nursery.cancel_scope.cancel()


async def test_foreign_peers_are_present_too_and_nobody_is_once_it_is_closed() -> None:
    async with Messaging() as listener:
        session = listener.attach(ForeignLink(name="page"))
        assert listener.sessions.named("page") is session
        assert session.foreign
    assert listener.sessions.named("page") is None
    assert [*listener.sessions] == []


@pytest.mark.parametrize("end", ["unsubscribed", "cut"])
async def test_who_has_subscribed_to_a_channel(end: str) -> None:
    listener, dialers = Messaging(), [Messaging(), Messaging()]
    async with trio.open_nursery() as nursery, dialers[0], dialers[1], listener:
        links = [
            connect(nursery, dialer, listener, name=f"edge-{number}")
            for number, dialer in enumerate(dialers)
        ]
        first, second = listener.sessions
        assert readers(listener, "news") == []
        [session] = dialers[1].sessions
        await session.subscribe("news")
        await session.subscribe("sports")
        assert readers(listener, "news") == [second]
        assert second.subscriptions == {"news", "sports"}
        assert first.subscriptions == frozenset()
        if end == "cut":
            links[1].end("cut")
        else:
            await session.unsubscribe("news")
        assert readers(listener, "news") == []
        assert second.subscriptions == ({"sports"} if end == "unsubscribed" else frozenset())
        nursery.cancel_scope.cancel()
