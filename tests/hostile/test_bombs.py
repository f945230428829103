"""Decompression bombs: nothing in restsock unpacks anything; who does, does it at his own pace."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from typing import Any

import pytest
import requests
import trio

import restsock
import restsock.testing
from tests.e2e.raw_peer import BINARY, UPGRADE, RawPeer, frame, get, websocket_frame
from tests.hostile.site import site

_MIB = 1024 * 1024
# 64 MiB of zeros in 64 KiB, and those in 400 bytes.
BOMB = gzip.compress(bytes(64 * _MIB), 9)
TWICE = gzip.compress(BOMB, 9)


async def bomber(request: restsock.Request) -> restsock.Response:
    await request.read()
    body = TWICE if request.path == "/twice" else BOMB
    coding = "gzip, gzip" if request.path == "/twice" else "gzip"
    return restsock.Response(200, {"Content-Encoding": coding}, body)


async def test_a_response_is_what_was_sent() -> None:
    async with restsock.testing.connected_pair(None, bomber) as pair:
        response = await pair.dialer.request("GET", "/")
        assert response.content == BOMB


@pytest.mark.parametrize("path", ["/", "/twice"])
async def test_a_bomb_is_read_in_pieces_of_the_reader_s_choice(path: str) -> None:
    """With `stream=True`, what is unpacked is what was asked for, however much is in it."""

    def read(requester: Any) -> tuple[int, int]:
        with requests.Session() as session:
            session.trust_env = False
            session.mount("http://", restsock.TunnelAdapter(requester))
            tracemalloc.start()
            try:
                with session.get(f"http://peer{path}", stream=True) as response:
                    size = 0
                    for piece in response.iter_content(65536):
                        assert len(piece) <= 65536
                        size += len(piece)
                        if size >= 2 * _MIB:
                            break
                return size, tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

    async with restsock.testing.connected_pair(None, bomber) as pair:
        size, most = await trio.to_thread.run_sync(read, pair.dialer)
    assert size >= 2 * _MIB
    assert most < 8 * _MIB


async def test_a_bomb_that_is_unpacked_holds_up_nobody_else() -> None:
    """Without `stream=True` the caller gets all of it, in the caller's thread."""

    def read(requester: Any) -> int:
        with requests.Session() as session:
            session.trust_env = False
            session.mount("http://", restsock.TunnelAdapter(requester))
            return len(session.get("http://peer/").content)

    async with site() as one:
        async with restsock.connect(one.server.url, app=bomber, name="bomber"):
            route = one.server.route("bomber")
            assert await trio.to_thread.run_sync(read, route) == 64 * _MIB
            await one.answered(5)


async def test_a_bomb_as_a_request_arrives_packed() -> None:
    async def app(request: restsock.Request) -> restsock.Response:
        return restsock.Response(200, {}, str(len(await request.read())))

    async with restsock.testing.connected_pair(None, app) as pair:
        response = await pair.dialer.request(
            "POST", "/", headers={"Content-Encoding": "gzip"}, body=BOMB
        )
        assert response.text == str(len(BOMB))


async def test_compressed_messages_are_not_agreed_to() -> None:
    """permessage-deflate is offered and not taken; a compressed message is an error."""
    async with site() as one:
        peer: RawPeer = await one.stranger()
        offer = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
        await peer.raw(UPGRADE[:-2] + offer)
        head = await peer.head()
        assert head.startswith(b"HTTP/1.1 101")
        assert b"extensions" not in head.lower()
        await peer.shake_hands()
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
        packed = deflate.compress(frame(1, 1, 1, get("/"))) + deflate.flush(zlib.Z_SYNC_FLUSH)
        await peer.raw(websocket_frame(BINARY, packed[:-4], rsv=0x40))
        assert (await peer.close_code())[0] == 1002
