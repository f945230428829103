"""Caddy and nginx in front of a hub, as docs/hub.md says: peers, requests, streams, WebSockets."""

from __future__ import annotations

import json
import re
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flask
import pytest
import requests
import wsproto
from wsproto.events import AcceptConnection, BytesMessage, Request, TextMessage

import restsock
import restsock.sync
import restsock.tls
from restsock.auth import Bearer
from restsock.hub import Tokens
from tests.caddy import caddy, names_here, needs_caddy
from tests.cli.command import Process
from tests.nginx import DOCS, needs_nginx, nginx

PAGE = "hub.md"
PIECE = 64 * 1024

app = flask.Flask("edge")
go_on = threading.Semaphore(0)


@app.route("/echo", methods=["GET", "POST"])
def echo() -> Any:
    request = flask.request
    body = request.get_data(as_text=True)
    return {"url": request.url, "headers": dict(request.headers), "body": body}


@app.route("/events", methods=["GET", "POST"])
def events() -> Any:
    """Sends the next one when the test has seen the one before."""

    def generate() -> Iterator[str]:
        for number in range(3):
            yield f"data: {number}\n\n"
            assert go_on.acquire(timeout=10)

    return app.response_class(generate(), mimetype="text/event-stream")


@app.post("/count")
def count() -> Any:
    """Lets the test go on when the first piece is there."""
    total = len(flask.request.stream.read(PIECE))
    go_on.release()
    while piece := flask.request.stream.read(PIECE):
        total += len(piece)
    return {"bytes": total}


async def talk(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """A WebSocket that repeats what it hears."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        kept = {kind: message[kind] for kind in ("text", "bytes") if message.get(kind) is not None}
        await send({"type": "websocket.send", **kept})


@dataclass
class Site:
    """A hub behind a proxy.

    Attributes:
        port: of the proxy.
        ca: the file of its authority.
        peer_token: for peers.
        token: for callers.
    """

    port: int
    ca: str
    peer_token: str
    token: str

    def url(self, name: str, path: str) -> str:
        return f"https://{name}.hub.example:{self.port}{path}"

    def ask(self, path: str, method: str = "GET", **arguments: Any) -> requests.Response:
        fields = {"Authorization": f"Bearer {self.token}", **arguments.pop("headers", {})}
        with requests.Session() as session:
            session.trust_env = False
            return session.request(
                method,
                self.url("edge-1", path),
                headers=fields,
                verify=self.ca,
                timeout=20,
                **arguments,
            )

    def peer(self, app: Any, name: str) -> AbstractContextManager[restsock.sync.Client]:
        return restsock.sync.connect(
            f"wss://hub.example:{self.port}/",
            app=app,
            name=name,
            auth=Bearer(self.peer_token),
            tls=restsock.tls.client(ca=self.ca),
        )


@pytest.fixture(autouse=True)
def _names(monkeypatch: pytest.MonkeyPatch) -> None:
    names_here(monkeypatch)


Proxy = Callable[[str, int, Path], AbstractContextManager[int]]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(caddy, marks=needs_caddy, id="caddy"),
        pytest.param(nginx, marks=needs_nginx, id="nginx"),
    ],
)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("behind")
    _, peer_token = Tokens(folder / "tokens.json").new("edge-1", may_register=["*"])
    _, token = Tokens(folder / "partners.json").new("acme")
    page = (DOCS / PAGE).read_text("utf-8").partition("## Behind a reverse proxy")[2]
    found = re.search(r"```toml\n(.*?)```", page, re.DOTALL)
    assert found is not None
    (folder / "hub.toml").write_text(found[1])
    hub = Process(
        *("hub", "-c", str(folder / "hub.toml"), "--listen", "127.0.0.1:0"),
        *("--admin", "127.0.0.1:0", "--json"),
        env={"XDG_STATE_HOME": str(folder)},
    )
    try:
        upstream = int(json.loads(hub.out.next())["ingress"].rpartition(":")[2].strip("/"))
        proxy: Proxy = request.param
        with proxy(PAGE, upstream, folder) as port:
            yield Site(port, str(folder / "ca.pem"), peer_token, token)
    finally:
        hub.close()


@pytest.fixture
def edge(site: Site) -> Iterator[restsock.sync.Client]:
    with site.peer(app, "edge-1") as client:
        yield client


def test_requests(site: Site, edge: object) -> None:
    answer = site.ask("/echo?a=1", "POST", data=b"Rex", headers={"X-Own": "1"})
    assert answer.status_code == 200
    told = answer.json()
    assert (told["url"], told["body"]) == (site.url("edge-1", "/echo?a=1"), "Rex")
    assert told["headers"]["X-Own"] == "1"
    assert told["headers"]["Restsock-Identity"] == "acme"
    assert site.ask("/echo", headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_what_a_client_says_of_itself_does_not_count(site: Site, edge: object) -> None:
    forged = {
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "gopher",
        "X-Forwarded-Prefix": "/evil",
        "X-Forwarded-Port": "9",
        "X-Real-IP": "203.0.113.9",
        "Forwarded": "for=203.0.113.9;host=evil.example",
        "Restsock-Identity": "root",
        "Restsock-Peer": "edge-1",
    }
    told = site.ask("/echo", headers=forged).json()["headers"]
    host = f"edge-1.hub.example:{site.port}"
    assert told["X-Forwarded-Host"] == told["Host"] == host
    assert told["X-Forwarded-Proto"] == "https"
    assert told["Restsock-Identity"] == "acme"
    shown = json.dumps({name: value for name, value in told.items() if name != "X-Forwarded-For"})
    for evil in ("evil", "203.0.113.9", "gopher", "root"):
        assert evil not in shown
    # nginx adds to what the client says, and Caddy drops it: what counts is the last that is ours.
    assert told["X-Forwarded-For"].split(", ")[-2:] == ["127.0.0.1", "127.0.0.1"]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_events_come_one_by_one(site: Site, edge: object, method: str) -> None:
    with site.ask("/events", method, stream=True, data=b"x") as response:
        lines = response.iter_lines(chunk_size=1)
        for number in range(3):
            assert next(lines) == f"data: {number}".encode()
            assert next(lines) == b""
            go_on.release()


def test_uploads_arrive_as_they_are_sent(site: Site, edge: object) -> None:
    def pieces() -> Iterator[bytes]:
        yield bytes(PIECE)
        assert go_on.acquire(timeout=10)
        for _ in range(100):
            yield bytes(PIECE)

    assert site.ask("/count", "POST", data=pieces()).json() == {"bytes": 101 * PIECE}


def test_peers_may_call_the_hub(site: Site, edge: restsock.sync.Client) -> None:
    assert edge.request("GET", "/", timeout=15).status == 503  # it serves no app of its own
    connection = edge.connection
    assert connection is not None
    assert connection.peer.tls


def test_websockets(site: Site) -> None:
    with site.peer(talk, "talk"):
        context = ssl.create_default_context(cafile=site.ca)
        raw = socket.create_connection(("127.0.0.1", site.port), timeout=20)
        with context.wrap_socket(raw, server_hostname="talk.hub.example") as secure:
            ws = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)

            def receive() -> Any:
                while True:
                    for event in ws.events():
                        return event
                    ws.receive_data(secure.recv(PIECE) or None)

            fields = [(b"Authorization", f"Bearer {site.token}".encode())]
            host = f"talk.hub.example:{site.port}"
            secure.sendall(ws.send(Request(host=host, target="/", extra_headers=fields)))
            assert isinstance(receive(), AcceptConnection)
            secure.sendall(ws.send(TextMessage(data="hello")))
            assert receive().data == "hello"
            secure.sendall(ws.send(BytesMessage(data=bytes(200_000))))
            heard = b""
            while len(heard) < 200_000:
                heard += receive().data


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_http_2(site: Site, edge: object, request: pytest.FixtureRequest) -> None:
    """nginx speaks it only where its configuration says so."""
    url = site.url("edge-1", "/echo")
    done = subprocess.run(
        [
            *("curl", "-sS", "--http2", "--cacert", site.ca, "-w", "\n%{http_version}"),
            *("--resolve", f"edge-1.hub.example:{site.port}:127.0.0.1"),
            *("-H", f"Authorization: Bearer {site.token}", url),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    body, version = done.stdout.rsplit("\n", 1)
    assert json.loads(body)["url"] == url
    assert version == ("2" if "caddy" in request.node.name else "1.1")
