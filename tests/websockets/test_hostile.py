"""Clients and servers that mean harm: floods, dribbles, cuts. Others go on, in bounded memory."""

from __future__ import annotations

import gc
import socket
import struct
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from restsock import Options, Timeouts, WebSocketClosed
from restsock._exceptions import RemoteProtocolError
from restsock.protocol import CloseReceived, TextMessage, WebSocket
from restsock.websockets import Endpoint, ServerWebSocket, connect
from tests.websockets.site import (
    PATIENCE,
    RawClient,
    echo,
    listening,
    pour,
    raw_client,
    request_for,
)

ZERO = b"\0\0\0\0"  # a mask


@asynccontextmanager
async def honest(server: Any) -> AsyncIterator[RawClient]:
    """A client that is served in the middle of whatever goes on."""
    async with raw_client(server) as client:
        yield client
        for number in range(5):
            client.websocket.send_text(f"{number}")
            await client.flush()
            assert await client.next() == TextMessage(f"{number}")


@pytest.mark.parametrize(
    "data",
    [
        b"\x89\x80" + ZERO,  # pings
        b"\x89\xfd" + ZERO + bytes(125),
        b"\x8a\x80" + ZERO,  # pongs
        b"\x00\x80" + ZERO,  # empty fragments
        b"\x82\x80" + ZERO,  # empty messages
        b"\x81\xfe\x40\x00" + ZERO + b"x" * 0x4000,  # an echo that is not read
    ],
    ids=["pings", "long pings", "pongs", "empty fragments", "empty messages", "messages"],
)
async def test_a_flood_is_bounded_and_others_are_served(data: bytes) -> None:
    async with listening(Endpoint(echo)) as server:
        async with raw_client(server) as hostile, trio.open_nursery() as nursery:
            if data[0] == 0:
                await hostile.send(b"\x02\x80" + ZERO)
            nursery.start_soon(pour, hostile, data * (1 + 65536 // len(data)))
            await trio.sleep(0.2)
            gc.collect()
            tracemalloc.start()
            try:
                async with honest(server):
                    await trio.sleep(0.2)
                grown = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            assert grown < 8 << 20
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("first", [0x01, 0x02])
def test_a_message_in_tiny_fragments_takes_little_more_than_its_size(first: int) -> None:
    """As text or bytes: objects of a byte or two each would take many times that."""
    size = 1 << 15
    websocket = WebSocket(client=False, max_message=size)
    one = b"\x82" + ZERO + b"ab"
    tracemalloc.start()
    try:
        websocket.receive_data(bytes([first]) + one)
        for _ in range(size // 2 - 2):
            websocket.receive_data(b"\0" + one)
        assert tracemalloc.get_traced_memory()[1] < 3 * size
    finally:
        tracemalloc.stop()
    websocket.receive_data(b"\x80" + one)
    event = websocket.next_event()
    assert event is not None
    assert len(event.data) == size  # type: ignore[union-attr]


def test_endless_fragments_end_at_the_largest_message() -> None:
    websocket = WebSocket(client=False, max_message=10_000)
    websocket.receive_data(b"\x02\x80" + ZERO)
    with pytest.raises(RemoteProtocolError) as caught:
        for _ in range(10_001):
            websocket.receive_data(b"\0\x81" + ZERO + b"x")
    assert caught.value.close_code == 1009


async def test_what_is_announced_is_not_waited_for() -> None:
    async with listening(Endpoint(echo)) as server, raw_client(server) as client:
        await client.send(b"\x82\xff" + (1 << 40).to_bytes(8, "big") + ZERO)
        event = await client.next()
        assert isinstance(event, CloseReceived)
        assert event.code == 1009


@pytest.mark.parametrize("how", ["end", "reset", "in a frame", "in a message"])
async def test_a_client_that_is_cut_off(how: str) -> None:
    outcomes: list[tuple[int, bool]] = []
    ended = trio.Event()

    async def serve(websocket: ServerWebSocket) -> None:
        try:
            await websocket.receive()
        except WebSocketClosed as exc:
            outcomes.append((exc.code, exc.clean))
        ended.set()

    async with listening(Endpoint(serve)) as server, raw_client(server) as client:
        stream = client.stream
        assert isinstance(stream, trio.SocketStream)
        if how == "in a frame":
            await client.send(b"\x82\xfe\x10\x00" + ZERO + b"half")
        elif how == "in a message":
            await client.send(b"\x02\x84" + ZERO + b"half")
        if how == "reset":
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await stream.aclose()
        with trio.fail_after(PATIENCE):
            await ended.wait()
    assert outcomes == [(1006, False)]


async def test_what_was_whole_before_an_error_is_received() -> None:
    received: list[str | bytes] = []

    async def serve(websocket: ServerWebSocket) -> None:
        with pytest.raises(WebSocketClosed) as caught:
            while True:
                received.append(await websocket.receive())
        assert caught.value.code == 1002
        assert isinstance(caught.value.__cause__, RemoteProtocolError)
        received.append("end")

    async with listening(Endpoint(serve)) as server, raw_client(server) as client:
        await client.send(b"\x81\x81" + ZERO + b"a" + b"\x81\x81" + ZERO + b"b" + b"\xff" * 30)
        event = await client.next()
        assert isinstance(event, CloseReceived)
        assert event.code == 1002
        assert await client.next() is None
    assert received == ["a", "b", "end"]


async def test_requests_that_stop_half_way_are_given_up() -> None:
    options = Options(timeouts=Timeouts(handshake=0.3))
    async with listening(Endpoint(echo), options=options) as server:
        streams = []
        for size in (1, 20, 100):
            stream = await trio.open_tcp_stream("127.0.0.1", server.address[1])
            await stream.send_all(request_for()[:size])
            streams.append(stream)
        async with honest(server):
            with trio.fail_after(PATIENCE):
                for stream in streams:
                    while await stream.receive_some(65536):
                        pass
                    await stream.aclose()


async def test_a_client_that_never_answers_a_close_is_left() -> None:
    closed = trio.Event()

    async def serve(websocket: ServerWebSocket) -> None:
        with trio.fail_after(PATIENCE):
            await websocket.aclose(4000)
        closed.set()

    options = Options(timeouts=Timeouts(close=0.2))
    async with listening(Endpoint(serve), options=options) as server, raw_client(server) as client:
        assert await client.next() == CloseReceived(4000, "")
        with trio.fail_after(PATIENCE):
            await closed.wait()
        assert await client.next() is None


async def test_a_client_that_goes_on_after_our_close_is_not_listened_to() -> None:
    received: list[str | bytes] = []

    async def serve(websocket: ServerWebSocket) -> None:
        websocket.close_soon(4000)
        with pytest.raises(WebSocketClosed):
            received.append(await websocket.receive())

    options = Options(timeouts=Timeouts(close=0.3))
    async with listening(Endpoint(serve), options=options) as server, raw_client(server) as client:
        assert await client.next() == CloseReceived(4000, "")
        with trio.move_on_after(PATIENCE):
            await pour(client, b"\x81\x81" + ZERO + b"a")
    assert received == []


# --- servers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x81\x81" + ZERO + b"a", 1002),  # masked
        (b"\xc1\x01a", 1002),
        (b"\x81\x01\xff", 1007),
        (b"\x82\x7f" + (1 << 40).to_bytes(8, "big"), 1009),
        (b"\x02\x01a" * 2, 1002),
        (b"\x88\x01x", 1002),
        (b"", 1006),
        (b"\x82\x7e", 1006),
    ],
)
async def test_a_server_that_breaks_the_protocol(data: bytes, code: int) -> None:
    from tests.websockets.test_dialing import raw_server, read_request

    answers: list[bytes] = []

    async def serve(stream: trio.SocketStream) -> None:
        from restsock.protocol import generate_accept_token

        request = await read_request(stream)
        at = request.lower().index(b"sec-websocket-key: ") + 19
        token = generate_accept_token(request[at : request.index(b"\r", at)])
        head = b"HTTP/1.1 101 Ok\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
        await stream.send_all(head + b"Sec-WebSocket-Accept: " + token + b"\r\n\r\n" + data)
        if code == 1006:
            await stream.send_eof()
        answer = b""
        try:
            while part := await stream.receive_some(65536):
                answer += part
        except trio.BrokenResourceError:
            pass
        answers.append(answer)

    async with raw_server(serve) as url:
        async with connect(url) as websocket:
            with pytest.raises(WebSocketClosed) as caught:
                await websocket.receive()
            assert (caught.value.code, caught.value.clean) == (code, False)
    peer = WebSocket(client=False, max_message=1000)
    peer.receive_data(answers[0])
    event = peer.next_event()
    if code == 1006:
        assert event is None
    else:
        assert isinstance(event, CloseReceived)
        assert event.code == code
