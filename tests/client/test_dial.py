"""Sockets and TLS: what works, and what each failure is called."""

from __future__ import annotations

import contextlib
import ipaddress
import select
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel
import trio.testing
import trustme

from restsock import Backoff, HandshakeError, Options, Timeouts
from restsock.client import Client, _dial, connect, parse_url
from restsock.client._dial import Transport, open_tcp
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

        words = r"cannot begin TLS with 127.*: the listener does not speak TLS: use ws://"
        with pytest.raises(HandshakeError, match=words) as caught:
            await Transport(address, client_context, open_stream).open(10)
        assert not caught.value.retryable


async def test_plain_to_one_that_speaks_tls(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async with Server("127.0.0.1", 0, ssl_context=server_context, handler=Echo()) as server:
        with pytest.raises(HandshakeError, match=r"speaks? TLS.* use wss://"):
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
        await Transport(parse_url("wss://hub/"), client_context, open_stream).open(7)
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
        await Transport(parse_url("wss://hub/"), client_context, open_stream).open(7)
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
        await Transport(parse_url(url), None, open_tcp).open(10)
    assert caught.value.retryable
    assert isinstance(caught.value.__cause__, OSError)


# --- several addresses ----------------------------------------------------------------------------


class Names(trio.abc.HostnameResolver):
    """Every name is these IPv4 addresses."""

    def __init__(self, *addresses: tuple[str, int]) -> None:
        self.addresses = addresses
        trio.socket.set_custom_hostname_resolver(self)  # until the end of this run of trio

    async def getaddrinfo(self, host: Any, port: Any, *args: Any) -> Any:
        await trio.lowlevel.checkpoint()
        if not self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        kind = (trio.socket.AF_INET, trio.socket.SOCK_STREAM, 6, "")
        return [(*kind, address) for address in self.addresses]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
        raise NotImplementedError


async def test_the_next_address_is_tried_at_once_when_one_refuses() -> None:
    async with Server("127.0.0.1", 0, handler=Echo("hub")) as server:
        Names(("127.0.0.2", server.address[1]), ("127.0.0.3", 1), server.address)
        async with client_of("ws://hub.example/") as client:
            assert (await client.request("GET", "/")).text == "hub: GET /"
            assert client.connection is not None
            assert client.connection.peer.host == "hub.example"


async def test_the_error_names_each_address() -> None:
    async with listen("127.0.0.1", 0) as server:
        port = server.address[1]
    Names(("127.0.0.2", port), ("127.0.0.3", port))
    with pytest.raises(HandshakeError) as caught:
        await Transport(parse_url("ws://hub.example/"), None, open_tcp).open(10)
    text = str(caught.value)
    assert text.startswith("cannot reach hub.example: ")
    assert f"('127.0.0.2', {port}): Connection refused" in text
    assert f"('127.0.0.3', {port}): Connection refused" in text
    assert caught.value.retryable


@pytest.mark.skipif(sys.platform != "linux", reason="how a full backlog behaves")
async def test_an_address_that_does_not_answer_costs_a_moment() -> None:
    """RFC 8305: the next one joins it after 250 ms."""
    with contextlib.ExitStack() as stack:
        silent = stack.enter_context(socket.create_server(("127.0.0.2", 0), backlog=0))
        for _ in range(64):
            filling = stack.enter_context(socket.socket())
            filling.setblocking(False)
            if (
                filling.connect_ex(silent.getsockname()) != 0
                and not select.select((), (filling,), (), 0.05)[1]
            ):
                break  # its SYN was dropped, as all that follow will be
        else:
            pytest.skip("the backlog does not fill up")
        async with Server("127.0.0.1", 0, handler=Echo("hub")) as server:
            Names(silent.getsockname(), server.address)
            start = trio.current_time()
            async with client_of("ws://hub.example/") as client:
                assert trio.current_time() - start < 8  # far less than the time to connect
                assert (await client.request("GET", "/")).text == "hub: GET /"


async def test_a_name_that_nobody_knows() -> None:
    Names()
    with pytest.raises(HandshakeError, match=r"cannot reach hub\.invalid: Name or") as caught:
        await Transport(parse_url("ws://hub.invalid/"), None, open_tcp).open(10)
    assert caught.value.retryable  # it may be the resolver that is away


async def test_a_name_that_cannot_be_one() -> None:
    async def open_stream(_: object) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        raise UnicodeError("label too long")

    with pytest.raises(HandshakeError, match="cannot reach hub: its name is not") as caught:
        await Transport(parse_url("ws://hub/"), None, open_stream).open(10)
    assert not caught.value.retryable


async def test_a_socket_whose_options_fail_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[trio.SocketStream] = []

    def fail(stream: trio.SocketStream, options: object) -> None:
        made.append(stream)
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(_dial, "apply_socket_options", fail)
    async with listen("127.0.0.1", 0) as server:
        with pytest.raises(HandshakeError, match="Invalid argument"):
            await Transport(parse_url(server.url), None, open_tcp).open(10)
    assert made[0].socket.fileno() == -1


def link_local_address() -> str | None:
    """One of this machine's, with the interface that it is on."""
    try:
        lines = Path("/proc/net/if_inet6").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for digits, _, _, scope, _, name in map(str.split, lines):
        if scope == "20":
            return f"{ipaddress.IPv6Address(int(digits, 16))}%{name}"
    return None


async def test_a_link_local_address_goes_round() -> None:
    """What the listener says to dial can be dialed: the zone is in the URL (RFC 6874)."""
    address = link_local_address()
    if address is None:
        pytest.skip("no interface has a link-local address")
    async with Server(address, 0, handler=Echo("hub")) as server:
        assert server.address[0] == address
        assert server.url == f"ws://[{address.replace('%', '%25')}]:{server.address[1]}/"
        for url in (server.url, server.url.replace("%25", "%")):
            async with client_of(url) as client:
                assert (await client.request("GET", "/")).text == "hub: GET /"
                assert client.authority == f"[{address.partition('%')[0]}]:{server.address[1]}"
