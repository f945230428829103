"""Raw: text and bytes of foreign peers as they are."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import trio

from restsock.messaging import AskFailed, Messaging, Raw
from tests.messaging.dialects.peers import QUICK, Kept, client, served
from tests.waiting import until
from tests.websockets.site import foreign_server


async def test_text_and_bytes_come_and_go_at_an_endpoint() -> None:
    messaging = Messaging()
    kept = Kept(messaging, "feed")
    endpoint = messaging.endpoint(dialect=Raw(channel="feed"))
    async with served(messaging, endpoint) as server, client(server) as peer:
        await peer.send("hello \u2713")
        await peer.send(b"\x00\xff")
        assert await kept.wait(2) == ["hello \u2713", b"\x00\xff"]
        await kept.messages[0].reply("to you")
        await kept.messages[0].reply(b"\x01")
        await kept.messages[0].reply({"t": 21.5})
        assert [await peer.receive() for _ in range(3)] == ["to you", b"\x01", '{"t":21.5}']


async def test_text_and_bytes_come_and_go_over_a_dialed_websocket() -> None:
    def echo(websocket: Any) -> None:
        for message in websocket:
            websocket.send(message)

    messaging = Messaging()
    kept = Kept(messaging, "messages")
    async with foreign_server(echo) as url, messaging, trio.open_nursery() as nursery:
        await nursery.start(partial(messaging.dial, url, dialect=Raw(), reconnect=QUICK))
        await messaging.channel("any").send("one")
        await messaging.channel("other").send(b"two")
        assert await kept.wait(2) == ["one", b"two"]
        session = next(iter(messaging.sessions))
        assert session.metadata["peer"]["host"] == "127.0.0.1"
        nursery.cancel_scope.cancel()


async def test_what_is_sent_at_least_once_counts_as_handled_when_it_was_written() -> None:
    messaging = Messaging()
    async with served(messaging, messaging.endpoint(Raw())) as server, client(server) as peer:
        await until(lambda: len(messaging.sessions))
        session = next(iter(messaging.sessions))
        channel = messaging.channel("news", delivery="at_least_once", to=session)
        await channel.send("now")
        with trio.fail_after(20):
            await channel.drain()
        assert await peer.receive() == "now"
        assert messaging.statistics().messages_acknowledged == {"news": 1}


async def test_a_request_to_a_peer_that_takes_none_fails_at_once() -> None:
    messaging = Messaging()
    async with served(messaging, messaging.endpoint(Raw())) as server, client(server):
        await until(lambda: len(messaging.sessions))
        with pytest.raises(AskFailed, match="takes no requests") as caught:
            await next(iter(messaging.sessions)).ask("status", timeout=1000)
        assert caught.value.kind == "invalid"
