"""Forwarding to servers that people have: of the standard library, waitress, uvicorn, Node."""

from __future__ import annotations

import hashlib
import shutil
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import trio
import trio.testing
import trustme

import restsock.sync
from restsock import Options, StreamReset, Timeouts, forward
from restsock.connection import AsyncExchange, Connection
from restsock.protocol import TextMessage, WebSocket
from restsock.testing import connected_pair
from tests.apps.forward.test_forward import OK, Sees, request
from tests.apps.forward.upstreams import Peer, process, scripted

# All answer alike: /hash with the digest of the body, /events with three pieces, /long with much.

STDLIB = """
import hashlib, http.server

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args): pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(hashlib.sha256(body).hexdigest().encode())

    def do_GET(self):
        if self.path == "/events":  # framed by the end of the connection
            self.send_response(200)
            self.send_header("Connection", "close")
            self.end_headers()
            for number in range(3):
                self.wfile.write(b"data: %d\\n\\n" % number)
        else:
            self.answer(b"x" * 1_000_000)

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""

WAITRESS = """
import hashlib, waitress

def app(environ, start_response):
    path = environ["PATH_INFO"]
    start_response("200 OK", [])
    if path == "/hash":
        return [hashlib.sha256(environ["wsgi.input"].read()).hexdigest().encode()]
    if path == "/events":
        return (b"data: %d\\n\\n" % number for number in range(3))
    return [b"x" * 1_000_000]

server = waitress.create_server(app, host="127.0.0.1", port=0)
print(server.effective_port, flush=True)
server.run()
"""

UVICORN = """
import hashlib, socket, uvicorn

async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept", "subprotocol": "echo"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"].upper()})
    elif scope["type"] == "http":
        sha = hashlib.sha256()
        more = True
        while more:
            message = await receive()
            sha.update(message.get("body", b""))
            more = message.get("more_body", False)
        bodies = {
            "/hash": [sha.hexdigest().encode()],
            "/events": [b"data: %d\\n\\n" % number for number in range(3)],
        }
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for body in bodies.get(scope["path"], [b"x" * 1_000_000]):
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body"})

sock = socket.socket()
sock.bind(("127.0.0.1", 0))
sock.listen()
print(sock.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(app, ws="wsproto", log_level="warning")).run(sockets=[sock])
"""

NODE = """
const http = require('http'), crypto = require('crypto');
const server = http.createServer((request, response) => {
  if (request.url === '/hash') {
    const sha = crypto.createHash('sha256');
    request.on('data', data => sha.update(data));
    request.on('end', () => {
      response.writeHead(200, {Trailer: 'X-Seen'});
      response.write(sha.digest('hex'));
      response.addTrailers({'X-Seen': JSON.stringify(request.trailers)});
      response.end();
    });
  } else if (request.url === '/events') {
    response.writeEarlyHints({link: '</a.css>; rel=preload'});
    for (let number = 0; number < 3; number++) response.write(`data: ${number}\\n\\n`);
    response.end();
  } else {
    response.end('x'.repeat(1000000));
  }
});
server.on('upgrade', (request, socket, head) => {
  const lines = ['HTTP/1.1 101 Switching Protocols', 'Connection: Upgrade', 'Upgrade: up'];
  socket.write(lines.join('\\r\\n') + '\\r\\n\\r\\n');
  socket.on('data', data => socket.write(data.toString().toUpperCase()));
  socket.on('end', () => socket.end('bye'));
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
"""

PROGRAMS = {"stdlib": STDLIB, "waitress": WAITRESS, "uvicorn": UVICORN, "node": NODE}


@pytest.fixture(scope="module", params=PROGRAMS)
def server(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """Name and URL of a server."""
    name = str(request.param)
    if name == "node":
        node = shutil.which("node")
        if node is None:
            pytest.skip("there is no node here")
        command = (node, "-e", NODE)
    else:
        if name != "stdlib":
            pytest.importorskip(name)
        command = (sys.executable, "-c", PROGRAMS[name])
    with process(*command) as url:
        yield name, url


async def test_all_of_it(server: tuple[str, str]) -> None:
    name, url = server
    body = bytes(range(250)) * 8000
    async with connected_pair(app_b=forward(url)) as (dialer, _):
        for data in (b"", b"abc", body):
            response = await dialer.request("POST", "/hash", body=data)
            assert response.content.decode() == hashlib.sha256(data).hexdigest()
        assert (await dialer.request("GET", "/long")).content == b"x" * 1_000_000
        events = await dialer.request("GET", "/events")
        assert events.content == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"
        assert (await dialer.request("HEAD", "/long")).content == b"" or name == "stdlib"

        if name != "stdlib":  # which knows no chunks
            exchange = AsyncExchange.open(dialer, request(b"POST", b"/hash"), end=False)
            for at in range(0, len(body), 100_000):
                await exchange.send_data(body[at : at + 100_000])
            exchange.send_end([(b"X-Mine", b"1")])
            assert (await exchange.receive_head()).status == 200
            answer = b""
            while data := await exchange.receive_data():
                answer += data
            assert answer.decode() == hashlib.sha256(body).hexdigest()
            if name == "node":
                assert list(exchange.trailers) == [(b"X-Seen", b'{"x-mine":"1"}')]


async def test_many_at_once(server: tuple[str, str]) -> None:
    _, url = server
    async with connected_pair(app_b=forward(url, max_connections=8)) as (dialer, _):

        async def call(number: int) -> None:
            data = b"%d" % number
            response = await dialer.request("POST", "/hash", body=data)
            assert response.content.decode() == hashlib.sha256(data).hexdigest()

        async with trio.open_nursery() as nursery:
            for number in range(60):
                nursery.start_soon(call, number)


@pytest.mark.parametrize("server", ["node"], indirect=True)
async def test_early_hints_and_an_upgrade(server: tuple[str, str]) -> None:
    _, url = server
    async with connected_pair(app_b=forward(url)) as (dialer, _):
        exchange = AsyncExchange.open(dialer, request(b"GET", b"/events"))
        assert (await exchange.receive_head(interim=True)).status == 103
        assert (await exchange.receive_head()).status == 200
        fields = ((b"Connection", b"upgrade"), (b"Upgrade", b"up"))
        async with dialer.stream("GET", "/", headers=fields) as response:
            await response.send(b"hello")
            assert await response.receive() == b"HELLO"
            response.send_end()
            assert await response.receive() == b"bye"
            assert await response.receive() == b""


async def websocket_echo(dialer: Connection) -> None:
    headers = {
        "Connection": "upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol": "echo",
    }
    async with dialer.stream("GET", "/", headers=headers) as response:
        assert response.status == 101
        assert response.header("sec-websocket-accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert response.header("sec-websocket-protocol") == "echo"
        socket = WebSocket(client=True, max_message=2**20, mask_key=lambda: b"abcd")
        for text in ("hello", "x" * 200_000):
            socket.send_text(text)
            await response.send(socket.data_to_send())
            while (event := socket.next_event()) is None:
                socket.receive_data(await response.receive())
            assert event == TextMessage(text.upper())
        socket.close(1000, "")
        await response.send(socket.data_to_send())
        while await response.receive():
            pass


@pytest.mark.parametrize("server", ["uvicorn"], indirect=True)
async def test_a_websocket(server: tuple[str, str]) -> None:
    _, url = server
    async with connected_pair(app_b=forward(url)) as (dialer, _):
        await websocket_echo(dialer)
        async with dialer.websocket("/", subprotocols=["other", "echo"]) as websocket:
            assert websocket.subprotocol == "echo"
            await websocket.send("hello")
            assert await websocket.receive() == "HELLO"
        assert (websocket.close_code, websocket.close_reason) == (1000, "")
        await trio.testing.wait_all_tasks_blocked()


def test_for_threads(server: tuple[str, str]) -> None:
    _, url = server
    with (
        restsock.sync.listen("127.0.0.1", 0) as hub,
        restsock.sync.connect(hub.url, app=restsock.forward(url), name="edge-1"),
        requests.Session() as session,
    ):
        session.mount("http://edge-1/", hub.adapter("edge-1"))
        answer = session.post("http://edge-1/hash", data=b"abc", timeout=10)
        assert answer.text == hashlib.sha256(b"abc").hexdigest()
        with session.get("http://edge-1/events", stream=True, timeout=10) as answer:
            assert b"".join(answer.iter_content(None)).endswith(b"data: 2\n\n")


# --- other ways to a server -------------------------------------------------------------------


async def test_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "app.sock")
    listener = trio.socket.socket(trio.socket.AF_UNIX)
    await listener.bind(path)
    listener.listen()
    sees = Sees()

    async def handle(stream: trio.SocketStream) -> None:
        async with stream:
            await sees(Peer(stream, 1))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, handle, [trio.SocketListener(listener)])
        app = forward(f"http+unix://{path}:/api", host="upstream", forwarded=None)
        assert str(app.origin) == f"http+unix://{path}:/api"
        async with connected_pair(app_b=app) as (dialer, _):
            assert (await dialer.request("GET", "/")).content == b"ok"
            assert (await dialer.request("GET", "/")).content == b"ok"
        nursery.cancel_scope.cancel()
    assert sees.heads[0] == b"GET /api/ HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def contexts(authority: trustme.CA, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of a server of this name, and of a client that trusts it."""
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(serving)
    calling = ssl.create_default_context()
    authority.configure_trust(calling)
    return serving, calling


async def test_tls(authority: trustme.CA) -> None:
    serving, calling = contexts(authority, "127.0.0.1")
    async with scripted(Sees(), ssl_context=serving) as upstream:
        app = forward(upstream.url, ssl_context=calling)
        async with connected_pair(app_b=app) as (dialer, _):
            for _ in range(3):
                assert (await dialer.request("POST", "/")).content == b"ok"
                await trio.testing.wait_all_tasks_blocked()
        assert len(upstream.peers) == 1


async def test_a_second_response_in_tls_is_nobodys(authority: trustme.CA) -> None:
    """Though it has left the socket together with the first one, and the socket looks idle."""
    serving, calling = contexts(authority, "127.0.0.1")

    async def script(peer: Peer) -> None:
        stream = peer.stream
        assert isinstance(stream, trio.SSLStream)
        socket = stream.transport_stream.socket
        while await peer.head():
            # Two records in one segment.
            socket.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_CORK, 1)
            await peer.send(OK)
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong")
            socket.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_CORK, 0)

    async with scripted(script, ssl_context=serving) as upstream:
        app = forward(upstream.url, ssl_context=calling)
        async with connected_pair(app_b=app) as (dialer, _):
            for _ in range(3):
                assert (await dialer.request("GET", "/")).content == b"ok"


async def test_tls_with_somebody_else(
    authority: trustme.CA, caplog: pytest.LogCaptureFixture
) -> None:
    serving, calling = contexts(authority, "other.example")
    async with scripted(Sees(), ssl_context=serving) as upstream:
        for context in (calling, None):
            app = forward(upstream.url, ssl_context=context)
            async with connected_pair(app_b=app) as (dialer, _):
                response = await dialer.request("GET", "/")
                assert response.status == 502
                assert response.json()["detail"] == "the TLS handshake with the server failed"
    assert "CERTIFICATE_VERIFY_FAILED" in caplog.text


async def test_a_response_that_is_cut_short_in_tls(authority: trustme.CA) -> None:
    """Framed by the end of the connection, it has to end with a word of TLS."""
    serving, calling = contexts(authority, "127.0.0.1")

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\npart of it")
        stream = peer.stream
        assert isinstance(stream, trio.SSLStream)
        await trio.aclose_forcefully(stream.transport_stream)

    async with scripted(script, ssl_context=serving) as upstream:
        app = forward(upstream.url, ssl_context=calling)
        async with connected_pair(app_b=app) as (dialer, _):
            with pytest.raises(StreamReset):
                await dialer.request("GET", "/")


async def test_an_upgrade_in_tls_ends_with_its_caller(authority: trustme.CA) -> None:
    serving, calling = contexts(authority, "127.0.0.1")

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\nhi")
        await peer.wait_closed()

    options = Options(timeouts=Timeouts(close=0.1))
    async with scripted(script, ssl_context=serving) as upstream:
        app = forward(upstream.url, ssl_context=calling)
        async with connected_pair(app_b=app, options=options) as (dialer, _):
            fields = ((b"Connection", b"upgrade"), (b"Upgrade", b"chat"))
            async with dialer.stream("GET", "/", headers=fields) as response:
                assert await response.receive() == b"hi"
                response.send_end()
                with trio.fail_after(5):
                    await upstream.peers[0].closed.wait()


async def test_a_server_that_does_not_shake_hands_is_a_504(authority: trustme.CA) -> None:
    async def script(peer: Peer) -> None:
        await peer.wait_closed()

    _, calling = contexts(authority, "127.0.0.1")
    async with scripted(script) as upstream:
        url = upstream.url.replace("http:", "https:")
        app = forward(url, ssl_context=calling, connect_timeout=0.1)
        async with connected_pair(app_b=app) as (dialer, _):
            assert (await dialer.request("GET", "/")).status == 504
        with trio.fail_after(5):
            await upstream.peers[0].closed.wait()
