"""Floods: what is cheap to send must be cheap to receive, and bounded."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Iterator

import pytest
import trio
import trio.lowlevel

from restsock.protocol._frames import FrameType
from tests.e2e.raw_peer import (
    BINARY,
    DATA,
    END,
    GOAWAY,
    HEAD,
    PING,
    PONG,
    RESET,
    TEXT,
    WINDOW,
    RawPeer,
    envelope,
    frame,
    get,
    websocket_frame,
)
from tests.hostile.site import LIMITS, Site, site
from tests.waiting import until

_PING, _PONG = FrameType.PING, FrameType.PONG
_CANCEL = struct.pack("!H", 1)
_ONE = struct.pack("!I", 1)


def message(payload: bytes) -> bytes:
    return websocket_frame(BINARY, payload)


async def pour(one: Site, peer: RawPeer, data: bytes) -> None:
    """Sends, in pieces, while what comes back is read and dropped."""

    async def read() -> None:
        await peer.rest()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        for at in range(0, len(data), 16384):
            await peer.raw(data[at : at + 16384])
            await trio.lowlevel.checkpoint()
        await one.answered(3)
        nursery.cancel_scope.cancel()
    peer.buffer.clear()


async def test_rapid_reset() -> None:
    """Ask, cancel, ask, cancel: no more calls of the app run at once than streams are allowed."""
    async with site() as one:
        peer = await one.ready()
        data = b"".join(
            message(frame(HEAD, END, number, get("/hang")))
            + message(frame(RESET, 0, number, _CANCEL))
            for number in range(1, 8001, 2)
        )
        await pour(one, peer, data)
        assert one.app.most <= LIMITS.max_streams + 2  # and the honest one's
        assert len(one.server.connections) == 2
        await until(lambda: one.app.running <= 1)


async def test_streams_without_end() -> None:
    async with site() as one:
        peer = await one.ready()
        data = b"".join(
            message(frame(HEAD, END, number, get("/hang"))) for number in range(1, 6001, 2)
        )
        await pour(one, peer, data)
        assert one.app.most <= LIMITS.max_streams + 2
        assert len(one.server.connections) == 2


def floods() -> Iterator[object]:
    opened = message(frame(HEAD, 0, 1, get("/hang", method="POST")))
    done = message(frame(HEAD, END, 1, get("/"))) + message(frame(HEAD, END, 3, get("/hang")))
    for name, first, again in (
        ("pings", b"", websocket_frame(PING, b"p" * 125)),
        ("empty pings", b"", websocket_frame(PING, b"")),
        ("pongs", b"", websocket_frame(PONG, b"p" * 8)),
        ("PING frames", b"", message(frame(_PING, 0, 0, b"p" * 8))),
        ("PONG frames", b"", message(frame(_PONG, 0, 0, b"p" * 8))),
        ("empty DATA frames", opened, message(frame(DATA, 0, 1))),
        ("frames of an unknown type", b"", message(frame(99, 255, 7, b"x" * 20))),
        ("frames on streams that are over", done, message(frame(DATA, 0, 1, b"x" * 20))),
        ("resets of streams that are over", done, message(frame(RESET, 0, 1, _CANCEL))),
        ("credit by the byte", opened, message(frame(WINDOW, 0, 1, _ONE))),
        ("GOAWAYs", b"", message(frame(GOAWAY, 0, 0, struct.pack("!IH", 0, 1000)))),
        ("text of an unknown type", b"", websocket_frame(TEXT, envelope("later", {}))),
        ("malformed heads", b"", b""),
    ):
        yield pytest.param(name, first, again, id=name)


@pytest.mark.parametrize(("name", "first", "again"), list(floods()))
async def test_flood(name: str, first: bytes, again: bytes) -> None:
    async with site() as one:
        peer = await one.ready()
        await peer.raw(first)
        if again:
            data = again * 4000
        else:
            data = b"".join(
                message(frame(HEAD, END, number, b"GET nonsense\r\n\r\n"))
                for number in range(1, 8001, 2)
            )
        tracemalloc.start()
        try:
            await pour(one, peer, data)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert most < 8 * 1024 * 1024 + len(data)
        assert len(one.server.connections) == 2, name


async def test_fragments_without_end() -> None:
    """A message in a million empty parts is a message that does not come; it costs no memory."""
    async with site() as one:
        peer = await one.ready()
        await peer.raw(websocket_frame(BINARY, b"", fin=False))
        part = websocket_frame(0, b"", fin=False) * 4000
        await pour(one, peer, part)
        await peer.raw(websocket_frame(0, frame(HEAD, END, 1, get("/")), fin=True))
        assert await peer.response_status(1) == 200


async def test_a_message_in_parts_of_a_byte_is_bounded() -> None:
    async with site() as one:
        peer = await one.ready()
        await peer.raw(websocket_frame(BINARY, b"x", fin=False))
        with trio.fail_after(30):
            sent = 1
            part = websocket_frame(0, b"x", fin=False) * 1000
            while len(one.server.connections) == 2:
                await peer.raw(part)
                sent += 1000
                await trio.lowlevel.checkpoint()
        assert sent > 100_000
        assert (await peer.close_code())[0] == 1009


async def test_refusals_that_nobody_reads() -> None:
    """The answers to a flood wait in memory only up to a bound; then the connection is closed."""
    async with site() as one:
        peer = await one.ready()
        for number in range(1, 17, 2):
            await peer.frame(HEAD, END, number, get("/hang"))
        refused = 17
        with trio.move_on_after(15):
            while len(one.server.connections) == 2:
                data = b"".join(
                    message(frame(HEAD, END, number, get("/")))
                    for number in range(refused, refused + 2000, 2)
                )
                refused += 2000
                with trio.move_on_after(1):
                    await peer.raw(data)
        assert len(one.server.connections) == 1


async def test_connections_that_come_and_go() -> None:
    async with site() as one:

        async def come_and_go() -> None:
            for _ in range(10):
                peer = await one.ready()
                await peer.close()
                one.strangers.remove(peer)

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(come_and_go)
        await until(lambda: len(one.server.connections) == 1)


async def test_an_empty_frame_is_not_an_end() -> None:
    async with site() as one:
        peer = await one.ready()
        await peer.frame(HEAD, 0, 1, get("/", method="POST"))
        for _ in range(10):
            await peer.frame(DATA, 0, 1)
        await one.answered()
        await peer.frame(DATA, END, 1, b"four")
        got = await peer.answer(1)
        body = got.payload.partition(b"\r\n\r\n")[2]
        while not got.flags & END:
            got = await peer.next_frame()
            body += got.payload
        assert body == b"4"
