"""Connects one ASGI WebSocket to a socket that a `Server` has accepted.

The server at the other end of the socket is an ordinary one. It reads the opening handshake,
decides about it, and speaks WebSocket frames. So a peer that comes through ASGI is treated like one
that has dialed a port of the server. The bridge translates between ASGI messages and WebSocket
frames, and passes on the close codes in both directions. It works on every event loop that anyio
supports.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import anyio
from anyio.abc import SocketStream

from restsock._addresses import url_host
from restsock._exceptions import HandshakeError
from restsock.protocol import (
    SUBPROTOCOL,
    BinaryMessage,
    ClientUpgrade,
    CloseCode,
    CloseReceived,
    Headers,
    TextMessage,
    WebSocket,
)

__all__ = ["WHAT_THIS_IS", "Receive", "Scope", "Send", "bridge"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_READ = 64 * 1024
# Bytes: more than any message that our server sends.
_MAX_MESSAGE = 1024 * 1024

# The fields that the bridge sets itself in the opening handshake. Those of the dialer's handshake
# were for the web server; over HTTP/2 there are none.
_OWN = frozenset(
    (
        *(b"host", b"connection", b"upgrade", b"http2-settings", b"keep-alive"),
        *(b"proxy-connection", b"te", b"trailer", b"content-length", b"transfer-encoding"),
        *(b"sec-websocket-key", b"sec-websocket-version", b"sec-websocket-protocol"),
        b"sec-websocket-extensions",
    )
)
WHAT_THIS_IS = (
    b"This is a restsock listener: it takes WebSocket connections of the subprotocol "
    b"restsock.v1, and answers nothing else.\n"
)
_DENIAL = "websocket.http.response"
# The answer if the server has closed, or has dropped the dialer without an answer.
_NOT_NOW = b"This listener takes no connections now.\n"
_NOT_NOW_FIELDS: Headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"retry-after", b"1")]


async def bridge(scope: Scope, receive: Receive, send: Send, sock: socket.socket) -> None:
    """Runs one WebSocket until either side has ended it. If cancelled, the socket is closed.

    Args:
        scope: An ASGI scope of type "websocket".
        receive: The `receive` of ASGI.
        send: The `send` of ASGI.
        sock: A socket that a `Server` has just accepted. It is closed at the end.
    """
    try:
        stream = await SocketStream.from_socket(sock)
    except BaseException:  # a cancellation, too
        sock.close()
        raise
    async with stream:
        if (await receive())["type"] == "websocket.connect":
            first = await _upgrade(scope, send, stream)
            if first is not None:
                await _Bridge(receive, send, stream).run(first)


async def _upgrade(scope: Scope, send: Send, stream: SocketStream) -> bytes | None:
    """Does the handshake with the server; returns the bytes after the 101, or `None` if refused."""
    if SUBPROTOCOL not in (scope.get("subprotocols") or ()):
        await _refuse(scope, send, 400, [], WHAT_THIS_IS)
        return None
    host, fields = _fields(scope)
    upgrade = ClientUpgrade(host=host, target=_target(scope), headers=fields, key=os.urandom(16))
    with suppress(anyio.BrokenResourceError):  # it has dropped the socket, as is seen below
        await stream.send(upgrade.request)
    try:
        while not upgrade.receive_data(await _receive(stream)):
            pass
    except HandshakeError as exc:
        if exc.status is None:
            await _refuse(scope, send, 503, _NOT_NOW_FIELDS, _NOT_NOW)
        else:
            await _refuse(scope, send, exc.status, *upgrade.refusal)
        return None
    await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL})
    return upgrade.trailing_data


async def _refuse(scope: Scope, send: Send, status: int, headers: Headers, body: bytes) -> None:
    """Passes the refusal on. A web server without that ASGI extension answers 403."""
    if _DENIAL not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": CloseCode.FORBIDDEN, "reason": ""})
        return
    fields = [field for field in headers if field[0].lower() not in _OWN]
    fields.append((b"content-length", b"%d" % len(body)))
    await send({"type": f"{_DENIAL}.start", "status": status, "headers": fields})
    await send({"type": f"{_DENIAL}.body", "body": body})


def _target(scope: Scope) -> str:
    path: bytes = scope.get("raw_path") or quote(scope["path"]).encode("ascii")
    query: bytes = scope.get("query_string") or b""
    return (path.partition(b"?")[0] + (b"?" + query if query else b"")).decode("latin-1")


def _fields(scope: Scope) -> tuple[str, Headers]:
    """The Host of the dialer's request, and its other fields."""
    fields = [(bytes(name).lower(), bytes(value)) for name, value in scope["headers"]]
    hosts = [value.decode("latin-1") for name, value in fields if name == b"host"]
    if not hosts:  # in HTTP/2 it may be a pseudo-header, which is not passed on
        host, port = (*(scope.get("server") or ("localhost", None)), None)[:2]
        hosts = [f"{url_host(host)}:{port}" if port else host]
    return hosts[0], [field for field in fields if field[0] not in _OWN]


async def _receive(stream: SocketStream) -> bytes:
    """The next bytes; empty if the server has dropped the socket."""
    try:
        return await stream.receive(_READ)
    except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
        return b""


class _Bridge:
    """An accepted WebSocket: ASGI messages on one side, frames of the server on the other.

    The frames to the server are masked, as the protocol requires of a client, but with a key of
    zeros, since they do not leave the process.
    """

    def __init__(self, receive: Receive, send: Send, stream: SocketStream) -> None:
        self._receive = receive
        self._send = send
        self._stream = stream
        self._websocket = WebSocket(
            client=True, max_message=_MAX_MESSAGE, mask_key=lambda: bytes(4)
        )
        self._dialer_gone = False

    async def run(self, first: bytes) -> None:
        """Passes messages until either side has ended. `first` came right after the 101."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._carry_in)
            await self._carry_out(first)
            tasks.cancel_scope.cancel()

    async def _carry_in(self) -> None:
        while not self._dialer_gone:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                self._dialer_gone = True
                self._pass_close(message.get("code"), message.get("reason"))
            elif self._websocket.close_sent:
                continue  # the server has closed, and no longer reads
            elif message.get("bytes") is not None:
                self._websocket.send_binary(message["bytes"])
            elif message.get("text") is not None:
                self._websocket.send_text(message["text"])
            try:
                await self._stream.send(self._websocket.data_to_send())
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                return  # the other direction shows how it ended
        await self._stream.send_eof()

    def _pass_close(self, code: int | None, reason: str | None) -> None:
        # 1005 means a close without a code, 1006 no close at all: then the socket just ends.
        if code != CloseCode.ABNORMAL:
            code = CloseCode.NORMAL if code in (None, CloseCode.NO_STATUS) else code
            self._websocket.close(code, reason or "")

    async def _carry_out(self, first: bytes) -> None:
        data = first
        while True:
            self._websocket.receive_data(data)
            while (event := self._websocket.next_event()) is not None:
                if isinstance(event, BinaryMessage):
                    await self._tell({"type": "websocket.send", "bytes": event.data + event.rest})
                elif isinstance(event, TextMessage):
                    await self._tell({"type": "websocket.send", "text": event.data})
                elif isinstance(event, CloseReceived):
                    await self._close(event.code, event.reason)
                    return
            data = await _receive(self._stream)
            if not data:
                # It was dropped without a close, and a web server can only close with a code.
                await self._close(CloseCode.INTERNAL_ERROR, "the connection was dropped")
                return

    async def _close(self, code: int, reason: str) -> None:
        code = CloseCode.NORMAL if code == CloseCode.NO_STATUS else code
        await self._tell({"type": "websocket.close", "code": code, "reason": reason})

    async def _tell(self, message: dict[str, Any]) -> None:
        if not self._dialer_gone:
            with suppress(OSError):  # the dialer has gone, as `receive` will say soon
                await self._send(message)
