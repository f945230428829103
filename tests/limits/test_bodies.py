"""Bodies that are too long, on either side, announced or not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio.testing
from trio.testing import MockClock

from restsock import Limits, Options, StreamReset
from restsock.testing import connected_pair
from tests.e2e.raw_peer import DATA, END, HEAD, RESET, RawPeer, get
from tests.limits.scene import app, scene

LIMITS = Options(limits=Limits(max_body=1000))
NO_ERROR, TOO_LARGE, REFUSED = 0, 5, 3


async def assert_413(peer: RawPeer, stream: int, *, reset: bool) -> None:
    """The answer of the listener itself: all of it in one frame, and no more wanted behind it."""
    answer = await peer.answer(stream)
    assert (answer.type, answer.flags) == (HEAD, END)
    assert answer.payload == b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n"
    if reset:
        stop = await peer.next_frame()
        assert (stop.type, stop.stream_id, stop.payload) == (RESET, stream, bytes(2))


async def test_announced_and_never_seen_by_the_app() -> None:
    asked: list[str] = []

    async def watched(scope: dict[str, Any], receive: Any, send: Any) -> None:
        asked.append(scope.get("path", ""))
        await app(scope, receive, send)

    async with scene(LIMITS, handler_app=watched) as s:
        peer = await s.ready()
        await peer.frame(HEAD, 0, 1, get("/one", "Content-Length: 1001", method="POST"))
        await assert_413(peer, 1, reset=True)
        await peer.frame(DATA, END, 1, bytes(1001))  # crosses with the answer: ignored
        whole = get("/two", "Content-Length: 1001", method="POST") + bytes(1001)
        await peer.frame(HEAD, END, 3, whole)
        await assert_413(peer, 3, reset=False)
        allowed = get("/three", "Content-Length: 1000", method="POST") + bytes(1000)
        await peer.frame(HEAD, END, 5, allowed)
        assert await peer.response_status(5) == 200
        assert s.hits == {"max_body": 2}
        assert "/one" not in asked
        assert "/two" not in asked
        assert "/three" in asked


async def test_counted_where_nothing_was_announced() -> None:
    async with scene(LIMITS) as s:
        peer = await s.ready()
        await peer.frame(HEAD, 0, 1, get("/", method="POST") + bytes(600))
        await peer.frame(DATA, 0, 1, bytes(400))
        await peer.frame(DATA, 0, 1, b"x")
        await assert_413(peer, 1, reset=True)
        await peer.frame(HEAD, 0, 3, get("/", method="POST") + bytes(600))
        await peer.frame(DATA, END, 3, bytes(401))
        await assert_413(peer, 3, reset=False)
        await peer.frame(HEAD, 0, 5, get("/", method="POST") + bytes(600))
        await peer.frame(DATA, END, 5, bytes(400))
        assert await peer.response_status(5) == 200
        assert s.hits == {"max_body": 2}


async def test_after_the_head_of_the_response_it_is_a_reset() -> None:
    async with scene(LIMITS) as s:
        peer = await s.ready()
        await peer.frame(HEAD, 0, 1, get("/stall", method="POST"))
        assert await peer.response_status(1) == 200
        await peer.frame(DATA, 0, 1, bytes(1001))
        assert await peer.reset_code(1) == TOO_LARGE
        assert s.hits == {"max_body": 1}


async def test_the_app_learns_that_the_peer_is_gone(autojump_clock: MockClock) -> None:
    seen: list[str] = []

    async def reader(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        while True:
            message = await receive()
            seen.append(message["type"])
            if message["type"] == "http.disconnect":
                return

    async def long_body() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield bytes(400)

    # On trio: the clock that jumps does not know what another thread is at.
    async with connected_pair(app_b=reader, options=LIMITS, loop_b="trio") as (dialer, _):
        response = await dialer.request("POST", "/", body=long_body())
        assert response.status == 413
        assert response.content == b""
        await trio.testing.wait_all_tasks_blocked()
    assert seen[-1] == "http.disconnect"


async def test_raw_bytes_are_not_a_body() -> None:
    """Behind a 101 the limit does not hold."""

    async def tunnel(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "websocket":
            raise NotImplementedError(scope["type"])
        await receive()
        await send({"type": "websocket.accept"})
        total = 0
        while total < 5000:
            message = await receive()
            total += len(message["bytes"])
        await send({"type": "websocket.send", "text": str(total)})
        await send({"type": "websocket.close"})

    options = Options(limits=Limits(max_body=10, max_response_body=10))
    async with connected_pair(app_b=tunnel, options=options) as (dialer, _):
        fields = [
            ("Connection", "upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
            ("Sec-WebSocket-Version", "13"),
        ]
        async with dialer.stream("GET", "/", headers=fields) as response:
            assert response.status == 101
            for _ in range(5):
                await response.send(b"\x82\xfe\x03\xe8" + bytes(4) + bytes(1000))
            received = b""
            async for data in response:
                received += data
                if b"5000" in received:
                    break
        assert b"5000" in received


@pytest.mark.parametrize("announced", [True, False])
async def test_a_response_that_is_too_long(announced: bool) -> None:
    async def talker(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        size = int(scope["path"][1:])
        headers = [(b"content-length", b"%d" % size)] if announced else []
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": bytes(size // 2), "more_body": True})
        await send({"type": "http.response.body", "body": bytes(size - size // 2)})

    options = Options(limits=Limits(max_response_body=1000))
    async with connected_pair(app_b=talker, options=options, options_b=Options()) as (dialer, _):
        assert len((await dialer.request("GET", "/1000")).content) == 1000
        with pytest.raises(StreamReset, match="a body of more than 1000 bytes") as caught:
            await dialer.request("GET", "/1001")
        assert caught.value.code == TOO_LARGE
        assert not caught.value.by_peer
        assert caught.value.may_have_run
        assert len((await dialer.request("GET", "/1000")).content) == 1000
