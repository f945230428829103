"""What wasmCloud's messaging provider promises, kept between two programs over real sockets.

The other program is the package `websockets`, or a second messaging. What is left out here is told
in the table of docs/messaging.md.
"""

from __future__ import annotations

import json
import queue
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

import restsock
from restsock.auth import Bearer, BearerTokens
from restsock.instruments.prometheus import MessagingCollector
from restsock.messaging import (
    AskTimeout,
    Message,
    Messaging,
    MessagingOptions,
    Request,
    UnknownSession,
    WasmCloud,
)
from restsock.websockets import Reconnect
from tests.heritage.certificates import Files
from tests.messaging.dialects.peers import QUICK, Kept, client, served
from tests.messaging.test_connections import joined
from tests.waiting import until
from tests.websockets.site import PATIENCE, foreign_server, in_thread, url_of


@asynccontextmanager
async def silent_listener() -> AsyncIterator[str]:
    """One that takes connections and says nothing; gives its URL."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield f"ws://127.0.0.1:{sock.getsockname()[1]}/"


async def test_both_roles_list_sessions_with_ids_times_and_metadata() -> None:
    listener, dialer = Messaging(), Messaging()
    endpoint = listener.endpoint(WasmCloud())
    async with (
        served(listener, endpoint) as server,
        client(server),
        dialer,
        trio.open_nursery() as nursery,
    ):
        dial = partial(dialer.dial, url_of(server), WasmCloud(), reconnect=QUICK, proxy=False)
        await nursery.start(dial)
        await until(lambda: len(listener.sessions) == 2)
        sessions = [*listener.sessions, *dialer.sessions]
        assert len({session.id for session in sessions}) == 3
        for session in sessions:
            assert abs(session.connected_at - time.time()) < PATIENCE
            assert "127.0.0.1" in json.dumps(dict(session.metadata))
        assert dialer.health().details["mode"] == "client"
        nursery.cancel_scope.cancel()
    assert len(listener.sessions) == 0


async def test_a_failed_session_does_not_stop_a_broadcast_and_an_unknown_id_is_an_error() -> None:
    messaging = Messaging()
    endpoint = messaging.endpoint(WasmCloud())
    async with (
        served(messaging, endpoint) as server,
        client(server) as one,
        client(server) as two,
    ):
        async with client(server) as gone:
            await until(lambda: len(messaging.sessions) == 3)
            ids = [session.id for session in messaging.sessions]
            gone.connection.socket.shutdown(2)
            await until(lambda: len(messaging.sessions) == 2)
        sent = await messaging.send_to(ids, "all")
        assert sorted(each.ok for each in sent) == [False, True, True]
        assert [each.ok for each in await messaging.sessions.broadcast("news", "here")] == [
            True
        ] * 2
        for peer in (one, two):
            assert [(await peer.receive_json_text())["body"] for _ in range(2)] == ["all", "here"]
        for session in messaging.sessions:
            await messaging.sessions.send(session.id, session.id)
        bodies = [(await peer.receive_json_text())["body"] for peer in (one, two)]
        assert sorted(bodies) == sorted(session.id for session in messaging.sessions)
        for unknown in {*ids} - {session.id for session in messaging.sessions}:
            with pytest.raises(UnknownSession):
                await messaging.sessions.send(unknown, "nobody")


async def test_an_answer_goes_to_the_sender_by_default_and_a_forged_address_is_refused() -> None:
    messaging = Messaging()
    kept = Kept(messaging, "a")
    endpoint = messaging.endpoint(WasmCloud())
    async with served(messaging, endpoint) as server, client(server) as one, client(server) as two:
        await one.send('{"subject":"a","body":"hello","reply_to":null}')
        await kept.wait(1)
        [message] = kept.messages
        assert (message.channel, message.reply_to) == ("a", message.session.id)
        victim = message.session.id
        await two.send(json.dumps({"subject": "a", "body": "forged", "reply_to": victim}))
        await two.send('{"subject":"a","body":"honest"}')
        assert await kept.wait(2) == ["hello", "honest"]
        assert messaging.statistics().messages_dropped == {"reply_to": 1}
        await kept.messages[1].reply("to two")
        await message.reply("to one")
        for peer, body in ((one, "to one"), (two, "to two")):
            got = await peer.receive_json_text()
            assert got == {"subject": "a", "body": body, "reply_to": None}


async def test_every_handler_gets_a_message_and_a_dialer_sends_its_headers_and_token() -> None:
    seen: queue.Queue[Any] = queue.Queue()

    def serve(websocket: Any) -> None:
        seen.put(dict(websocket.request.headers.raw_items()))
        websocket.send('{"subject":"a","body":"x"}')
        for _ in websocket:
            pass

    messaging = Messaging()

    @messaging.on("a")
    async def fail(message: Message) -> None:
        raise RuntimeError("told to")

    one, two = Kept(messaging, "a"), Kept(messaging, "a")
    async with foreign_server(serve) as url, messaging, trio.open_nursery() as nursery:
        dial = partial(messaging.dial, dialect=WasmCloud(), reconnect=Reconnect(tries=1))
        await nursery.start(
            partial(dial, url, auth=Bearer("s3cret-token"), headers={"X-Site": "ulm"})
        )
        assert (await one.wait(1), await two.wait(1)) == (["x"], ["x"])
        fields = await in_thread(partial(seen.get, timeout=PATIENCE))
        assert (fields["Authorization"], fields["X-Site"]) == ("Bearer s3cret-token", "ulm")
        async with silent_listener() as silent:  # a connect timeout
            options = restsock.Options(timeouts=restsock.Timeouts(handshake=0.1))
            with pytest.raises(restsock.HandshakeError):
                await dial(silent, options=options, proxy=False)
        nursery.cancel_scope.cancel()


async def test_requested_features_exist_requests_acks_compression_health_metrics_tls_and_auth(
    tmp_path: Path,
) -> None:
    edge, hub = Messaging(), Messaging()

    @edge.method("status")
    async def status(request: Request) -> Any:
        return {"up": request.params}

    @edge.method("stuck")
    async def stuck(request: Request) -> Any:
        await answered.wait()

    answered = trio.Event()
    kept = Kept(hub, "a")
    async with joined(edge, hub):
        channel = edge.channel("a", delivery="at_least_once")
        await channel.send(1)
        with trio.fail_after(PATIENCE):
            await channel.drain()  # until the ack has come
        assert kept.bodies == [1]
        [session] = hub.sessions
        assert await session.ask("status", 7) == {"up": 7}
        with pytest.raises(AskTimeout):
            await session.ask("stuck", timeout=0.02)
        answered.set()
        assert hub.health().healthy
        metrics = MessagingCollector(hub.statistics, channels=["a"]).exposition().decode()
        assert 'restsock_messaging_messages_published_total{channel="a"} 1.0' in metrics

    listener, dialer = Messaging(), Messaging()
    kept = Kept(listener, "a")
    auth = BearerTokens({"s3cret-token": "edge-1"})
    endpoint = listener.endpoint(WasmCloud(), auth=auth, compression=True)
    files = Files(tmp_path)
    certificate, key = files.issue("hub.example")
    there = restsock.tls.server(certificate=certificate, key=key)
    async with (
        listener,
        restsock.listen("127.0.0.1", 0, endpoints={"/ws": endpoint}, tls=there) as server,
        dialer,
        trio.open_nursery() as nursery,
    ):
        tls = restsock.tls.client(ca=files.ca, server_hostname="hub.example")
        url = f"wss://127.0.0.1:{server.address[1]}/ws"
        once = Reconnect(tries=1)
        dial = partial(dialer.dial, url, WasmCloud(), tls=tls, reconnect=once, proxy=False)
        with pytest.raises(restsock.WebSocketRefused, match="401"):
            await dial()
        await nursery.start(partial(dial, auth=Bearer("s3cret-token"), compression=True))
        await dialer.channel("a").send("x" * 5000)
        assert await kept.wait(1) == ["x" * 5000]
        principal = kept.messages[0].session.principal
        assert principal is not None
        assert principal.name == "edge-1"
        assert kept.messages[0].session.metadata["tls"] is True
        nursery.cancel_scope.cancel()
    await compressed_for_a_foreign_client()


async def compressed_for_a_foreign_client() -> None:
    messaging = Messaging()
    kept = Kept(messaging, "a")
    endpoint = messaging.endpoint(WasmCloud(), compression=True)
    async with served(messaging, endpoint) as server, client(server, compression="deflate") as peer:
        [extension] = peer.connection.protocol.extensions
        assert extension.name == "permessage-deflate"
        await peer.send('{"subject":"a","body":"' + "x" * 5000 + '"}')
        assert await kept.wait(1) == ["x" * 5000]


async def test_a_session_is_not_read_faster_than_its_rate_limit() -> None:
    messaging = Messaging(options=MessagingOptions(foreign_rate=20))
    quick, other = Kept(messaging, "quick"), Kept(messaging, "other")
    endpoint = messaging.endpoint(WasmCloud())
    async with (
        served(messaging, endpoint) as server,
        client(server) as one,
        client(server) as two,
    ):
        begun = trio.current_time()
        for number in range(30):
            await one.send_json({"subject": "quick", "body": f"{number}"})
        await two.send_json({"subject": "other", "body": "at once"})
        assert await other.wait(1) == ["at once"]
        assert len(quick.bodies) < 30  # the rate of one session slows no other one
        assert await quick.wait(30) == [f"{number}" for number in range(30)]  # and none is lost
        assert trio.current_time() - begun >= 0.4  # 20 at once, and the others in 0.5 s
