from __future__ import annotations

import json

import pytest
import trio
import trio.testing

from restsock._exceptions import HandshakeError, LocalProtocolError
from restsock._options import Options
from restsock.connection import Peer, open_accepted, open_dialed
from restsock.protocol import (
    ClientUpgrade,
    CloseReceived,
    ServerUpgrade,
    TextMessage,
    WebSocket,
)

from .peers import handshake, pair

PEER = Peer("somewhere", 0)
OPTIONS = Options()


async def accept(stream: trio.abc.Stream) -> None:
    await open_accepted(stream, peer=PEER, options=OPTIONS)


async def dial(stream: trio.abc.Stream) -> None:
    await open_dialed(stream, host="hub", peer=PEER, options=OPTIONS)


async def receive_all(stream: trio.abc.ReceiveStream) -> bytes:
    pieces = []
    while data := await stream.receive_some(65536):
        pieces.append(bytes(data))
    return b"".join(pieces)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"426"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", b"426"),
        (b"\x16\x03\x01\x02\x00\x01\x00 a TLS hello \r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000, b"431"),
        (
            (
                b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            ),
            b"400",
        ),
        (
            (
                b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            ),
            b"426",
        ),
    ],
)
async def test_a_listener_tells_strangers_what_it_is(
    request_: bytes, status: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    here, there = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:

        async def listener() -> None:
            with pytest.raises(HandshakeError):
                await accept(there)

        nursery.start_soon(listener)
        await here.send_all(request_)
        answer = await receive_all(here)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 " + status)
    assert b"restsock.v1" in body


async def test_a_silent_dialer_is_let_go(autojump_clock: trio.testing.MockClock) -> None:
    _, there = trio.testing.memory_stream_pair()
    with pytest.raises(HandshakeError, match="more than 10 s"):
        await accept(there)
    assert trio.current_time() == pytest.approx(OPTIONS.timeouts.handshake)


async def test_a_silent_listener_is_let_go(autojump_clock: trio.testing.MockClock) -> None:
    here, _ = trio.testing.memory_stream_pair()
    with pytest.raises(HandshakeError, match="more than 10 s") as caught:
        await dial(here)
    assert caught.value.retryable


async def test_a_dialer_that_stops_behind_the_upgrade_gets_4001(
    autojump_clock: trio.testing.MockClock,
) -> None:
    codes = await talk_to_listener([])
    assert codes == [4001]


def envelope(type: str, payload: object) -> str:
    return json.dumps({"type": type, "id": "1", "timestamp": 0, "payload": payload})


@pytest.mark.parametrize(
    "messages",
    [
        ["random words"],
        [b"\x01\x00\x00\x00\x00\x00\x00\x01"],
        [envelope("ready", {"connection_id": "x"})],
        [envelope("hello", {"version": 2})],
        [envelope("hello", {"version": 1, "name": ""})],
        [envelope("hello", {"version": 1, "settings": {"max_frame": 1}})],
        [envelope("hello", {"version": 1}), envelope("ready", {"connection_id": "wrong"})],
        ["[" * 5000],
        [envelope("hello", {"version": 1, "metadata": "x" * 70_000})],
    ],
)
async def test_a_wrong_step_gets_4000(
    messages: list[str | bytes], autojump_clock: trio.testing.MockClock
) -> None:
    assert await talk_to_listener(messages) == [4000]


async def talk_to_listener(messages: list[str | bytes]) -> list[int]:
    here, there = trio.testing.memory_stream_pair()
    codes = []
    async with trio.open_nursery() as nursery:

        async def listener() -> None:
            with pytest.raises(HandshakeError):
                await accept(there)

        nursery.start_soon(listener)
        upgrade = ClientUpgrade(host="hub", target="/", headers=(), key=bytes(16))
        await here.send_all(upgrade.request)
        while not upgrade.receive_data(bytes(await here.receive_some(65536))):
            pass
        websocket = WebSocket(client=True, max_message=200_000)
        for message in messages:
            if isinstance(message, str):
                websocket.send_text(message)
            else:
                websocket.send_binary(message)
            await here.send_all(websocket.data_to_send())
        websocket.receive_data(await receive_all(here))
        while (event := websocket.next_event()) is not None:
            if isinstance(event, CloseReceived):
                codes.append(event.code)
            else:
                assert isinstance(event, TextMessage)
    return codes


@pytest.mark.parametrize(
    ("answer", "match", "retryable"),
    [
        (b"HTTP/1.1 401 No\r\nContent-Length: 8\r\n\r\nbad key\n", "401: bad key", False),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "503", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "200", False),
        (b"HTTP/1.1 502 Bad\r\nConnection: close\r\n\r\nno length", "502", True),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "not an HTTP answer", False),
        (b"", "closed", True),
    ],
)
async def test_a_refused_dialer_is_told_why(answer: bytes, match: str, retryable: bool) -> None:
    here, there = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:

        async def listener() -> None:
            await there.receive_some(65536)
            await there.send_all(answer)
            await there.send_eof()

        nursery.start_soon(listener)
        with pytest.raises(HandshakeError, match=match) as caught:
            await dial(here)
        assert caught.value.retryable is retryable


async def test_another_subprotocol_is_not_for_us() -> None:
    here, there = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:

        async def listener() -> None:
            upgrade = ServerUpgrade()
            upgrade.receive_data(bytes(await there.receive_some(65536)))
            answer = upgrade.accept().replace(b"restsock.v1", b"restsock.v9")
            await there.send_all(answer)

        nursery.start_soon(listener)
        with pytest.raises(HandshakeError, match="subprotocol"):
            await dial(here)


async def test_metadata_that_is_not_json_never_leaves() -> None:
    here, there = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:

        async def listener() -> None:
            with pytest.raises(HandshakeError):
                await accept(there)

        nursery.start_soon(listener)
        with pytest.raises(LocalProtocolError):
            await open_dialed(here, host="hub", metadata={1, 2}, peer=PEER, options=OPTIONS)


async def test_names_are_optional() -> None:
    async with pair(name=None) as (_, listener):
        assert listener.name is None


async def test_cancelling_an_opening_closes_the_stream() -> None:
    here, there = trio.testing.memory_stream_pair()
    with trio.move_on_after(0):
        await accept(there)
    with pytest.raises(trio.ClosedResourceError):
        await there.receive_some(1)
    assert await receive_all(here) == b""


async def test_the_streams_may_bring_one_byte_at_a_time() -> None:
    here, there = trio.testing.lockstep_stream_pair()
    dialer, listener = await handshake(here, there)
    assert dialer.id == listener.id
