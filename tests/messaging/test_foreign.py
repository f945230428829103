"""Endpoints and dialed WebSockets of a messaging: who gets in, when to dial again, the end."""

from __future__ import annotations

import json
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme

import restsock
from restsock import HandshakeError, tls
from restsock.auth import CertificateSubject
from restsock.messaging import Messaging, MessagingClosed, MessagingOptions, Raw, Semstreams
from restsock.websockets import Reconnect
from tests.messaging.dialects.peers import QUICK, Kept, client, data, served
from tests.waiting import until
from tests.websockets.site import PATIENCE, foreign_server, in_thread, listening


async def test_connections_are_limited_and_pages_of_other_origins_refused() -> None:
    messaging = Messaging()
    Kept(messaging, "data")
    endpoint = messaging.endpoint(Semstreams(), max_connections=1, origins="https://app.example")
    async with served(messaging, endpoint) as server:
        async with client(server, origin="https://app.example") as peer:
            with pytest.raises(Exception, match="HTTP 503"):
                async with client(server):
                    pass
            await peer.send_json(data(1))
            assert (await peer.receive_json())["type"] == "ack"
        await until(lambda: not len(messaging.sessions))
        with pytest.raises(Exception, match="HTTP 403"):
            async with client(server, origin="https://evil.example"):
                pass
        assert messaging.statistics().errors == {"upgrade_error": 2}
        assert messaging.statistics().connections_total == 1
        assert messaging.health().details["mode"] == "server"


async def test_a_peer_that_is_quicker_than_its_rate_is_read_no_quicker() -> None:
    messaging = Messaging(options=MessagingOptions(foreign_rate=20))
    kept = Kept(messaging, "messages")
    async with served(messaging, messaging.endpoint(Raw())) as server, client(server) as peer:
        begun = trio.current_time()
        for number in range(30):
            await peer.send(f"{number}")
        assert await kept.wait(30) == [f"{number}" for number in range(30)]  # and none is lost
        assert trio.current_time() - begun >= 0.4  # 20 at once, and the others in 0.5 s


async def test_pages_of_the_same_origin_alone_by_default() -> None:
    messaging = Messaging()
    async with served(messaging, messaging.endpoint(Raw())) as server:
        own = server.url.replace("ws", "http", 1).rstrip("/")
        async with client(server, origin=own):
            pass
        with pytest.raises(Exception, match="HTTP 403"):
            async with client(server, origin="https://app.example"):
                pass


async def test_messages_are_compressed_where_both_sides_want_it() -> None:
    messaging = Messaging()
    kept = Kept(messaging, "messages")
    endpoint = messaging.endpoint(Raw(), compression=True)
    async with (
        served(messaging, endpoint) as server,
        client(server, compression="deflate") as peer,
    ):
        assert peer.connection.protocol.extensions
        await peer.send("x" * 10_000)
        assert await kept.wait(1) == ["x" * 10_000]
        await kept.messages[0].reply("y" * 10_000)
        assert await peer.receive() == "y" * 10_000


async def test_both_ends_with_tls_and_the_certificate_of_the_client(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name in ("hub", "edge-1"):
        pem = authority.issue_cert(name).private_key_and_cert_chain_pem
        pem.write_to_path(tmp_path / f"{name}.pem")
    ca = tmp_path / "ca.pem"
    left, right = Messaging(), Messaging()
    kept = Kept(right, "messages")
    endpoint = right.endpoint(Raw(), auth=CertificateSubject({"edge-1": "edge"}, field="DNS"))
    secure = tls.ServerTLS(tmp_path / "hub.pem", client_ca=ca)
    async with (
        right,
        left,
        restsock.listen("127.0.0.1", 0, tls=secure, endpoints={"/ws": endpoint}) as server,
        trio.open_nursery() as nursery,
    ):
        port = server.address[1]
        dial = partial(left.dial, f"wss://localhost:{port}/ws", Raw())
        with pytest.raises(HandshakeError):  # the listener is known by another name
            await dial(tls=tls.client(ca=ca), reconnect=Reconnect(tries=1))
        certificate = tmp_path / "edge-1.pem"
        right_one = tls.client(ca=ca, server_hostname="hub", certificate=certificate)
        await nursery.start(partial(dial, tls=right_one, reconnect=QUICK))
        await left.channel("any").send("secret")
        assert await kept.wait(1) == ["secret"]
        session = kept.messages[0].session
        assert session.metadata["tls"] is True
        assert session.principal is not None
        assert session.principal.name == "edge"
        [dialed] = left.sessions
        assert dialed.metadata == {"tls": True, "peer": {"host": "localhost", "port": port}}
        nursery.cancel_scope.cancel()


async def test_a_dialer_gives_up_after_its_tries_and_health_says_so() -> None:
    messaging = Messaging()
    async with messaging:
        reconnect = Reconnect(initial=0.01, cap=0.01, tries=3)
        with trio.fail_after(PATIENCE), pytest.raises(HandshakeError):
            await messaging.dial("ws://127.0.0.1:1/", Raw(), reconnect=reconnect)
        statistics, health = messaging.statistics(), messaging.health()
        assert statistics.reconnect_attempts == 2
        assert statistics.errors == {"connect_error": 3}
        assert not health.healthy
        assert "out of retries" in health.status
        assert health.details["mode"] == "client"


async def test_a_wait_between_two_attempts_can_be_cancelled() -> None:
    messaging = Messaging()
    async with messaging:
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                reconnect = Reconnect(initial=1000, cap=1000, jitter=False)
                nursery.start_soon(
                    partial(messaging.dial, "ws://127.0.0.1:1/", Raw(), reconnect=reconnect)
                )
                await until(lambda: messaging.statistics().errors)
                nursery.cancel_scope.cancel()


async def test_dialed_peers_have_names_of_their_own() -> None:
    def greet(word: str, websocket: Any) -> None:
        for message in websocket:
            websocket.send(f"{word} {message}")

    messaging = Messaging()
    kept = Kept(messaging, "messages")
    async with (
        foreign_server(partial(greet, "one")) as first,
        foreign_server(partial(greet, "two")) as second,
        messaging,
        trio.open_nursery() as nursery,
    ):
        for name, url in (("a", first), ("b", second)):
            await nursery.start(partial(messaging.dial, url, Raw(), name=name, reconnect=QUICK))
        await messaging.channel("any", to="b").send("for b")
        assert await kept.wait(1) == ["two for b"]
        await messaging.channel("any", to="a").send("for a")
        assert await kept.wait(2) == ["two for b", "one for a"]
        assert {session.name for session in messaging.sessions} == {"a", "b"}
        nursery.cancel_scope.cancel()


async def test_when_the_listener_closes_what_was_read_is_handled_and_acknowledged() -> None:
    messaging = Messaging()
    begun, go = trio.Event(), trio.Event()
    handled = []

    @messaging.on("data")
    async def slow(message: Any) -> None:
        begun.set()
        await go.wait()
        handled.append(message.body)

    async with messaging, trio.open_nursery() as nursery:
        endpoint = messaging.endpoint(Semstreams())
        async with listening(endpoint) as server:
            async with client(server) as peer:
                for number in range(3):
                    await peer.send_json(data(number))
                await begun.wait()
                await until(lambda: messaging.statistics().messages_received == {"data": 3})
                nursery.start_soon(server.aclose)
                [websocket] = endpoint.websockets
                await websocket.wait_draining()
                go.set()
                acks = [await peer.receive_json() for _ in range(3)]
                assert [ack["type"] for ack in acks] == ["ack"] * 3
                assert await peer.closed() == 1001
        assert handled == [0, 1, 2]


async def test_a_messaging_that_has_closed_takes_nobody() -> None:
    messaging = Messaging()
    close, closed = trio.Event(), trio.Event()

    async def run(task_status: trio.TaskStatus[None]) -> None:
        async with messaging:
            task_status.started()
            await close.wait()
        closed.set()

    async with trio.open_nursery() as nursery:
        await nursery.start(run)
        async with listening(messaging.endpoint(Raw())) as server:
            async with client(server) as peer:
                await until(lambda: len(messaging.sessions))
                close.set()
                assert await peer.closed() == 1001
            await closed.wait()
            async with client(server) as peer:
                assert await peer.closed() == 1001


async def test_an_endpoint_of_a_messaging_that_is_not_open_is_refused() -> None:
    messaging = Messaging()
    with pytest.raises(RuntimeError, match="not open"):
        async with listening(messaging.endpoint(Raw())):
            pass
    with pytest.raises((RuntimeError, MessagingClosed)):
        await messaging.dial("ws://127.0.0.1:1/", Raw())


async def test_wrong_arguments_are_refused_at_once() -> None:
    messaging = Messaging()
    async with messaging:
        with pytest.raises(ValueError, match="peer's name"):
            await messaging.dial("ws://127.0.0.1:1/", Raw(), name="\n")
        with pytest.raises(ValueError, match="URL"):
            await messaging.dial("http://127.0.0.1:1/", Raw())
        with pytest.raises(TypeError):
            messaging.endpoint(Raw(), speed=1)  # type: ignore[call-arg]
        with pytest.raises(ValueError, match="max_connections"):
            messaging.endpoint(Raw(), max_connections=0)


async def test_a_break_is_counted_and_the_next_connection_is_dialed() -> None:
    broken = threading.Event()

    def serve(websocket: Any) -> None:
        if not broken.is_set():
            broken.set()
            websocket.socket.shutdown(2)
            return
        websocket.send(json.dumps(data("after")))
        for _ in websocket:
            pass

    messaging = Messaging()
    kept = Kept(messaging, "data")
    async with foreign_server(serve) as url, messaging, trio.open_nursery() as nursery:
        nursery.start_soon(partial(messaging.dial, url, Semstreams(), reconnect=QUICK))
        assert await kept.wait(1) == ["after"]
        statistics = messaging.statistics()
        assert (statistics.reconnect_attempts, statistics.connections_total) == (1, 2)
        assert statistics.errors == {"read_error": 1}
        assert await in_thread(broken.is_set)
        nursery.cancel_scope.cancel()
