"""A dialer and a listener made of bytes: they say whatever they are told to, right or wrong.

Nothing in it comes from restsock: what it takes for right is written down here a second time, from
RFC 6455 and spec/protocol.md.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import uuid
from typing import Any, NamedTuple

import trio

HEAD, DATA, RESET, WINDOW, GOAWAY = 1, 2, 3, 4, 5
END = 1
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: hub.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
    + base64.b64encode(bytes(16))
    + b"\r\nSec-WebSocket-Protocol: restsock.v1\r\n\r\n"
)

SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: ACCEPT\r\nSec-WebSocket-Protocol: restsock.v1\r\n\r\n"
)


class Message(NamedTuple):
    """A WebSocket frame that came in."""

    opcode: int
    payload: bytes


class Frame(NamedTuple):
    """A frame of restsock.v1 that came in."""

    type: int
    flags: int
    stream_id: int
    payload: bytes


def envelope(type: str, payload: Any) -> bytes:
    fields = {"type": type, "id": str(uuid.uuid4()), "timestamp": 0, "payload": payload}
    return json.dumps(fields).encode()


def hello(**members: Any) -> bytes:
    return envelope("hello", {"version": 1, "name": None, "metadata": None, **members})


def websocket_frame(
    opcode: int, payload: bytes, *, fin: bool = True, rsv: int = 0, masked: bool = True
) -> bytes:
    """A masked frame; the key is zero, which leaves the payload as it is."""
    first = (0x80 if fin else 0) | rsv | opcode
    mask = 0x80 if masked else 0
    if len(payload) < 126:
        header = struct.pack("!BB", first, mask | len(payload))
    elif len(payload) < 65536:
        header = struct.pack("!BBH", first, mask | 126, len(payload))
    else:
        header = struct.pack("!BBQ", first, mask | 127, len(payload))
    return header + (bytes(4) if masked else b"") + payload


def frame(type: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return struct.pack("!BBHI", type, flags, 0, stream_id) + payload


def get(path: str = "/", *lines: str, method: str = "GET") -> bytes:
    """A request head."""
    fields = "".join(f"{line}\r\n" for line in ("Host: test", *lines))
    return f"{method} {path} HTTP/1.1\r\n{fields}\r\n".encode()


class RawPeer:
    """One end of a socket, speaking in bytes. The dialing end, which masks, or the other."""

    def __init__(self, stream: trio.SocketStream, *, dialer: bool = True) -> None:
        self.stream = stream
        self.dialer = dialer
        self.buffer = bytearray()
        self.connection_id = ""

    async def upgrade(self) -> None:
        """A right opening handshake of RFC 6455."""
        await self.raw(UPGRADE)
        assert await self.status() == 101

    async def shake_hands(self, **settings: Any) -> None:
        """hello, welcome, ready."""
        await self.text(hello(settings=settings))
        welcome = await self.next_envelope()
        assert welcome["type"] == "welcome"
        self.connection_id = welcome["payload"]["connection_id"]
        await self.text(envelope("ready", {"connection_id": self.connection_id}))

    async def accept_upgrade(self) -> None:
        """As a listener: the right answer to a right opening handshake."""
        key = field(await self.head(), b"sec-websocket-key")
        digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        await self.raw(SWITCH.replace(b"ACCEPT", base64.b64encode(digest)))

    async def welcome(self, **settings: Any) -> None:
        """As a listener: hello, welcome, ready."""
        assert (await self.next_envelope())["type"] == "hello"
        self.connection_id = str(uuid.uuid4())
        payload = {"connection_id": self.connection_id, "settings": settings}
        await self.text(envelope("welcome", payload))
        ready = await self.next_envelope()
        assert ready["payload"] == {"connection_id": self.connection_id}

    async def close(self) -> None:
        await trio.aclose_forcefully(self.stream)

    # ---- out

    async def raw(self, data: bytes) -> None:
        """Send, whether the other end still listens or not."""
        try:
            await self.stream.send_all(data)
        except trio.BrokenResourceError:
            pass  # it has closed on us already; what it said is read next

    async def eof(self) -> None:
        """Say no more, whether the other end still listens or not."""
        try:
            await self.stream.send_eof()
        except trio.BrokenResourceError:
            pass  # it has reset the connection already

    async def text(self, payload: bytes) -> None:
        await self.raw(websocket_frame(TEXT, payload, masked=self.dialer))

    async def binary(self, payload: bytes) -> None:
        await self.raw(websocket_frame(BINARY, payload, masked=self.dialer))

    async def frame(self, type: int, flags: int, stream_id: int, payload: bytes = b"") -> None:
        await self.binary(frame(type, flags, stream_id, payload))

    # ---- in

    async def head(self) -> bytes:
        """The head of an HTTP response, through its blank line."""
        while b"\r\n\r\n" not in self.buffer:
            await self._more()
        end = self.buffer.index(b"\r\n\r\n") + 4
        head = bytes(self.buffer[:end])
        del self.buffer[:end]
        return head

    async def status(self) -> int:
        return int((await self.head()).split(b" ", 2)[1])

    async def message(self) -> Message:
        """The next WebSocket frame."""
        first, second = await self._take(2)
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack("!H", await self._take(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", await self._take(8))
        assert bool(second & 0x80) is not self.dialer, "dialers mask, listeners do not"
        assert first & 0x80, "ours sends no fragments"
        key = await self._take(4) if second & 0x80 else bytes(4)
        payload = await self._take(length)
        return Message(first & 0x0F, bytes(b ^ key[i % 4] for i, b in enumerate(payload)))

    async def next_envelope(self) -> Any:
        """The next text message; nothing else may come before it."""
        opcode, payload = await self.message()
        assert opcode != CLOSE, f"closed instead: {close_of(payload)}"
        assert opcode == TEXT
        return json.loads(payload)

    async def next_frame(self) -> Frame:
        """The next frame of restsock.v1, past everything else but a close."""
        while True:
            opcode, payload = await self.message()
            assert opcode != CLOSE, f"closed instead: {close_of(payload)}"
            if opcode == BINARY:
                type, flags, _, stream_id = struct.unpack("!BBHI", payload[:8])
                return Frame(type, flags, stream_id, payload[8:])

    async def answer(self, stream_id: int) -> Frame:
        """The first HEAD or RESET of a stream."""
        while True:
            frame = await self.next_frame()
            if frame.stream_id == stream_id and frame.type in (HEAD, RESET):
                return frame

    async def reset_code(self, stream_id: int) -> int:
        frame = await self.answer(stream_id)
        assert frame.type == RESET, frame
        return int.from_bytes(frame.payload[:2], "big")

    async def response_status(self, stream_id: int) -> int:
        frame = await self.answer(stream_id)
        assert frame.type == HEAD, frame
        return int(frame.payload.split(b" ", 2)[1])

    async def close_code(self) -> tuple[int, str]:
        """Code and reason of the Close frame, past everything before it."""
        while True:
            opcode, payload = await self.message()
            if opcode == CLOSE:
                return close_of(payload)

    async def rest(self) -> bytes:
        """Everything up to the end of the stream, or to its reset."""
        try:
            while True:
                await self._more()
        except (EOFError, trio.BrokenResourceError):
            return bytes(self.buffer)

    async def _take(self, nbytes: int) -> bytes:
        while len(self.buffer) < nbytes:
            await self._more()
        taken = bytes(self.buffer[:nbytes])
        del self.buffer[:nbytes]
        return taken

    async def _more(self) -> None:
        data = await self.stream.receive_some(65536)
        if not data:
            raise EOFError(f"the listener ended the stream behind {bytes(self.buffer)!r}")
        self.buffer += data


def field(head: bytes, name: bytes) -> bytes:
    """The value of a header field."""
    for line in head.split(b"\r\n"):
        key, _, value = line.partition(b":")
        if key.lower() == name:
            return value.strip()
    raise AssertionError(f"no {name!r} in {head!r}")


def close_of(payload: bytes) -> tuple[int, str]:
    return int.from_bytes(payload[:2], "big"), payload[2:].decode()
