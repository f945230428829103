"""Whatever a listener answers: a dialer of ours gets a clear error, and is not taken down."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
import trio

from restsock import (
    Backoff,
    HandshakeError,
    Heartbeat,
    Limits,
    Options,
    StreamRefused,
    StreamReset,
    Timeouts,
)
from restsock.client import Client, connect
from tests.e2e.raw_peer import (
    BINARY,
    DATA,
    END,
    GOAWAY,
    HEAD,
    RESET,
    SWITCH,
    TEXT,
    WINDOW,
    RawPeer,
    envelope,
    frame,
    get,
    websocket_frame,
)

OPTIONS = Options(
    limits=Limits(max_head=8192, initial_window=16384),
    timeouts=Timeouts(handshake=0.8, close=0.5),
    heartbeat=Heartbeat(interval=None),
)
Behaviour = Callable[[RawPeer], Awaitable[None]]


class Listener:
    """Accepts dialers of ours, and gives them as raw peers."""

    def __init__(self, listener: trio.SocketListener) -> None:
        self._listener = listener
        self._peers: list[RawPeer] = []

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self._listener.socket.getsockname()[1]}/"

    async def accept(self) -> RawPeer:
        peer = RawPeer(await self._listener.accept(), dialer=False)
        self._peers.append(peer)
        return peer

    async def ready(self) -> RawPeer:
        peer = await self.accept()
        await peer.accept_upgrade()
        await peer.welcome()
        return peer

    async def close(self) -> None:
        for peer in self._peers:
            await peer.close()
        await self._listener.aclose()


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    (socket,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    listener = Listener(socket)
    with trio.fail_after(20):
        yield listener
    await listener.close()


# ---- before there is a connection


def answer(data: bytes) -> Behaviour:
    async def behave(peer: RawPeer) -> None:
        await peer.head()
        await peer.raw(data)
        with suppress(trio.BrokenResourceError):  # it has had enough already
            await peer.eof()

    return behave


def upgrade_then(*messages: bytes) -> Behaviour:
    async def behave(peer: RawPeer) -> None:
        await peer.accept_upgrade()
        for message in messages:
            await peer.raw(message)

    return behave


async def silence(peer: RawPeer) -> None:
    await peer.head()


async def silence_behind_the_upgrade(peer: RawPeer) -> None:
    await peer.accept_upgrade()


async def the_end_behind_the_upgrade(peer: RawPeer) -> None:
    await peer.accept_upgrade()
    await peer.eof()


def text(payload: bytes) -> bytes:
    return websocket_frame(TEXT, payload, masked=False)


def binary(payload: bytes) -> bytes:
    return websocket_frame(BINARY, payload, masked=False)


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        pytest.param(answer(b"HTTP/1.1 200 OK\r\n\r\nhi"), "200", id="a plain web server"),
        pytest.param(answer(b"HTTP/1.1 404 Nope\r\n\r\n"), "404", id="not here"),
        pytest.param(answer(b"HTTP/1.1 503 Later\r\n\r\n"), "503", id="not now"),
        pytest.param(answer(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), "", id="ssh"),
        pytest.param(answer(b""), "", id="the end"),
        pytest.param(answer(b"HTTP/1.1 101 X\r\nX: " + b"a" * 300_000), "", id="huge head"),
        pytest.param(answer(SWITCH), "Accept", id="a wrong accept key"),
        pytest.param(answer(SWITCH.replace(b"restsock.v1", b"chat")), "", id="subprotocol"),
        pytest.param(silence, "more than", id="silence"),
        pytest.param(silence_behind_the_upgrade, "more than", id="silence behind the upgrade"),
        pytest.param(the_end_behind_the_upgrade, "closed", id="the end behind the upgrade"),
        pytest.param(upgrade_then(text(b"welcome")), "", id="no JSON"),
        pytest.param(upgrade_then(text(envelope("welcome", {}))), "", id="no connection id"),
        pytest.param(upgrade_then(text(envelope("ready", {}))), "", id="ready"),
        pytest.param(upgrade_then(binary(frame(HEAD, END, 2, get()))), "", id="a request"),
        pytest.param(
            upgrade_then(
                text(envelope("welcome", {"connection_id": "x", "settings": {"max_frame": 5}}))
            ),
            "max_frame",
            id="a setting out of range",
        ),
        pytest.param(
            upgrade_then(websocket_frame(TEXT, envelope("welcome", {"connection_id": "x"}))),
            "",
            id="masked",
        ),
    ],
)
async def test_no_connection_comes_about(
    listener: Listener, behaviour: Behaviour, words: str
) -> None:
    async def serve() -> None:
        await behaviour(await listener.accept())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        with pytest.raises(HandshakeError) as caught:
            async with connect(listener.url, options=OPTIONS, backoff=Backoff(tries=1)):
                pytest.fail("there is no connection")
    chain = f"{caught.value} {caught.value.__cause__}"
    assert words in chain, chain


# ---- behind the handshake


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(binary(b"1234567"), 4002, id="half a header"),
        pytest.param(binary(frame(HEAD, END, 3, get())), 4002, id="the dialer's own id"),
        pytest.param(binary(frame(DATA, 0, 2, b"x")), 4002, id="data before a head"),
        pytest.param(binary(frame(WINDOW, 0, 1, bytes(4))), 4002, id="credit of 0"),
        pytest.param(binary(frame(GOAWAY, 0, 2, bytes(6))), 4002, id="goaway on a stream"),
        pytest.param(text(b"[]"), 4002, id="no envelope"),
        pytest.param(websocket_frame(BINARY, bytes(8)), 1002, id="masked"),
        pytest.param(text(b"\xff"), 1007, id="no UTF-8"),
        pytest.param(binary(bytes(131081)), 1009, id="a message above the limit"),
    ],
)
async def test_what_ends_the_connection_and_the_dialer_comes_back(
    listener: Listener, data: bytes, code: int
) -> None:
    backoff = Backoff(initial=0.01)
    async with dialing(listener, backoff=backoff) as (client, peer):
        await peer.raw(data)
        got, reason = await peer.close_code()
        assert (got, bool(reason)) == (code, True)
        await peer.close()
        again = await listener.ready()
        assert (await client.wait_connected()).id == again.connection_id
        await again.frame(HEAD, END, 2, get())
        assert await again.response_status(2) == 503  # no app: but an answer
        await again.close()


@asynccontextmanager
async def dialing(
    listener: Listener, backoff: Backoff | None = None
) -> AsyncIterator[tuple[Client, RawPeer]]:
    """A client of ours and the raw listener that it is connected to."""
    async with trio.open_nursery() as nursery:
        accepted, peers = trio.open_memory_channel[RawPeer](1)

        async def accept() -> None:
            await accepted.send(await listener.ready())

        nursery.start_soon(accept)
        async with connect(listener.url, options=OPTIONS, backoff=backoff) as client:
            peer = await peers.receive()
            try:
                yield client, peer
            finally:
                await peer.close()


PROTOCOL, TOO_LARGE = 6, 5
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        pytest.param([frame(HEAD, END, 1, b"nonsense\r\n\r\n")], PROTOCOL, id="no head"),
        pytest.param([frame(HEAD, END, 1, OK)], PROTOCOL, id="half a head"),
        pytest.param([frame(HEAD, END, 1, b"HTTP/1.1 99 X\r\n\r\n")], PROTOCOL, id="status 99"),
        pytest.param([frame(DATA, 0, 1, b"x")], PROTOCOL, id="a body before the head"),
        pytest.param(
            [frame(HEAD, END, 1, OK + b"Transfer-Encoding: chunked\r\n\r\n")],
            PROTOCOL,
            id="chunked",
        ),
        pytest.param(
            [frame(HEAD, END, 1, OK + b"Content-Length: 5\r\n\r\n1234")], PROTOCOL, id="too short"
        ),
        pytest.param(
            [frame(HEAD, 0, 1, OK + b"Content-Length: 3\r\n\r\n1234")], PROTOCOL, id="too long"
        ),
        pytest.param(
            [frame(HEAD, END, 1, b"HTTP/1.1 204 X\r\n\r\nbody")], PROTOCOL, id="a body of a 204"
        ),
        pytest.param(
            [
                frame(
                    HEAD,
                    0,
                    1,
                    b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
                )
            ],
            PROTOCOL,
            id="an upgrade that nobody asked for",
        ),
        pytest.param(
            [frame(HEAD, END, 1, OK + b"X: " + b"a" * 9000 + b"\r\n\r\n")],
            TOO_LARGE,
            id="a huge head",
        ),
        pytest.param(
            [frame(HEAD, 0, 1, b"HTTP/1.1 102 X\r\nX: " + b"a" * 6000 + b"\r\n\r\n")] * 3,
            TOO_LARGE,
            id="informational heads without end",
        ),
        pytest.param(
            [frame(HEAD, 0, 1, OK + b"\r\n"), frame(DATA, 0, 1, bytes(65537))],
            PROTOCOL,
            id="above max_frame",
        ),
    ],
)
async def test_what_ends_one_request(listener: Listener, messages: list[bytes], code: int) -> None:
    async with dialing(listener) as (client, peer):

        async def ask() -> None:
            with pytest.raises(StreamReset) as caught:
                await client.request("GET", "/")
            assert caught.value.code == code
            assert caught.value.by_peer is False
            assert caught.value.may_have_run

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            assert (await peer.next_frame()).type == HEAD
            for message in messages:
                await peer.binary(message)
            assert await peer.reset_code(1) == code
        await one_good_request(client, peer, 3)


async def one_good_request(client: Client, peer: RawPeer, stream_id: int) -> None:
    async def ask() -> None:
        assert (await client.request("GET", "/")).content == b"fine"

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        assert (await peer.next_frame()).stream_id == stream_id
        await peer.frame(HEAD, END, stream_id, OK + b"Content-Length: 4\r\n\r\nfine")


@pytest.mark.parametrize("code", [1, 2, 5, 7, 99])
async def test_a_reset_by_the_peer(listener: Listener, code: int) -> None:
    async with dialing(listener) as (client, peer):

        async def ask() -> None:
            with pytest.raises(Exception, match="because") as caught:
                await client.request("GET", "/")
            assert getattr(caught.value, "may_have_run", None) is True

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            assert (await peer.next_frame()).type == HEAD
            await peer.frame(RESET, 0, 1, struct.pack("!H", code) + b"because")
        await one_good_request(client, peer, 3)


async def test_a_refusal_by_the_peer(listener: Listener) -> None:
    # Only REFUSED says that the app never saw it; so it is asked again.
    async with dialing(listener) as (client, peer), trio.open_nursery() as nursery:

        async def ask() -> None:
            assert (await client.request("POST", "/", body=b"once")).content == b"fine"

        nursery.start_soon(ask)
        for stream_id in (1, 3, 5):
            frame = await peer.next_frame()
            assert (frame.type, frame.flags, frame.stream_id) == (HEAD, END, stream_id)
            assert frame.payload.endswith(b"\r\n\r\nonce")
            if stream_id < 5:
                await peer.frame(RESET, 0, stream_id, struct.pack("!H", 3) + b"because")
        await peer.frame(HEAD, END, 5, OK + b"Content-Length: 4\r\n\r\nfine")


async def test_a_listener_that_refuses_for_ever(listener: Listener) -> None:
    async with dialing(listener) as (client, peer), trio.open_nursery() as nursery:

        async def refuse() -> None:
            while True:
                frame = await peer.next_frame()
                if frame.type == HEAD:
                    await peer.frame(RESET, 0, frame.stream_id, struct.pack("!H", 3) + b"because")

        nursery.start_soon(refuse)
        with pytest.raises(StreamRefused, match="because") as caught:
            # By then the pauses between two tries are long beside a try.
            await client.request("GET", "/", timeout=1.0)
        assert caught.value.may_have_run is False
        nursery.cancel_scope.cancel()
