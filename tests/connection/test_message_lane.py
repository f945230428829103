"""Envelopes on a connection: they arrive in order, beside the streams, and in bounds."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

import restsock
from restsock._exceptions import LocalProtocolError
from restsock.connection import Connection, MessageLane
from restsock.protocol import Envelope, MessagingSettings
from restsock.protocol._envelopes import encode_envelope
from tests.waiting import until


class Ends:
    """A `MessagingLike` that keeps what comes, by connection."""

    def __init__(self, settings: MessagingSettings | None = None) -> None:
        self.settings = MessagingSettings() if settings is None else settings
        self.lanes: dict[Connection, MessageLane] = {}
        self.received: list[Envelope] = []
        self.sizes: list[int] = []
        self.resumed = 0
        self.detached = 0
        self.changed = trio.Event()

    def check_running(self) -> None:
        pass

    def attach_connection(self, connection: Connection) -> None:
        self.lanes[connection] = MessageLane(connection, self)
        self._tell()

    def detach_connection(self, connection: Connection) -> None:
        if self.lanes.pop(connection, None) is not None:
            self.detached += 1
        self._tell()

    def receive(self, envelope: Envelope, size: int) -> None:
        self.received.append(envelope)
        self.sizes.append(size)
        self._tell()

    def resume(self) -> None:
        self.resumed += 1
        self._tell()

    def _tell(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    async def wait_attached(self) -> None:
        with trio.fail_after(10):
            while not self.lanes:
                await self.changed.wait()

    async def wait(self, count: int) -> list[Envelope]:
        with trio.fail_after(10):
            while len(self.received) < count:
                await self.changed.wait()
        return self.received

    @property
    def lane(self) -> MessageLane:
        (lane,) = self.lanes.values()
        return lane


def send(lane: MessageLane, number: int, *, first: bool = False, pad: int = 0) -> bool:
    return send_payload(lane, {"number": number, "pad": "x" * pad}, first=first)


def send_payload(lane: MessageLane, payload: dict[str, Any], *, first: bool = False) -> bool:
    text = encode_envelope("data", str(uuid.uuid4()), 0, payload)
    return lane.send(text, len(text.encode()), first=first)


def numbers(envelopes: list[Envelope]) -> list[Any]:
    return [envelope.payload["number"] for envelope in envelopes]


async def big(request: restsock.Request) -> restsock.Response:
    async def body() -> AsyncGenerator[bytes, None]:
        for _ in range(512):
            yield bytes(64 * 1024)

    return restsock.Response(200, body=body())


@asynccontextmanager
async def joined(
    dialer: Ends | None, listener: Ends | None
) -> AsyncGenerator[tuple[restsock.client.Client, restsock.server.Server], None]:
    async with (
        restsock.listen("127.0.0.1", 0, messaging=listener) as server,
        restsock.connect(server.url, messaging=dialer, app=big, name="edge-1") as client,
    ):
        for end in (dialer, listener):
            if end is not None:
                await end.wait_attached()
        yield client, server


async def test_envelopes_arrive_in_order_both_ways() -> None:
    dialer, listener = Ends(), Ends()
    async with joined(dialer, listener):
        for number in range(50):
            assert send(dialer.lane, number)
            send(listener.lane, -number)
        assert numbers(await listener.wait(50)) == list(range(50))
        assert numbers(await dialer.wait(50)) == [-number for number in range(50)]
        assert listener.received[0].type == "data"
    assert dialer.detached == listener.detached == 1


async def test_each_side_learns_what_the_other_takes() -> None:
    dialer = Ends(MessagingSettings(max_message=20_000, credit_messages=7, credit_bytes=100_000))
    listener = Ends()
    async with joined(dialer, listener):
        assert listener.lane.peer == dialer.settings
        assert dialer.lane.peer == MessagingSettings()
        with pytest.raises(LocalProtocolError, match="where the peer takes 20000"):
            send(listener.lane, 1, pad=20_000)
        assert send(dialer.lane, 1, pad=20_000)


async def test_a_peer_without_messaging_gets_none() -> None:
    dialer = Ends()
    async with joined(dialer, None) as (client, _):
        assert dialer.lane.peer is None
        with pytest.raises(LocalProtocolError, match="takes no messages"):
            send(dialer.lane, 1)
        assert client.connection is not None
        assert client.connection.closed is None


async def test_envelopes_to_one_who_takes_none_are_ignored() -> None:
    """One who sends them all the same does no harm."""
    dialer = Ends()
    async with joined(dialer, None) as (client, server):
        connection = client.connection
        assert connection is not None
        connection.multiplexer.peer = type(connection.multiplexer.peer)(
            messaging=MessagingSettings()
        )
        assert send(dialer.lane, 1)
        response = await server.request("edge-1", "GET", "/", timeout=20)
        assert response.status == 200


async def test_the_size_that_is_told_is_in_bytes() -> None:
    dialer, listener = Ends(), Ends()
    async with joined(dialer, listener):
        send_payload(dialer.lane, {"text": "€"})
        send_payload(dialer.lane, {"text": "E"})
        await listener.wait(2)
        assert listener.sizes[0] == listener.sizes[1] + 2


async def test_what_leaves_first_overtakes_what_waits() -> None:
    dialer, listener = Ends(), Ends()
    async with joined(dialer, listener):
        for number in range(4):
            send(dialer.lane, number)
        send(dialer.lane, 99, first=True)
        assert numbers(await listener.wait(5)) == [99, 0, 1, 2, 3]


async def test_all_that_is_sent_in_one_step_leaves_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Over each connection in one write; and the loop is not woken for it."""
    dialer, listener = Ends(), Ends()
    flushed: list[MessageLane] = []
    flush = MessageLane.flush

    def note(lane: MessageLane) -> None:
        flushed.append(lane)
        flush(lane)

    monkeypatch.setattr(MessageLane, "flush", note)
    async with joined(dialer, listener):
        flushed.clear()
        for number in range(10):
            send(dialer.lane, number)
            send(listener.lane, number)
        assert not flushed
        assert numbers(await listener.wait(10)) == numbers(await dialer.wait(10)) == [*range(10)]
        assert flushed == [dialer.lane, listener.lane]


async def test_what_is_sent_while_others_leave_leaves_too(monkeypatch: pytest.MonkeyPatch) -> None:
    dialer, listener = Ends(), Ends()
    flush = MessageLane.flush

    def answer(lane: MessageLane) -> None:
        flush(lane)
        if answers:
            send(dialer.lane, answers.pop())

    async with joined(dialer, listener):
        answers = [2, 1]
        monkeypatch.setattr(MessageLane, "flush", answer)
        send(dialer.lane, 0)
        assert numbers(await listener.wait(3)) == [0, 1, 2]


async def test_nobody_is_called_while_there_has_been_room_all_along() -> None:
    dialer, listener = Ends(), Ends()
    async with joined(dialer, listener):
        for number in range(10):
            send(dialer.lane, number)
            await listener.wait(number + 1)
        assert not dialer.resumed


async def test_there_is_an_end_to_what_waits_and_a_call_when_there_is_room() -> None:
    dialer, listener = Ends(), Ends()
    async with joined(dialer, listener):
        sent = 0
        while dialer.lane.room:
            send(dialer.lane, sent, pad=1000)
            sent += 1
        assert 100 < sent < 140
        await listener.wait(sent)
        with trio.fail_after(10):
            while not dialer.resumed:
                await dialer.changed.wait()
        assert dialer.lane.room > 100_000


async def test_messages_and_a_download_take_turns() -> None:
    """While 32 MiB leave, a message that is sent after them does not wait for their end."""
    dialer, listener = Ends(), Ends()
    async with joined(dialer, listener) as (_, server):
        async with server.route("edge-1").stream("GET", "/") as response:
            got = len(await response.receive())
            for number in range(20):
                send(dialer.lane, number)
                while len(listener.received) <= number:
                    got += len(await response.receive())
            assert got < 16 * 1024 * 1024
            assert numbers(listener.received) == list(range(20))
            assert got + len(await response.read()) == 32 * 1024 * 1024


async def test_one_that_is_turned_away_is_not_attached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that come at once under one name: the second is closed right after its handshake."""
    listener = Ends()
    async with restsock.listen("127.0.0.1", 0, messaging=listener, names="reject") as server:
        monkeypatch.setattr(server._newcomers, "claim", lambda name, principal: None)
        async with restsock.connect(server.url, name="edge-1"):
            await listener.wait_attached()
            backoff = restsock.Backoff(initial=0.01)
            async with restsock.connect(server.url, name="edge-1", backoff=backoff):
                await until(lambda: server.statistics().handshakes >= 3)
            assert len(listener.lanes) == 1


async def test_nothing_is_sent_once_it_closes() -> None:
    dialer, listener = Ends(), Ends()
    async with joined(dialer, listener) as (client, _):
        lane, connection = dialer.lane, client.connection
        assert connection is not None
        connection.close_soon()
        assert lane.room == 0
        assert not send(lane, 1)
        await connection.wait_closed()


async def test_envelopes_that_come_while_threads_read_are_handed_over_by_the_loop() -> None:
    """A thread that leads reads them, and the loop gets them in order."""
    dialer, listener = Ends(), Ends()
    async with joined(dialer, listener) as (_, server):
        route = server.route("edge-1")

        def ask() -> int:
            with restsock.Session() as threads:
                threads.mount("http://edge-1/", route.adapter())
                return len(threads.get("http://edge-1/", timeout=20).content)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, ask)
            for number in range(200):
                send(dialer.lane, number)
                await trio.lowlevel.checkpoint()
            await listener.wait(200)
        assert numbers(listener.received) == list(range(200))
