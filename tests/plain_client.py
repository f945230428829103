"""A client of plain HTTP that sends bytes and reads bytes, right or wrong."""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import h11
import trio

__all__ = ["GET", "PlainClient", "dial", "statuses"]

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def statuses(data: bytes) -> list[int]:
    """The statuses of the responses in these bytes."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", data)]


class PlainClient:
    """One connection of it, over any stream."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self._rest = b""

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def get(self, target: str = "/", *fields: str) -> tuple[int, dict[bytes, bytes], bytes]:
        """One GET; see `response`."""
        lines = "".join(f"{field}\r\n" for field in fields)
        await self.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n".encode())
        return await self.response()

    async def response(self, method: str = "GET") -> tuple[int, dict[bytes, bytes], bytes]:
        """Reads one response, as h11 does: its status, its fields, its body."""
        http = h11.Connection(h11.CLIENT)
        http.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
        http.send(h11.EndOfMessage())
        if self._rest:
            http.receive_data(self._rest)
        head, body = None, b""
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                http.receive_data(await self.receive())
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self._rest = http.trailing_data[0]
                assert head is not None
                return head.status_code, dict(head.headers), body

    async def receive(self) -> bytes:
        """The next bytes; empty at the end."""
        with trio.fail_after(300):
            return bytes(await self.stream.receive_some(65536))

    async def rest(self) -> bytes:
        """All that still comes.

        Raises:
            trio.BrokenResourceError: the connection was broken off.
        """
        data, self._rest = self._rest, b""
        while piece := await self.receive():
            data += piece
        return data

    async def aclose(self) -> None:
        await self.stream.aclose()


@asynccontextmanager
async def dial(
    server: Any, tls: Any = None, *, buffer: int | None = None
) -> AsyncIterator[PlainClient]:
    """A connection to a listener.

    Args:
        server: of any API.
        tls: to speak TLS with.
        buffer: bytes that the system may hold unread.
    """
    sock = trio.socket.socket()
    if buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    await sock.connect(("127.0.0.1", server.address[1]))
    stream: Any = trio.SocketStream(sock)
    if tls is not None:
        stream = trio.SSLStream(stream, tls, server_hostname="hub", https_compatible=True)
    client = PlainClient(stream)
    try:
        yield client
    finally:
        await trio.aclose_forcefully(stream)
