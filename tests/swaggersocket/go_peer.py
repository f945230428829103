"""A peer that behaves as the recorded original, at either end, over a raw socket.

It is written from the recorded bytes alone (spec/vectors/swaggersocket.json) and uses nothing of
restsock: it has frames, a handshake and HTTP of its own. It does what the original does: no echo of
a close, which it answers by dropping the socket; text frames for any bytes; a body in fragments; a
message for each flush; and an empty message in place of a response that it lost.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

PATIENCE = 20
ID = "5e203c2c-b61d-4f6b-84c6-13a0c663ad1a"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

UPGRADE = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: Go-http-client/1.1\r\n"
    f"Connection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n"
    "Upgrade: websocket\r\n\r\n"
)


def frame(payload: bytes, opcode: int = TEXT, *, fin: bool = True, masked: bool = False) -> bytes:
    """One frame; its mask is that of zeros, which keeps it readable."""
    mask = 0x80 if masked else 0
    size = len(payload)
    head = bytes([(0x80 if fin else 0) | opcode])
    if size < 126:
        head += bytes([mask | size])
    elif size < 65536:
        head += bytes([mask | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([mask | 127]) + size.to_bytes(8, "big")
    return head + (bytes(4) if masked else b"") + payload


def line(message: dict[str, Any]) -> bytes:
    """As Go writes JSON."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


class Gone(Exception):
    """The other side has dropped the socket."""


class GoPeer:
    """One connection of it. `dialer` masks what it sends."""

    def __init__(self, stream: trio.abc.Stream, received: bytes, *, dialer: bool) -> None:
        self.stream = stream
        self.dialer = dialer
        self.received = received
        self.id = ""
        self.meta: Any = None
        self.upgrade = b""
        self.pings: list[bytes] = []
        self.pongs: list[bytes] = []
        self.answers_pings = True
        self.close_code: int | None = None
        self._sending = trio.Lock()

    # --- frames ---------------------------------------------------------------------------

    async def send_raw(self, data: bytes) -> None:
        with trio.fail_after(PATIENCE):
            async with self._sending:
                await self.stream.send_all(data)

    async def send(self, payload: bytes, *, fragment: int = 0) -> None:
        """A text message, in fragments of so many bytes if that is given."""
        pieces = [payload]
        if fragment:
            pieces = [payload[at : at + fragment] for at in range(0, len(payload), fragment)]
        data = b""
        for number, piece in enumerate(pieces):
            opcode = TEXT if number == 0 else 0
            data += frame(piece, opcode, fin=number == len(pieces) - 1, masked=self.dialer)
        await self.send_raw(data)

    async def send_ping(self, payload: bytes = b"") -> None:
        await self.send_raw(frame(payload, PING, masked=self.dialer))

    async def _read(self, size: int) -> bytes:
        while len(self.received) < size:
            try:
                data = bytes(await self.stream.receive_some(65536))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                data = b""
            if not data:
                raise Gone
            self.received += data
        taken, self.received = self.received[:size], self.received[size:]
        return taken

    async def _frame(self) -> tuple[int, bool, bytes]:
        first, second = await self._read(2)
        size = second & 0x7F
        if size == 126:
            size = int.from_bytes(await self._read(2), "big")
        elif size == 127:
            size = int.from_bytes(await self._read(8), "big")
        assert bool(second & 0x80) is not self.dialer, "masked in the wrong direction"
        key = await self._read(4) if second & 0x80 else bytes(4)
        payload = await self._read(size)
        plain = (
            bytes(byte ^ key[at % 4] for at, byte in enumerate(payload)) if any(key) else payload
        )
        return first & 0x0F, bool(first & 0x80), plain

    async def next_message(self) -> bytes:
        """The next text message. Raises `Gone` at the end."""
        message = b""
        with trio.fail_after(PATIENCE):
            while True:
                opcode, fin, payload = await self._frame()
                if opcode == PING:
                    self.pings.append(payload)
                    if self.answers_pings:
                        await self.send_raw(frame(payload, PONG, masked=self.dialer))
                elif opcode == PONG:
                    self.pongs.append(payload)
                elif opcode == CLOSE:
                    # Not echoed: the socket is dropped.
                    self.close_code = int.from_bytes(payload[:2], "big") if payload else 1005
                    await self.stream.aclose()
                    raise Gone
                else:
                    assert opcode in (TEXT, 0), "not a text message"
                    message += payload
                    if fin:
                        return message

    async def wait_gone(self) -> None:
        """Reads until the other side has dropped the socket."""
        async with self.stream:
            try:
                while True:
                    await self.next_message()
            except Gone:
                pass

    # --- the handshake --------------------------------------------------------------------

    async def shake_as_dialer(self, meta: Any) -> None:
        await self.send(line({"Type": "ClientHandshakeMetaData", "Meta": meta}))
        answer = json.loads(await self.next_message())
        assert answer["Type"] == "ServerHandshakeConnectionID"
        self.id = answer["ConnectionID"]
        await self.send(line({"Type": "ClientHandshakeAckFrame"}))

    async def shake_as_listener(self, id: str = ID) -> None:
        first = json.loads(await self.next_message())
        assert first["Type"] == "ClientHandshakeMetaData"
        self.meta = first["Meta"]
        self.id = id
        await self.send(line({"Type": "ServerHandshakeConnectionID", "ConnectionID": id}))
        assert json.loads(await self.next_message()) == {"Type": "ClientHandshakeAckFrame"}

    # --- HTTP -----------------------------------------------------------------------------

    async def call(
        self,
        target: str,
        *,
        method: str = "GET",
        body: bytes = b"",
        id: str = "c-1",
        fields: str = "",
        fragment: int = 0,
    ) -> tuple[int, dict[str, str], bytes]:
        """Sends a request, and reads messages until its response is whole: status, fields, body."""
        await self.send(request_of(target, method, body, id, fields), fragment=fragment)
        return await self.read_response(method)

    async def read_response(self, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        data = b""
        while (found := split_response(data, method)) is None:
            data += await self.next_message()
        status, fields, body, rest = found
        assert rest == b""
        return status, fields, body

    async def next_request(self) -> tuple[str, str, dict[str, str], bytes]:
        """One message is one request: method, target, fields, body."""
        head, _, body = (await self.next_message()).partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, version = first.split(" ")
        assert version == "HTTP/1.1"
        fields = dict(field.split(": ", 1) for field in lines)
        if "Content-Length" in fields:
            assert len(body) == int(fields["Content-Length"])
        else:
            assert body == b""
        return method, target, fields, body

    async def respond(
        self, body: bytes = b"", *, status: str = "200 OK", id: str, fields: str = ""
    ) -> None:
        """A small response, in one message."""
        await self.send(
            f"HTTP/1.1 {status}\r\nDate: Sat, 21 Nov 2026 03:09:09 GMT\r\n"
            f"Content-Length: {len(body)}\r\n{fields}X-Correlation-Id: {id}\r\n\r\n".encode()
            + body
        )

    async def respond_flushed(self, *chunks: bytes, id: str) -> None:
        """A message for each flush; the last chunk has one of its own."""
        head = (
            "HTTP/1.1 200 OK\r\nDate: Sat, 21 Nov 2026 03:09:12 GMT\r\n"
            f"Transfer-Encoding: chunked\r\nX-Correlation-Id: {id}\r\n\r\n"
        ).encode()
        for chunk in chunks:
            await self.send(head + b"%x\r\n%b\r\n" % (len(chunk), chunk))
            head = b""
        await self.send(head + b"0\r\n\r\n")


def request_of(
    target: str, method: str = "GET", body: bytes = b"", id: str = "c-1", fields: str = ""
) -> bytes:
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    correlation = f"X-Correlation-Id: {id}\r\n" if id else ""
    return (
        f"{method} {target} HTTP/1.1\r\nHost: x\r\nUser-Agent: Go-http-client/1.1\r\n"
        f"{length}{fields}{correlation}\r\n".encode()
        + body
    )


def split_response(
    data: bytes, method: str = "GET"
) -> tuple[int, dict[str, str], bytes, bytes] | None:
    """Status, fields and body of a response, and what follows it; `None` while it is not whole."""
    head, found, rest = data.partition(b"\r\n\r\n")
    if not found:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    status = int(first.split(" ")[1])
    fields = dict(field.split(": ", 1) for field in lines)
    if method == "HEAD" or status in (204, 304):
        return status, fields, b"", rest
    if "Content-Length" in fields:
        size = int(fields["Content-Length"])
        return (status, fields, rest[:size], rest[size:]) if len(rest) >= size else None
    assert fields["Transfer-Encoding"] == "chunked"
    body = b""
    while True:
        size_line, found, rest = rest.partition(b"\r\n")
        if not found:
            return None
        size = int(size_line, 16)
        if len(rest) < size + 2:
            return None
        assert rest[size : size + 2] == b"\r\n"
        body += rest[:size]
        rest = rest[size + 2 :]
        if not size:
            return status, fields, body, rest


async def _head(stream: trio.abc.Stream) -> tuple[bytes, bytes]:
    head = b""
    with trio.fail_after(PATIENCE):
        while b"\r\n\r\n" not in head:
            data = bytes(await stream.receive_some(65536))
            if not data:
                raise Gone
            head += data
    found, _, rest = head.partition(b"\r\n\r\n")
    return found, rest


async def upgraded(
    address: tuple[str, int], path: str = "/", tls: ssl.SSLContext | None = None
) -> GoPeer:
    """Dials, and is upgraded: the handshake is to follow. Over TLS it dials "hub"."""
    stream: trio.abc.Stream = await trio.open_tcp_stream(address[0], address[1])
    if tls is not None:
        stream = trio.SSLStream(stream, tls, server_hostname="hub", https_compatible=True)
    await stream.send_all(UPGRADE.format(path=path).encode())
    head, rest = await _head(stream)
    assert head.startswith(b"HTTP/1.1 101 "), head
    assert b"sec-websocket-protocol" not in head.lower()
    peer = GoPeer(stream, rest, dialer=True)
    peer.upgrade = head
    return peer


@asynccontextmanager
async def dialed(
    address: tuple[str, int],
    meta: Any = None,
    path: str = "/",
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[GoPeer]:
    """A dialer after its handshake; in the end it drops the socket."""
    peer = await upgraded(address, path, tls)
    async with peer.stream:
        await peer.shake_as_dialer(meta)
        yield peer


class GoServer:
    """Listens, and gives the connections of those who dial, after their handshake."""

    def __init__(self, listener: trio.abc.Listener[trio.abc.Stream]) -> None:
        self.listener = listener
        inner = getattr(listener, "transport_listener", listener)
        self.port = inner.socket.getsockname()[1] if isinstance(inner, trio.SocketListener) else 80
        self.url = f"ws://127.0.0.1:{self.port}/"
        self.streams: list[trio.abc.Stream] = []

    async def upgraded(self) -> GoPeer:
        """The next one, before the handshake."""
        with trio.fail_after(PATIENCE):
            stream = await self.listener.accept()
        self.streams.append(stream)
        head, rest = await _head(stream)
        key = next(v for v in head.split(b"\r\n") if v.lower().startswith(b"sec-websocket-key: "))
        answer = (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {_accept(key.split(b': ')[1])}\r\n\r\n"
        )
        await stream.send_all(answer.encode())
        peer = GoPeer(stream, rest, dialer=False)
        peer.upgrade = head
        return peer

    async def accept(self, id: str = ID) -> GoPeer:
        """The next one."""
        peer = await self.upgraded()
        await peer.shake_as_listener(id)
        return peer


def _accept(key: bytes) -> str:
    import base64
    import hashlib

    digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    return base64.b64encode(digest).decode()


@asynccontextmanager
async def go_server(tls: ssl.SSLContext | None = None) -> AsyncIterator[GoServer]:
    listener: trio.abc.Listener[Any]
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    if tls is not None:
        listener = trio.SSLListener(listener, tls, https_compatible=True)
    async with serving(listener) as server:
        yield server


@asynccontextmanager
async def serving(listener: trio.abc.Listener[Any]) -> AsyncIterator[GoServer]:
    """On these sockets; in the end all of them are dropped."""
    server = GoServer(listener)
    try:
        yield server
    finally:
        with trio.CancelScope(shield=True):
            await listener.aclose()
            for stream in server.streams:
                await trio.aclose_forcefully(stream)
