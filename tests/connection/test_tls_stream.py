from __future__ import annotations

import ssl

import pytest
import trio
import trio.testing

from restsock.connection import TLSStream
from tests.tls_pair import contexts, tls_streams

from .sockets import socket_streams


async def pair() -> tuple[TLSStream, TLSStream]:
    dialed, accepted = trio.testing.memory_stream_pair()
    return await tls_streams(dialed, accepted)


async def test_it_is_a_stream() -> None:
    """Trio's own check of what a stream has to do."""
    await trio.testing.check_two_way_stream(pair, None)


async def test_over_a_socket() -> None:
    here, there = await tls_streams(*socket_streams())
    async with here, there:
        await here.send_all(b"x" * 1000)
        assert await there.receive_some() == b"x" * 1000


async def test_both_ways_at_once_with_nobody_reading() -> None:
    """Who receives does not wait for who sends."""
    here, there = await tls_streams(*socket_streams())
    size = 4_000_000

    async def send(end: TLSStream) -> None:
        await end.send_all(b"x" * size)

    async def receive(end: TLSStream) -> None:
        left = size
        while left:
            left -= len(await end.receive_some())

    async with here, there:
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for end in (here, there):
                    nursery.start_soon(send, end)
                await trio.testing.wait_all_tasks_blocked()
                for end in (here, there):
                    nursery.start_soon(receive, end)


async def test_a_handshake_that_fails_tells_both_why() -> None:
    dialed, accepted = socket_streams()
    here, there = contexts()
    dialer = TLSStream(dialed, here, server_hostname="other")
    listener = TLSStream(accepted, there, server_side=True)
    causes: list[BaseException | None] = []

    async def shake(end: TLSStream) -> None:
        with pytest.raises(trio.BrokenResourceError) as caught:
            await end.do_handshake()
        causes.append(caught.value.__cause__)
        await trio.aclose_forcefully(end)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(shake, dialer)
        nursery.start_soon(shake, listener)
    assert any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes)
    assert any("alert" in str(cause).lower() for cause in causes)


async def test_quiet() -> None:
    here, there = await pair()
    assert there.quiet()
    await here.send_all(b"12")
    assert there.quiet()  # nothing was taken from below yet
    assert await there.receive_some(1) == b"1"
    assert not there.quiet()
    assert await there.receive_some() == b"2"
    assert there.quiet()
    await here.aclose()
    assert await there.receive_some() == b""
    assert not there.quiet()


@pytest.mark.parametrize("close_required", [False, True])
async def test_an_end_without_close_notify(close_required: bool) -> None:
    dialed, accepted = trio.testing.memory_stream_pair()
    here, there = contexts()
    dialer = TLSStream(dialed, here, server_hostname="hub", close_required=close_required)
    listener = TLSStream(accepted, there, server_side=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dialer.do_handshake)
        nursery.start_soon(listener.do_handshake)
    await trio.aclose_forcefully(listener)
    if close_required:
        with pytest.raises(trio.BrokenResourceError):
            await dialer.receive_some()
    else:
        assert await dialer.receive_some() == b""
