"""Foreign peers that mean harm. The connection of others goes on, in bounded memory."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed

from restsock import Backoff
from restsock.messaging import (
    Dialect,
    Messaging,
    MessagingOptions,
    Raw,
    Request,
    Semstreams,
    Tremor,
    WasmCloud,
)
from restsock.messaging.dialects import End, Garbled
from restsock.protocol import Envelope
from tests.messaging.dialects.peers import Kept, client, data, served
from tests.messaging.links import ForeignLink
from tests.waiting import until
from tests.websockets.site import PATIENCE

DIALECTS: list[Dialect] = [Raw(), Semstreams(), Tremor(), Tremor(before=["separate"]), WasmCloud()]


@asynccontextmanager
async def honest(server: Any) -> AsyncIterator[None]:
    """A peer that is served in the middle of whatever goes on."""
    async with client(server) as peer:
        yield
        for number in range(3):
            sent = data(f"honest {number}")
            await peer.send_json(sent)
            assert (await peer.receive_json("ack"))["id"] == sent["id"]


async def test_one_that_reads_no_acknowledgement_is_closed_and_takes_little_memory() -> None:
    messaging = Messaging()

    @messaging.on("data")
    async def drop(message: Any) -> None:
        del message

    async with messaging:
        link = ForeignLink()
        link.session = messaging.attach(link)
        link.stalled = True
        content = {"channel": "data", "body": "x" * 1000, "delivery": "at_least_once"}
        for number in range(20_000):
            link.session.receive(Envelope("data", str(number), 0, dict(content)), 1100)
            if not number % 100:
                await trio.testing.wait_all_tasks_blocked()
            if link.closed is not None:
                break
        assert link.closed == (1013, "it does not read its acknowledgements")
        acks = link.session.state.acks
        assert 9_000 < len(acks) < 11_500  # with those that were waiting then
        assert not any(each.data.body for each in acks)


async def test_a_flood_is_bounded_by_the_queue_and_each_drop_is_said() -> None:
    messaging = Messaging(options=MessagingOptions(queue_messages=10))
    go = trio.Event()

    @messaging.on("data")
    async def wait(message: Any) -> None:
        await go.wait()

    endpoint = messaging.endpoint(Semstreams())
    async with served(messaging, endpoint) as server, client(server) as peer:
        for number in range(100):
            await peer.send_json(data(number))
        nacks = [await peer.receive_json("nack") for _ in range(89)]
        assert {nack["payload"]["reason"] for nack in nacks} == {"overflow"}
        go.set()
        for _ in range(11):
            assert (await peer.receive_json("ack"))["type"] == "ack"
        assert messaging.statistics().messages_dropped == {"queue_full": 89}


async def test_with_the_policy_disconnect_a_flood_is_closed_with_1013() -> None:
    options = MessagingOptions(queue_messages=10, queue_full="disconnect")
    messaging = Messaging(options=options)
    go = trio.Event()

    @messaging.on("data")
    async def wait(message: Any) -> None:
        if not message.body.startswith("honest"):
            await go.wait()

    async with served(messaging, messaging.endpoint(Semstreams())) as server, honest(server):
        async with client(server) as peer:
            with suppress(ConnectionClosed):
                for number in range(30):
                    await peer.send_json(data(str(number)))
            assert await peer.closed() == 1013
        go.set()


async def test_a_flood_of_requests_is_answered_within_the_limit() -> None:
    messaging = Messaging()
    Kept(messaging, "data")
    go, running, most = trio.Event(), 0, 0

    @messaging.method("wait")
    async def wait(request: Request) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await go.wait()
        running -= 1

    endpoint = messaging.endpoint(Semstreams())
    async with served(messaging, endpoint) as server, honest(server), client(server) as peer:
        for number in range(50):
            asked = {"method": "wait"}
            await peer.send_json({"type": "request", "id": f"{number}", "payload": asked})
        refused = [await peer.receive_json("reply") for _ in range(40)]
        assert {reply["payload"]["error"] for reply in refused} == {"too many requests at once"}
        go.set()
        for _ in range(10):
            assert (await peer.receive_json("reply"))["payload"]["status"] == "ok"
        assert most == 10


async def test_one_that_never_acknowledges_keeps_no_other_from_its_messages() -> None:
    options = MessagingOptions(
        ack_timeout=0.05, redelivery=Backoff(initial=0.01, cap=0.02, tries=3), credit_messages=4
    )
    messaging = Messaging(options=options)
    endpoint = messaging.endpoint(Semstreams())
    async with served(messaging, endpoint) as server, client(server) as bad, client(server) as good:
        await until(lambda: len(messaging.sessions) == 2)
        for number in range(8):
            for session in messaging.sessions:
                await session.send("news", number, delivery="at_least_once")
        for number in range(8):
            got = await good.receive_json("data")
            await good.send_json({"type": "ack", "id": got["id"]})
            assert got["payload"] == number
        await until(lambda: len(messaging.dead_letters) == 8)  # those of the other
        statistics = messaging.statistics()
        assert statistics.messages_acknowledged == {"news": 8}
        assert statistics.messages_dead == {"attempts": 8}
        bad.connection.socket.shutdown(2)  # else its close would wait for what it has not read


async def test_acks_of_what_is_not_under_way_do_nothing() -> None:
    messaging = Messaging()
    endpoint = messaging.endpoint(Semstreams())
    async with served(messaging, endpoint) as server, client(server) as one, client(server) as two:
        await until(lambda: len(messaging.sessions) == 2)
        first, _ = messaging.sessions
        channel = messaging.channel("news", delivery="at_least_once", to=first)
        await channel.send(1)
        got = await one.receive_json("data")
        for id in ("", "msg-1-1", f"msg-1-{2**128}", "msg-1-" + "9" * 400, got["id"] + "0"):
            await one.send_json({"type": "ack", "id": id})
        await two.send_json({"type": "ack", "id": got["id"]})  # of another's message
        await two.send_json({"type": "nack", "id": got["id"], "payload": {"final": True}})
        errors = messaging.statistics
        await until(lambda: sum(errors().errors.values()) == 7)
        assert messaging.statistics().messages_acknowledged == {}
        await one.send_json({"type": "ack", "id": got["id"]})
        with trio.fail_after(PATIENCE):
            await channel.drain()
        assert messaging.dead_letters == []


async def test_a_message_of_many_megabytes_closes_with_1009() -> None:
    messaging = Messaging()
    Kept(messaging, "data")
    async with served(messaging, messaging.endpoint(Semstreams())) as server, honest(server):
        async with client(server) as peer:
            try:
                await peer.send_json(data("x" * 100_000_000))
            except OSError:
                pass  # it was closed before all had left
            assert await peer.closed() in (1009, 1006)
        assert messaging.statistics().messages_received == {}


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(range(len(DIALECTS))),
    st.lists(
        st.one_of(
            st.text(max_size=50),
            st.binary(max_size=50),
            st.dictionaries(
                st.sampled_from(
                    ["type", "id", "timestamp", "payload", "subject", "body", "encoding"]
                ),
                st.recursive(
                    st.none()
                    | st.booleans()
                    | st.integers()
                    | st.sampled_from(["data", "ack", "nack", "reply", "request", "hex", "base64"])
                    | st.text(max_size=5),
                    lambda inner: (
                        st.lists(inner, max_size=3)
                        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
                    ),
                    max_leaves=5,
                ),
            ).map(json.dumps),
        ),
        max_size=5,
    ),
)
def test_whatever_comes_is_an_envelope_or_counted(number: int, messages: list[str | bytes]) -> None:
    end = End("session", False, "10.0.0.7", 1234, False, lambda: "new")
    wire = DIALECTS[number].wire(end)
    for message in messages:
        for found in wire.receive(message, 10**18):
            assert isinstance(found, (Envelope, Garbled))
    for found in wire.receive_end(10**18):
        assert isinstance(found, (Envelope, Garbled))


@pytest.mark.parametrize("kind", [Raw, Semstreams])
def test_a_channel_that_is_not_valid_is_refused(kind: Any) -> None:
    with pytest.raises(ValueError, match="channel"):
        kind(channel="\n")
