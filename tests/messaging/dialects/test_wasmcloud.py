"""WasmCloud: {subject, body, reply_to}, in either role."""

from __future__ import annotations

import json
import queue
from functools import partial
from typing import Any

import pytest
import trio

from restsock.auth import Bearer
from restsock.messaging import Messaging, WasmCloud
from tests.messaging.dialects.peers import QUICK, Kept, client, served
from tests.waiting import until
from tests.websockets.site import foreign_server, in_thread


@pytest.mark.parametrize(
    ("message", "channel", "body"),
    [
        ('{"subject":"a.b","body":"text \u2713","reply_to":null}', "a.b", "text \u2713"),
        ('{"subject":"a","body":"AP8=","encoding":"base64"}', "a", b"\x00\xff"),
        ('{"subject":"a","body":"00ff","encoding":"hex"}', "a", b"\x00\xff"),
        ('{"subject":"a","body":[0,104,255]}', "a", b"\x00h\xff"),
        ('{"subject":"a","body":"68"}', "a", "68"),  # not decoded unless it says so
        ('{"body":"no subject"}', "default", "no subject"),
        ('{"subject":"a"}', "a", '{"subject":"a"}'),  # no body: the whole text
        ("no JSON", "message", "no JSON"),
        ("[1]", "message", "[1]"),
        (b'{"subject":"a","body":"b"}', "a", "b"),
        (b"text", "message", "text"),
        (b"\x00\xff", "binary.message", b"\x00\xff"),
    ],
)
async def test_what_comes(message: str | bytes, channel: str, body: Any) -> None:
    messaging = Messaging()
    kept = Kept(messaging, channel)
    async with served(messaging, messaging.endpoint(WasmCloud())) as server, client(server) as peer:
        await peer.send(message)
        assert await kept.wait(1) == [body]
        [message_] = kept.messages
        assert message_.reply_to == message_.session.id  # where none is given


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("text \u2713", {"body": "text \u2713"}),
        (b"\x00\xff", {"body": "AP8=", "encoding": "base64"}),
        ({"t": 1}, {"body": '{"t":1}'}),
        (None, {"body": "null"}),
    ],
)
async def test_what_is_sent(body: Any, expected: dict[str, Any]) -> None:
    messaging = Messaging()
    async with served(messaging, messaging.endpoint(WasmCloud())) as server, client(server) as peer:
        await until(lambda: len(messaging.sessions))
        [session] = messaging.sessions
        await session.send("sub.ject", body)
        got = await peer.receive_json_text()
        assert got == {"subject": "sub.ject", "reply_to": None, **expected}
        await session.send("sub.ject", body, headers={"trace": "1"}, reply_to="service-1")
        got = await peer.receive_json_text()
        assert (got["reply_to"], got["headers"]) == ("service-1", {"trace": "1"})


async def test_bytes_are_in_hex_on_request() -> None:
    messaging = Messaging()
    kept = Kept(messaging, "a")
    endpoint = messaging.endpoint(WasmCloud(hex=True))
    async with served(messaging, endpoint) as server, client(server) as peer:
        await peer.send('{"subject":"a","body":"68656c6c6f"}')
        await peer.send('{"subject":"a","body":"plain","encoding":"text"}')
        assert await kept.wait(2) == [b"hello", "plain"]
        await kept.messages[0].reply(b"\x00\xff")
        assert await peer.receive_json_text() == {
            "subject": "a",
            "body": "00ff",
            "encoding": "hex",
            "reply_to": None,
        }
        await kept.messages[0].reply("text")
        text = await peer.receive_json_text()
        assert (text["body"], text["encoding"]) == ("text", "text")


async def test_a_forged_reply_to_is_refused_and_ones_own_is_not() -> None:
    messaging = Messaging()
    kept = Kept(messaging, "a")
    endpoint = messaging.endpoint(WasmCloud())
    async with served(messaging, endpoint) as server, client(server) as one, client(server) as two:
        await one.send('{"subject":"a","body":"mine"}')
        await kept.wait(1)
        victim = kept.messages[0].session.id
        await two.send(json.dumps({"subject": "a", "body": "forged", "reply_to": victim}))
        await two.send(json.dumps({"subject": "a", "body": "nobody", "reply_to": "x"}))
        await one.send(json.dumps({"subject": "a", "body": "own", "reply_to": victim}))
        assert await kept.wait(2) == ["mine", "own"]
        await until(lambda: messaging.statistics().messages_dropped.get("reply_to") == 2)
        await kept.messages[1].reply("answer")
        assert (await one.receive_json_text())["body"] == "answer"


async def test_malformed_messages_are_counted_and_the_connection_goes_on() -> None:
    messaging = Messaging()
    kept = Kept(messaging, "a")
    async with served(messaging, messaging.endpoint(WasmCloud())) as server, client(server) as peer:
        bad: dict[str, Any]
        for bad in (
            {"body": 7},
            {"body": {}},
            {"body": [256]},
            {"body": [True]},
            {"body": "A", "encoding": "base64"},
            {"body": "0", "encoding": "hex"},
            {"body": "\u2713", "encoding": "hex"},
            {"body": "x", "encoding": "rot13"},
            {"body": "x", "encoding": 7},
        ):
            await peer.send_json({"subject": "a", **bad})
        for bad in (
            {"subject": 7},
            {"subject": ""},
            {"subject": "a", "reply_to": 7},
            {"subject": "a", "headers": {"n": 1}},
        ):
            await peer.send_json({"body": "x", **bad})
        await peer.send('{"subject":"a","body":"good"}')
        assert await kept.wait(1) == ["good"]
        assert messaging.statistics().errors == {"malformed_body": 9, "malformed_data": 4}


async def test_client_mode_sends_its_token_and_headers_and_takes_what_comes() -> None:
    seen: queue.Queue[Any] = queue.Queue()

    def serve(websocket: Any) -> None:
        seen.put(dict(websocket.request.headers.raw_items()))
        websocket.send("hello")
        for message in websocket:
            seen.put(json.loads(message))

    messaging = Messaging()
    kept = Kept(messaging, "message")
    async with foreign_server(serve) as url, messaging, trio.open_nursery() as nursery:
        await nursery.start(
            partial(
                messaging.dial,
                url,
                WasmCloud(),
                auth=Bearer("s3cret-token"),
                headers={"X-Site": "ulm"},
                reconnect=QUICK,
            )
        )
        fields = await in_thread(partial(seen.get, timeout=20))
        assert fields["Authorization"] == "Bearer s3cret-token"
        assert fields["X-Site"] == "ulm"
        assert await kept.wait(1) == ["hello"]
        await messaging.channel("orders").send({"n": 1})
        sent = await in_thread(partial(seen.get, timeout=20))
        assert sent == {"subject": "orders", "body": '{"n":1}', "reply_to": None}
        nursery.cancel_scope.cancel()


async def test_each_message_goes_to_every_handler_and_one_that_fails_stops_no_other() -> None:
    messaging = Messaging()

    @messaging.on("a")
    async def fail(message: Any) -> None:
        raise RuntimeError("told to")

    one, two = Kept(messaging, "a"), Kept(messaging, "a")
    async with served(messaging, messaging.endpoint(WasmCloud())) as server, client(server) as peer:
        await peer.send('{"subject":"a","body":"x"}')
        assert await one.wait(1) == ["x"]
        assert await two.wait(1) == ["x"]


async def test_a_broadcast_reaches_all_though_one_has_gone() -> None:
    messaging = Messaging()
    async with served(messaging, messaging.endpoint(WasmCloud())) as server:
        async with client(server) as one, client(server) as two:
            async with client(server) as gone:
                await until(lambda: len(messaging.sessions) == 3)
                sessions = [*messaging.sessions]
                gone.connection.socket.shutdown(2)
                await until(lambda: len(messaging.sessions) == 2)
            sent = await messaging.send_to([each.id for each in sessions], "all", channel="news")
            assert sorted(each.ok for each in sent) == [False, True, True]
            for peer in (one, two):
                assert (await peer.receive_json_text())["body"] == "all"
