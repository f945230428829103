"""Whatever a stranger sends: a defined answer, a logged reason, and nobody else notices.

Each case runs against a real listener with an honest peer connected, which must still answer
behind it. What only the deadline of the handshake ends is in test_handshake_deadline.py.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trio

from tests.e2e.attacked import OPTIONS, Listener, attacked
from tests.e2e.raw_peer import (
    BINARY,
    DATA,
    END,
    GOAWAY,
    HEAD,
    PING,
    RESET,
    TEXT,
    UPGRADE,
    WINDOW,
    RawPeer,
    envelope,
    frame,
    get,
    hello,
    websocket_frame,
)

MAX_MESSAGE = 131080

PROTOCOL, FLOW, REFUSED = 6, 4, 3


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    async with attacked() as listener:
        yield listener


# ---- in front of the upgrade

NOT_OURS = UPGRADE.replace(b"Sec-WebSocket-Protocol: restsock.v1\r\n", b"")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 426, id="a browser"),
        pytest.param(
            b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", 426, id="a post"
        ),
        pytest.param(NOT_OURS, 400, id="a WebSocket without our subprotocol"),
        pytest.param(UPGRADE.replace(b"restsock.v1", b"chat"), 400, id="another subprotocol"),
        pytest.param(UPGRADE.replace(b"Version: 13", b"Version: 8"), 426, id="version 8"),
        pytest.param(
            UPGRADE.replace(b"Key: AAAA", b"Key: !"), 400, id="a key that is not 16 bytes"
        ),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64), 400, id="TLS"),
        pytest.param(b"SSH-2.0-OpenSSH_9.6\r\n\r\n", 400, id="ssh"),
        pytest.param(
            b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 200_000 + b"\r\n\r\n", 431, id="huge head"
        ),
    ],
)
async def test_not_an_opening_handshake(
    listener: Listener, request_bytes: bytes, status: int
) -> None:
    peer = await listener.stranger()
    await peer.raw(request_bytes)
    head = await peer.head()
    assert int(head.split(b" ", 2)[1]) == status, head
    body = await peer.rest()
    if status == 426:
        assert b"upgrade: websocket" in head.lower()
        assert b"restsock" in body, "the answer says what this is"
    if request_bytes == UPGRADE.replace(b"Version: 13", b"Version: 8"):
        assert b"sec-websocket-version: 13" in head.lower()
    await peer.close()
    assert await listener.log.line("no connection")


# ---- the handshake

Step = Callable[[RawPeer], Awaitable[None]]


def text(payload: bytes) -> Step:
    return lambda peer: peer.text(payload)


def binary(payload: bytes) -> Step:
    return lambda peer: peer.binary(payload)


def raw(data: bytes) -> Step:
    return lambda peer: peer.raw(data)


async def wrong_ready(peer: RawPeer) -> None:
    await peer.text(hello())
    assert json.loads((await peer.message()).payload)["type"] == "welcome"
    await peer.text(envelope("ready", {"connection_id": "somebody else's"}))


async def frame_instead_of_ready(peer: RawPeer) -> None:
    await peer.text(hello())
    assert json.loads((await peer.message()).payload)["type"] == "welcome"
    await peer.frame(HEAD, END, 1, get())


@pytest.mark.parametrize(
    ("step", "code"),
    [
        pytest.param(binary(frame(HEAD, END, 1, get())), 4000, id="a request first"),
        pytest.param(binary(b""), 4000, id="an empty message first"),
        pytest.param(text(b"hello"), 4000, id="no JSON"),
        pytest.param(text(b"[1]"), 4000, id="no object"),
        pytest.param(text(b"[" * 60_000), 4000, id="nested JSON"),
        pytest.param(text(envelope("ready", {"connection_id": "x"})), 4000, id="ready first"),
        pytest.param(text(envelope("hi", {})), 4000, id="an unknown type first"),
        pytest.param(text(hello(version=2)), 4000, id="version 2"),
        pytest.param(text(hello(version=True)), 4000, id="version true"),
        pytest.param(text(hello(name="a\nb")), 4000, id="a name with a line break"),
        pytest.param(text(hello(settings=[])), 4000, id="settings are no object"),
        pytest.param(text(hello(settings={"max_frame": 1})), 4000, id="a setting out of range"),
        pytest.param(text(hello(metadata="m" * 70_000)), 4000, id="huge metadata"),
        pytest.param(text(hello(metadata="m" * 140_000)), 1009, id="a message above the limit"),
        pytest.param(wrong_ready, 4000, id="ready with another id"),
        pytest.param(frame_instead_of_ready, 4000, id="a frame instead of ready"),
    ],
)
async def test_wrong_handshake(listener: Listener, step: Step, code: int) -> None:
    peer = await listener.upgraded()
    await step(peer)
    got, reason = await peer.close_code()
    assert (got, bool(reason)) == (code, True), reason
    await peer.close()
    assert await listener.log.line("no connection", "too long")
    assert len(listener.server.connections) == 1, "only the honest one was ever reported"


# ---- behind the handshake: what ends the connection


@pytest.mark.parametrize(
    ("step", "code"),
    [
        pytest.param(binary(b"\x01\x01\x00\x00"), 4002, id="half a header"),
        pytest.param(binary(frame(HEAD, END, 0, get())), 4002, id="a head on stream 0"),
        pytest.param(binary(frame(DATA, 0, 0, b"x")), 4002, id="data on stream 0"),
        pytest.param(binary(frame(GOAWAY, 0, 1, bytes(6))), 4002, id="goaway on a stream"),
        pytest.param(binary(frame(GOAWAY, 0, 0, bytes(5))), 4002, id="short goaway"),
        pytest.param(binary(frame(HEAD, END, 2, get())), 4002, id="the listener's own id"),
        pytest.param(binary(frame(DATA, 0, 8, b"x")), 4002, id="data on the listener's idle id"),
        pytest.param(binary(frame(DATA, END, 1, b"x")), 4002, id="data before a head"),
        pytest.param(binary(frame(RESET, 0, 1, bytes(2))), 4002, id="reset of an idle stream"),
        pytest.param(binary(frame(RESET, 0, 1, b"\x00")), 4002, id="short reset"),
        pytest.param(binary(frame(RESET, 0, 1, bytes(1027))), 4002, id="long reset"),
        pytest.param(binary(frame(WINDOW, 0, 1, bytes(4))), 4002, id="credit of 0"),
        pytest.param(binary(frame(WINDOW, 0, 1, b"\xff" * 4)), 4002, id="credit above 2^31"),
        pytest.param(binary(frame(WINDOW, 0, 1, bytes(3))), 4002, id="short window"),
        pytest.param(text(b"{}"), 4002, id="text that is no envelope"),
        pytest.param(text(hello()), 4002, id="a second hello"),
        pytest.param(raw(websocket_frame(TEXT, b"\xff\xfe")), 1007, id="no UTF-8"),
        pytest.param(raw(websocket_frame(BINARY, b"x" * 9, masked=False)), 1002, id="not masked"),
        pytest.param(raw(websocket_frame(BINARY, b"x" * 9, rsv=0x40)), 1002, id="reserved bit"),
        pytest.param(raw(websocket_frame(3, b"x")), 1002, id="reserved opcode"),
        pytest.param(raw(websocket_frame(PING, b"x" * 126)), 1002, id="long ping"),
        pytest.param(raw(websocket_frame(PING, b"x", fin=False)), 1002, id="fragmented ping"),
        pytest.param(raw(websocket_frame(0, b"x")), 1002, id="a continuation of nothing"),
        pytest.param(binary(bytes(MAX_MESSAGE + 1)), 1009, id="a message above the limit"),
        pytest.param(
            raw(struct.pack("!BBQ", 0x82, 0xFF, 2**40) + bytes(4)),
            1009,
            id="a terabyte announced",
        ),
    ],
)
async def test_what_ends_the_connection(listener: Listener, step: Step, code: int) -> None:
    async with listener.server.events() as events:
        peer = await listener.ready()
        assert (await events.receive()).type == "ConnectionReceived"
        await step(peer)
        got, reason = await peer.close_code()
        assert (got, bool(reason)) == (code, True), reason
        await peer.close()
        event = await events.receive()
        assert event.type == "ConnectionFailure"
        assert event.connection_id == peer.connection_id
        assert event.reason == reason
    assert await listener.log.line(f"closing with {code}")


async def test_what_came_before_the_offence_is_answered(listener: Listener) -> None:
    peer = await listener.ready()
    await peer.frame(HEAD, END, 1, get())
    assert await peer.response_status(1) == 200
    await peer.frame(HEAD, END, 2, get())
    assert (await peer.close_code())[0] == 4002


async def test_half_a_message_and_the_end(listener: Listener) -> None:
    async with listener.server.events() as events:
        peer = await listener.ready()
        assert (await events.receive()).type == "ConnectionReceived"
        await peer.raw(websocket_frame(BINARY, frame(HEAD, END, 1, get()))[:-10])
        await peer.close()
        event = await events.receive()
        assert (event.type, event.code) == ("ConnectionFailure", 1006)


@pytest.mark.parametrize("seed", range(20))
async def test_random_bytes_behind_the_handshake(listener: Listener, seed: int) -> None:
    dice = random.Random(seed)
    peer = await listener.ready()
    await peer.raw(dice.randbytes(5000))
    await peer.eof()
    await peer.rest()


@pytest.mark.parametrize("seed", range(20))
async def test_random_frames_behind_the_handshake(listener: Listener, seed: int) -> None:
    """WebSocket is in order, what is in it is not: 300 random frames end in a defined way."""
    dice = random.Random(seed)
    peer = await listener.ready()
    for _ in range(300):
        payload = dice.choice([b"", dice.randbytes(dice.randrange(40)), get(), bytes(4)])
        type, stream_id = dice.randrange(8), dice.choice([1, 1, 3, 3, 5, 7, 0, 2])
        # Mostly frames that leave the connection alive.
        if stream_id in (0, 2) and dice.random() < 0.9:
            stream_id = 1
        await peer.frame(type, dice.randrange(4), stream_id, payload)
    await peer.eof()
    await peer.rest()


async def test_random_bytes_in_front_of_the_upgrade(listener: Listener) -> None:
    for size in (1, 10, 1000, 100_000):
        peer = await listener.stranger()
        await peer.raw(os.urandom(size))
        await peer.eof()
        await peer.rest()


# ---- behind the handshake: what ends one stream


async def one_frame(peer: RawPeer, payload: bytes, flags: int = END) -> None:
    await peer.frame(HEAD, flags, 1, payload)


def opened(path: str, *lines: str) -> bytes:
    return frame(HEAD, 0, 1, get(path, *lines, method="POST"))


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        pytest.param([frame(HEAD, END, 1, b"\x00\x01\x02\r\n\r\n")], PROTOCOL, id="no head"),
        pytest.param([frame(HEAD, END, 1, b"GET / HTTP/1.1\r\nHost: x")], PROTOCOL, id="half"),
        pytest.param([frame(HEAD, END, 1, b"")], PROTOCOL, id="an empty head"),
        pytest.param([frame(HEAD, END, 1, b"GET / HTTP/1.1\r\n\r\n")], PROTOCOL, id="no host"),
        pytest.param([frame(HEAD, END, 1, b"GET / HTTP/1.1\nHost: x\n\n")], PROTOCOL, id="bare LF"),
        pytest.param([frame(HEAD, END, 1, get("http://a/"))], PROTOCOL, id="absolute target"),
        pytest.param([frame(HEAD, END, 1, get("a:1", method="CONNECT"))], PROTOCOL, id="CONNECT"),
        pytest.param([frame(HEAD, END, 1, get("/", "Host: b"))], PROTOCOL, id="a second host"),
        pytest.param(
            [frame(HEAD, 0, 1, get("/", "Transfer-Encoding: chunked"))], PROTOCOL, id="chunked"
        ),
        pytest.param([frame(HEAD, END, 1, get("/", "X:a\x07b"))], PROTOCOL, id="a control"),
        pytest.param([frame(HEAD, END, 1, get("/", "X: a", " b"))], PROTOCOL, id="folded"),
        pytest.param(
            [frame(HEAD, END, 1, get("/", "Content-Length: 5, 5"))], PROTOCOL, id="two lengths"
        ),
        pytest.param([frame(HEAD, END, 1, get("/", "Content-Length: 5"))], PROTOCOL, id="no body"),
        pytest.param(
            [opened("/hang", "Content-Length: 3"), frame(DATA, 0, 1, b"four")],
            PROTOCOL,
            id="more than Content-Length",
        ),
        pytest.param(
            [opened("/hang", "Content-Length: 3"), frame(DATA, END, 1, b"2")],
            PROTOCOL,
            id="less than Content-Length",
        ),
        pytest.param(
            [opened("/hang"), frame(DATA, 0, 1, bytes(65537))], PROTOCOL, id="above max_frame"
        ),
        pytest.param(
            [opened("/hang"), frame(HEAD, 0, 1, get())], PROTOCOL, id="a second request head"
        ),
        pytest.param(
            [opened("/hang"), frame(HEAD, END, 1, b"Content-Length: 3\r\n\r\n")],
            PROTOCOL,
            id="framing in trailers",
        ),
        pytest.param(
            [frame(HEAD, END, 1, get("/hang")), frame(DATA, 0, 1, b"x")], PROTOCOL, id="behind END"
        ),
        pytest.param(
            [opened("/hang"), frame(DATA, 0, 1, bytes(16384)), frame(DATA, 0, 1, b"1")],
            FLOW,
            id="one byte more than credit",
        ),
        pytest.param(
            [opened("/hang"), frame(WINDOW, 0, 1, b"\x7f\xff\xff\xff")], FLOW, id="endless window"
        ),
    ],
)
async def test_what_ends_one_stream(listener: Listener, messages: list[bytes], code: int) -> None:
    peer = await listener.ready()
    for message in messages:
        await peer.binary(message)
    assert await peer.reset_code(1) == code
    # The connection lives, and so does its next stream.
    await peer.frame(HEAD, END, 3, get())
    assert await peer.response_status(3) == 200
    assert await listener.log.line("stream 1")


async def test_a_head_that_is_too_large_is_answered_in_http(listener: Listener) -> None:
    peer = await listener.ready()
    await peer.frame(HEAD, END, 1, get("/", "X: " + "a" * 10_000))
    assert await peer.response_status(1) == 431
    await peer.frame(HEAD, END, 3, get())
    assert await peer.response_status(3) == 200


async def test_more_streams_than_allowed_are_refused(listener: Listener) -> None:
    peer = await listener.ready()
    for number in range(5):
        await peer.frame(HEAD, END, 2 * number + 1, get("/hang"))
    assert await peer.reset_code(9) == REFUSED
    await peer.frame(RESET, 0, 1, struct.pack("!H", 1))
    # Its place is free once the app has let go of it, at the latest when it is cancelled.
    with trio.fail_after(10):
        for number in itertools.count(5):
            await peer.frame(HEAD, END, 2 * number + 1, get())
            if (await peer.answer(2 * number + 1)).type == HEAD:
                break
            await trio.sleep(OPTIONS.timeouts.disconnect / 10)


async def test_what_must_be_ignored_is_ignored(listener: Listener) -> None:
    peer = await listener.ready()
    await peer.text(envelope("data", {"for": "later"}))
    await peer.frame(77, 0xFF, 12345, b"a type of the future")
    await peer.frame(HEAD, END, 5, get())
    assert await peer.response_status(5) == 200
    for type in (HEAD, DATA, RESET):  # closed, and left out
        await peer.frame(type, END, 5, bytes(2))
        await peer.frame(type, END, 3, bytes(2))
    await peer.frame(HEAD, 0xF0 | END, 7, get())
    assert await peer.response_status(7) == 200


async def test_pings_without_end_do_not_grow_the_listener(listener: Listener) -> None:
    """A peer that asks for pongs and never reads them is stopped by its own full socket."""
    peer = await listener.ready()
    pings = websocket_frame(PING, b"p" * 125) * 2000
    with trio.move_on_after(1):
        for _ in range(200):  # 26 MB; the sockets' buffers hold a fraction of the pongs
            await peer.stream.send_all(pings)
