"""Requests in requests: through the tunnel, to an HTTP server that tells what it saw.

The server behind `restsock.forward` is Python's own, which is lenient, keeps its connections, and
would take a second request for what it looks like. Whatever is sent: either it never gets there, or
the server sees one request, and that one.
"""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest
import requests
import trio

import restsock
import restsock.testing
from restsock.connection import Request, Response
from tests.e2e.raw_peer import DATA, END, HEAD, RESET, RawPeer
from tests.hostile.site import OPTIONS, Site, site

EVIL = b"GET /evil HTTP/1.1\r\nHost: evil\r\n\r\n"


class Echo(BaseHTTPRequestHandler):
    """Tells what it saw, and keeps count."""

    protocol_version = "HTTP/1.1"
    seen: ClassVar[list[dict[str, Any]]]

    def answer(self) -> None:
        fields = [[name, value] for name, value in self.headers.items()]
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = self._chunks()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        saw = {
            "line": self.requestline,
            "fields": fields,
            "body": body.decode("latin-1"),
        }
        type(self).seen.append(saw)
        data = json.dumps(saw).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline() not in (b"\r\n", b"\n", b""):
            pass
        return body

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@asynccontextmanager
async def behind_a_tunnel() -> AsyncIterator[tuple[Site, type[Echo]]]:
    """A listener that forwards to the server, with an honest peer that uses it, too."""

    counted = type("Counted", (Echo,), {"seen": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), counted)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        app = restsock.forward(f"http://127.0.0.1:{server.server_address[1]}")
        async with _honest_site(app) as one:
            yield one, counted
    finally:
        await trio.to_thread.run_sync(server.shutdown)
        server.server_close()
        thread.join()


class _Honest(Site):
    async def be_honest(self) -> None:
        number = 0
        while True:
            number += 1
            body = f"honest {number}".encode()
            target = f"/honest/{number}"
            with self.asking():
                response = await self.client.request("POST", target, body=body, timeout=10)
                saw = response.json()
                assert saw["line"] == f"POST {target} HTTP/1.1"
                assert saw["body"].encode() == body
            await trio.sleep(0.005)


@asynccontextmanager
async def _honest_site(app: Any) -> AsyncIterator[Site]:
    async with site(app, options=OPTIONS, kind=_Honest) as one:
        yield one


def strangers_of(echo: type[Echo]) -> list[dict[str, Any]]:
    """What came from others than the honest peer."""
    return [saw for saw in echo.seen if "/honest/" not in saw["line"]]


def head(*lines: bytes, first: bytes = b"POST /mine HTTP/1.1") -> bytes:
    return b"\r\n".join([first, b"Host: mine", *lines, b"", b""])


# Heads that two readers could read as two things. None may arrive.
AMBIGUOUS = {
    "a length and chunks": head(b"Content-Length: 4", b"Transfer-Encoding: chunked"),
    "chunks": head(b"Transfer-Encoding: chunked"),
    "chunks, in disguise": head(b"Transfer-Encoding: xchunked"),
    "chunks, twice": head(b"Transfer-Encoding: chunked, identity"),
    "chunks, with a tab": head(b"Transfer-Encoding:\tchunked"),
    "chunks, with a space in front of the colon": head(b"Transfer-Encoding : chunked"),
    "chunks, folded": head(b"Transfer-Encoding:\r\n chunked"),
    "two lengths": head(b"Content-Length: 4", b"Content-Length: 40"),
    "the same length twice": head(b"Content-Length: 4", b"Content-Length: 4"),
    "lengths in a list": head(b"Content-Length: 4, 4"),
    "a length with a sign": head(b"Content-Length: +4"),
    "a negative length": head(b"Content-Length: -4"),
    "a length in hex": head(b"Content-Length: 0x4"),
    "a length with an underscore": head(b"Content-Length: 1_0"),
    "a length with a space": head(b"Content-Length: 4 0"),
    "an empty length": head(b"Content-Length:"),
    "a length in other digits": head("Content-Length: \uff14".encode()),
    "a bare line feed": head(b"X: a\nContent-Length: 40"),
    "a bare carriage return": head(b"X: a\rContent-Length: 40"),
    "a NUL": head(b"X: a\x00b"),
    "a field without a name": head(b": a"),
    "a field without a colon": head(b"Content-Length 40"),
    "a space in a name": head(b"Content Length: 40"),
    "two hosts": head(b"Host: evil"),
    "a host with a path": head(first=b"POST /mine HTTP/1.1").replace(b"Host: mine", b"Host: a/b"),
    "a host with a user": head().replace(b"Host: mine", b"Host: a@b"),
    "an absolute target": head(first=b"POST http://evil/ HTTP/1.1"),
    "a target with a space": head(first=b"POST /mine /evil HTTP/1.1"),
    "a target with a line feed": head(first=b"POST /mine\n HTTP/1.1"),
    "a target with a fragment": head(first=b"POST /mine#a HTTP/1.1"),
    "CONNECT": head(first=b"CONNECT evil:80 HTTP/1.1"),
    "HTTP/1.0": head(first=b"POST /mine HTTP/1.0"),
    "HTTP/2.0": head(first=b"POST /mine HTTP/2.0"),
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no version": b"GET /mine\r\n\r\n",
    "a method with a control": head(first=b"PO\x01ST /mine HTTP/1.1"),
    "a blank line first": b"\r\n" + head(),
    "a space first": b" " + head(),
}


@pytest.mark.parametrize("data", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
async def test_what_is_ambiguous_never_arrives(data: bytes) -> None:
    async with behind_a_tunnel() as (one, echo):
        peer = await one.ready()
        await peer.frame(HEAD, 0, 1, data)
        await peer.frame(DATA, END, 1, b"0\r\n\r\n" + EVIL)
        got = await peer.answer(1)
        if got.type == HEAD:  # answered in front of the server
            assert got.payload.split(b" ")[1] in (b"400", b"501")
        await one.answered(3)
        assert strangers_of(echo) == []


# What does arrive must arrive as what it is.
HARMLESS = {
    "a body that looks like a request": (head(), EVIL),
    "a body that looks like chunks": (head(), b"0\r\n\r\n" + EVIL),
    "a body with its length": (head(b"Content-Length: %d" % len(EVIL)), EVIL),
    "a body of a GET": (head(first=b"GET /mine HTTP/1.1"), EVIL),
    "a second request behind the blank line": (head(b"X: a") + EVIL, b""),
    "fields that name each other": (head(b"Connection: close, X-Secret", b"X-Secret: 1"), b""),
    "an underscore": (head(b"X_Forwarded_For: evil"), b""),
    "Expect": (head(b"Expect: 100-continue"), b"body"),
    "Trailer": (head(b"Trailer: Content-Length"), b"body"),
    "an obsolete byte": (head(b"X: \xe9"), b""),
}


@pytest.mark.parametrize(("data", "body"), HARMLESS.values(), ids=HARMLESS.keys())
async def test_what_arrives_is_one_request(data: bytes, body: bytes) -> None:
    async with behind_a_tunnel() as (one, echo):
        peer = await one.ready()
        await peer.frame(HEAD, 0, 1, data)
        await peer.frame(DATA, END, 1, body)
        got = await peer.answer(1)
        while got.type == HEAD and got.payload.split(b" ")[1] == b"100":
            got = await peer.answer(1)
        await one.answered(3)
        saw = strangers_of(echo)
        if got.type == RESET or got.payload.split(b" ")[1] != b"200":
            assert saw == []
            return
        assert [one_saw["line"].split(" ")[1] for one_saw in saw] == ["/mine"]
        assert saw[0]["body"].encode("latin-1") == data.partition(b"\r\n\r\n")[2] + body
        names = [name.lower() for name, _ in saw[0]["fields"]]
        assert names.count("content-length") + names.count("transfer-encoding") <= 1
        assert names.count("host") == 1


async def test_trailers_cannot_frame() -> None:
    async with behind_a_tunnel() as (one, echo):
        peer: RawPeer = await one.ready()
        for number, line in enumerate(
            (b"Content-Length: 40", b"Transfer-Encoding: chunked", b"Host: evil")
        ):
            stream = 2 * number + 1
            await peer.frame(HEAD, 0, stream, head())
            await peer.frame(DATA, 0, stream, b"body")
            await peer.frame(HEAD, END, stream, line + b"\r\n\r\n" + EVIL)
            await peer.reset_code(stream)
        await one.answered(3)
        assert [saw for saw in strangers_of(echo) if "/evil" in saw["line"]] == []


# --- callers and apps that are careless with what others gave them --------------------------------

INJECTIONS: list[dict[str, Any]] = [
    {"headers": {"X": "a\r\nEvil: b"}},
    {"headers": {"X": "a\nEvil: b"}},
    {"headers": {"X": "a\rEvil: b"}},
    {"headers": {"X": "a\x00b"}},
    {"headers": {"X\r\nEvil": "b"}},
    {"headers": {"X: a\r\nEvil": "b"}},
    {"headers": {"": "b"}},
    {"headers": {"Host": "a\r\nEvil: b"}},
    {"target": "/a HTTP/1.1\r\nEvil: b\r\n\r\n"},
    {"target": "/a b"},
    {"target": "/a\nb"},
    {"target": "http://evil/"},
    {"target": "a"},
    {"target": ""},
    {"method": "GET /evil HTTP/1.1\r\nHost: a\r\n\r\nGET"},
    {"method": "GET\n"},
    {"method": ""},
]


@pytest.mark.parametrize("request_", INJECTIONS, ids=[repr(one)[:60] for one in INJECTIONS])
async def test_a_caller_cannot_be_made_to_inject(request_: dict[str, Any]) -> None:
    called = []

    async def app(request: Request) -> Response:
        called.append(request.target)
        return Response(200)

    async with restsock.testing.connected_pair(None, app) as pair:
        words = {"method": "GET", "target": "/", **request_}
        with pytest.raises((restsock.LocalProtocolError, ValueError)) as info:
            await pair.dialer.request(**words)
        if isinstance(info.value, restsock.RestsockError):
            assert info.value.may_have_run is False
        assert (await pair.dialer.request("GET", "/next")).status == 200
        assert called == ["/next"]


@pytest.mark.parametrize(
    "headers", [{"X": "a\r\nEvil: b"}, {"X": "a\nEvil: b"}, {"X\r\nEvil": "b"}, {"X": "a\x00"}]
)
async def test_a_session_of_requests_cannot_be_made_to_inject(headers: dict[str, str]) -> None:
    called = []

    async def app(request: Request) -> Response:
        called.append(request.target)
        return Response(200)

    def call(requester: Any) -> None:
        with requests.Session() as session:
            session.trust_env = False
            session.mount("http://", restsock.TunnelAdapter(requester))
            with pytest.raises((requests.RequestException, ValueError)):
                session.get("http://peer/", headers=headers)

    async with restsock.testing.connected_pair(None, app) as pair:
        await trio.to_thread.run_sync(call, pair.dialer)
    assert called == []


@pytest.mark.parametrize(
    "fields",
    [
        [("X", "a\r\nSet-Cookie: evil")],
        [("X", "a\n\nevil")],
        [("X\r\nEvil", "a")],
        [("Content-Length", "1"), ("Content-Length", "2")],
        [("Content-Length", "-1")],
    ],
)
async def test_an_app_cannot_be_made_to_split_its_response(fields: list[tuple[str, str]]) -> None:
    async def app(request: Request) -> Response:
        if request.path == "/next":
            return Response(200, {}, "next")
        return Response(200, fields, "hello")

    async with restsock.testing.connected_pair(None, app) as pair:
        try:
            response = await pair.dialer.request("GET", "/")
        except restsock.StreamReset:
            pass
        else:
            assert response.status == 500
            assert b"evil" not in response.content.lower()
            assert not [
                name for name, _ in response.headers if name.lower() in (b"evil", b"set-cookie")
            ]
        assert (await pair.dialer.request("GET", "/next")).text == "next"


RESPONSES = {
    "a length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "a second response": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 9\r\n\r\nhelloevil",
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhelloevil",
    "a folded field": b"HTTP/1.1 200 OK\r\nX: a\r\n Evil: 1\r\nContent-Length: 5\r\n\r\nhello",
    "a broken chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;\x00\nhelloevil\r\n",
}


@pytest.mark.parametrize("data", RESPONSES.values(), ids=RESPONSES.keys())
async def test_a_server_cannot_slip_in_a_response(data: bytes) -> None:
    """What a forwarded server sends beyond its answer is nobody's: not the next caller's either."""
    from tests.apps.forward.upstreams import Peer, scripted

    async def script(peer: Peer) -> None:
        while line := await peer.head():
            if b"/bad" in line:
                await peer.send(data)
                return
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")

    async with scripted(script) as upstream:
        async with restsock.testing.connected_pair(None, restsock.forward(upstream.url)) as pair:
            try:
                response = await pair.dialer.request("GET", "/bad")
            except restsock.StreamReset:
                pass
            else:
                assert response.status == 502 or response.content == b"hello"
                assert response.header("Evil") is None
            for _ in range(3):
                assert (await pair.dialer.request("GET", "/good")).content == b"good"
