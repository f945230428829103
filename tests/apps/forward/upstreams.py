"""Servers to forward to: one that a test scripts byte by byte, others in their own processes."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import trio


class Peer:
    """One connection of the scripted server.

    Attributes:
        number: counts connections, from 1.
        closed: is set once the client has ended its side, or broken it off.
    """

    def __init__(self, stream: trio.abc.HalfCloseableStream, number: int) -> None:
        self.stream = stream
        self.number = number
        self.buffer = b""
        self.closed = trio.Event()

    async def until(self, mark: bytes) -> bytes:
        """All through the next mark; what is there, when the client ends before."""
        while mark not in self.buffer:
            if not await self._more():
                break
        at = self.buffer.find(mark) + len(mark) if mark in self.buffer else len(self.buffer)
        data, self.buffer = self.buffer[:at], self.buffer[at:]
        return data

    async def head(self) -> bytes:
        return await self.until(b"\r\n\r\n")

    async def exactly(self, size: int) -> bytes:
        while len(self.buffer) < size and await self._more():
            pass
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    async def _more(self) -> bool:
        try:
            data = bytes(await self.stream.receive_some(64 * 1024))
        except trio.BrokenResourceError:
            data = b""
        self.buffer += data
        if not data:
            self.closed.set()
        return bool(data)

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def wait_closed(self) -> None:
        while await self._more():
            pass


class Upstream:
    """The scripted server: its address, and the connections that were made to it."""

    def __init__(self) -> None:
        self.url = ""
        self.peers: list[Peer] = []


Script = Callable[[Peer], Awaitable[None]]


@asynccontextmanager
async def scripted(script: Script, *, ssl_context: object = None) -> AsyncIterator[Upstream]:
    """Runs `script` for each connection, and closes the connection behind it."""
    upstream = Upstream()

    async def handle(stream: trio.abc.HalfCloseableStream) -> None:
        peer = Peer(stream, len(upstream.peers) + 1)
        upstream.peers.append(peer)
        try:
            await script(peer)
        except trio.BrokenResourceError:
            peer.closed.set()

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        if ssl_context is not None:
            secure = [trio.SSLListener(one, ssl_context) for one in listeners]  # type: ignore[arg-type]
            nursery.start_soon(trio.serve_listeners, handle, secure)
        else:
            nursery.start_soon(trio.serve_listeners, handle, listeners)
        scheme = "http" if ssl_context is None else "https"
        upstream.url = f"{scheme}://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        yield upstream
        nursery.cancel_scope.cancel()


@contextmanager
def process(*command: str) -> Iterator[str]:
    """Runs a server that prints its port as its first line; gives its URL."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.kill()
