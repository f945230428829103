"""Sockets and TLS: what works, and what each failure is called."""

from __future__ import annotations

import ssl

import pytest
import trio
import trio.lowlevel
import trio.testing
import trustme

from restsock import Backoff, HandshakeError, Options, Timeouts
from restsock.client import Client, connect, parse_url
from restsock.client._dial import open_tcp, open_transport
from restsock.server import Server, listen
from tests.memory_network import Echo


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server_context(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context


@pytest.fixture(scope="module")
def client_context(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return context


def client_of(url: str, context: ssl.SSLContext | None = None) -> Client:
    return Client(parse_url(url), ssl_context=context, name="edge", handler=Echo("edge"))


async def test_tcp_without_delay() -> None:
    async with Server("127.0.0.1", 0, handler=Echo("hub")) as server:
        async with client_of(server.url) as client:
            assert (await client.request("GET", "/")).text == "hub: GET /"
            assert (await server.route("edge").request("GET", "/")).text == "edge: GET /"
            (theirs,) = server.connections
            for connection in (client.connection, theirs):
                assert connection is not None
                stream = connection._stream
                assert isinstance(stream, trio.SocketStream)
                assert stream.getsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_NODELAY)
            assert theirs.peer.host == "127.0.0.1"
            assert theirs.peer.port > 0
            assert not theirs.peer.tls
            assert client.connection is not None
            assert client.connection.peer.port == server.address[1]


async def test_tls(server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    server = Server("127.0.0.1", 0, handler=Echo("hub"), ssl_context=server_context)
    async with server:
        assert server.url.startswith("wss://")
        for host in ("127.0.0.1", "localhost"):
            url = f"wss://{host}:{server.address[1]}/"
            async with client_of(url, client_context) as client:
                assert (await client.request("GET", "/")).text == "hub: GET /"
                assert (await server.route("edge").request("GET", "/")).text == "edge: GET /"
                assert client.connection is not None
                assert client.connection.peer.tls
                (theirs,) = server.connections
                assert theirs.peer.tls
            assert (await client.wait_closed()).clean
            while len(server.connections):
                await trio.lowlevel.checkpoint()


async def test_a_certificate_of_somebody_else(server_context: ssl.SSLContext) -> None:
    async with Server("127.0.0.1", 0, ssl_context=server_context) as server:
        with pytest.raises(HandshakeError, match="certificate is not accepted") as caught:
            async with connect(server.url):  # trusts what the system trusts
                pytest.fail("entered")
        assert not caught.value.retryable


async def test_a_certificate_for_another_host(
    ca: trustme.CA, client_context: ssl.SSLContext
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("hub.example").configure_cert(context)
    async with Server("127.0.0.1", 0, ssl_context=context) as server:
        with pytest.raises(HandshakeError, match="certificate is not accepted"):
            async with client_of(server.url, client_context):
                pytest.fail("entered")


async def test_tls_to_one_that_speaks_none(client_context: ssl.SSLContext) -> None:
    async with listen("127.0.0.1", 0) as server:
        address = parse_url(server.url.replace("ws://", "wss://"))

        async def open_stream(_: object) -> trio.abc.Stream:
            return await trio.open_tcp_stream(*server.address)

        with pytest.raises(HandshakeError, match="cannot begin TLS with 127"):
            await open_transport(address, client_context, open_stream, 10)


async def test_plain_to_one_that_speaks_tls(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async with Server("127.0.0.1", 0, ssl_context=server_context, handler=Echo()) as server:
        with pytest.raises(HandshakeError):
            async with connect(server.url.replace("wss://", "ws://"), backoff=Backoff(tries=1)):
                pytest.fail("entered")
        # It goes on serving others.
        async with client_of(server.url, client_context) as client:
            assert (await client.request("GET", "/")).status == 200


async def test_silence_during_tls(
    client_context: ssl.SSLContext, autojump_clock: trio.testing.MockClock
) -> None:
    ours, theirs = trio.testing.memory_stream_pair()

    async def open_stream(_: object) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        return ours

    with pytest.raises(HandshakeError, match="cannot begin TLS with hub within 7 s"):
        await open_transport(parse_url("wss://hub/"), client_context, open_stream, 7)
    assert trio.current_time() == 7
    while await theirs.receive_some():
        pass  # closed


async def test_a_cancelled_attempt_leaves_no_stream(
    client_context: ssl.SSLContext, autojump_clock: trio.testing.MockClock
) -> None:
    ours, theirs = trio.testing.memory_stream_pair()

    async def open_stream(_: object) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        return ours

    with trio.move_on_after(1):
        await open_transport(parse_url("wss://hub/"), client_context, open_stream, 7)
    assert trio.current_time() == 1
    while await theirs.receive_some():
        pass


async def test_silence_during_tls_at_a_listener(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    options = Options(timeouts=Timeouts(handshake=0.3))
    async with Server(
        "127.0.0.1", 0, ssl_context=server_context, handler=Echo(), options=options
    ) as server:
        silent = await trio.open_tcp_stream(*server.address)
        async with client_of(server.url, client_context) as client:
            assert (await client.request("GET", "/")).status == 200
            with trio.fail_after(5):
                assert await silent.receive_some() == b""
        await silent.aclose()


async def test_nobody_listens() -> None:
    async with listen("127.0.0.1", 0) as server:
        url = server.url
    with pytest.raises(HandshakeError, match=r"cannot reach 127\.0\.0\.1:\d+: ") as caught:
        await open_transport(parse_url(url), None, open_tcp, 10)
    assert caught.value.retryable
    assert isinstance(caught.value.__cause__, OSError)
