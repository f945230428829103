"""What an app has sent before it fails arrives, up to where it failed; and what a caller has."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
import requests
import trio
from trio.testing import MockClock

from restsock import Options, Request, Response, StreamReset, Timeouts, TunnelAdapter, forward
from restsock.adapters import AsyncHTTPXTransport, HTTPXTransport
from restsock.connection import AsyncExchange, Connection
from restsock.protocol import RequestHead, ResetCode
from restsock.testing import connected_pair
from tests.apps.forward.upstreams import Peer, scripted

PARTS = 5
SENT = b"x" * PARTS
# More than a window and a send buffer hold.
LONG = 200_000


class BrokenError(Exception):
    """Raised on purpose."""


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    part = b"y" * LONG if scope["path"] == "/long" else b"x"
    for _ in range(PARTS):
        await send({"type": "http.response.body", "body": part, "more_body": True})
    raise BrokenError


def wsgi(environ: Any, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [])
    part = b"y" * LONG if environ["PATH_INFO"] == "/long" else b"x"
    for _ in range(PARTS):
        yield part
    raise BrokenError


def writing(environ: Any, start_response: Any) -> list[bytes]:
    write = start_response("200 OK", [])
    part = b"y" * LONG if environ["PATH_INFO"] == "/long" else b"x"
    for _ in range(PARTS):
        write(part)
    raise BrokenError


async def function(request: Request) -> Response:
    async def body() -> AsyncIterator[bytes]:
        part = b"y" * LONG if request.path == "/long" else b"x"
        for _ in range(PARTS):
            yield part
        raise BrokenError

    return Response(200, body=body())


APPS = pytest.mark.parametrize(
    ("app", "loop"),
    [(asgi, "trio"), (asgi, "asyncio"), (wsgi, "auto"), (writing, "auto"), (function, "auto")],
    ids=["asgi on trio", "asgi on asyncio", "wsgi", "wsgi that writes", "function"],
)


async def taken(dialer: Connection, path: str = "/") -> tuple[int, bytes, int]:
    """Status and bytes of a response that breaks off, and the code of its RESET."""
    body = b""
    async with dialer.stream("GET", path) as response:
        with pytest.raises(StreamReset) as caught:
            async for data in response:
                body += data
    return response.status, body, caught.value.code


@APPS
async def test_what_was_sent_before_a_failure_arrives(app: Any, loop: str) -> None:
    with trio.fail_after(20):
        async with connected_pair(app_b=app, loop_b=loop) as (dialer, _):
            for _ in range(20):
                assert await taken(dialer) == (200, SENT, ResetCode.INTERNAL)
            assert await taken(dialer, "/long") == (200, b"y" * LONG * PARTS, ResetCode.INTERNAL)
            assert dialer.multiplexer.open_streams == 0


@APPS
async def test_a_client_of_threads_gets_it_too(app: Any, loop: str) -> None:
    def get(dialer: Connection) -> tuple[int, bytes]:
        with requests.Session() as session:
            session.trust_env = False
            session.mount("http://", TunnelAdapter(dialer))
            body = b""
            with session.get("http://edge-1/", stream=True) as response:
                with pytest.raises(requests.exceptions.ChunkedEncodingError):
                    for data in response.iter_content(None):
                        body += data
            return response.status_code, body

    with trio.fail_after(20):
        async with connected_pair(app_b=app, loop_b=loop) as (dialer, _):
            for _ in range(5):
                assert await trio.to_thread.run_sync(get, dialer) == (200, SENT)


async def test_a_server_that_breaks_off_is_forwarded_as_far_as_it_came() -> None:
    async def script(peer: Peer) -> None:
        head = await peer.head()
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
        if b"/chunks" in head:  # what is right and what is wrong, in one read
            answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            await peer.send(answer + b"5\r\n%s\r\nnonsense\r\n" % SENT)
        else:
            await peer.send(answer if b"/head" in head else answer + SENT)

    async with scripted(script) as upstream:
        async with connected_pair(app_b=forward(upstream.url)) as (dialer, _):
            for path, body in (("/", SENT), ("/head", b""), ("/chunks", SENT)):
                for _ in range(5):
                    assert await taken(dialer, path) == (200, body, ResetCode.INTERNAL)


async def test_a_peer_that_takes_nothing_does_not_keep_a_failure_open(
    autojump_clock: MockClock,
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        # More than the window, and no more than the app may leave to wait.
        await send({"type": "http.response.body", "body": bytes(90_000), "more_body": True})
        raise BrokenError

    options = Options(timeouts=Timeouts(idle=7))
    async with connected_pair(app_b=app, loop_b="trio", options=options) as (dialer, listener):
        exchange = AsyncExchange.open(dialer, RequestHead(b"GET", b"/", [(b"Host", b"a")]))
        await trio.sleep(6.9)
        assert exchange.error is None
        assert listener.multiplexer.open_streams == 1
        assert listener.statistics().open_streams == 1
        await trio.sleep(0.2)
        assert isinstance(exchange.error, StreamReset)
        assert exchange.error.code == ResetCode.INTERNAL
        assert listener.multiplexer.open_streams == 0
        assert list(listener.statistics().resets_sent.values()) == [1]


# --- the other direction ----------------------------------------------------------------------


class Reader:
    """An app that reads what comes, in each of the interfaces, until it learns that it broke."""

    def __init__(self) -> None:
        self.body = b""
        self.began = threading.Event()
        self.broke = threading.Event()

    async def asgi(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        while (message := await receive())["type"] == "http.request":
            assert message["more_body"]
            self.began.set()
            self.body += message["body"]
        self.broke.set()

    def wsgi(self, environ: Any, start_response: Any) -> list[bytes]:
        try:
            while data := environ["wsgi.input"].read1():
                self.began.set()
                self.body += data
        except ConnectionResetError:
            self.broke.set()
            raise
        return []


def thread_parts(reader: Reader) -> Iterator[bytes]:
    for _ in range(PARTS - 1):
        yield b"x"
    reader.began.wait(10)  # what breaks before a worker has time for it is not begun
    yield b"x"
    raise BrokenError


async def async_parts(reader: Reader) -> AsyncIterator[bytes]:
    for _ in range(PARTS - 1):
        yield b"x"
    await trio.to_thread.run_sync(reader.began.wait, 10)
    # Without a checkpoint, so that these wait with what is said of the failure.
    yield b"x"
    raise BrokenError


async def by_connection(dialer: Connection, reader: Reader) -> None:
    await dialer.request("POST", "/", body=async_parts(reader))


async def by_httpx(dialer: Connection, reader: Reader) -> None:
    async with httpx.AsyncClient(transport=AsyncHTTPXTransport(dialer)) as client:
        await client.post("http://edge-1/", content=async_parts(reader))


async def by_httpx_in_a_thread(dialer: Connection, reader: Reader) -> None:
    def post() -> None:
        with httpx.Client(transport=HTTPXTransport(dialer)) as client:
            client.post("http://edge-1/", content=thread_parts(reader))

    await trio.to_thread.run_sync(post)


async def by_requests(dialer: Connection, reader: Reader) -> None:
    def post() -> None:
        with requests.Session() as session:
            session.trust_env = False
            session.mount("http://", TunnelAdapter(dialer))
            session.post("http://edge-1/", data=thread_parts(reader))

    await trio.to_thread.run_sync(post)


@pytest.mark.parametrize(
    "call", [by_connection, by_httpx, by_httpx_in_a_thread, by_requests], ids=lambda c: c.__name__
)
@pytest.mark.parametrize(
    ("interface", "loop"), [("asgi", "trio"), ("asgi", "asyncio"), ("wsgi", "auto")]
)
async def test_what_a_body_gave_before_it_failed_arrives(
    call: Any, interface: str, loop: str
) -> None:
    with trio.fail_after(20):
        reader = Reader()
        async with connected_pair(
            app_b=getattr(reader, interface), interface_b=interface, loop_b=loop
        ) as (dialer, _):
            for count in range(1, 6):
                with pytest.raises(BrokenError):
                    await call(dialer, reader)
                assert await trio.to_thread.run_sync(reader.broke.wait, 10)
                assert reader.body == SENT * count
                reader.broke.clear()
                reader.began.clear()
