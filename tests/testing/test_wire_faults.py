"""FaultyStream: each fault does what it says, to the byte and to the second, in both directions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock, memory_stream_pair, open_stream_to_socket_listener

from restsock.testing import FaultyStream, Wire

Pair = tuple[FaultyStream, trio.abc.HalfCloseableStream]


@pytest.fixture
def pair() -> Pair:
    left, right = memory_stream_pair()
    return FaultyStream(left), right


@pytest.fixture
async def sockets() -> AsyncIterator[Pair]:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    left = await open_stream_to_socket_listener(listeners[0])
    right = await listeners[0].accept()
    await listeners[0].aclose()
    yield FaultyStream(left), right
    await trio.aclose_forcefully(left)
    await trio.aclose_forcefully(right)


async def read_all(stream: trio.abc.ReceiveStream) -> bytes:
    received = bytearray()
    while data := await stream.receive_some():
        received += data
    return bytes(received)


async def test_faultless_wire_carries_everything_both_ways(pair: Pair) -> None:
    near, far = pair
    payload = bytes(range(256)) * 700
    async with trio.open_nursery() as nursery:
        nursery.start_soon(near.send_all, payload)
        nursery.start_soon(far.send_all, payload)
    await near.send_eof()
    await far.send_eof()
    assert await read_all(near) == payload
    assert await read_all(far) == payload
    assert near.sending.passed == near.receiving.passed == len(payload)
    assert near.sending.lost == 0


async def test_trio_accepts_it_as_a_stream() -> None:
    async def make() -> tuple[FaultyStream, FaultyStream]:
        left, right = memory_stream_pair()
        return FaultyStream(left), FaultyStream(right)

    await trio.testing.check_half_closeable_stream(make, None)


async def test_one_byte_at_a_time(pair: Pair) -> None:
    near, far = pair
    near.receiving.chunk = near.sending.chunk = 1
    await far.send_all(b"abc")
    assert [await near.receive_some() for _ in range(3)] == [b"a", b"b", b"c"]
    await near.send_all(b"xyz")
    assert await far.receive_some() == b"xyz"  # the memory stream joins them again
    assert near.sending.passed == 3


async def test_max_bytes_is_honoured(pair: Pair) -> None:
    near, far = pair
    await far.send_all(b"abcdef")
    assert await near.receive_some(4) == b"abcd"
    assert await near.receive_some(4) == b"ef"


async def test_delay_holds_each_piece(pair: Pair, autojump_clock: MockClock) -> None:
    near, far = pair
    near.receiving.delay, near.sending.delay = 3.0, 2.0
    start = trio.current_time()
    await far.send_all(b"ping")
    assert await near.receive_some() == b"ping"
    assert trio.current_time() - start == pytest.approx(3.0)
    await near.send_all(b"pong")
    assert trio.current_time() - start == pytest.approx(5.0)


async def test_cancelled_receive_in_a_delay_loses_nothing(
    pair: Pair, autojump_clock: MockClock
) -> None:
    near, far = pair
    near.receiving.delay = 10.0
    await far.send_all(b"kept")
    with trio.move_on_after(1) as scope:
        await near.receive_some()
    assert scope.cancelled_caught
    start = trio.current_time()
    assert await near.receive_some() == b"kept"
    assert trio.current_time() - start == pytest.approx(9.0)


async def test_rate_limits_bytes_per_second(pair: Pair, autojump_clock: MockClock) -> None:
    near, _ = pair
    near.sending.rate = 1000.0
    start = trio.current_time()
    await near.send_all(bytes(5000))
    # The last portion leaves when its turn comes, not when its time is used up.
    assert trio.current_time() - start == pytest.approx(5.0, abs=0.05)


async def test_stall_blocks_and_resume_heals(pair: Pair, autojump_clock: MockClock) -> None:
    near, far = pair
    near.stall()
    await far.send_all(b"late")
    with trio.move_on_after(60) as scope:
        await near.send_all(b"blocked")
    assert scope.cancelled_caught
    with trio.move_on_after(60) as scope:
        await near.receive_some()
    assert scope.cancelled_caught
    assert near.sending.stalled
    near.resume()
    assert await near.receive_some() == b"late"
    await near.send_all(b"again")
    assert await far.receive_some() == b"again"


async def test_drop_swallows_bytes_and_ends_without_a_word(
    pair: Pair, autojump_clock: MockClock
) -> None:
    near, far = pair
    near.drop()
    await near.send_all(b"lost")  # the sender notices nothing
    await near.send_eof()
    await far.send_all(b"lost too")
    await far.send_eof()
    for stream in (near, far):
        with trio.move_on_after(3600) as scope:
            await stream.receive_some()
        assert scope.cancelled_caught, "neither bytes nor an end of file may come through"
    assert near.sending.lost == 4
    assert near.receiving.lost == 8
    # Not even a close is heard...
    await near.aclose()
    with trio.move_on_after(3600) as scope:
        await far.receive_some()
    assert scope.cancelled_caught
    # ... until the inner stream goes.
    await near.aclose_inner()
    assert await far.receive_some() == b""


async def test_drop_reaches_a_receive_that_waits(pair: Pair, autojump_clock: MockClock) -> None:
    near, far = pair

    async def receive() -> None:
        with trio.move_on_after(3600) as scope:
            await near.receive_some()
        assert scope.cancelled_caught

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        near.drop()
        await far.send_all(b"gone")


async def test_drop_ends_a_stall(pair: Pair) -> None:
    near, _ = pair
    near.stall()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(near.send_all, b"x")
        await trio.testing.wait_all_tasks_blocked()
        near.drop()
    assert near.sending.lost == 1


@pytest.mark.parametrize("nbytes", [1, 5, 10])
async def test_cut_after_resets_behind_the_byte(pair: Pair, nbytes: int) -> None:
    near, far = pair
    near.sending.cut_after(nbytes)
    with pytest.raises(trio.BrokenResourceError):
        await near.send_all(b"0123456789" * 2)
    assert await read_all(far) == b"0123456789"[:nbytes]
    with pytest.raises(trio.BrokenResourceError):
        await near.send_all(b"more")
    with pytest.raises(trio.BrokenResourceError):
        await near.receive_some()


async def test_cut_after_counts_across_sends_and_from_the_call(pair: Pair) -> None:
    near, far = pair
    await near.send_all(b"before")
    near.sending.cut_after(4, "eof")
    await near.send_all(b"ab")
    await near.send_all(b"cdef")  # the rest vanishes
    await near.send_all(b"gh")
    assert await read_all(far) == b"beforeabcd"
    await far.send_all(b"still open this way")
    assert await near.receive_some() == b"still open this way"


async def test_cut_after_while_receiving(pair: Pair) -> None:
    near, far = pair
    near.receiving.cut_after(3, "eof")
    await far.send_all(b"abcdef")
    assert await read_all(near) == b"abc"
    assert await near.receive_some() == b""
    await near.send_all(b"still open this way")
    assert await far.receive_some() == b"still open this way"


async def test_cut_after_while_receiving_resets_both(pair: Pair) -> None:
    near, far = pair
    near.receiving.cut_after(3)
    await far.send_all(b"abcdef")
    assert await near.receive_some() == b"abc"
    with pytest.raises(trio.BrokenResourceError):
        await near.receive_some()
    with pytest.raises(trio.BrokenResourceError):
        await far.send_all(b"x")


@pytest.mark.parametrize("kind", ["reset", "eof"])
async def test_cut_wakes_who_waits(pair: Pair, kind: Any) -> None:
    near, far = pair
    seen: list[object] = []

    async def receive() -> None:
        try:
            seen.append(await near.receive_some())
        except trio.BrokenResourceError as error:
            seen.append(type(error))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        await near.cut(kind)
        await near.cut(kind)  # twice is harmless
    assert seen == ([trio.BrokenResourceError] if kind == "reset" else [b""])
    assert await far.receive_some() == b""


async def test_cut_wakes_a_stalled_sender(pair: Pair) -> None:
    near, _ = pair
    near.stall()

    async def send() -> None:
        with pytest.raises(trio.BrokenResourceError):
            await near.send_all(b"x")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked()
        await near.cut()


async def test_close_wakes_who_waits_with_a_closed_error(pair: Pair) -> None:
    near, _ = pair

    async def receive() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await near.receive_some()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        await near.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await near.send_all(b"x")


async def test_cut_resets_a_socket(sockets: Pair) -> None:
    near, far = sockets
    await near.cut()
    with pytest.raises(trio.BrokenResourceError):
        await far.receive_some()


async def test_eof_on_a_socket_is_an_eof(sockets: Pair) -> None:
    near, far = sockets
    near.sending.cut_after(2, "eof")
    await near.send_all(b"abc")
    assert await read_all(far) == b"ab"


async def test_large_transfer_over_a_socket_with_small_pieces(sockets: Pair) -> None:
    near, far = sockets
    near.receiving.chunk = 700
    payload = bytes(range(256)) * 800
    received = bytearray()

    async def send() -> None:
        await far.send_all(payload)
        await far.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        while data := await near.receive_some():
            assert len(data) <= 700
            received += data
    assert received == payload


@pytest.mark.parametrize("wrong", [{"delay": -1}, {"rate": 0}, {"chunk": 0}])
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Wire(**wrong)


def test_a_cut_needs_a_byte() -> None:
    with pytest.raises(ValueError, match="1 byte"):
        Wire().cut_after(0)


async def test_an_eof_while_a_send_is_stuck(sockets: Pair) -> None:
    """The far end does not read: the sender waits in the system, and leaves when the wire ends."""
    near, _far = sockets
    async with trio.open_nursery() as nursery:
        nursery.start_soon(near.send_all, bytes(32 * 1024 * 1024))
        await trio.testing.wait_all_tasks_blocked()
        await near.cut("eof")
    assert await near.receive_some() == b""
