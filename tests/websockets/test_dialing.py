"""WebSockets that are dialed: servers of another make, proxies, TLS, refusals."""

from __future__ import annotations

import logging
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme
from websockets.sync.server import ServerConnection

import restsock
from restsock import HandshakeError, Options, Timeouts, WebSocketClosed, WebSocketRefused
from restsock.auth import Bearer
from restsock.websockets import Endpoint, ServerWebSocket, connect
from tests.client.proxies import ProxyServer
from tests.tls_pair import contexts
from tests.waiting import until
from tests.websockets.site import PATIENCE, echo, foreign_server, listening, url_of

TLS = pytest.mark.parametrize("tls", [False, True], ids=["ws", "wss"])


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def foreign_echo(connection: ServerConnection) -> None:
    for message in connection:
        connection.send(message)


def pair() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """For a dialer of `localhost`, and for what listens there."""
    authority = trustme.CA()
    here = ssl.create_default_context()
    there = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.configure_trust(here)
    authority.issue_cert("localhost").configure_cert(there)
    return here, there


@asynccontextmanager
async def raw_server(
    serve: Callable[[trio.SocketStream], Awaitable[None]],
) -> AsyncIterator[str]:
    """Accepts, and does what it is told; gives its URL."""
    listen = partial(trio.serve_tcp, serve, 0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(listen)
        yield f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}/"
        nursery.cancel_scope.cancel()


async def read_request(stream: trio.SocketStream) -> bytes:
    request = b""
    while b"\r\n\r\n" not in request:
        data = await stream.receive_some(65536)
        assert data
        request += data
    return request


def answering(answer: bytes, *, close: bool = True) -> Callable[[trio.SocketStream], Any]:
    async def serve(stream: trio.SocketStream) -> None:
        await read_request(stream)
        await stream.send_all(answer)
        if not close:
            await trio.sleep_forever()
        await stream.aclose()

    return serve


# --- servers of another make ----------------------------------------------------------------------


@TLS
async def test_messages_come_back(tls: bool) -> None:
    here, there = pair()
    messages: list[str | bytes] = ["", "ü\U0001f600", b"", b"\x00\xff" * 100_000, "x" * 300_000]
    async with (
        foreign_server(foreign_echo, tls=there if tls else None, compression=None) as url,
        connect(url, tls=here if tls else None) as websocket,
    ):
        for message in messages:
            await websocket.send(message)
            assert await websocket.receive() == message
    assert websocket.close_code == 1000


async def test_fields_subprotocols_and_credentials() -> None:
    seen: list[Any] = []

    def serve(connection: ServerConnection) -> None:
        assert connection.request is not None
        seen.append((connection.request.path, dict(connection.request.headers.raw_items())))

    async with foreign_server(serve, subprotocols=["b", "a"]) as url:
        async with connect(
            f"{url}chat?x=1",
            headers={"X-Client": "1"},
            auth=Bearer("token"),
            subprotocols=["a", "b"],
        ) as websocket:
            assert websocket.subprotocol in ("a", "b")
            with pytest.raises(WebSocketClosed) as caught:
                await websocket.receive()
            assert (caught.value.code, caught.value.clean) == (1000, True)
            assert "closed by the server" in str(caught.value)
        assert websocket.header("server") is not None
    ((path, fields),) = seen
    assert path == "/chat?x=1"
    assert (fields["X-Client"], fields["Authorization"]) == ("1", "Bearer token")


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (4000, "bye"), (1008, "ü" * 61)])
async def test_codes_and_reasons_cross_both_ways(code: int, reason: str) -> None:
    seen: list[Any] = []

    def serve(connection: ServerConnection) -> None:
        if connection.recv(PATIENCE) == "you":
            connection.close(code, reason)
            return
        for _ in connection:
            pass

    def watch(connection: ServerConnection) -> None:
        try:
            serve(connection)
        except Exception:  # noqa: BLE001  # of another make: what it says is in the connection
            pass
        seen.append((connection.close_code, connection.close_reason))

    async with foreign_server(watch) as url:
        async with connect(url) as websocket:
            await websocket.send("you")
            with pytest.raises(WebSocketClosed) as caught:
                await websocket.receive()
            assert (caught.value.code, caught.value.reason) == (code, reason)
        await until(lambda: seen)  # each connection has a thread of its own
        async with connect(url) as websocket:
            await websocket.send("me")
            await websocket.aclose(code, reason)
            assert (websocket.close_code, websocket.close_reason) == (code, reason)
        await until(lambda: len(seen) == 2)
    assert seen == [(code, ""), (code, reason)]  # the first is our echo, which has no reason


async def test_leaving_by_an_exception_closes_with_1011() -> None:
    codes: list[int | None] = []

    def serve(connection: ServerConnection) -> None:
        try:
            connection.recv(PATIENCE)
        except Exception:  # noqa: BLE001  # as above
            pass
        codes.append(connection.close_code)

    async with foreign_server(serve) as url:
        with pytest.raises(KeyError):
            async with connect(url):
                raise KeyError
        await until(lambda: codes)  # each connection has a thread of its own
        with trio.CancelScope() as scope:
            async with connect(url) as websocket:
                scope.cancel()
                await trio.lowlevel.checkpoint()
        assert websocket.close_code is not None
        await until(lambda: len(codes) == 2)
    assert codes == [1011, 1006]  # cancelled, it breaks off


# --- other answers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 5\r\n\r\nwho?\n", 401),
        (b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\nno\n", 403),
        (b"HTTP/1.1 301 Moved\r\nLocation: ws://elsewhere/\r\nContent-Length: 0\r\n\r\n", 301),
        (
            b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nlater\r\n0\r\n\r\n",
            503,
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes", 200),
        (b"HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 100\r\n\r\ncut off", 404),
        (b"HTTP/1.0 404 No\r\n\r\nnothing", 404),
    ],
)
async def test_an_answer_that_is_no_websocket(answer: bytes, status: int) -> None:
    async with raw_server(answering(answer)) as url:
        with pytest.raises(WebSocketRefused) as caught:
            async with connect(url):
                pass
        assert (caught.value.status, caught.value.response.status) == (status, status)
        if status == 401:
            assert str(caught.value).endswith("answered with 401: who?")
        if status == 503:
            assert caught.value.response.content == b"later"


async def test_of_an_endless_refusal_the_beginning_is_kept() -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await read_request(stream)
        try:
            await stream.send_all(b"HTTP/1.1 404 No\r\n\r\n")
            while True:
                await stream.send_all(bytes(10_000))
        except trio.BrokenResourceError:
            pass

    async with raw_server(serve) as url:
        with pytest.raises(WebSocketRefused) as caught:
            async with connect(url):
                pass
        assert len(caught.value.response.content) == 65536


_101 = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "without an answer"),
        (b"HTTP/1.1 101", "without an answer|middle of its response|not valid"),
        (b"SSH-2.0-OpenSSH\r\n", "not valid HTTP|middle of its response"),
        (b"HTTP/1.1 101 Ok\r\n\r\n", "something else than a WebSocket"),
        (_101 + b"\r\n", "a wrong Sec-WebSocket-Accept"),
        (_101 + b"Sec-WebSocket-Accept: c2VjcmV0\r\n\r\n", "a wrong Sec-WebSocket-Accept"),
        (_101.replace(b"websocket", b"h2c") + b"\r\n", "something else than a WebSocket"),
        (b"HTTP/1.1 101 Ok\r\n" + b"X: " + b"y" * 500_000 + b"\r\n\r\n", "not valid HTTP"),
    ],
)
async def test_an_answer_that_is_wrong(answer: bytes, words: str) -> None:
    async with raw_server(answering(answer)) as url:
        with pytest.raises(HandshakeError, match=words) as caught:
            async with connect(url):
                pass
        assert "c2VjcmV0" not in str(caught.value)


async def test_what_was_not_offered_is_not_taken() -> None:
    for field, words in [
        ("Sec-WebSocket-Protocol: other", "a subprotocol that was not offered"),
        ("Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: a", "a subprotocol that was not"),
        ("Sec-WebSocket-Extensions: permessage-deflate", "an extension that was not offered"),
    ]:

        async def serve(stream: trio.SocketStream, field: str = field) -> None:
            from restsock.protocol import generate_accept_token

            request = await read_request(stream)
            key = request.lower().partition(b"sec-websocket-key: ")[2]
            at = request.lower().index(b"sec-websocket-key: ") + 19
            key = request[at : request.index(b"\r", at)]
            await stream.send_all(
                _101
                + b"Sec-WebSocket-Accept: "
                + generate_accept_token(key)
                + f"\r\n{field}\r\n\r\n".encode()
            )

        async with raw_server(serve) as url:
            with pytest.raises(HandshakeError, match=words):
                async with connect(url, subprotocols=["a"]):
                    pass


async def test_a_server_that_says_nothing_is_given_up() -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    options = Options(timeouts=Timeouts(handshake=0.2))
    async with raw_server(serve) as url:
        with pytest.raises(HandshakeError, match=r"took more than 0\.2 s") as caught:
            async with connect(url, options=options):
                pass
        assert caught.value.retryable


async def test_nobody_listens() -> None:
    sock = trio.socket.socket()
    await sock.bind(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    with pytest.raises(HandshakeError, match="cannot reach") as caught:
        async with connect(f"ws://127.0.0.1:{port}/?token=hush"):
            pass
    assert "hush" not in str(caught.value)
    sock.close()


async def test_all_addresses_of_a_host_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first does not answer, nothing listens at the second."""
    closed = trio.socket.socket()
    await closed.bind(("127.0.0.1", 0))
    async with foreign_server(foreign_echo) as url:
        port = int(url.rsplit(":", 1)[1].rstrip("/"))

        class Resolver(trio.abc.HostnameResolver):
            async def getaddrinfo(self, *args: Any, **kwargs: Any) -> Any:
                kind = trio.socket.SOCK_STREAM
                return [
                    (trio.socket.AF_INET, kind, 6, "", ("127.0.0.1", closed.getsockname()[1])),
                    (trio.socket.AF_INET, kind, 6, "", ("127.0.0.1", port)),
                ]

            async def getnameinfo(self, *args: Any) -> Any:
                raise NotImplementedError

        trio.socket.set_custom_hostname_resolver(Resolver())
        try:
            async with connect(f"ws://many.example:{port}/", proxy=False) as websocket:
                await websocket.send("hi")
                assert await websocket.receive() == "hi"
        finally:
            trio.socket.set_custom_hostname_resolver(None)
    closed.close()


# --- TLS, proxies, Unix sockets -------------------------------------------------------------------


async def test_certificates(tmp_path: Path) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(file)
    certificate, key = tmp_path / "client.pem", tmp_path / "client.key"
    issued = authority.issue_cert("edge@example.org")
    issued.private_key_pem.write_to_path(key)
    issued.cert_chain_pems[0].write_to_path(certificate)
    there = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("hub.example").configure_cert(there)
    there.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(there)

    async with foreign_server(foreign_echo, tls=there) as url:
        right = restsock.tls.client(
            ca=file, certificate=certificate, key=key, server_hostname="hub.example"
        )
        async with connect(url, tls=right) as websocket:
            await websocket.send("with a certificate")
            assert await websocket.receive() == "with a certificate"
        other_name = restsock.tls.client(ca=file, certificate=certificate, key=key)
        with pytest.raises(HandshakeError, match="certificate") as caught:
            async with connect(url, tls=other_name):
                pass
        assert not caught.value.retryable
        other_ca = tmp_path / "other.pem"
        stranger.cert_pem.write_to_path(other_ca)
        with pytest.raises(HandshakeError, match="certificate"):
            async with connect(
                url, tls=restsock.tls.client(ca=other_ca, server_hostname="hub.example")
            ):
                pass
        without = restsock.tls.client(ca=file, server_hostname="hub.example")
        with pytest.raises((HandshakeError, WebSocketClosed)):
            async with connect(url, tls=without) as websocket:
                await websocket.receive()


@TLS
async def test_through_a_proxy(tls: bool) -> None:
    here, there = pair()
    async with foreign_server(foreign_echo, tls=there if tls else None) as url:
        port = int(url.rsplit(":", 1)[1].rstrip("/"))
        routes = {f"localhost:{port}": ("127.0.0.1", port)}
        async with ProxyServer(routes, login=("user", "password")).running() as proxy:
            scheme = "wss" if tls else "ws"
            async with connect(
                f"{scheme}://localhost:{port}/",
                proxy=proxy.url("user:password"),
                tls=here if tls else None,
            ) as websocket:
                await websocket.send("through it")
                assert await websocket.receive() == "through it"
            assert len(proxy.heads) == 1
            with pytest.raises(HandshakeError, match="407") as caught:
                async with connect(f"ws://localhost:{port}/", proxy=proxy.url("user:wrong")):
                    pass
            assert "wrong" not in str(caught.value)


@pytest.mark.skipif(sys.platform == "win32", reason="Unix sockets")
async def test_over_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    async with (
        restsock.listen(f"unix:{path}", endpoints={"/ws": Endpoint(echo)}),
        connect(f"ws+unix://{path}:/ws?x=1") as websocket,
    ):
        await websocket.send("hi")
        assert await websocket.receive() == "hi"


async def test_our_own_endpoint_with_tls() -> None:
    seen: list[ServerWebSocket] = []

    async def serve(websocket: ServerWebSocket) -> None:
        seen.append(websocket)
        await echo(websocket)

    class Named:
        """A context with another name than that which is dialed."""

    async with listening(Endpoint(serve), tls=True) as server:
        port = server.address[1]

        class Resolver(trio.abc.HostnameResolver):
            async def getaddrinfo(self, *args: Any, **kwargs: Any) -> Any:
                return [(trio.socket.AF_INET, trio.socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

            async def getnameinfo(self, *args: Any) -> Any:
                raise NotImplementedError

        trio.socket.set_custom_hostname_resolver(Resolver())
        try:
            async with connect(f"wss://hub:{port}/ws", tls=contexts()[0]) as websocket:
                await websocket.send("x" * 500_000)
                assert await websocket.receive() == "x" * 500_000
        finally:
            trio.socket.set_custom_hostname_resolver(None)
    assert seen[0].request.scheme == "https"
    assert (seen[0].peer.tls, seen[0].close_code) == (True, 1000)
    assert url_of(server).startswith("wss://")


# --- arguments ------------------------------------------------------------------------------------


def test_arguments_that_are_wrong() -> None:
    url = "ws://localhost/"
    wrong: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (ValueError, "http://localhost/", {}),
        (ValueError, "ws://user:hush@localhost/", {}),
        (ValueError, url, {"tls": ssl.create_default_context()}),
        (ValueError, url, {"headers": {"Sec-WebSocket-Key": "x"}}),
        (ValueError, url, {"headers": {"X": "hush\n"}}),
        (ValueError, url, {"headers": {"Authorization": "x"}, "auth": Bearer("hush")}),
        (TypeError, url, {"auth": "hush"}),
        (TypeError, url, {"subprotocols": "a"}),
        (ValueError, url, {"subprotocols": ["a", "a"]}),
        (ValueError, url, {"max_message": 0}),
        (ValueError, url, {"max_queue": -1}),
        (ValueError, url, {"idle": 0}),
        (TypeError, url, {"compression": "yes"}),
        (TypeError, url, {"compresion": True}),
    ]
    for error, where, options in wrong:
        with pytest.raises(error) as caught:
            connect(where, **options)
        assert "hush" not in str(caught.value)


async def test_nothing_is_logged_of_what_is_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with foreign_server(foreign_echo) as url:
        async with connect(f"{url}?token=hush", auth=Bearer("hush")) as websocket:
            await websocket.send("hush")
            await websocket.receive()
    ours = [record for record in caplog.records if record.name.startswith("restsock")]
    assert "hush" not in "".join(record.getMessage() for record in ours)
