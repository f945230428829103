"""Real clients, over real sockets, of all three APIs."""

from __future__ import annotations

import asyncio
import http.client
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
import pytest
import requests
import trio
import trustme
import wsproto
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Request, TextMessage

import restsock
import restsock.aio
import restsock.sync
import restsock.tls
from restsock.auth import BearerTokens, CertificateSubject, Principal, Upgrade
from restsock.ingress import Ingress, Route

HOST = "edge-1.localhost"
PIECE = 64 * 1024

app = flask.Flask("edge")
sent_on = threading.Semaphore(0)
latest = [0]


@app.route("/echo", methods=["GET", "POST", "PUT"])
def echo() -> Any:
    request = flask.request
    told = {"body": request.get_data(as_text=True), "url": request.url, "args": request.args}
    response = flask.jsonify({**told, "who": request.headers.get("Restsock-Identity")})
    response.set_cookie("a", "b", domain="localhost.example")
    return response


@app.route("/events", methods=["GET", "POST"])
def events() -> Any:
    """Sends the next one when the test has seen the one before."""

    def generate() -> Iterator[str]:
        for number in range(3):
            yield f"data: {number}\n\n"
            assert sent_on.acquire(timeout=10)

    return app.response_class(generate(), mimetype="text/event-stream")


@app.get("/large/<int:pieces>")
def large(pieces: int) -> Any:
    def generate() -> Iterator[bytes]:
        for number in range(pieces):
            latest[0] = number * PIECE
            yield bytes(PIECE)

    return app.response_class(generate(), mimetype="application/octet-stream")


@app.post("/count")
def count() -> Any:
    total = 0
    while piece := flask.request.stream.read(PIECE):
        total += len(piece)
    return {"bytes": total}


@app.get("/file/<name>")
def file(name: str) -> Any:
    return flask.redirect("/echo") if name == "moved" else app.response_class(b"x" * 10)


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """The URL of an ingress whose peer serves the app above."""
    with restsock.sync.listen("127.0.0.1", 0, ingress=Ingress()) as server:
        with restsock.sync.connect(server.url, app=app, name="edge-1"):
            yield server.url.replace("ws://", "http://").rstrip("/")


def ask(site: str, target: str, method: str = "GET", **arguments: Any) -> requests.Response:
    headers = {"Host": HOST, **arguments.pop("headers", {})}
    return requests.request(method, site + target, headers=headers, timeout=20, **arguments)


# --- ordinary requests --------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_requests(site: str, method: str) -> None:
    response = ask(site, "/echo?a=1&a=2", method, data=b"Rex")
    assert response.status_code == 200
    told = response.json()
    assert (told["body"], told["url"]) == ("Rex", f"http://{HOST}/echo?a=1&a=2")
    assert response.headers["Set-Cookie"] == "a=b; Path=/"


def test_a_session_keeps_its_connection(site: str) -> None:
    with requests.Session() as session:
        session.headers["Host"] = HOST
        for number in range(20):
            body = session.post(f"{site}/echo", data=str(number), timeout=20).json()["body"]
            assert body == str(number)
        assert session.head(f"{site}/echo", timeout=20).headers["Content-Length"]


def test_chunks_in_and_a_redirect_out(site: str) -> None:
    pieces = iter([b"a" * 10_000, b"b" * 100_000, b"c"])
    assert ask(site, "/count", "POST", data=pieces).json() == {"bytes": 110_001}
    response = ask(site, "/file/moved", allow_redirects=False)
    assert (response.status_code, response.headers["Location"]) == (302, "/echo")


def test_by_the_field_and_by_the_prefix(site: str) -> None:
    headers = {"Host": "localhost", "Restsock-Peer": "edge-1"}
    assert ask(site, "/echo", headers=headers).status_code == 200
    response = requests.get(f"{site}/_/edge-1/file/moved", timeout=20, allow_redirects=False)
    assert response.headers["Location"] == "/_/edge-1/echo"
    response = requests.get(f"{site}/_/edge-1/echo", timeout=20)
    assert response.headers["Set-Cookie"] == "a=b; Path=/_/edge-1/"


def test_as_a_proxy(site: str) -> None:
    with requests.Session() as session:
        session.trust_env = False
        response = session.get("http://edge-1/echo", proxies={"http": site}, timeout=20)
    assert response.json()["url"] == "http://edge-1/echo"


def test_a_page_of_another_name_reaches_nobody_on_loopback(site: str) -> None:
    for target, headers in (("/_/edge-1/echo", {}), ("/echo", {"Restsock-Peer": "edge-1"})):
        assert ask(site, target, headers={**headers, "Host": "evil.example"}).status_code == 404


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
@pytest.mark.parametrize("more", [[], ["-0"], ["-H", "Expect: 100-continue"]])
def test_curl(site: str, more: list[str]) -> None:
    port = site.rpartition(":")[2]
    command = ["curl", "-sS", "--max-time", "20", "--data-binary", "@-", *more]
    command += ["--resolve", f"{HOST}:{port}:127.0.0.1", f"http://{HOST}:{port}/count"]
    done = subprocess.run(command, input=b"x" * 300_000, capture_output=True, check=True)
    assert done.stdout.strip() == b'{"bytes":300000}'


# --- streams ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_events_come_one_by_one(site: str, method: str) -> None:
    """Each is sent only after the one before has been read: nothing on the way holds them back."""
    with ask(site, "/events", method, stream=True, data=b"x") as response:
        lines = response.iter_lines(chunk_size=1)
        for number in range(3):
            assert next(lines) == f"data: {number}".encode()
            assert next(lines) == b""
            sent_on.release()


def test_a_part_of_a_body_is_not_held_back() -> None:
    go = threading.Event()

    def slow(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Length", "4")])
        yield b"ab"
        assert go.wait(10)
        yield b"cd"

    with restsock.sync.listen("127.0.0.1", 0, ingress=Ingress()) as server:
        with restsock.sync.connect(server.url, app=slow, name="edge-1"):
            client = http.client.HTTPConnection("127.0.0.1", server.address[1], timeout=20)
            client.request("GET", "/", headers={"Host": HOST})
            response = client.getresponse()
            assert response.read(2) == b"ab"
            go.set()
            assert response.read() == b"cd"
            client.close()


def test_a_reader_bounds_what_is_on_the_way(site: str) -> None:
    """As the client reads 256 MiB, its peer is never further ahead than buffers are large."""
    pieces = 4096
    ahead = total = 0
    with ask(site, f"/large/{pieces}", stream=True) as response:
        for piece in response.iter_content(PIECE):
            total += len(piece)
            ahead = max(ahead, latest[0] - total)
    assert total == pieces * PIECE
    assert ahead < 32 * 1024 * 1024


def test_a_large_upload(site: str) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(1000):
            yield bytes(PIECE)

    assert ask(site, "/count", "POST", data=pieces()).json() == {"bytes": 1000 * PIECE}


# --- WebSockets ---------------------------------------------------------------------------------


async def talk(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """A WebSocket that repeats what it hears, until it hears bye."""
    if scope["type"] != "websocket":
        raise NotImplementedError(scope["type"])
    await receive()
    if scope["path"] == "/no":
        await send({"type": "websocket.close"})
        return
    await send({"type": "websocket.accept", "subprotocol": scope["subprotocols"][0]})
    while (message := await receive())["type"] == "websocket.receive":
        if message.get("text") == "bye":
            await send({"type": "websocket.close", "code": 1000})
            return
        kept = {kind: message[kind] for kind in ("text", "bytes") if message.get(kind) is not None}
        await send({"type": "websocket.send", **kept})


class Socket:
    """A client of WebSockets as simple as can be."""

    def __init__(self, port: int, target: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.ws = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        self.send(Request(host=HOST, target=target, subprotocols=["chat"]))

    def send(self, event: Any) -> None:
        self.socket.sendall(self.ws.send(event))

    def receive(self) -> Any:
        while True:
            for event in self.ws.events():
                return event
            data = self.socket.recv(PIECE)
            self.ws.receive_data(data or None)


@pytest.mark.parametrize("client_first", [True, False])
def test_websockets_cross(client_first: bool) -> None:
    passed: list[Any] = []
    done = threading.Event()

    def note(one: Any) -> None:
        passed.append(one)
        done.set()

    with restsock.sync.listen("127.0.0.1", 0, ingress=Ingress(on_passed=note)) as server:
        with restsock.sync.connect(server.url, app=talk, name="edge-1"):
            here = Socket(server.address[1], "/chat?room=1")
            accepted = here.receive()
            assert isinstance(accepted, AcceptConnection)
            assert accepted.subprotocol == "chat"
            here.send(TextMessage(data="hello"))
            assert here.receive().data == "hello"
            here.send(BytesMessage(data=bytes(200_000)))
            heard = b""
            while len(heard) < 200_000:
                heard += here.receive().data
            if client_first:
                here.send(CloseConnection(code=1000))
                assert isinstance(here.receive(), CloseConnection)
            else:
                here.send(TextMessage(data="bye"))
                closed = here.receive()
                assert isinstance(closed, CloseConnection)
                here.send(closed.response())
            here.socket.close()
            assert done.wait(10)
            assert [one.status for one in passed] == [101]


def test_a_websocket_that_is_declined() -> None:
    with restsock.sync.listen("127.0.0.1", 0, ingress=Ingress()) as server:
        with restsock.sync.connect(server.url, app=talk, name="edge-1"):
            here = Socket(server.address[1], "/no")
            assert here.receive().status_code == 403
            here.socket.close()


# --- TLS ----------------------------------------------------------------------------------------


def test_by_certificate_over_tls(tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name, cert in (
        ("hub", ca.issue_cert("localhost", "127.0.0.1")),
        ("anna", ca.issue_cert("anna@example", common_name="anna")),
    ):
        cert.private_key_and_cert_chain_pem.write_to_path(tmp_path / f"{name}.pem")
    tls = restsock.tls.server(
        certificate=tmp_path / "hub.pem",
        client_ca=tmp_path / "ca.pem",
        client_certificate="optional",
    )
    ingress = Ingress(access=CertificateSubject())
    with restsock.sync.listen("127.0.0.1", 0, tls=tls, ingress=ingress) as server:
        trust = restsock.tls.client(ca=tmp_path / "ca.pem")
        with restsock.sync.connect(server.url, app=app, name="edge-1", tls=trust):
            url = server.url.replace("wss://", "https://").rstrip("/")
            with requests.Session() as session:
                session.trust_env = False  # where a variable may name other authorities
                session.verify = str(tmp_path / "ca.pem")
                session.headers["Host"] = HOST
                assert session.get(f"{url}/echo", timeout=20).status_code == 403
            with requests.Session() as session:
                session.trust_env = False
                session.verify = str(tmp_path / "ca.pem")
                session.cert = str(tmp_path / "anna.pem")
                session.headers["Host"] = HOST
                told = session.get(f"{url}/echo", timeout=20).json()
                assert (told["who"], told["url"]) == ("anna", f"https://{HOST}/echo")


# --- the three APIs -----------------------------------------------------------------------------


async def hello(request: restsock.Request) -> restsock.Response:
    return restsock.Response(200, [], b"hello " + (await request.read()))


def post(port: int, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("POST", "/", b"you", {"Host": HOST, **(headers or {})})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


async def test_on_trio() -> None:
    async with restsock.listen("127.0.0.1", 0, ingress=Ingress()) as server:
        async with restsock.connect(server.url, app=hello, name="edge-1"):
            assert await trio.to_thread.run_sync(post, server.address[1]) == (200, b"hello you")


def test_on_asyncio_with_an_authenticator_that_is_for_it() -> None:
    async def who(upgrade: Upgrade) -> Principal | None:
        await asyncio.sleep(0)
        return Principal("anna") if upgrade.header("x-key") == "k" else None

    async def main() -> None:
        ingress = Ingress(access=who)
        async with restsock.aio.listen("127.0.0.1", 0, ingress=ingress) as server:
            async with restsock.aio.connect(server.url, app=hello, name="edge-1"):
                port = server.address[1]
                assert (await asyncio.to_thread(post, port))[0] == 401
                answer = await asyncio.to_thread(post, port, {"X-Key": "k"})
                assert answer == (200, b"hello you")
                ingress.swap(Ingress(access=who, routes=[Route(HOST, "edge-1")]))
                answer = await asyncio.to_thread(post, port, {"X-Key": "k"})
                assert answer == (200, b"hello you")

    asyncio.run(main())


def test_in_threads_with_an_authenticator_that_waits() -> None:
    def who(upgrade: Upgrade) -> Principal | None:
        return BearerTokens({"t": "anna"})(upgrade)

    with restsock.sync.listen("127.0.0.1", 0, ingress=Ingress(access=who)) as server:
        with restsock.sync.connect(server.url, app=hello, name="edge-1"):
            assert post(server.address[1])[0] == 401
            assert post(server.address[1], {"Authorization": "Bearer t"}) == (200, b"hello you")
