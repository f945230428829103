"""Frames of WebSockets by hand, and the quickest event loop: for the ends of the benchmark."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import importlib
from collections.abc import Sequence

from tests.bench.idle import raise_file_limit

__all__ = ["accept_for", "event_loop", "frame", "frames", "masked", "raise_file_limit"]

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def event_loop() -> asyncio.AbstractEventLoop:
    """Of uvloop, if that is installed."""
    try:
        loop: asyncio.AbstractEventLoop = importlib.import_module("uvloop").new_event_loop()
    except ImportError:
        loop = asyncio.new_event_loop()
    return loop


def accept_for(head: bytes) -> bytes:
    """The answer to an opening handshake."""
    at = head.lower().find(b"sec-websocket-key:")
    key = head[at + 18 :].partition(b"\r\n")[0].strip()
    accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %s\r\n\r\n" % accept
    )


def frame(op: int, body: bytes, mask: int = 0) -> bytes:
    """A whole message; `mask` is the bit that says that a key follows."""
    size = len(body)
    if size < 126:
        return bytes((0x80 | op, mask | size)) + body
    if size < 65536:
        return bytes((0x80 | op, mask | 126, size >> 8, size & 255)) + body
    return bytes((0x80 | op, mask | 127)) + size.to_bytes(8, "big") + body


def masked(op: int, body: bytes) -> bytes:
    """One of a client, with a key of zeros: it costs the client nothing, and the server the same.

    Only for what never leaves this machine: RFC 6455, section 10.3, says why a key is random.
    """
    bare = frame(op, b"", 0x80) if not body else frame(op, body, 0x80)
    at = len(bare) - len(body)
    return bare[:at] + b"\0\0\0\0" + body


def frames(buffer: bytes) -> tuple[Sequence[tuple[int, bytes]], bytes]:
    """The whole frames that are there, and what is left."""
    found = []
    at, size = 0, len(buffer)
    while size - at >= 2:
        length, begin = buffer[at + 1] & 0x7F, at + 2
        if length == 126:
            length, begin = int.from_bytes(buffer[at + 2 : at + 4], "big"), at + 4
        elif length == 127:
            length, begin = int.from_bytes(buffer[at + 2 : at + 10], "big"), at + 10
        if hidden := buffer[at + 1] & 0x80:
            begin += 4
        if size < begin + length:
            break
        body = buffer[begin : begin + length]
        if hidden and length:
            key = buffer[begin - 4 : begin] * (length // 4 + 1)
            number = int.from_bytes(body, "big") ^ int.from_bytes(key[:length], "big")
            body = number.to_bytes(length, "big")
        found.append((buffer[at] & 15, body))
        at = begin + length
    return found, buffer[at:]
