"""A peer that does not read: what waits for it is bounded, and whoever sends is told."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

import restsock
from restsock import WebSocketClosed
from restsock.protocol import BinaryMessage, CloseReceived, Pong, TextMessage
from restsock.websockets import ClientWebSocket, Endpoint, ServerWebSocket, connect
from tests.websockets.site import PATIENCE, RawClient, echo, listening, raw_client, request_for

ROLES = pytest.mark.parametrize("role", ["server", "client"])


class Stalled:
    """A WebSocket of ours, and at its other end one that reads only when it is told to."""

    def __init__(
        self, websocket: ServerWebSocket | ClientWebSocket, peer: trio.SocketStream
    ) -> None:
        self.websocket = websocket
        self.peer = peer


@asynccontextmanager
async def stalled(role: str, **options: Any) -> AsyncIterator[Stalled]:
    """A peer with small buffers that does not read."""
    sock = trio.socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sockets = restsock.SocketOptions(send_buffer=4096)
    limits = restsock.Limits(send_buffer=16 * 1024)
    timeouts = restsock.Timeouts(close=0.2)
    general = restsock.Options(sockets=sockets, limits=limits, timeouts=timeouts)
    if role == "client":
        await sock.bind(("127.0.0.1", 0))
        sock.listen()
        accepted: list[trio.SocketStream] = []

        async def accept() -> None:
            from restsock.protocol import generate_accept_token

            other, _ = await sock.accept()
            stream = trio.SocketStream(other)
            accepted.append(stream)
            request = b""
            while b"\r\n\r\n" not in request:
                request += await stream.receive_some(65536)
            at = request.lower().index(b"sec-websocket-key: ") + 19
            token = generate_accept_token(request[at : request.index(b"\r", at)])
            await stream.send_all(
                b"HTTP/1.1 101 Ok\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
                b"Sec-WebSocket-Accept: " + token + b"\r\n\r\n"
            )

        url = f"ws://127.0.0.1:{sock.getsockname()[1]}/"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept)
            async with connect(url, options=general, **options) as websocket:
                yield Stalled(websocket, accepted[0])
        sock.close()
        await trio.aclose_forcefully(accepted[0])
        return
    opened: list[ServerWebSocket] = []
    leave, ready = trio.Event(), trio.Event()

    async def serve(websocket: ServerWebSocket) -> None:
        opened.append(websocket)
        ready.set()
        await leave.wait()

    async with listening(Endpoint(serve, **options), options=general) as server:
        await sock.connect(("127.0.0.1", server.address[1]))
        stream = trio.SocketStream(sock)
        await stream.send_all(request_for())
        with trio.fail_after(PATIENCE):
            await ready.wait()
        yield Stalled(opened[0], stream)
        leave.set()
        await trio.aclose_forcefully(stream)


async def fill(websocket: ServerWebSocket | ClientWebSocket) -> None:
    """Sends until nothing leaves any more."""
    with trio.fail_after(PATIENCE):
        while not websocket.queued:
            websocket.send_nowait(bytes(4000))
            await trio.sleep(0.001)  # the socket is given what it takes
        await trio.sleep(0.05)
        while not websocket.queued:
            await fill(websocket)


@ROLES
async def test_so_many_messages_wait_and_no_more(role: str) -> None:
    async with stalled(role, max_queue=10) as here:
        websocket = here.websocket
        await fill(websocket)
        taken = 0
        while websocket.send_nowait(f"{taken}"):
            taken += 1
        assert websocket.queued == 10
        assert websocket.room == 0
        assert not websocket.send_nowait("")


@ROLES
async def test_so_many_bytes_wait_and_no_more(role: str) -> None:
    async with stalled(role, max_queue_bytes=10_000) as here:
        websocket = here.websocket
        await fill(websocket)
        room = websocket.room
        assert 0 < room < 10_000
        assert not websocket.send_nowait(bytes(room + 1))
        assert websocket.send_nowait(bytes(room))
        assert not websocket.send_nowait("")
        # Characters count by their bytes.
        assert websocket.room == 0


@ROLES
async def test_what_may_be_dropped_makes_room_for_later_messages(role: str) -> None:
    async with stalled(role, max_queue=10) as here:
        websocket = here.websocket
        await fill(websocket)
        for number in range(50):
            assert websocket.send_nowait(f"{number}", droppable=True)
        assert websocket.queued == 10
        assert 40 <= websocket.dropped <= 41
        assert websocket.send_nowait("this one stays")
        assert not websocket.send_nowait(bytes(2 * 1024 * 1024), droppable=True)


@ROLES
async def test_who_waits_for_room_gets_it_in_turn_and_nothing_is_lost(role: str) -> None:
    async with stalled(role) as here:
        websocket, received = here.websocket, b""
        await fill(websocket)
        done: list[int] = []

        async def send(number: int) -> None:
            await websocket.send(f"<{number:04}>")
            done.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(send, number)
                await trio.testing.wait_all_tasks_blocked()
            assert done == []
            # One that is cancelled while it waits has sent nothing.
            with trio.move_on_after(0.01) as scope:
                await websocket.send("<cancelled>")
            assert scope.cancelled_caught
            parsed = RawClient(here.peer, b"").websocket
            if role == "client":
                parsed = type(parsed)(client=False, max_message=2**20)
            texts: list[str] = []
            with trio.fail_after(PATIENCE):
                while len(texts) < 50:
                    received = bytes(await here.peer.receive_some(65536))
                    assert received
                    head, _, rest = received.partition(b"\r\n\r\n")
                    if role == "server" and head.startswith(b"HTTP/1.1 101"):
                        received = rest
                    parsed.receive_data(received)
                    while (event := parsed.next_event()) is not None:
                        if isinstance(event, TextMessage):
                            texts.append(event.data)
                        else:
                            assert isinstance(event, BinaryMessage)
        assert texts == [f"<{number:04}>" for number in range(50)]
        assert sorted(done) == list(range(50))
        assert websocket.queued == 0


@ROLES
async def test_room_that_is_there_again_is_told(role: str) -> None:
    async with stalled(role, max_queue=10) as here:
        websocket = here.websocket
        told = trio.Event()
        websocket.on_writable = told.set
        await fill(websocket)
        while websocket.send_nowait(bytes(2000)):
            pass
        assert not told.is_set()
        with trio.fail_after(PATIENCE):
            while not told.is_set():
                await here.peer.receive_some(65536)
                await trio.sleep(0.001)
        assert websocket.queued <= 5
        assert websocket.send_nowait("more")


@ROLES
async def test_a_close_of_one_that_does_not_read_takes_its_time_and_no_more(role: str) -> None:
    async with stalled(role) as here:
        websocket = here.websocket
        await fill(websocket)
        outcomes: list[str] = []

        async def send() -> None:
            try:
                await websocket.send("never")
            except WebSocketClosed as exc:
                outcomes.append(f"{exc.code} {exc.reason}")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await trio.testing.wait_all_tasks_blocked()
            begun = trio.current_time()
            await websocket.aclose(1013, "too slow")
            assert trio.current_time() - begun < PATIENCE / 2
        assert outcomes == ["1013 too slow"]
        assert (websocket.close_code, websocket.queued, websocket.room) == (1013, 0, 0)
        with pytest.raises(WebSocketClosed):
            websocket.send_nowait("late")


async def test_what_was_sent_before_a_close_arrives_before_it() -> None:
    async def serve(websocket: ServerWebSocket) -> None:
        for number in range(300):
            assert websocket.send_nowait(f"{number}" + "x" * 1000)
        assert websocket.queued  # so that the close has to wait
        await websocket.aclose(4000, "done")

    limits = restsock.Limits(send_buffer=16 * 1024)
    endpoint = Endpoint(serve)
    options = restsock.Options(limits=limits)
    async with listening(endpoint, options=options) as server, raw_client(server) as client:
        for number in range(300):
            assert await client.next() == TextMessage(f"{number}" + "x" * 1000)
        assert await client.next() == CloseReceived(4000, "done")


async def test_pongs_overtake_what_waits() -> None:
    """A peer that sends a ping, and reads slowly, does not wait for all that is queued."""
    go = trio.Event()

    async def serve(websocket: ServerWebSocket) -> None:
        await websocket.receive()
        while not websocket.queued:
            websocket.send_nowait(bytes(10_000))
        for _ in range(90):
            assert websocket.send_nowait(bytes(10_000))
        go.set()
        await websocket.receive()

    limits = restsock.Limits(send_buffer=16 * 1024)
    options = restsock.Options(limits=limits)
    async with listening(Endpoint(serve), options=options) as server:
        async with raw_client(server) as client:
            client.websocket.send_text("begin")
            client.websocket.send_ping(b"now")
            await client.flush()
            with trio.fail_after(PATIENCE):
                await go.wait()
            before = 0
            while (event := await client.next()) != Pong(b"now"):
                assert isinstance(event, BinaryMessage)
                before += 1
            assert before < 80


async def test_unreceived_messages_stop_the_sender() -> None:
    taken = trio.Event()

    async def serve(websocket: ServerWebSocket) -> None:
        await taken.wait()
        async for _ in websocket:
            pass

    async with listening(Endpoint(serve)) as server, raw_client(server) as client:
        data = b"\x82\xfe\xff\xff\0\0\0\0" + bytes(65535)
        sent = 0
        with trio.move_on_after(0.3):
            while sent < 2000:
                await client.stream.send_all(data)
                sent += 1
        assert sent < 2000  # 128 MiB: the buffers of the system are far smaller
        taken.set()


async def test_empty_messages_are_bounded_too() -> None:
    seen: list[int] = []
    ready = trio.Event()

    async def serve(websocket: ServerWebSocket) -> None:
        await ready.wait()
        seen.append(websocket.unread)

    async with listening(Endpoint(serve)) as server, raw_client(server) as client:
        with trio.move_on_after(0.5):
            while True:
                await client.stream.send_all(b"\x82\x80\0\0\0\0" * 10_000)
        ready.set()
        await client.next()
    # 64 bytes each for 64 KiB; and those of the bytes that were read together.
    assert seen[0] < 1024 + 64 * 1024 / 6 + 1


async def test_messages_of_other_kinds() -> None:
    async with listening(Endpoint(echo)) as server, raw_client(server) as client:
        del client
        for message in (3, None, ["x"], object()):
            async with connect(f"ws://127.0.0.1:{server.address[1]}/ws") as websocket:
                with pytest.raises(TypeError, match="a message is str or bytes"):
                    await websocket.send(message)  # type: ignore[arg-type]
                with pytest.raises(TypeError, match="a message is str or bytes"):
                    websocket.send_nowait(message)  # type: ignore[arg-type]
        async with connect(f"ws://127.0.0.1:{server.address[1]}/ws") as websocket:
            with pytest.raises(ValueError, match="surrogates"):
                await websocket.send("a \ud800")
            await websocket.send(bytearray(b"one"))  # type: ignore[arg-type]
            await websocket.send(memoryview(b"two"))  # type: ignore[arg-type]
            assert [await websocket.receive() for _ in range(2)] == [b"one", b"two"]
