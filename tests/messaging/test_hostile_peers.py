"""Hostile peers over real sockets, beside honest ones: StreamKit's envelope, and restsock.v1."""

from __future__ import annotations

import gc
import json
import tracemalloc
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import pytest
import trio

import restsock
from restsock.messaging import Message, Messaging, MessagingOptions, Semstreams
from restsock.protocol import CloseReceived, TextMessage
from tests.e2e.raw_peer import CLOSE, TEXT, RawPeer, close_of, websocket_frame
from tests.waiting import until
from tests.websockets.site import RawClient, raw_client

PATIENCE = 30
# Seconds that an attack takes: the other side does not have to read it.
ATTACK = 1.0
# What it may take of the memory while it lasts; that of the test itself counts, too.
MOST = 12 << 20
SETTINGS = {"messaging": {"version": 1, "max_message": 65536, "messages": 64, "bytes": 1 << 20}}

Carrier: TypeAlias = Literal["semstreams", "restsock.v1"]


@dataclass
class Hub:
    """A messaging that takes both kinds of peers.

    Attributes:
        messaging: of the hub.
        server: where it listens.
        bodies: what its handler has got.
    """

    messaging: Messaging
    server: restsock.Server
    bodies: list[Any]


@asynccontextmanager
async def hub(**options: Any) -> AsyncIterator[Hub]:
    messaging = Messaging(options=MessagingOptions(**options))
    bodies: list[Any] = []

    @messaging.on("readings")
    async def keep(message: Message) -> None:
        bodies.append(message.body)

    endpoint = messaging.endpoint(Semstreams(channel="readings"))
    async with (
        messaging,
        restsock.listen("127.0.0.1", 0, messaging=messaging, endpoints={"/ws": endpoint}) as server,
    ):
        yield Hub(messaging, server, bodies)


class Attacker(Protocol):
    """One that has connected, and says what it likes."""

    async def text(self, text: str) -> None: ...

    async def raw(self, data: bytes) -> None: ...

    async def wait_told(self, type: str) -> Any:
        """Waits for an envelope of this type."""

    async def wait_closed(self) -> int:
        """Waits for a close frame; its code."""


class OverSemstreams:
    def __init__(self, client: RawClient) -> None:
        self._client = client

    async def text(self, text: str) -> None:
        self._client.websocket.send_text(text)
        await self._client.flush()

    async def raw(self, data: bytes) -> None:
        await self._client.send(data)

    async def wait_told(self, type: str) -> Any:
        while True:
            event = await self._client.next()
            assert isinstance(event, TextMessage)
            told = json.loads(event.data)
            if told["type"] == type:
                return told

    async def wait_closed(self) -> int:
        while not isinstance(event := await self._client.next(), CloseReceived):
            assert event is not None
        return int(event.code)


class OverRestsock:
    def __init__(self, peer: RawPeer) -> None:
        self._peer = peer

    async def text(self, text: str) -> None:
        await self._peer.stream.send_all(websocket_frame(TEXT, text.encode()))

    async def raw(self, data: bytes) -> None:
        await self._peer.stream.send_all(data)

    async def wait_told(self, type: str) -> Any:
        while True:
            opcode, payload = await self._peer.message()
            assert opcode != CLOSE, close_of(payload)
            if opcode == TEXT and (told := json.loads(payload))["type"] == type:
                return told

    async def wait_closed(self) -> int:
        code, _ = await self._peer.close_code()
        return int(code)


@asynccontextmanager
async def attacker(hub: Hub, carrier: Carrier) -> AsyncIterator[Attacker]:
    before = len(hub.messaging.sessions)
    if carrier == "semstreams":
        async with raw_client(hub.server) as client:
            yield OverSemstreams(client)
        return
    peer = RawPeer(await trio.open_tcp_stream("127.0.0.1", hub.server.address[1]))
    try:
        await peer.upgrade()
        await peer.shake_hands(**SETTINGS)
        await until(lambda: len(hub.messaging.sessions) != before)
        yield OverRestsock(peer)
    finally:
        await peer.close()


@asynccontextmanager
async def honest(hub: Hub) -> AsyncIterator[None]:
    """Two peers, one of each kind, that are served in the middle of whatever goes on."""
    edge = Messaging()
    async with (
        edge,
        restsock.connect(hub.server.url, name="edge", messaging=edge),
        attacker(hub, "semstreams") as foreign,
    ):
        yield
        with trio.fail_after(PATIENCE):
            channel = edge.channel("readings", delivery="at_least_once")
            for number in range(3):
                await channel.send(f"edge {number}")
                await foreign.text(said("data", f"foreign {number}"))
                await foreign.wait_told("ack")
            await channel.drain()
    for who in ("edge", "foreign"):
        assert [body for body in hub.bodies if str(body).startswith(who)] == [
            f"{who} {number}" for number in range(3)
        ]


@contextmanager
def bounded(most: int = MOST) -> Iterator[None]:
    """What the block does takes no more memory than that."""
    gc.collect()
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < most


def said(type: str, payload: Any = None, id: str | None = None) -> str:
    return json.dumps(
        {"type": type, "id": id or str(uuid.uuid4()), "timestamp": 1, "payload": payload}
    )


def message(seq: int, body: Any = 1, **more: Any) -> str:
    """One of restsock.v1."""
    payload = {"channel": "readings", "epoch": "e", "seq": seq, "body": body, "attempt": 1}
    return said("data", {**payload, "delivery": "at_least_once", **more})


# --- attacks ----------------------------------------------------------------------------------

WRONG: list[Any] = [None, True, -1, 1e308, 10**30, "", "x" * 300, [], [[[]]], {}, {"a": None}]
MEMBERS: tuple[str, ...] = (
    "channel",
    "epoch",
    "seq",
    "attempt",
    "delivery",
    "headers",
    "reply_to",
    "id",
    "upto",
)
MEMBERS += ("reason", "retry_after", "method", "params", "status", "messages", "bytes", "channels")
TYPES = ("data", "ack", "nack", "working", "request", "reply", "slow", "credit", "resume", "other")


def wrong_types() -> Iterator[str]:
    for type in TYPES:
        for value in WRONG:
            for payload in (dict.fromkeys(MEMBERS, value), *({n: value} for n in MEMBERS)):
                yield said(type, payload)  # restsock.v1 takes an object, or closes


def acks_of_what_was_not_sent() -> Iterator[str]:
    for number in range(4000):
        payload = {"channel": f"c{number}", "epoch": "e", "seq": number, "attempt": 1, "upto": True}
        yield said(("ack", "nack", "working", "reply")[number % 4], payload)


def requests_without_end() -> Iterator[str]:
    for number in range(10_000):
        method = ("status", "backpressure", "nothing", "subscribe")[number % 4]
        yield said("request", {"method": method, "params": {"channel": f"c{number}"}})


def data_without_end() -> Iterator[str]:
    for number in range(10_000):
        yield message(number + 1, "x" * 1000, channel=f"c{number % 500}")


def endless_gaps() -> Iterator[str]:
    for number in range(10_000):
        yield message(2 * number + 5, epoch=f"e{number % 40}")


def framed(text: str) -> bytes:
    """In a frame whose mask changes nothing."""
    payload = text.encode()
    if len(payload) < 126:
        return bytes((0x81, 0x80 | len(payload), 0, 0, 0, 0)) + payload
    return b"\x81\xfe" + len(payload).to_bytes(2, "big") + bytes(4) + payload


ATTACKS = [
    wrong_types,
    acks_of_what_was_not_sent,
    requests_without_end,
    data_without_end,
    endless_gaps,
]


@pytest.mark.parametrize("carrier", ["semstreams", "restsock.v1"])
@pytest.mark.parametrize("attack", ATTACKS)
async def test_others_are_served_and_memory_is_bounded(
    attack: Callable[[], Iterator[str]], carrier: Carrier
) -> None:
    flood = b"".join(map(framed, attack()))
    async with hub() as one, honest(one), attacker(one, carrier) as peer:
        with bounded(), trio.move_on_after(ATTACK), suppress(OSError, trio.BrokenResourceError):
            for at in range(0, len(flood), 65536):
                await peer.raw(flood[at : at + 65536])
            await trio.sleep_forever()  # what has left waits in the sockets
        statistics = one.messaging.statistics()
        assert statistics.errors or statistics.messages_received or statistics.requests_received
        assert len(statistics.errors) < 40
        assert len(statistics.messages_received) <= 201


@pytest.mark.parametrize("carrier", ["semstreams", "restsock.v1"])
async def test_pings_without_end(carrier: Carrier) -> None:
    pings = (b"\x89\xfd" + bytes(4) + b"p" * 125) * 1000
    async with hub() as one, honest(one), attacker(one, carrier) as peer:
        with bounded(), trio.move_on_after(ATTACK), suppress(OSError, trio.BrokenResourceError):
            while True:
                await peer.raw(pings)


@pytest.mark.parametrize(
    ("carrier", "code"), [("semstreams", {1009}), ("restsock.v1", {1009, 4002})]
)
async def test_a_message_of_100_mb(carrier: Carrier, code: set[int]) -> None:
    async with hub() as one, honest(one), attacker(one, carrier) as peer:
        size = 100_000_000
        with bounded(), trio.fail_after(PATIENCE):
            head = b"\x81\xff" + size.to_bytes(8, "big") + bytes(4)
            await peer.raw(head + b"x" * 1000)
            assert await peer.wait_closed() in code


@pytest.mark.parametrize("text", ["{", "[]", "1", '{"type":1}', '{"type":"data","id":"a"}', "\x00"])
async def test_what_is_no_envelope(text: str) -> None:
    async with hub() as one, honest(one), attacker(one, "semstreams") as peer:
        await peer.text(text)
        await peer.text(said("data", "later"))
        with trio.fail_after(PATIENCE):
            await peer.wait_told("ack")
        async with attacker(one, "restsock.v1") as other:
            await other.text(text)
            with trio.fail_after(PATIENCE):
                assert await other.wait_closed() == 4002


async def test_what_is_acknowledged_twice_was_handled_once() -> None:
    async with hub() as one, honest(one), attacker(one, "semstreams") as peer:
        (session,) = [each for each in one.messaging.sessions if each.foreign][1:]
        for number in range(3):
            await session.send("news", number, delivery="at_least_once")
        with trio.fail_after(PATIENCE):
            told = [await peer.wait_told("data") for _ in range(3)]
            for _ in range(3):
                await peer.text(said("ack", id=told[0]["id"]))
            await peer.text(said("data", "later"))
            await peer.wait_told("ack")
        statistics = one.messaging.statistics()
        assert statistics.messages_acknowledged == {"news": 1}
        assert statistics.outbox_messages == 2


async def test_a_forged_reply_to_is_refused() -> None:
    async with hub() as one, honest(one), attacker(one, "restsock.v1") as peer:
        await peer.text(message(1, "forged", reply_to="edge"))
        with trio.fail_after(PATIENCE):
            told = (await peer.wait_told("nack"))["payload"]
        assert (told["reason"], told["final"]) == ("reply_to is another one's", True)
        assert "forged" not in one.bodies


async def test_one_that_takes_messages_and_never_acknowledges() -> None:
    """What it has no credit for waits in the outbox, and no other waits for it."""
    async with hub(outbox_messages=500) as one, honest(one):
        async with attacker(one, "restsock.v1"):
            session = next(each for each in one.messaging.sessions if each.name is None)
            with bounded(), trio.move_on_after(ATTACK):
                while True:
                    await session.send("news", "x" * 1000, delivery="at_least_once")
            assert one.messaging.statistics().outbox_messages == 500
