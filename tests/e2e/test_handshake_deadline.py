"""Strangers that say nothing, or too little: the deadline of the handshake ends them.

Real sockets, and a clock that jumps when nobody has anything to do: so the time is long, nobody
waits for it, and a busy machine cannot miss it.
"""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from tests.e2e.attacked import TIMEOUTS, Listener, attacked
from tests.e2e.raw_peer import UPGRADE, RawPeer, hello

ANOTHERS = UPGRADE.replace(b"restsock.v1", b"chat")


@pytest.fixture
def clock() -> MockClock:
    # Both ends are on this loop, so what was sent has come long before.
    return MockClock(autojump_threshold=0.05)


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    async with attacked() as listener:
        yield listener


async def nothing(peer: RawPeer) -> None:
    await trio.lowlevel.checkpoint()


async def half_a_frame(peer: RawPeer) -> None:
    await peer.raw(b"\x81")


async def hello_alone(peer: RawPeer) -> None:
    await peer.text(hello())
    assert json.loads((await peer.message()).payload)["type"] == "welcome"


async def test_silence_in_front_of_the_upgrade(listener: Listener, clock: MockClock) -> None:
    began = trio.current_time()
    peer = await listener.stranger()
    await peer.raw(UPGRADE[:20])
    await peer.rest()  # the transport is closed: there is no WebSocket to say more on
    assert trio.current_time() - began == pytest.approx(TIMEOUTS.handshake)
    assert await listener.log.line("too long", "more than")


@pytest.mark.parametrize("step", [nothing, half_a_frame, hello_alone])
async def test_silence_behind_it(
    listener: Listener, clock: MockClock, step: Callable[[RawPeer], Awaitable[None]]
) -> None:
    began = trio.current_time()
    peer = await listener.upgraded()
    await step(peer)
    code, reason = await peer.close_code()
    assert (code, bool(reason)) == (4001, True), reason
    assert trio.current_time() - began == pytest.approx(TIMEOUTS.handshake)
    await peer.close()
    assert await listener.log.line("no connection", "too long")
    assert len(listener.server.connections) == 1, "only the honest one was ever reported"


async def test_a_hundred_strangers_at_once(listener: Listener, clock: MockClock) -> None:
    async def stranger(number: int) -> None:
        dice = random.Random(number)
        peer = await listener.stranger()
        await peer.raw(
            dice.choice(
                [UPGRADE, UPGRADE.replace(b"restsock.v1", b"chat"), b"GET / HTTP/1.0\r\n\r\n", b""]
            )
        )
        await peer.raw(dice.randbytes(100))
        await peer.rest()
        await peer.close()

    async with trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(stranger, number)
        await listener.still_answers()
