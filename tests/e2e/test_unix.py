"""Two programs on one machine over a Unix socket, with each API."""

# ruff: noqa: ASYNC240  # looking at a file takes no time here

from __future__ import annotations

import socket
import ssl
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme

import restsock
import restsock.sync
from restsock import Backoff, HandshakeError, Limits, Options, SocketOptions
from tests.apis import API, each_native_api
from tests.e2e.test_apis import PIECE, QUICK, App
from tests.server.socket_file import socket_path as socket_path
from tests.waiting import until

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets")

ONCE = Backoff(tries=1)


def where(path: Path) -> str:
    return f"unix:{path}"


@each_native_api
async def test_requests_both_ways(api: API, socket_path: Path) -> None:
    async with api.listen(where(socket_path), app=App()) as server:
        assert server.url == f"ws+unix://{socket_path}"
        assert server.address == (str(socket_path), 0)
        async with api.connect(server.url, app=App(), name="edge-1") as client:
            assert (await client.request("POST", "/", body=b"up")).text == "up"
            assert (await server.request("edge-1", "POST", "/", body=b"down")).text == "down"
            (connection,) = server.connections
            for peer in (client.connection.peer, connection.peer):
                assert peer == restsock.Peer("", 0)
                assert str(peer) == "a Unix socket"
    assert not socket_path.exists()


@each_native_api
async def test_long_bodies(api: API, socket_path: Path) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield PIECE

    async with api.listen(where(socket_path), app=App()) as server:
        async with api.connect(server.url, app=App(), name="edge-1") as client:
            for requester in (client, server.route("edge-1")):
                answer = await requester.request("POST", "/size", body=pieces())
                assert answer.text == str(64 * len(PIECE))
                async with requester.stream("POST", "/upper", body=pieces()) as response:
                    size = 0
                    async for data in response:
                        size += len(data)
                    assert size == 64 * len(PIECE)


@each_native_api
async def test_a_restart_of_the_listener(api: API, socket_path: Path) -> None:
    async with api.listen(where(socket_path), app=App()) as first:
        client = api.connect(first.url, name="edge-1", backoff=QUICK)
        async with client as client:
            assert (await client.request("GET", "/")).status == 200
            await first.aclose()
            assert not socket_path.exists()
            await until(lambda: client.statistics().failures > 0)  # a file that is not there
            async with api.listen(where(socket_path), app=App()):
                assert (await client.request("GET", "/")).status == 200
                assert client.statistics().reconnects == 1


@each_native_api
async def test_a_drain_waits_for_what_is_in_flight(api: API, socket_path: Path) -> None:
    app = App()
    answers: list[Any] = []
    async with api.listen(where(socket_path), app=app) as server:
        async with api.connect(server.url, name="edge-1") as client:

            async def ask() -> None:
                answers.append(await client.request("POST", "/slow", body=b"x"))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask)
                await app.begun.wait()
                tasks.start_soon(server.aclose)
                await until(lambda: not server.health().ok)
                assert socket_path.exists()  # others are told that it is about to close
                with pytest.raises(HandshakeError, match="about to close"):
                    async with api.connect(server.url, backoff=ONCE):
                        pass
                app.go_on.set()
            assert answers[0].text == "x"
    assert not socket_path.exists()


@each_native_api
async def test_the_mode_of_the_file(api: API, socket_path: Path) -> None:
    async with api.listen(where(socket_path)):
        assert stat.S_IMODE(socket_path.lstat().st_mode) == 0o600
    options = Options(sockets=SocketOptions(unix_mode=0o666))
    async with api.listen(where(socket_path), options=options):
        assert stat.S_IMODE(socket_path.lstat().st_mode) == 0o666


@each_native_api
async def test_a_path_that_is_in_use(api: API, socket_path: Path) -> None:
    async with api.listen(where(socket_path), app=App()) as server:
        with pytest.raises(OSError, match="Address already in use; stop the program"):
            async with api.listen(where(socket_path)):
                pass
        async with api.connect(server.url) as client:
            assert (await client.request("GET", "/")).status == 200


@each_native_api
async def test_nothing_listens_there(api: API, socket_path: Path) -> None:
    url = f"ws+unix://{socket_path}:/path?token=sesame"
    with pytest.raises(HandshakeError, match=r"hub\.sock: No such file") as caught:
        async with api.connect(url, backoff=ONCE):
            pass
    assert caught.value.retryable
    assert "sesame" not in str(caught.value)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(socket_path))
    with pytest.raises(HandshakeError, match=r"hub\.sock: Connection refused") as caught:
        async with api.connect(url, backoff=ONCE):
            pass
    assert caught.value.retryable


@each_native_api
async def test_a_listener_with_a_full_queue(api: API, socket_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as busy:
        busy.bind(str(socket_path))
        busy.listen(0)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as first:
            first.connect(str(socket_path))
            with pytest.raises(HandshakeError, match="full queue") as caught:
                async with api.connect(f"ws+unix://{socket_path}", backoff=ONCE):
                    pass
            assert caught.value.retryable


@each_native_api
async def test_tls(api: API, socket_path: Path) -> None:
    ca = trustme.CA()
    theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("localhost").configure_cert(theirs)
    ours = ssl.create_default_context()
    ca.configure_trust(ours)
    async with api.listen(where(socket_path), app=App(), tls=theirs) as server:
        assert server.url == f"wss+unix://{socket_path}"
        async with api.connect(server.url, tls=ours) as client:
            assert (await client.request("GET", "/")).status == 200
            assert client.connection.peer == restsock.Peer("", 0, tls=True)


@each_native_api
async def test_what_the_upgrade_says(api: API, socket_path: Path) -> None:
    seen: list[Any] = []

    def auth(upgrade: Any) -> restsock.Principal:
        seen.append((upgrade.target, upgrade.header("host"), upgrade.host, upgrade.port))
        return restsock.Principal("me")

    # All of them have one address, as all that come over the loopback have.
    options = Options(limits=Limits(max_connections_per_address=1))
    async with api.listen(where(socket_path), auth=auth, options=options) as server:
        async with api.connect(f"{server.url}:/path?q=1"):
            assert seen == [("/path?q=1", "localhost", "", 0)]
            with pytest.raises(HandshakeError, match="429"):
                async with api.connect(server.url, backoff=ONCE):
                    pass


@each_native_api
async def test_a_reverse_proxy_that_comes_over_it(api: API, socket_path: Path) -> None:
    headers = {"X-Forwarded-For": "203.0.113.9"}
    for trusted, host in ((["unix:"], "203.0.113.9"), ([], "")):
        async with api.listen(where(socket_path), trusted_proxies=trusted) as server:
            async with api.connect(server.url, headers=headers):
                await until(lambda: len(server.connections))
                assert [connection.peer.host for connection in server.connections] == [host]


def test_what_apps_see_of_a_peer(socket_path: Path) -> None:
    seen: list[Any] = []

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            seen.append((scope["client"], scope["server"]))
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})

    def wsgi(environ: Any, start_response: Any) -> list[bytes]:
        seen.append((environ["REMOTE_ADDR"], environ["SERVER_NAME"]))
        start_response("204 No Content", [])
        return []

    with restsock.sync.listen(where(socket_path), app=asgi, interface="asgi") as server:
        with restsock.sync.connect(server.url, app=wsgi, interface="wsgi", name="edge-1") as client:
            with restsock.Session() as session:
                session.mount("http://hub/", client.adapter())
                session.mount("http://edge-1/", server.adapter("edge-1"))
                assert session.get("http://hub/").status_code == 204
                assert session.get("http://edge-1/").status_code == 204
    assert seen == [(None, ("hub", 80)), ("", "edge-1")]


def test_threads_read_and_write_it_themselves(socket_path: Path) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [environ["wsgi.input"].read()]

    with restsock.sync.listen(where(socket_path)) as server:
        with restsock.sync.connect(server.url, app=app, name="edge-1") as client:
            body = PIECE * 100
            for _ in range(3):
                assert server.request("edge-1", "POST", "/", body=body).content == body
            assert client.connection is not None
            for connection in (*server.connections, client.connection):
                assert connection._connection.writer.direct_socket is not None
