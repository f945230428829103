"""Pings with a deadline, at both roles, and the idle limit. Time is exact: a clock of the tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from restsock import Heartbeat, WebSocketClosed
from restsock.connection import OpenWebSocket
from restsock.protocol import (
    CloseReceived,
    Ping,
    WebSocket,
    WebSocketEvent,
)
from restsock.websockets._keepalive import kept_alive
from restsock.websockets._stream import StreamBytes

ROLES = pytest.mark.parametrize("client", [True, False], ids=["client", "server"])
BEATS = Heartbeat(interval=20, timeout=10)
MASK = b"\x01\x02\x03\x04"


class Peer:
    """The other end, in the hands of a test."""

    def __init__(self, stream: trio.abc.Stream, *, client: bool) -> None:
        self.stream = stream
        self.websocket = WebSocket(client=client, max_message=2**20, mask_key=lambda: MASK)

    async def next(self) -> WebSocketEvent | None:
        while (event := self.websocket.next_event()) is None:
            data = bytes(await self.stream.receive_some(65536))
            if not data:
                return None
            self.websocket.receive_data(data)
        return event

    async def flush(self) -> None:
        await self.stream.send_all(self.websocket.data_to_send())

    async def answer(self) -> None:
        """Answers pings until the end."""
        while await self.next() is not None:
            await self.flush()


@asynccontextmanager
async def ends(
    *,
    client: bool,
    heartbeat: Heartbeat = BEATS,
    idle: float | None = None,
    limit: int | None = None,
) -> AsyncIterator[tuple[OpenWebSocket, Peer]]:
    """A WebSocket of ours that is kept alive, and its peer.

    Args:
        client: the role of ours.
        heartbeat: of ours.
        idle: likewise.
        limit: bytes that are on the way until the peer reads; `None` for any number.
    """
    near: trio.abc.Stream
    far: trio.abc.Stream
    if limit is None:
        near, far = trio.testing.memory_stream_pair()
    else:
        near, far = trio.testing.lockstep_stream_pair()
    raw = StreamBytes(near, b"", 65536)
    websocket = OpenWebSocket(
        raw,
        client=client,
        headers=[],
        subprotocol=None,
        max_message=2**20,
        buffer=1000,
        close_timeout=5,
    )
    async with raw.running(), trio.open_nursery() as nursery:
        nursery.start_soon(websocket.run)
        with kept_alive(websocket, heartbeat, idle, lambda: raw.unsent):
            yield websocket, Peer(far, client=not client)
        nursery.cancel_scope.cancel()


@ROLES
async def test_pings_leave_in_time_and_tell_the_round_trip(
    client: bool, autojump_clock: MockClock
) -> None:
    async with ends(client=client) as (websocket, peer):
        begun = trio.current_time()
        for number in range(1, 4):
            event = await peer.next()
            assert isinstance(event, Ping)
            assert trio.current_time() - begun == pytest.approx(20 * number)
            await trio.sleep(0.25 * number)
            await peer.flush()
            await trio.testing.wait_all_tasks_blocked()
            assert websocket.round_trip == pytest.approx(0.25 * number)
        # The answer to an earlier one is not taken for that of the latest.
        await peer.next()
        peer.websocket.pongs[:] = [b"\0" * 7 + b"\x02"]
        await trio.sleep(3)
        await peer.flush()
        await trio.testing.wait_all_tasks_blocked()
        assert websocket.round_trip == pytest.approx(0.75)
        assert websocket.close_code is None


@ROLES
async def test_a_silent_peer_is_closed(client: bool, autojump_clock: MockClock) -> None:
    async with ends(client=client) as (websocket, peer):
        begun = trio.current_time()
        with pytest.raises(WebSocketClosed, match="no sign of life for 30 s") as caught:
            await websocket.receive()
        assert trio.current_time() - begun == pytest.approx(30)
        assert (caught.value.code, caught.value.clean) == (1011, False)
        assert isinstance(await peer.next(), Ping)
        assert await peer.next() == CloseReceived(1011, "no sign of life for 30 s")
        assert await peer.next() is None  # though its block still runs


@ROLES
async def test_any_byte_is_a_sign_of_life(client: bool, autojump_clock: MockClock) -> None:
    """A long message may be on its way for minutes, and no pong can get in between."""
    async with ends(client=client) as (websocket, peer):
        peer.websocket.send_binary(bytes(40))
        data = peer.websocket.data_to_send()
        for octet in data:
            await trio.sleep(1)
            await peer.stream.send_all(bytes([octet]))
        assert await websocket.receive() == bytes(40)


@ROLES
async def test_a_peer_that_sends_and_answers_no_ping_is_closed(
    client: bool, autojump_clock: MockClock
) -> None:
    async with ends(client=client) as (websocket, peer):
        begun = trio.current_time()

        async def talk() -> None:
            while True:
                await trio.sleep(5)
                peer.websocket.send_text("I am here")
                await peer.flush()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk)
            with pytest.raises(WebSocketClosed):
                while True:
                    await websocket.receive()
            nursery.cancel_scope.cancel()
        assert websocket.close_code == 1011
        assert 60 <= trio.current_time() - begun <= 80


@ROLES
async def test_one_that_reads_slowly_is_not_dead(client: bool, autojump_clock: MockClock) -> None:
    """The ping is behind what it has not taken yet: that it takes some is the sign of life."""
    async with ends(client=client, limit=1) as (websocket, peer):
        for _ in range(15):
            websocket.send_nowait(bytes(60_000))
        sizes = 0

        async def talk() -> None:  # so that it is not silent
            while True:
                await trio.sleep(5)
                peer.websocket.send_text("x")
                await peer.flush()

        async def receive() -> None:
            async for _ in websocket:
                pass

        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk)
            nursery.start_soon(receive)
            while sizes < 15 * 60_000:
                await trio.sleep(1)
                sizes += len(bytes(await peer.stream.receive_some(4000)))
            assert trio.current_time() > 200
            assert websocket.close_code is None
            nursery.cancel_scope.cancel()


@ROLES
async def test_what_this_side_does_not_read_is_not_held_against_the_peer(
    client: bool, autojump_clock: MockClock
) -> None:
    async with ends(client=client) as (websocket, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.answer)
            for number in range(10):
                peer.websocket.send_binary(bytes([number]) * 500)
                await peer.flush()
            await trio.sleep(500)  # too much waits to be received
            assert websocket.close_code is None
            for number in range(10):
                assert await websocket.receive() == bytes([number]) * 500
            await trio.sleep(500)
            assert websocket.close_code is None
            nursery.cancel_scope.cancel()


@ROLES
async def test_without_a_heartbeat_silence_is_allowed(
    client: bool, autojump_clock: MockClock
) -> None:
    async with ends(client=client, heartbeat=Heartbeat(interval=None)) as (websocket, peer):
        await trio.sleep(10_000)
        assert websocket.close_code is None
        peer.websocket.send_text("here")
        await peer.flush()
        assert await websocket.receive() == "here"
        assert peer.websocket.next_event() is None


@ROLES
@pytest.mark.parametrize(
    "heartbeat", [Heartbeat(interval=None), Heartbeat(interval=20, timeout=10)]
)
async def test_one_without_messages_is_closed(
    client: bool, heartbeat: Heartbeat, autojump_clock: MockClock
) -> None:
    async with ends(client=client, heartbeat=heartbeat, idle=100) as (websocket, peer):
        async with trio.open_nursery() as nursery:
            events: list[WebSocketEvent] = []

            async def answer() -> None:
                while (event := await peer.next()) is not None:
                    if not isinstance(event, Ping):
                        events.append(event)
                    await peer.flush()

            nursery.start_soon(answer)
            begun = trio.current_time()
            for _ in range(3):  # messages either way keep it open
                await trio.sleep(80)
                await websocket.send("x")
                await trio.sleep(80)
                peer.websocket.send_text("y")
                await peer.flush()
                assert await websocket.receive() == "y"
            with pytest.raises(WebSocketClosed, match="no message for 100 s") as caught:
                await websocket.receive()
            assert (caught.value.code, caught.value.clean) == (1001, True)
            assert 480 + 100 <= trio.current_time() - begun <= 480 + 115
            await trio.testing.wait_all_tasks_blocked()
            assert events[-1] == CloseReceived(1001, "no message for 100 s")
            nursery.cancel_scope.cancel()


async def test_one_whose_answers_are_awaited_is_not_idle(autojump_clock: MockClock) -> None:
    async with ends(client=False, heartbeat=Heartbeat(interval=None), idle=100) as (websocket, _):
        websocket.awaited = 1
        await trio.sleep(1000)
        assert websocket.close_code is None
        websocket.awaited = 0
        await trio.sleep(80)
        assert websocket.close_code is None
        await trio.sleep(35)
        assert websocket.close_code == 1001


async def test_many_have_one_timer(autojump_clock: MockClock) -> None:
    """All are closed in their time, and nothing is left of them."""
    async with trio.open_nursery() as nursery:
        codes: list[int | None] = []

        async def live(number: int) -> None:
            heartbeat = Heartbeat(interval=1 + number % 7, timeout=1)
            async with ends(client=bool(number % 2), heartbeat=heartbeat) as (websocket, _):
                with pytest.raises(WebSocketClosed):
                    await websocket.receive()
                codes.append(websocket.close_code)

        for number in range(100):
            nursery.start_soon(live, number)
    assert codes == [1011] * 100
