"""What stands behind every gateway: a server of HTTP and of WebSockets that does next to nothing.

python -m tests.bench.gateway_backend      prints its ports; it ends with its stdin

It answers a POST with the body that came, and events of WebSockets over HTTP (what Pushpin sends)
with the messages that came. A WebSocket is an echo. No library for HTTP is in it, so that it is
quicker than whatever asks it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import cast

from tests.bench.gateway_wire import accept_for, event_loop, frame, frames, raise_file_limit

EVENTS = b"application/websocket-events"
CHANNEL = "all"

_OPENED = b"OPEN\r\nTEXT %x\r\n%s\r\n"
_SUBSCRIBE = json.dumps({"type": "subscribe", "channel": CHANNEL}).encode()


class HTTPEcho(asyncio.Protocol):
    """Answers requests of HTTP/1.1 that say how long they are."""

    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            size = int(head[at + 15 :].partition(b"\r\n")[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + size:
                return
            body = self._buffer[end + 4 : end + 4 + size]
            self._buffer = self._buffer[end + 4 + size :]
            if EVENTS in head:
                self._answer(EVENTS, _events(body))
            else:
                self._answer(b"application/json", body)

    def _answer(self, kind: bytes, body: bytes) -> None:
        extension = b'Sec-WebSocket-Extensions: grip; message-prefix=""\r\n'
        more = extension if kind == EVENTS else b""
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\n%sContent-Length: %d\r\n\r\n%s"
            % (kind, more, len(body), body)
        )


def _events(body: bytes) -> bytes:
    """What is answered: the session is accepted, and each message comes back."""
    if body.startswith(b"OPEN"):
        text = b"c:" + _SUBSCRIBE
        return _OPENED % (len(text), text)
    return body if body.startswith(b"TEXT") else b""


class WebSocketEcho(asyncio.Protocol):
    """Sends every message back. Whoever is no WebSocket hears nothing."""

    def __init__(self) -> None:
        self._buffer = b""
        self._opened = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._opened:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            self._transport.write(accept_for(self._buffer[:end]))
            self._buffer = self._buffer[end + 4 :]
            self._opened = True
        found, self._buffer = frames(self._buffer)
        if found:
            self._transport.write(b"".join(frame(op, body) for op, body in found if op in (1, 2)))
        if any(op == 8 for op, _ in found):
            self._transport.close()


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    http = await loop.create_server(HTTPEcho, "127.0.0.1", 0, backlog=2048)
    websocket = await loop.create_server(WebSocketEcho, "127.0.0.1", 0, backlog=2048)
    ports = [server.sockets[0].getsockname()[1] for server in (http, websocket)]
    print(json.dumps(dict(zip(("http", "websocket"), ports, strict=True))), flush=True)
    await asyncio.to_thread(sys.stdin.read)


def main() -> None:
    raise_file_limit()
    event_loop().run_until_complete(_serve())


if __name__ == "__main__":
    main()
