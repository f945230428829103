"""A server that gets other options and another address while it runs."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import httpx
import pytest
import trio

import restsock
import restsock.aio
import restsock.sync
from restsock import Limits, Options, Request, Response, SocketOptions, Timeouts
from restsock.server import _accept
from restsock.server._accept import accept_queued
from tests.hub.helpers import echo


async def test_new_connections_have_the_new_limits_and_old_ones_keep_theirs() -> None:
    options = Options(limits=Limits(max_streams=3))
    async with restsock.listen("127.0.0.1", 0, options=options) as server:
        async with restsock.connect(server.url, name="old") as old:
            server.use(Options(limits=Limits(max_streams=7)))
            async with restsock.connect(server.url, name="new") as new:
                told = {}
                for client in (old, new):
                    assert client.connection is not None
                    told[client.name] = client.connection.multiplexer.peer.max_streams
                assert told == {"old": 3, "new": 7}
                assert server.options.limits.max_streams == 7


def test_threads_and_asyncio_can_change_them_too() -> None:
    options = Options(limits=Limits(max_connections_per_address=1))
    once = restsock.Backoff(tries=1)
    with restsock.sync.listen("127.0.0.1", 0) as server:
        with restsock.sync.connect(server.url):
            server.use(options)
            with pytest.raises(restsock.HandshakeError, match="429"):
                restsock.sync.connect(server.url, backoff=once)

    async def main() -> None:
        async with restsock.aio.listen("127.0.0.1", 0) as server:
            async with restsock.aio.connect(server.url):
                server.use(options)
                with pytest.raises(restsock.HandshakeError, match="429"):
                    async with restsock.aio.connect(server.url, backoff=once):
                        pass

    asyncio.run(main())


async def test_how_many_there_may_be_counts_at_once_and_drops_nobody() -> None:
    once = restsock.Backoff(tries=1)
    async with restsock.listen("127.0.0.1", 0) as server:
        async with restsock.connect(server.url, name="a", app=echo) as first:
            async with restsock.connect(server.url, name="b"):
                # The bound for an address appears when it has connections already.
                server.use(Options(limits=Limits(max_connections_per_address=2)))
                with pytest.raises(restsock.HandshakeError, match="429"):
                    async with restsock.connect(server.url, backoff=once):
                        pass
                server.use(Options(limits=Limits(max_connections=1)))
                with pytest.raises(restsock.HandshakeError, match="503"):
                    async with restsock.connect(server.url, backoff=once):
                        pass
                assert (await server.request("a", "GET", "/")).status == 200
                assert not first.closed
            server.use(Options())
            async with restsock.connect(server.url, name="c", app=echo):
                for name in ("a", "c"):
                    assert (await server.request(name, "GET", "/")).status == 200


async def test_requests_to_come_have_the_new_timeouts() -> None:
    async with restsock.listen("127.0.0.1", 0) as server:
        server.use(Options(timeouts=Timeouts(connect=0.01)))
        with pytest.raises(restsock.PeerNotFound):
            await server.request("nobody", "GET", "/")


async def test_clients_of_plain_http_have_the_new_limits() -> None:
    async def app(request: Request) -> Response:
        return Response(200, body=await request.read())

    async with (
        restsock.listen("127.0.0.1", 0, endpoints={"/": app}) as server,
        httpx.AsyncClient() as old,
        httpx.AsyncClient() as new,
    ):
        url = server.url.replace("ws:", "http:")
        assert (await old.post(url, content=b"x" * 2000)).status_code == 200
        server.use(Options(limits=Limits(max_body=1000)))
        assert (await new.post(url, content=b"x" * 2000)).status_code == 413
        assert (await old.post(url, content=b"x" * 2000)).status_code == 200


async def test_an_option_that_the_system_lacks_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(socket, "TCP_USER_TIMEOUT", raising=False)
    async with restsock.listen("127.0.0.1", 0) as server:
        before = server.options
        with pytest.raises(ValueError, match="user_timeout"):
            server.use(Options(sockets=SocketOptions(user_timeout=3)))
        assert server.options is before


async def test_it_moves_and_connections_stay() -> None:
    async with restsock.listen("127.0.0.1", 0) as server:
        before = server.url
        async with restsock.connect(before, name="edge-1", app=echo) as client:
            connection = client.connection
            bound = await server.bind("127.0.0.1", 0)
            async with restsock.connect(before, name="late", app=echo):
                pass  # until then it is where it was
            server.listen_at(bound)
            assert server.url != before
            with pytest.raises(restsock.HandshakeError, match="refused"):
                async with restsock.connect(before, backoff=restsock.Backoff(tries=1)):
                    pass
            async with restsock.connect(server.url, name="edge-2", app=echo):
                for name in ("edge-1", "edge-2"):
                    assert (await server.request(name, "GET", "/")).status == 200
            assert client.connection is connection


async def test_it_moves_to_a_unix_socket_and_back(tmp_path: Path) -> None:
    if not hasattr(socket, "AF_UNIX"):
        pytest.skip("no Unix sockets")
    path = tmp_path / "a.sock"
    async with restsock.listen("127.0.0.1", 0) as server:
        server.listen_at(await server.bind(f"unix:{path}", None))
        async with restsock.connect(server.url, name="edge-1", app=echo):
            assert server.url.startswith("ws+unix://")
            server.listen_at(await server.bind("localhost", 0))
            async with restsock.connect(server.url, name="edge-2", app=echo):
                for name in ("edge-1", "edge-2"):
                    assert (await server.request(name, "GET", "/")).status == 200
    assert not path.exists()


async def test_whom_the_system_has_let_in_is_served() -> None:
    """Nobody has accepted them yet when the server moves."""
    async with restsock.listen("127.0.0.1", 0, health_path="/healthz") as server:
        bound = await server.bind("127.0.0.1", 0)
        # In one step of the loop: they are connected, and no task of the server has run.
        waiting = [socket.create_connection(server.address) for _ in range(3)]
        server.listen_at(bound)
        for sock in waiting:
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
            async with stream:
                await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")


async def test_what_is_bound_and_not_used_is_closed() -> None:
    async with restsock.listen("127.0.0.1", 0) as server:
        bound = await server.bind("127.0.0.1", 0)
        address = _accept.address_of(bound.listeners[0])
        await bound.aclose()
        with pytest.raises(OSError, match="failed"):
            await trio.open_tcp_stream(*address)


async def test_where_it_cannot_move() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        async with restsock.listen("127.0.0.1", 0) as server:
            before = server.url
            with pytest.raises(OSError, match="cannot listen"):
                await server.bind("127.0.0.1", taken.getsockname()[1])
            with pytest.raises(ValueError, match="loopback"):
                await server.bind("0.0.0.0", 0)
            with pytest.raises(ValueError, match="port"):
                await server.bind("127.0.0.1", 65536)
            assert server.url == before
        with pytest.raises(RuntimeError):
            await server.bind("127.0.0.1", 0)
    with socket.create_server(("127.0.0.1", 0)) as given:
        async with restsock.listen(sockets=[given.dup()]) as server:
            with pytest.raises(ValueError, match="handed over"):
                await server.bind("127.0.0.1", 0)


async def test_a_listener_that_is_no_socket_has_no_queue() -> None:
    greeted: list[object] = []
    accept_queued(object(), greeted.append)  # type: ignore[arg-type]  # as one in memory
    assert greeted == []
