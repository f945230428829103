"""Each kind of app, served to a peer that behaves as the original, which is called as well.

At either end, with and without TLS; both directions on one connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

import restsock
from tests.swaggersocket.go_peer import Gone, GoPeer, dialed, go_server
from tests.swaggersocket.site import EVERY_BYTE, PATIENCE, connect, connection_of, listening
from tests.tls_pair import contexts


def wsgi(environ: Any, start_response: Any) -> Iterator[bytes]:
    body = environ["wsgi.input"].read()
    start_response("201 Created", [("X-Method", environ["REQUEST_METHOD"])])
    yield environ["PATH_INFO"].encode()
    yield b" " + body


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    headers = [(b"x-method", scope["method"].encode())]
    await send({"type": "http.response.start", "status": 201, "headers": headers})
    await send({"type": "http.response.body", "body": scope["path"].encode(), "more_body": True})
    await send({"type": "http.response.body", "body": b" " + body})


async def function(request: restsock.Request) -> restsock.Response:
    body = request.target.encode() + b" " + await request.read()
    return restsock.Response(201, headers={"X-Method": request.method}, body=body)


@asynccontextmanager
async def served(kind: str) -> AsyncIterator[Any]:
    """The app of a kind."""
    if kind == "forward":
        async with restsock.listen("127.0.0.1", 0, endpoints={"/": wsgi}, peers=False) as server:
            host, port = server.address
            yield restsock.forward(f"http://{host}:{port}")
    else:
        yield {"wsgi": wsgi, "asgi": asgi, "function": function}[kind]


async def talk(go: GoPeer, requester: Any) -> None:
    """The peer calls, then it is called, then again: each direction leaves the other as it was."""
    for _ in range(2):
        for method, body, fragment in (
            ("GET", b"", 0),
            ("POST", b"small", 0),
            ("PUT", EVERY_BYTE * 60, 1024),
            ("HEAD", b"", 0),
        ):
            status, fields, answer = await go.call(
                "/pets", method=method, body=body, id="c-7", fragment=fragment
            )
            assert status == 201
            assert {name.lower(): value for name, value in fields.items()}["x-method"] == method
            assert fields["X-Correlation-Id"] == "c-7"
            assert "Date" in fields
            assert answer == (b"" if method == "HEAD" else b"/pets " + body)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_answer, go)
            for body in (b"", b"small", EVERY_BYTE * 60):
                response = await requester.request("POST", "/up", body=body, timeout=PATIENCE)
                assert response.body == b"/up " + body
            response = await requester.request("HEAD", "/up", timeout=PATIENCE)
            assert response.header("Content-Length") == "4"
            response = await requester.request("GET", "/flush", timeout=PATIENCE)
            assert response.body == b"onetwo"


async def _answer(go: GoPeer) -> None:
    """Five requests."""
    for _ in range(5):
        method, target, fields, body = await go.next_request()
        id = fields["X-Correlation-Id"]
        if method == "HEAD":
            head = f"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-Correlation-Id: {id}\r\n\r\n"
            await go.send(head.encode())
        elif target == "/flush":
            await go.respond_flushed(b"one", b"two", id=id)
        else:
            await go.respond(target.encode() + b" " + body, id=id)


async def _dial_here(address: Any) -> trio.abc.Stream:
    return await trio.open_tcp_stream("127.0.0.1", address.port)


@pytest.mark.parametrize("scheme", ["ws", "wss"])
@pytest.mark.parametrize("kind", ["wsgi", "asgi", "function", "forward"])
async def test_a_listener_serves_and_calls_a_peer(kind: str, scheme: str) -> None:
    here, there = contexts() if scheme == "wss" else (None, None)
    async with (
        served(kind) as app,
        listening(app, tls=there) as server,
        dialed(server.address, tls=here) as go,
    ):
        await talk(go, await connection_of(server, go.id))


@pytest.mark.parametrize("scheme", ["ws", "wss"])
@pytest.mark.parametrize("kind", ["wsgi", "asgi", "function", "forward"])
async def test_a_client_serves_and_calls_a_server(kind: str, scheme: str) -> None:
    here, there = contexts() if scheme == "wss" else (None, None)
    async with served(kind) as app, go_server(there) as server, trio.open_nursery() as nursery:
        client = connect(f"{scheme}://hub:{server.port}/", app, tls=here)
        client.dial_over(_dial_here)
        done = trio.Event()

        async def accept() -> None:
            go = await server.accept()
            await talk(go, client)
            done.set()
            with pytest.raises(Gone):
                await go.next_message()

        nursery.start_soon(accept)
        async with client:
            await done.wait()
