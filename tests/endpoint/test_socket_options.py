"""Options of sockets: what the system was told, on either end."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import trio
import trio.testing

import restsock
from restsock import Options, SocketOptions
from restsock.endpoint import apply_socket_options, check_socket_options
from restsock.server._accept import open_listeners
from tests.memory_network import Echo

DEFAULTS = {
    (socket.IPPROTO_TCP, "TCP_NODELAY"): 1,
    (socket.SOL_SOCKET, "SO_KEEPALIVE"): 1,
    (socket.IPPROTO_TCP, "TCP_KEEPIDLE"): 60,
    (socket.IPPROTO_TCP, "TCP_KEEPINTVL"): 10,
    (socket.IPPROTO_TCP, "TCP_KEEPCNT"): 6,
    (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT"): 0,
}


def told(stream: Any, wanted: dict[tuple[int, str], int]) -> dict[tuple[int, str], int]:
    """What the system has for those of them that it knows; it may answer 4 for yes."""
    assert isinstance(stream, trio.SocketStream)
    found = {}
    for level, name in wanted:
        number = getattr(socket, name, None)
        if number is not None:
            value = stream.getsockopt(level, number)
            found[level, name] = min(value, 1) if wanted[level, name] in (0, 1) else value
        else:
            found[level, name] = wanted[level, name]
    return found


async def newcomer(server: restsock.Server) -> restsock.Connection:
    while not len(server.connections):
        await trio.lowlevel.checkpoint()
    (connection,) = server.connections
    return connection


async def both_ends(sockets: SocketOptions, wanted: dict[tuple[int, str], int]) -> None:
    options = Options(sockets=sockets)
    async with restsock.listen("127.0.0.1", 0, options=options) as server:
        async with restsock.connect(server.url, options=options) as client:
            theirs = await newcomer(server)
            for connection in (client.connection, theirs):
                assert connection is not None
                assert told(connection._stream, wanted) == wanted


async def test_defaults() -> None:
    await both_ends(SocketOptions(), DEFAULTS)


async def test_others() -> None:
    await both_ends(
        SocketOptions(
            no_delay=False,
            keep_alive_idle=7,
            keep_alive_interval=3,
            keep_alive_count=2,
            user_timeout=1.5 if hasattr(socket, "TCP_USER_TIMEOUT") else None,
        ),
        {
            (socket.IPPROTO_TCP, "TCP_NODELAY"): 0,
            (socket.SOL_SOCKET, "SO_KEEPALIVE"): 1,
            (socket.IPPROTO_TCP, "TCP_KEEPIDLE"): 7,
            (socket.IPPROTO_TCP, "TCP_KEEPINTVL"): 3,
            (socket.IPPROTO_TCP, "TCP_KEEPCNT"): 2,
            (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT"): 1500,
        },
    )
    await both_ends(SocketOptions(keep_alive=False), {(socket.SOL_SOCKET, "SO_KEEPALIVE"): 0})


async def buffers(sockets: SocketOptions) -> set[tuple[int, int]]:
    options = Options(sockets=sockets)
    found = set()
    async with restsock.listen("127.0.0.1", 0, options=options) as server:
        async with restsock.connect(server.url, options=options) as client:
            theirs = await newcomer(server)
            for connection in (client.connection, theirs):
                assert connection is not None
                stream = connection._stream
                assert isinstance(stream, trio.SocketStream)
                sent = stream.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
                received = stream.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
                assert isinstance(sent, int)
                assert isinstance(received, int)
                found.add((sent, received))
    return found


async def test_buffers() -> None:
    sizes = await buffers(SocketOptions(send_buffer=32768, receive_buffer=16384))
    # Linux has room for as much again, for its own overhead.
    assert sizes in ({(65536, 32768)}, {(32768, 16384)})
    assert not sizes & await buffers(SocketOptions())


async def test_a_large_body_through_small_buffers() -> None:
    options = Options(sockets=SocketOptions(send_buffer=8192, receive_buffer=8192))

    async def app(request: restsock.Request) -> restsock.Response:
        return restsock.Response(200, body=await request.read())

    async with restsock.listen("127.0.0.1", 0, app=app, options=options) as server:
        async with restsock.connect(server.url, options=options) as client:
            body = bytes(range(256)) * 400
            assert (await client.request("POST", "/", body=body)).body == body


async def test_local_address() -> None:
    async with restsock.listen("127.0.0.1", 0) as server:
        options = Options(sockets=SocketOptions(local_address="127.0.0.9"))
        async with restsock.connect(server.url, options=options):
            theirs = await newcomer(server)
            assert theirs.peer.host == "127.0.0.9"
        options = Options(sockets=SocketOptions(local_address="::1"))
        with pytest.raises(restsock.HandshakeError, match="local_address='::1' is incompatible"):
            backoff = restsock.Backoff(tries=1)
            async with restsock.connect(server.url, options=options, backoff=backoff):
                pytest.fail("entered")


async def test_listening_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    backlogs: list[int] = []
    real = socket.socket.listen

    def note(self: socket.socket, size: int) -> None:
        backlogs.append(size)
        real(self, size)

    monkeypatch.setattr(socket.socket, "listen", note)
    for sockets, backlog, address, port in (
        (SocketOptions(), 65535, 1, 0),
        (SocketOptions(backlog=5, reuse_address=False), 5, 0, 0),
        (SocketOptions(reuse_port=True), 65535, 1, 1),
    ):
        (listener,) = await open_listeners("127.0.0.1", 0, sockets)
        with listener.socket as sock:
            assert backlogs[-1] == backlog
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == address
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) == port


async def test_buffers_are_there_before_the_first_packet() -> None:
    sockets = SocketOptions(send_buffer=32768, receive_buffer=16384)
    (listener,) = await open_listeners("127.0.0.1", 0, sockets)
    with listener.socket as sock:
        sent = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        received = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        assert (sent, received) in ((65536, 32768), (32768, 16384))


async def test_two_listeners_on_one_port() -> None:
    options = Options(sockets=SocketOptions(reuse_port=True))
    async with restsock.listen("127.0.0.1", 0, options=options) as one:
        port = one.address[1]
        async with restsock.listen("127.0.0.1", port, options=options) as other:
            assert other.address == one.address
        with pytest.raises(OSError, match=r"(?i)in use"):
            async with restsock.listen("127.0.0.1", port):
                pytest.fail("entered")


async def test_every_address_of_everywhere() -> None:
    listeners = await open_listeners(None, 0, SocketOptions())
    families = {listener.socket.family for listener in listeners}
    ports = {listener.socket.getsockname()[1] for listener in listeners}
    for listener in listeners:
        listener.socket.close()
    assert socket.AF_INET in families
    assert len(families) == len(listeners)
    assert len(ports) == 1


async def test_a_system_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    real = trio.socket.socket

    def without(family: int, *more: Any) -> Any:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported")
        return real(family, *more)

    monkeypatch.setattr(trio.socket, "socket", without)
    (listener,) = await open_listeners(None, 0, SocketOptions())
    listener.socket.close()
    with pytest.raises(OSError, match="not supported"):
        await open_listeners("::1", 0, SocketOptions())


async def test_a_failed_bind_leaves_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    real = trio.socket.socket

    def note(*args: Any) -> Any:
        made.append(real(*args))
        return made[-1]

    monkeypatch.setattr(trio.socket, "socket", note)
    with socket.create_server(("::", 0), family=socket.AF_INET6) as taken:
        with pytest.raises(OSError, match=r"(?i)in use"):
            await open_listeners(None, taken.getsockname()[1], SocketOptions())
    assert made
    assert all(sock.fileno() == -1 for sock in made)


async def test_streams_that_are_no_sockets() -> None:
    ours, _ = trio.testing.memory_stream_pair()
    apply_socket_options(ours, SocketOptions(send_buffer=8192))


# --- what this system does not have ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("constant", "sockets"),
    [
        ("TCP_USER_TIMEOUT", {"user_timeout": 5}),
        ("TCP_KEEPIDLE", {"keep_alive_idle": 61}),
        ("TCP_KEEPINTVL", {"keep_alive_interval": 11}),
        ("TCP_KEEPCNT", {"keep_alive_count": 7}),
        ("SO_REUSEPORT", {"reuse_port": True}),
    ],
)
async def test_what_this_system_does_not_have(
    monkeypatch: pytest.MonkeyPatch, constant: str, sockets: Any
) -> None:
    monkeypatch.delattr(socket, constant)
    options = Options(sockets=SocketOptions(**sockets))
    (name,) = sockets
    problem = rf"SocketOptions\.{name}: this system .* has no {constant}"
    with pytest.raises(ValueError, match=problem):
        restsock.connect("ws://hub/", options=options)
    with pytest.raises(ValueError, match=problem):
        restsock.listen("127.0.0.1", 0, options=options)
    # At their defaults they are left out in silence.
    async with restsock.listen("127.0.0.1", 0, app=None) as server:
        async with restsock.connect(server.url) as client:
            assert client.connection is not None


def test_the_name_on_macos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "TCP_KEEPIDLE")
    monkeypatch.setattr(socket, "TCP_KEEPALIVE", 0x10, raising=False)
    check_socket_options(SocketOptions(keep_alive_idle=61))


@pytest.mark.parametrize(
    "wrong",
    [
        {"no_delay": 1},
        {"keep_alive": None},
        {"keep_alive_idle": 0},
        {"keep_alive_idle": 1.5},
        {"keep_alive_interval": 40000},
        {"keep_alive_count": 0},
        {"user_timeout": 0},
        {"user_timeout": 0.0001},
        {"user_timeout": float("inf")},
        {"user_timeout": 3_000_000},
        {"send_buffer": 100},
        {"receive_buffer": True},
        {"local_address": "hub.example"},
        {"local_address": ""},
        {"backlog": 0},
        {"backlog": 65536},
        {"reuse_address": "no"},
        {"reuse_port": None},
    ],
)
def test_values_that_are_wrong(wrong: Any) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=rf"SocketOptions\.{name} must be"):
        SocketOptions(**wrong)


async def test_an_echo_with_all_of_it() -> None:
    """The options together do not get in each other's way."""
    options = Options(sockets=SocketOptions(no_delay=False, send_buffer=8192, backlog=1))
    async with restsock.server.Server("127.0.0.1", 0, handler=Echo("hub"), options=options) as hub:
        async with restsock.connect(hub.url, options=options) as client:
            assert (await client.request("GET", "/")).text == "hub: GET /"
