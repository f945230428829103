"""Proxies to dial through, as small servers: HTTP (CONNECT), the same within TLS, and SOCKS5.

They know where names lead to by a table, so that `hub.example` is a listener on this machine.
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import trio

Answer = Callable[[trio.abc.Stream], Awaitable[None]]
Routes = Mapping[str, tuple[str, int]]

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


class ProxyServer:
    """Accepts on a port of 127.0.0.1. What it is sent, and does, is in its attributes.

    Args:
        routes: `host:port` -> where that is. What is not in it cannot be reached.
        login: User and password it wants to have.
        ssl_context: Speaks TLS with it.
        answer: Answers in place of what it would do, once the request is there.

    Attributes:
        heads: The requests of those who came: bytes of HTTP; for SOCKS `host:port`.
        types: For SOCKS, the types of the addresses (1: IPv4, 3: a name, 4: IPv6).
        open: How many are connected at the moment.
        peers: From where they have come.
    """

    scheme = "http"

    def __init__(
        self,
        routes: Routes,
        *,
        login: tuple[str, str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        answer: Answer | None = None,
    ) -> None:
        self.routes = routes
        self.login = login
        self.ssl_context = ssl_context
        self.answer = answer
        self.heads: list[bytes] = []
        self.types: list[int] = []
        self.open = 0
        self.peers: list[str] = []
        self.port = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[ProxyServer]:
        async with trio.open_nursery() as nursery:
            serve = trio.serve_tcp
            listeners = await nursery.start(
                lambda task_status: serve(self._serve, 0, host="127.0.0.1", task_status=task_status)
            )
            self.port = listeners[0].socket.getsockname()[1]
            yield self
            nursery.cancel_scope.cancel()

    def url(self, userinfo: str = "") -> str:
        scheme = self.scheme if self.ssl_context is None else f"{self.scheme}s"
        return f"{scheme}://{userinfo}{'@' if userinfo else ''}localhost:{self.port}"

    async def _serve(self, stream: trio.SocketStream) -> None:
        self.open += 1
        self.peers.append(stream.socket.getpeername()[0])
        talk: trio.abc.Stream = stream
        try:
            if self.ssl_context is not None:
                talk = trio.SSLStream(
                    stream, self.ssl_context, server_side=True, https_compatible=True
                )
            await self.talk(talk)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError, EOFError):
            pass  # the dialer has gone
        finally:
            self.open -= 1
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(talk)

    async def talk(self, stream: trio.abc.Stream) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            # One byte at a time: what comes behind the head is not this server's.
            head += await exactly(stream, 1)
        self.heads.append(head)
        if self.answer is not None:
            await self.answer(stream)
            return
        if self.login is not None:
            token = base64.b64encode(":".join(self.login).encode())
            if b"Proxy-Authorization: Basic " + token + b"\r\n" not in head:
                await stream.send_all(
                    b"HTTP/1.1 407 Proxy Authentication Required\r\n"
                    b'Proxy-Authenticate: Basic realm="x"\r\n'
                    b"Proxy-Authenticate: Negotiate\r\nContent-Length: 4\r\n\r\nshut"
                )
                return
        target = head.split(b" ")[1].decode()
        try:
            onward = await trio.open_tcp_stream(*self.routes[target])
        except (KeyError, OSError):
            await stream.send_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            return
        await stream.send_all(ESTABLISHED)
        await splice(stream, onward)


class SocksServer(ProxyServer):
    """SOCKS5 (RFC 1928, 1929)."""

    scheme = "socks5h"

    def __init__(self, routes: Routes, **options: Any) -> None:
        super().__init__(routes, **options)
        self.replies: dict[str, int] = {}  # reply codes for those that it does not connect to

    async def talk(self, stream: trio.abc.Stream) -> None:
        version, count = await exactly(stream, 2)
        assert version == 5
        methods = await exactly(stream, count)
        if self.answer is not None:
            await self.answer(stream)
            return
        if self.login is None:
            await stream.send_all(b"\x05\x00")
        elif 2 not in methods:
            await stream.send_all(b"\x05\xff")
            return
        else:
            await stream.send_all(b"\x05\x02")
            await exactly(stream, 1)
            user = await exactly(stream, (await exactly(stream, 1))[0])
            password = await exactly(stream, (await exactly(stream, 1))[0])
            granted = (user.decode(), password.decode()) == self.login
            await stream.send_all(b"\x01\x00" if granted else b"\x01\x01")
            if not granted:
                return
        _, command, _, kind = await exactly(stream, 4)
        assert command == 1
        length = {1: 4, 4: 16}.get(kind) or (await exactly(stream, 1))[0]
        raw = await exactly(stream, length)
        if kind == 3:
            host = raw.decode()
        else:
            family = trio.socket.AF_INET if kind == 1 else trio.socket.AF_INET6
            host = trio.socket.inet_ntop(family, raw)
        target = f"{host}:{int.from_bytes(await exactly(stream, 2), 'big')}"
        self.types.append(kind)
        self.heads.append(target.encode())
        if target in self.routes:
            onward = await trio.open_tcp_stream(*self.routes[target])
            await stream.send_all(b"\x05\x00\x00\x01" + bytes(6))
            await splice(stream, onward)
            return
        await stream.send_all(bytes((5, self.replies.get(target, 4), 0, 1)) + bytes(6))


def says(data: bytes) -> Answer:
    """Answers with these bytes, and closes."""

    async def answer(stream: trio.abc.Stream) -> None:
        await stream.send_all(data)
        if isinstance(stream, trio.SocketStream):
            # Closing on unread bytes would be a reset, and may overtake the answer.
            await stream.send_eof()
            await says_nothing(stream)

    return answer


async def says_nothing(stream: trio.abc.Stream) -> None:
    """Reads what comes, and never answers."""
    while await stream.receive_some():
        pass


async def exactly(stream: trio.abc.Stream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = await stream.receive_some(size - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


async def splice(one: trio.abc.Stream, other: trio.abc.Stream) -> None:
    """Carries bytes both ways until either end is there."""

    async def pump(source: trio.abc.Stream, sink: trio.abc.Stream) -> None:
        try:
            while data := await source.receive_some(65536):
                await sink.send_all(data)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        nursery.cancel_scope.cancel()

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pump, one, other)
            nursery.start_soon(pump, other, one)
    finally:
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(other)
