"""Endpoints on a listener, foreign clients and servers, and a client that sends raw bytes."""

from __future__ import annotations

import asyncio
import base64
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import Any

import trio
from websockets.asyncio.client import connect as asyncio_connect
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as foreign_connect
from websockets.sync.server import ServerConnection
from websockets.sync.server import serve as foreign_serve

import restsock
from restsock.protocol import WebSocket, WebSocketEvent
from restsock.websockets import Endpoint, ServerWebSocket
from tests.tls_pair import contexts

PATIENCE = 30
KEY = base64.b64encode(b"0123456789abcdef").decode()
MASK = b"\x01\x02\x03\x04"


async def echo(websocket: ServerWebSocket) -> None:
    async for message in websocket:
        await websocket.send(message)


@asynccontextmanager
async def listening(
    endpoint: Endpoint, *, tls: bool = False, path: str = "/ws", **options: Any
) -> AsyncIterator[restsock.Server]:
    """A listener with one endpoint."""
    async with restsock.listen(
        "127.0.0.1",
        0,
        endpoints={path: endpoint},
        tls=contexts()[1] if tls else None,
        **options,
    ) as server:
        yield server


def url_of(server: Any, path: str = "/ws") -> str:
    """Where the endpoint of a listener is."""
    url: str = server.url
    return url.rstrip("/") + path


@contextmanager
def foreign_client(server: Any, path: str = "/ws", **options: Any) -> Iterator[ClientConnection]:
    """The `websockets` package as a client. In a thread. Not over TLS; see `foreign_answers`."""
    url = url_of(server, path)
    assert url.startswith("ws://"), "its two threads would share an SSL object, which is not safe"
    options.setdefault("compression", None)
    options.setdefault("proxy", None)
    with foreign_connect(url, open_timeout=PATIENCE, close_timeout=PATIENCE, **options) as client:
        yield client


def foreign_answers(server: Any, messages: Sequence[Any], path: str = "/ws") -> list[str | bytes]:
    """What the `websockets` package gets back for each message, also over TLS. In a thread."""

    async def talk() -> list[str | bytes]:
        url = url_of(server, path)
        tls: dict[str, Any] = {"ssl": contexts()[0], "server_hostname": "hub"}
        more = tls if url.startswith("wss") else {}
        client = asyncio_connect(url, compression=None, proxy=None, open_timeout=PATIENCE, **more)
        answers: list[str | bytes] = []
        async with client as connection:
            for message in messages:
                await connection.send(message)
                answers.append(await connection.recv())
        connection.transport.close()  # Python 3.10 warns of a TLS one that its peer has closed
        return answers

    return asyncio.run(talk())


async def in_thread(function: Callable[[], Any]) -> Any:
    """What a function gives that blocks."""
    with trio.fail_after(PATIENCE):
        return await trio.to_thread.run_sync(function, abandon_on_cancel=True)


@asynccontextmanager
async def foreign_server(
    serve: Callable[[ServerConnection], Any], *, tls: ssl.SSLContext | None = None, **options: Any
) -> AsyncIterator[str]:
    """The `websockets` package as a server; gives its URL.

    TLS ends in front of it: its two threads would share an SSL object, which is not safe.
    """
    server = foreign_serve(serve, "127.0.0.1", 0, **options)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        port = server.socket.getsockname()[1]
        if tls is None:
            yield f"ws://127.0.0.1:{port}/"
            return
        async with trio.open_nursery() as nursery:
            relay = partial(trio.serve_tcp, partial(_end_tls, tls, port), 0, host="127.0.0.1")
            (listener,) = await nursery.start(relay)
            yield f"wss://localhost:{listener.socket.getsockname()[1]}/"
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(server.shutdown)
            await trio.to_thread.run_sync(thread.join)


async def _end_tls(tls: ssl.SSLContext, port: int, stream: trio.SocketStream) -> None:
    """Takes TLS off a connection, and passes on what is in it, both ways."""
    outer = trio.SSLStream(stream, tls, server_side=True, https_compatible=True)
    try:
        await outer.do_handshake()
        async with await trio.open_tcp_stream("127.0.0.1", port) as inner:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_pass_on, inner, outer, outer.aclose)
                nursery.start_soon(_pass_on, outer, inner, inner.send_eof)
    except trio.BrokenResourceError:
        pass  # no TLS
    finally:
        await trio.aclose_forcefully(outer)


async def _pass_on(
    source: trio.abc.Stream, target: trio.abc.Stream, end: Callable[[], Awaitable[None]]
) -> None:
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        async for data in source:
            await target.send_all(data)
        await end()


class RawClient:
    """A client that sends bytes, right or wrong, after an opening handshake in order."""

    def __init__(self, stream: trio.abc.Stream, received: bytes) -> None:
        self.stream = stream
        self.websocket = WebSocket(client=True, max_message=2**26, mask_key=lambda: MASK)
        self.websocket.receive_data(received)

    async def send(self, data: bytes) -> None:
        with trio.fail_after(PATIENCE):
            await self.stream.send_all(data)

    async def next(self) -> WebSocketEvent | None:
        """The next event; `None` at the end."""
        with trio.fail_after(PATIENCE):
            while (event := self.websocket.next_event()) is None:
                try:
                    data = bytes(await self.stream.receive_some(65536))
                except trio.BrokenResourceError:
                    return None
                if not data:
                    return None
                self.websocket.receive_data(data)
            return event

    async def flush(self) -> None:
        await self.send(self.websocket.data_to_send())

    async def leave(self) -> None:
        """Sends what is due, an echo of a close, and closes the socket once the other side has."""
        await self.flush()
        while await self.next() is not None:
            pass
        await self.stream.aclose()


def request_for(path: str = "/ws", *fields: str, key: str = KEY) -> bytes:
    """The request for a WebSocket."""
    lines = "".join(f"{field}\r\n" for field in fields)
    return (
        f"GET {path} HTTP/1.1\r\nHost: hub.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{lines}\r\n"
    ).encode()


@asynccontextmanager
async def raw_client(server: Any, *fields: str, path: str = "/ws") -> AsyncIterator[RawClient]:
    """One whose WebSocket has been accepted."""
    stream: trio.abc.Stream = await trio.open_tcp_stream("127.0.0.1", server.address[1])
    if server.url.startswith("wss"):
        context = contexts()[0]
        stream = trio.SSLStream(stream, context, server_hostname="hub", https_compatible=True)
    try:
        await stream.send_all(request_for(path, *fields))
        head = b""
        with trio.fail_after(PATIENCE):
            while b"\r\n\r\n" not in head:
                data = bytes(await stream.receive_some(65536))
                assert data, head
                head += data
        head, _, rest = head.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        yield RawClient(stream, rest)
    finally:
        await trio.aclose_forcefully(stream)


async def pour(client: RawClient, data: bytes) -> None:
    """Sends without end, and reads nothing."""
    try:
        while True:
            await client.stream.send_all(data)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
