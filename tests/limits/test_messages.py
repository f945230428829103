"""Messages, heads, frames and streams above a limit: each has its code, and a counter."""

from __future__ import annotations

import pytest

from restsock import Limits, Options
from tests.e2e.raw_peer import BINARY, DATA, END, HEAD, RESET, get, hello, websocket_frame
from tests.limits.scene import scene
from tests.waiting import until

REFUSED, PROTOCOL, TOO_LARGE = 3, 6, 5

SMALL = Limits(max_frame=1024, max_head=1024, max_metadata=1024, max_message=2048, max_streams=2)


async def test_a_message_that_is_too_long_is_1009() -> None:
    async with scene(Options(limits=SMALL)) as s:
        peer = await s.ready()
        await peer.frame(HEAD, END, 1, get("/", "X: " + "x" * 900))
        assert await peer.response_status(1) == 200
        # Said with the header already, whose bytes announce it.
        await peer.raw(websocket_frame(BINARY, bytes(2049))[:8])
        assert (await peer.close_code())[0] == 1009
        await s.hit("max_message")


async def test_a_message_in_fragments_is_counted_as_one() -> None:
    async with scene(Options(limits=SMALL)) as s:
        peer = await s.ready()
        await peer.raw(websocket_frame(BINARY, bytes(1500), fin=False))
        await peer.raw(websocket_frame(0, bytes(549)))
        assert (await peer.close_code())[0] == 1009
        await s.hit("max_message")


async def test_a_head_that_is_too_long_is_431() -> None:
    async with scene(Options(limits=SMALL)) as s:
        peer = await s.ready()
        await peer.frame(HEAD, END, 1, get("/", "X: " + "x" * 1024))
        assert await peer.response_status(1) == 431
        await s.hit("max_head")


async def test_a_head_with_too_many_fields_is_431() -> None:
    async with scene(Options()) as s:
        peer = await s.ready()
        await peer.frame(HEAD, END, 1, get("/", *["a:"] * 255))
        assert await peer.response_status(1) == 200
        await peer.frame(HEAD, END, 3, get("/", *["a:"] * 256))
        assert await peer.response_status(3) == 431
        await s.hit("max_fields")


async def test_a_frame_that_is_too_long_resets_its_stream() -> None:
    async with scene(Options(limits=SMALL)) as s:
        peer = await s.ready()
        await peer.frame(HEAD, 0, 1, get("/", method="POST"))
        await peer.frame(DATA, 0, 1, bytes(1025))
        assert await peer.reset_code(1) == PROTOCOL
        await s.hit("max_frame")


async def test_streams_above_their_number_are_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with scene(Options(limits=SMALL)) as s:
        peer = await s.ready()
        for stream in (1, 3):
            await peer.frame(HEAD, END, stream, get("/hang"))
        for stream in range(5, 105, 2):
            await peer.frame(HEAD, END, stream, get("/"))
        for stream in range(5, 105, 2):
            assert await peer.reset_code(stream) == REFUSED
        await s.hit("max_streams", 50)
        lines = [line for line in caplog.messages if "too many streams" in line]
        assert 1 <= len(lines) <= 3  # and not fifty


async def test_an_unread_hoard_is_refused_more() -> None:
    """Who lets bytes lie takes nothing from the others: they are still served."""
    limits = Limits(initial_window=16384, buffered_total=40_000)
    async with scene(Options(limits=limits)) as s:
        hoarder = await s.ready()
        for stream in (1, 3, 5):
            await hoarder.frame(HEAD, 0, stream, get("/hang", method="POST") + bytes(14_000))
        await hoarder.frame(HEAD, END, 7, get("/"))
        assert await hoarder.reset_code(7) == REFUSED
        assert s.hits == {"buffered_total": 1}
        assert s.server._endpoint.buffered.total == 42_000
        # A stranger that holds nothing is served.
        other = await s.ready()
        await other.frame(HEAD, END, 1, get("/"))
        assert await other.response_status(1) == 200
        await s.notices_nothing()
        # What is given up counts no more.
        await hoarder.frame(RESET, 0, 1, (1).to_bytes(2, "big"))
        await hoarder.frame(HEAD, END, 9, get("/"))
        assert await hoarder.response_status(9) == 200
        assert s.server._endpoint.buffered.total == 28_000
        await hoarder.close()
        await until(lambda: not s.server._endpoint.buffered.total)
        assert s.server._endpoint.buffered.holders == 0


async def test_what_breaks_the_protocol_is_counted_apart() -> None:
    async with scene(Options(limits=SMALL)) as s:
        peer = await s.ready()
        await peer.frame(HEAD, END, 1, b"no head at all")
        assert await peer.reset_code(1) == PROTOCOL
        await s.hit("malformed")
        connection = s.server.connections.by_id(peer.connection_id)
        assert connection is not None
        connection.multiplexer.send_goaway(1001)
        await peer.frame(HEAD, END, 3, get("/"))
        assert await peer.reset_code(3) == REFUSED
        assert s.hits == {"malformed": 1, "going_away": 1}


async def test_a_hello_that_is_too_long_fails_the_handshake() -> None:
    async with scene(Options(limits=SMALL)) as s:
        peer = await s.upgraded()
        await peer.text(hello(metadata="x" * 1024))
        assert (await peer.close_code())[0] == 4000
        await s.hit("max_metadata")
