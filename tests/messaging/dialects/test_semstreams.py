"""Semstreams: the envelope {type, id, timestamp, payload}, with foreign peers of either role."""

from __future__ import annotations

import json
import queue
import re
import threading
from functools import partial
from typing import Any

import pytest
import trio

from restsock import Backoff
from restsock.auth import BearerTokens
from restsock.messaging import (
    AskTimeout,
    InvalidMessage,
    Messaging,
    MessagingOptions,
    Request,
    Semstreams,
)
from restsock.websockets import ServerWebSocket
from tests.messaging.dialects.peers import QUICK, Kept, client, data, served
from tests.waiting import until
from tests.websockets.site import foreign_server, in_thread

FAST = MessagingOptions(
    ack_timeout=0.1, redelivery=Backoff(initial=0.02, cap=0.05, tries=3), ask_timeout=20
)


class Input:
    """A semstreams input that listens: it keeps the data that comes, and acknowledges it.

    Attributes:
        answers: what it does with each message, in turn: `"ack"` when there is nothing else.
    """

    def __init__(self) -> None:
        self.received: queue.Queue[dict[str, Any]] = queue.Queue()
        self.answers: list[str] = []
        self.connections = 0
        self.connection: Any = None

    def serve(self, websocket: Any) -> None:
        self.connections += 1
        self.connection = websocket
        for text in websocket:
            envelope = json.loads(text)
            self.received.put(envelope)
            if envelope["type"] != "data":
                continue
            word = {"id": envelope["id"], "timestamp": envelope["timestamp"]}
            answer = self.answers.pop(0) if self.answers else "ack"
            if answer == "cut":
                websocket.socket.shutdown(2)
            elif answer == "nack":
                payload = {"reason": "publish_failed", "error": "no broker"}
                websocket.send(json.dumps({"type": "nack", "payload": payload, **word}))
            elif answer != "silence":
                for _ in range(2 if answer == "twice" else 1):
                    websocket.send(json.dumps({"type": "ack", **word}))

    async def next(self) -> dict[str, Any]:
        found: dict[str, Any] = await in_thread(partial(self.received.get, timeout=20))
        return found


# --- as a receiver, listening ---------------------------------------------------------------------


async def test_data_is_handled_and_then_acknowledged_with_the_same_id() -> None:
    messaging = Messaging()
    kept = Kept(messaging, "readings")
    endpoint = messaging.endpoint(Semstreams(channel="readings"))
    async with served(messaging, endpoint) as server, client(server) as peer:
        sent = data({"t": 21.5})
        await peer.send_json(sent)
        ack = await peer.receive_json()
        assert {name: ack[name] for name in ("type", "id")} == {"type": "ack", "id": sent["id"]}
        assert set(ack) == {"type", "id", "timestamp"}  # no payload at all
        assert isinstance(ack["timestamp"], int)
        [message] = kept.messages
        assert (message.body, message.id, message.timestamp) == (
            {"t": 21.5},
            sent["id"],
            sent["timestamp"],
        )


@pytest.mark.parametrize("payload", [1, "text", None, [1, 2], {"channel": 7, "encoding": "x"}])
async def test_the_payload_is_any_json(payload: Any) -> None:
    messaging = Messaging()
    kept = Kept(messaging, "data")
    async with (
        served(messaging, messaging.endpoint(Semstreams())) as server,
        client(server) as peer,
    ):
        await peer.send_json(data(payload))
        assert (await peer.receive_json())["type"] == "ack"
        assert kept.bodies == [payload]


async def test_a_failure_gives_a_nack_with_a_reason_and_the_next_try_an_ack() -> None:
    messaging = Messaging()
    kept = Kept(messaging, "data")
    kept.failures = 1
    async with (
        served(messaging, messaging.endpoint(Semstreams())) as server,
        client(server) as peer,
    ):
        sent = data(1)
        await peer.send_json(sent)
        nack = await peer.receive_json()
        assert nack["type"] == "nack"
        assert nack["id"] == sent["id"]
        assert nack["payload"] == {"reason": "publish_failed", "error": "failed: RuntimeError"}
        await peer.send_json(sent)
        assert (await peer.receive_json())["type"] == "ack"
        await peer.send_json(sent)  # a duplicate is acknowledged, not handled
        assert (await peer.receive_json())["type"] == "ack"
        assert kept.bodies == [1]


async def test_what_nobody_handles_and_what_is_refused_say_so() -> None:
    messaging = Messaging()

    @messaging.on("data")
    async def refuse(message: Any) -> None:
        raise InvalidMessage("not with me")

    async with (
        served(messaging, messaging.endpoint(Semstreams())) as server,
        client(server) as peer,
    ):
        await peer.send_json(data(1))
        nack = await peer.receive_json()
        assert nack["payload"] == {"reason": "not with me", "error": "not with me"}


async def test_malformed_and_unknown_envelopes_are_counted_and_the_connection_goes_on() -> None:
    messaging = Messaging()
    kept = Kept(messaging, "data")
    async with (
        served(messaging, messaging.endpoint(Semstreams())) as server,
        client(server) as peer,
    ):
        for garbage in ("{", "", "[]", "7", '{"type":""}', '{"type":7}', '{"id":"1"}', b"\xff"):
            await peer.send(garbage)
        await peer.send('{"type":"data","id":7}')
        await peer.send("[" * 100_000)
        await peer.send('{"type":"data","type":"data"}')
        for unknown in ("credit", "resume", "resumed", "working", "hello", "DATA"):
            await peer.send_json({"type": unknown, "id": "1", "timestamp": 1, "payload": {}})
        for word in ("ack", "nack"):
            await peer.send_json({"type": word, "id": "never sent"})
        await peer.send_json({"type": "slow", "payload": {"utilization": "much"}})
        await peer.send_json({"type": "request", "id": "1"})
        await peer.send_json({"type": "reply", "id": "1"})
        await peer.send('{"type":"data","id":"last"}')  # no payload, no timestamp
        assert await peer.receive_json() == {
            "type": "ack",
            "id": "last",
            "timestamp": pytest.approx(kept.messages[0].timestamp, abs=60_000),
        }
        statistics = messaging.statistics()
        assert statistics.errors == {
            "parse_error": 11,
            "unknown_type": 6,
            "ack_unknown": 2,
            "malformed_slow": 1,
            "malformed_request": 1,
        }
        assert statistics.replies_late == 1


async def test_data_without_an_id_is_handled_and_gets_no_answer() -> None:
    messaging = Messaging()
    kept = Kept(messaging, "data")
    async with (
        served(messaging, messaging.endpoint(Semstreams())) as server,
        client(server) as peer,
    ):
        await peer.send('{"type":"data","payload":1}')
        await peer.send('{"type":"data","payload":2,"id":""}')
        await peer.send_json(data(3))
        assert (await peer.receive_json())["type"] == "ack"
        assert kept.bodies == [1, 2, 3]


async def test_slow_is_said_once_a_crossing_with_depth_capacity_and_utilization() -> None:
    messaging = Messaging(options=MessagingOptions(queue_messages=10))
    go = trio.Event()

    @messaging.on("data")
    async def wait(message: Any) -> None:
        await go.wait()

    async with (
        served(messaging, messaging.endpoint(Semstreams())) as server,
        client(server) as peer,
    ):
        for number in range(11):  # one is being handled
            await peer.send_json(data(number))
        slow = await peer.receive_json()
        assert slow["type"] == "slow"
        assert re.fullmatch(r"bp-\d+", slow["id"])
        assert slow["payload"] == {
            "queue_depth": 8,
            "queue_capacity": 10,
            "utilization": 0.8,
            "threshold": 0.8,
            "recommendation": "reduce_rate",
        }
        go.set()
        for _ in range(11):
            assert (await peer.receive_json())["type"] == "ack"
        assert messaging.statistics().slow_sent == 1


async def test_a_request_is_answered_and_one_of_this_side_too() -> None:
    messaging = Messaging()

    @messaging.method("add")
    async def add(request: Request) -> Any:
        return sum(request.params)

    async with (
        served(messaging, messaging.endpoint(Semstreams())) as server,
        client(server) as peer,
    ):
        request = {"method": "add", "params": [1, 2]}
        await peer.send_json({"type": "request", "id": "r1", "timestamp": 1, "payload": request})
        reply = await peer.receive_json()
        assert (reply["type"], reply["id"]) == ("reply", "r1")
        assert reply["payload"] == {"status": "ok", "result": 3}

        session = next(iter(messaging.sessions))
        for answer, expected in (
            ({"status": "ok", "result": 7}, 7),
            ({"depth": 3}, {"depth": 3}),
            ([1], [1]),
        ):
            async with trio.open_nursery() as nursery:

                async def play(answer: Any = answer) -> None:
                    asked = await peer.receive_json("request")
                    assert asked["payload"] == {"method": "status", "params": {"a": 1}}
                    word = {"type": "reply", "id": asked["id"], "payload": answer}
                    await peer.send_json(word)

                nursery.start_soon(play)
                assert await session.ask("status", {"a": 1}, timeout=20) == expected
        with pytest.raises(AskTimeout):
            await session.ask("status", timeout=0.05)


async def test_401_comes_before_the_upgrade_and_is_counted() -> None:
    messaging = Messaging()
    auth = BearerTokens({"s3cret-token": "edge-1"})

    def name(websocket: ServerWebSocket) -> str:
        assert websocket.principal is not None
        return websocket.principal.name

    endpoint = messaging.endpoint(Semstreams(), auth=auth, name=name)
    kept = Kept(messaging, "data")
    async with served(messaging, endpoint) as server:
        with pytest.raises(Exception, match="401"):
            async with client(server):
                pass
        assert messaging.statistics().errors == {"auth_failed": 1}
        fields = {"Authorization": "Bearer s3cret-token"}
        sent = data(1)
        for _ in range(2):  # a peer with a name is known from before
            async with client(server, additional_headers=fields) as peer:
                await peer.send_json(sent)
                assert (await peer.receive_json())["type"] == "ack"
        assert kept.bodies == [1]
        assert kept.messages[0].session.principal is not None
        assert kept.messages[0].session.name == "edge-1"


# --- as a sender, listening: each client acknowledges ---------------------------------------------


async def test_a_sender_is_acknowledged_by_each_client_on_its_own() -> None:
    messaging = Messaging(options=FAST)
    endpoint = messaging.endpoint(Semstreams())
    async with served(messaging, endpoint) as server, client(server) as one, client(server) as two:
        await until(lambda: len(messaging.sessions) == 2)
        first, second = messaging.sessions
        for session in (first, second):
            await session.send("news", {"n": 1}, delivery="at_least_once")
        got = await one.receive_json()
        assert re.fullmatch(r"msg-\d+-\d+", got["id"])
        assert (got["type"], got["payload"]) == ("data", {"n": 1})
        await one.send_json({"type": "ack", "id": got["id"]})
        # The other never does: it gets the message again, with the same id, and then no more.
        again = [await two.receive_json() for _ in range(3)]
        assert len({message["id"] for message in again}) == 1
        await until(lambda: messaging.dead_letters)
        assert len(messaging.dead_letters) == 1
        assert messaging.statistics().messages_acknowledged == {"news": 1}


async def test_a_broadcast_is_acknowledged_without_harm() -> None:
    messaging = Messaging()
    endpoint = messaging.endpoint(Semstreams())
    async with served(messaging, endpoint) as server, client(server) as one, client(server) as two:
        await until(lambda: len(messaging.sessions) == 2)
        results = await messaging.sessions.broadcast("news", b"\x00")
        assert [result.ok for result in results] == [True, True]
        for peer in (one, two):
            got = await peer.receive_json()
            assert got["payload"] == {"raw_data": "AA==", "encoding": "base64"}
            await peer.send_json({"type": "ack", "id": got["id"]})
        await one.send_json({"type": "ack", "id": got["id"]})  # twice
        await until(lambda: messaging.statistics().errors)
        assert messaging.statistics().errors == {"ack_unknown": 1}


# --- as a sender, dialing: a semstreams input listens ---------------------------------------------


async def test_acks_nacks_and_silence_of_a_foreign_receiver_drive_redelivery() -> None:
    messaging, peer = Messaging(options=FAST), Input()
    peer.answers = ["nack", "silence", "twice"]
    async with foreign_server(peer.serve) as url, messaging, trio.open_nursery() as nursery:
        await nursery.start(partial(messaging.dial, url, Semstreams(), reconnect=QUICK))
        channel = messaging.channel("readings", delivery="at_least_once")
        await channel.send({"t": 1})
        with trio.fail_after(20):
            await channel.drain()
        got = [await peer.next() for _ in range(3)]
        assert len({one["id"] for one in got}) == 1
        assert [one["payload"] for one in got] == [{"t": 1}] * 3
        await until(lambda: messaging.statistics().errors)
        statistics = messaging.statistics()
        assert statistics.nacks_received == 1
        assert statistics.messages_redelivered == 2
        assert statistics.errors == {"ack_unknown": 1}  # it has said so twice
        nursery.cancel_scope.cancel()


async def test_what_was_sent_before_and_during_an_outage_arrives_in_order() -> None:
    messaging, peer = Messaging(options=FAST), Input()
    peer.answers = ["ack", "cut"]
    channel = messaging.channel("readings", delivery="at_least_once")
    async with foreign_server(peer.serve) as url, messaging, trio.open_nursery() as nursery:
        for number in range(5):
            await channel.send(number)  # nobody is connected yet
        nursery.start_soon(partial(messaging.dial, url, Semstreams(), reconnect=QUICK))
        with trio.fail_after(20):
            await channel.drain()
        got = [(await peer.next())["payload"] for _ in range(peer.received.qsize())]
        assert sorted(set(got)) == [0, 1, 2, 3, 4]
        assert [n for at, n in enumerate(got) if n not in got[:at]] == [0, 1, 2, 3, 4]
        assert peer.connections == 2
        assert messaging.statistics().reconnect_attempts == 1
        nursery.cancel_scope.cancel()


async def test_a_connection_that_is_cut_again_and_again_loses_nothing() -> None:
    messaging, peer = Messaging(options=FAST), Input()
    peer.answers = ["ack", "ack", "silence", "nack", "cut"] * 8
    channel = messaging.channel("readings", delivery="at_least_once")
    async with foreign_server(peer.serve) as url, messaging, trio.open_nursery() as nursery:
        nursery.start_soon(partial(messaging.dial, url, Semstreams(), reconnect=QUICK))
        for number in range(60):
            await channel.send(number)
        with trio.fail_after(30):
            await channel.drain()
        got = [await peer.next() for _ in range(peer.received.qsize())]
        ids: dict[int, set[str]] = {}
        for envelope in got:
            ids.setdefault(envelope["payload"], set()).add(envelope["id"])
        dead = {json.loads(f"{{{one.record.content}}}")["body"] for one in messaging.dead_letters}
        assert ids.keys() == {*range(60)}
        assert all(len(each) == 1 for each in ids.values())  # known by its id, however often
        assert messaging.statistics().messages_acknowledged["readings"] + len(dead) == 60
        nursery.cancel_scope.cancel()


async def test_a_foreign_sender_that_listens_is_acknowledged() -> None:
    answers: queue.Queue[Any] = queue.Queue()
    done = threading.Event()

    def output(websocket: Any) -> None:
        websocket.send(json.dumps(data({"t": 1})))
        answers.put(json.loads(websocket.recv()))
        done.wait(20)

    messaging = Messaging()
    kept = Kept(messaging, "federated.data")
    async with foreign_server(output) as url, messaging, trio.open_nursery() as nursery:
        dialect = Semstreams(channel="federated.data")
        nursery.start_soon(partial(messaging.dial, url, dialect, reconnect=QUICK))
        ack = await in_thread(partial(answers.get, timeout=20))
        assert (ack["type"], ack["id"]) == ("ack", kept.messages[0].id)
        assert kept.bodies == [{"t": 1}]
        done.set()
        nursery.cancel_scope.cancel()
