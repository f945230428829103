"""Tremor: codecs and framings, metadata of connections, and where an event goes back to."""

from __future__ import annotations

import gzip
import json
from functools import partial
from typing import Any

import pytest
import trio

from restsock.messaging import MessageTooLarge, Messaging, MessagingOptions, Tremor
from tests.messaging.dialects.peers import QUICK, Kept, client, served
from tests.waiting import until
from tests.websockets.site import foreign_server, in_thread


async def test_each_connection_has_its_metadata_and_binary_frames_a_flag() -> None:
    messaging = Messaging()
    kept = Kept(messaging, "events")
    async with served(messaging, messaging.endpoint(Tremor())) as server, client(server) as peer:
        await peer.send('{"n": 1}')
        await peer.send(b'{"n": 2}')
        assert await kept.wait(2) == [{"n": 1}, {"n": 2}]
        text, binary = kept.messages
        port = peer.connection.local_address[1]
        connection = {"ws_server": {"tls": False, "peer": {"host": "127.0.0.1", "port": port}}}
        assert Tremor.metadata(text) == connection
        assert Tremor.metadata(binary) == {**connection, "binary": True}
        # An event that is sent back as it came leaves in a frame of the same kind.
        for message in (text, binary):
            await message.reply(message.body, headers=message.headers)
        assert await peer.receive() == '{"n":1}'
        assert await peer.receive() == b'{"n":2}'


async def test_the_metadata_of_a_client_is_that_of_a_client() -> None:
    def serve(websocket: Any) -> None:
        for message in websocket:
            websocket.send(message)

    messaging = Messaging()
    kept = Kept(messaging, "events")
    async with foreign_server(serve) as url, messaging, trio.open_nursery() as nursery:
        await nursery.start(partial(messaging.dial, url, Tremor(), reconnect=QUICK))
        await messaging.channel("any").send([1, 2])
        await kept.wait(1)
        [message] = kept.messages
        peer = {"host": "127.0.0.1", "port": int(url.rpartition(":")[2].strip("/"))}
        assert Tremor.metadata(message) == {"ws_client": {"tls": False, "peer": peer}}
        nursery.cancel_scope.cancel()


async def test_an_event_goes_back_to_its_connection_to_any_by_metadata_or_to_all_origins() -> None:
    messaging = Messaging()
    kept = Kept(messaging, "events")
    endpoint = messaging.endpoint(Tremor())
    async with (
        served(messaging, endpoint) as server,
        client(server) as one,
        client(server) as two,
        client(server) as three,
    ):
        for number, peer in enumerate((one, two, three)):
            await peer.send(json.dumps(number))
            await kept.wait(number + 1)
        first, second, _ = kept.messages
        await first.reply("back")
        assert await one.receive() == '"back"'

        where = {"ws_server.peer.port": two.connection.local_address[1]}
        sent = await messaging.sessions.broadcast("events", "you", where=where)
        assert [each.session_id for each in sent] == [second.session.id]
        assert await two.receive() == '"you"'
        assert await messaging.sessions.broadcast("events", 1, where={"ws_server.tls": True}) == []

        aggregate = [*first.origins, *second.origins]
        sent = await messaging.send_to(aggregate, {"sum": 1})
        assert [each.ok for each in sent] == [True, True]
        assert await one.receive() == '{"sum":1}'
        assert await two.receive() == '{"sum":1}'
        await messaging.sessions.broadcast("events", "last")
        assert await three.receive() == '"last"'  # and nothing before


async def test_framings_before_and_after_have_the_state_of_one_connection() -> None:
    messaging = Messaging()
    kept = Kept(messaging, "lines")
    dialect = Tremor(
        "json",
        before=["separate", "remove-empty"],
        after=[{"name": "compress", "config": {"algorithm": "gzip"}}, "length-prefixed"],
        channel="lines",
    )
    endpoint = messaging.endpoint(dialect)
    async with served(messaging, endpoint) as server, client(server) as one, client(server) as two:
        await one.send('{"a": 1}\n\n{"a"')  # the rest comes in another frame
        await kept.wait(1)
        await two.send('{"b": 1}\n')
        await kept.wait(2)
        await one.send(b": 2}\n[")
        assert await kept.wait(3) == [{"a": 1}, {"b": 1}, {"a": 2}]
        assert kept.messages[0].session is kept.messages[2].session
        await kept.messages[0].reply({"c": 3})
        framed = await one.receive()
        assert isinstance(framed, bytes)
        assert int.from_bytes(framed[:8], "big") == len(framed) - 8
        assert gzip.decompress(framed[8:]) == b'{"c":3}'


@pytest.mark.parametrize("codec", ["json", "msgpack", "yaml", "csv", "string", "binary", "cbor"])
async def test_codecs_there_and_back(codec: str) -> None:
    bodies: dict[str, Any] = {"csv": ["a", "b"], "string": "text \u2713", "binary": b"\x00\xff"}
    body = bodies.get(codec, {"n": [1, "two", None, 2.5]})
    left, right = Messaging(), Messaging()
    there, back = Kept(right, "events"), Kept(left, "events")
    endpoint = right.endpoint(Tremor(codec))
    async with served(right, endpoint) as server, left, trio.open_nursery() as nursery:
        url = server.url.rstrip("/") + "/ws"
        await nursery.start(partial(left.dial, url, Tremor(codec), reconnect=QUICK))
        await left.channel("any").send(body)
        assert await there.wait(1) == [body]
        await there.messages[0].reply(body)
        assert await back.wait(1) == [body]
        nursery.cancel_scope.cancel()


async def test_what_waits_to_be_sent_together_leaves_when_there_is_no_more() -> None:
    messaging = Messaging()
    dialect = Tremor("string", after=["separate", "collect"])
    async with served(messaging, messaging.endpoint(dialect)) as server, client(server) as peer:
        await until(lambda: len(messaging.sessions))
        session = next(iter(messaging.sessions))
        channel = messaging.channel("events", delivery="at_least_once", to=session)
        for number in range(3):
            channel.send_nowait(str(number))
        with trio.fail_after(20):
            await channel.drain()  # acknowledged once they were written
        assert await peer.receive() == "0\n1\n2\n"


async def test_what_cannot_be_written_is_a_dead_letter_and_the_next_one_leaves() -> None:
    messaging = Messaging()
    dialect = Tremor("string", binary=False)
    async with served(messaging, messaging.endpoint(dialect)) as server, client(server) as peer:
        await until(lambda: len(messaging.sessions))
        session = next(iter(messaging.sessions))
        channel = messaging.channel("events", delivery="at_least_once", to=session)
        await channel.send({"no": "text"})
        await channel.send("text")
        with trio.fail_after(20):
            await channel.drain()
        assert await peer.receive() == "text"
        [letter] = messaging.dead_letters
        assert "string" in letter.reason
        assert messaging.statistics().errors == {"encode_error": 1}


async def test_what_was_held_back_and_cannot_be_written_is_no_message_that_was_handled() -> None:
    messaging = Messaging()
    dialect = Tremor("binary", after=["separate", "collect"], binary=False)
    async with served(messaging, messaging.endpoint(dialect)) as server, client(server) as peer:
        await until(lambda: len(messaging.sessions))
        session = next(iter(messaging.sessions))
        channel = messaging.channel("events", delivery="at_least_once", to=session)
        receipt = await channel.send_tracked(b"\xff")
        with trio.fail_after(20):
            assert not await receipt.handled()
        await channel.send(b"text")
        with trio.fail_after(20):
            await channel.drain()
        assert await peer.receive() == "text\n"
        [letter] = messaging.dead_letters
        assert "UTF-8" in letter.reason
        assert messaging.statistics().errors == {"encode_error": 1}


async def test_wrong_events_are_counted_and_the_stream_goes_on() -> None:
    messaging = Messaging()
    kept = Kept(messaging, "events")
    dialect = Tremor({"name": "json", "config": {"max_depth": 5}}, before=["separate"])
    async with served(messaging, messaging.endpoint(dialect)) as server, client(server) as peer:
        await peer.send("{\n" + "[" * 50 + "]" * 50 + "\n7\n")
        assert await kept.wait(1) == [7]
        await peer.send(b"\xff\xfe\n8\n")
        assert await kept.wait(2) == [7, 8]
        assert messaging.statistics().errors == {"decode_malformed": 2, "decode_too_deep": 1}


async def test_a_length_that_is_wrong_ends_the_connection() -> None:
    messaging = Messaging()
    dialect = Tremor(before=["length-prefixed"])
    async with served(messaging, messaging.endpoint(dialect)) as server, client(server) as peer:
        await peer.send(b"\xff" * 8 + b"{}")
        assert await peer.closed() == 1007
        await until(lambda: not len(messaging.sessions))
        assert messaging.statistics().errors == {"decode_too_large": 1}


async def test_a_bomb_is_refused_before_it_is_inflated() -> None:
    messaging = Messaging()
    kept = Kept(messaging, "events")
    dialect = Tremor("string", before=["decompress"])
    async with served(messaging, messaging.endpoint(dialect)) as server, client(server) as peer:
        await peer.send(gzip.compress(b"\0" * 2**26))
        await peer.send(gzip.compress(b"small"))
        assert await kept.wait(1) == ["small"]
        assert messaging.statistics().errors == {"decode_too_large": 1}


async def test_the_end_of_a_stream_is_the_end_of_its_last_event() -> None:
    messaging = Messaging()
    kept = Kept(messaging, "events")
    dialect = Tremor(before=["separate"])
    async with served(messaging, messaging.endpoint(dialect)) as server:
        async with client(server) as peer:
            await peer.send("1\n2")
        assert await kept.wait(2) == [1, 2]


async def test_a_flood_in_one_frame_is_bounded_by_the_queue() -> None:
    messaging = Messaging(options=MessagingOptions(queue_messages=10))
    kept = Kept(messaging, "events")
    dialect = Tremor(before=["separate"])
    async with served(messaging, messaging.endpoint(dialect)) as server, client(server) as peer:
        await peer.send("1\n" * 50_000 + "2\n")
        with trio.fail_after(20):
            while 2 not in kept.bodies:
                await kept.wait(len(kept.bodies) + 1)
        statistics = messaging.statistics()
        assert statistics.messages_received == {"events": 50_001}
        assert statistics.messages_dropped == {"queue_full": 50_001 - len(kept.bodies)}


async def test_with_the_policy_block_nothing_is_lost() -> None:
    messaging = Messaging(options=MessagingOptions(queue_messages=10, queue_full="block"))
    kept = Kept(messaging, "events")
    dialect = Tremor(before=["separate"])
    async with served(messaging, messaging.endpoint(dialect)) as server, client(server) as peer:
        await peer.send("".join(f"{number}\n" for number in range(2000)))
        assert await kept.wait(2000) == [*range(2000)]


def test_wrong_configuration_is_refused_when_it_is_made() -> None:
    with pytest.raises(ValueError, match="did you mean 'json'"):
        Tremor("jsn")
    with pytest.raises(ValueError, match="separate"):
        Tremor(before=["seperate"])
    with pytest.raises(ValueError, match="channel"):
        Tremor(channel="")


async def test_a_message_that_is_too_large_is_refused_before_it_is_queued() -> None:
    messaging = Messaging()
    async with served(messaging, messaging.endpoint(Tremor())) as server, client(server):
        await until(lambda: len(messaging.sessions))
        with pytest.raises(MessageTooLarge):
            await messaging.sessions.broadcast("events", "x" * 2**17)
        assert await in_thread(lambda: True)
