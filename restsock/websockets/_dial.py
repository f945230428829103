"""One attempt to open a WebSocket: socket, proxy, TLS, and the opening handshake."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from restsock._exceptions import HandshakeError, RemoteProtocolError
from restsock.client import Transport, credentials_of
from restsock.connection import ClientWebSocket, Response, refused_by
from restsock.http1 import Upstream
from restsock.protocol import (
    DataReceived,
    Deflate,
    EndReceived,
    Headers,
    MessageDeflate,
    RequestHead,
    ResponseHead,
    ResponseReceived,
    chosen_subprotocol,
    websocket_fields,
)

from ._stream import StreamBytes

if TYPE_CHECKING:
    import asyncio

    from restsock._limit_log import LimitLog
    from restsock._options import Heartbeat, Options
    from restsock.auth import Credentials

__all__ = ["Target"]

_READ = 16 * 1024
# What is kept of the body of an answer that is no 101.
_MAX_REFUSAL = 64 * 1024


@dataclass(frozen=True)
class Target:
    """Which WebSocket to open, and how. Its fields are the arguments of `connect`, checked.

    Attributes:
        transport: to the server.
        limit_log: has the lines about it.
    """

    transport: Transport
    subprotocols: Sequence[str]
    headers: Headers
    auth: Credentials | None
    heartbeat: Heartbeat
    idle: float | None
    deflate: Deflate | None
    max_message: int
    max_queue: int
    max_queue_bytes: int
    options: Options
    limit_log: LimitLog

    async def dial(
        self, asyncio_loop: asyncio.AbstractEventLoop | None = None
    ) -> tuple[ClientWebSocket, StreamBytes]:
        """Opens it. If cancelled, nothing is left open.

        Raises:
            WebSocketRefused: the server gave another answer.
            HandshakeError: there was none, or one that is none to this.
        """
        seconds = self.options.timeouts.handshake
        where = self.transport.address.where
        deadline = trio.current_time() + seconds
        with trio.move_on_at(deadline):
            headers = [*self.headers, *await credentials_of(self.auth, asyncio_loop)]
            left = max(0.1, round(deadline - trio.current_time(), 1))
            stream = await self.transport.open(left)
            try:
                return await self._upgrade(stream, headers)
            except BaseException:
                with trio.CancelScope(shield=True):
                    await trio.aclose_forcefully(stream)
                raise
        raise HandshakeError(f"the handshake with {where} took more than {seconds:g} s")

    async def _upgrade(
        self, stream: trio.abc.Stream, headers: Headers
    ) -> tuple[ClientWebSocket, StreamBytes]:
        address, limits = self.transport.address, self.options.limits
        key = base64.b64encode(os.urandom(16))
        fields = websocket_fields(key, self.subprotocols, headers, self.deflate)
        head = RequestHead(
            b"GET",
            address.target.encode("ascii"),
            [(b"Host", address.authority.encode("ascii")), *headers, *fields],
        )
        http = Upstream(max_head=limits.max_head)
        try:
            await stream.send_all(http.send_request(head, body=False) + http.send_end())
            answer = await self._answer(stream, http)
            subprotocol = chosen_subprotocol(answer.headers, key, self.subprotocols, self.deflate)
            terms = None if self.deflate is None else self.deflate.check(answer.headers)
        except RemoteProtocolError as exc:
            raise HandshakeError(
                f"{address.where} is no WebSocket: {exc}", retryable=False
            ) from exc
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as exc:
            why = exc.__cause__ or exc
            raise HandshakeError(f"the socket failed during the handshake: {why}") from exc
        raw = StreamBytes(stream, http.trailing_data, limits.send_buffer)
        deflate: MessageDeflate | None = None
        if terms is not None and self.deflate is not None:
            deflate = MessageDeflate(terms, self.deflate, client=True, max_message=self.max_message)
        websocket = ClientWebSocket(
            raw,
            client=True,
            headers=answer.headers,
            subprotocol=subprotocol,
            max_message=self.max_message,
            buffer=limits.initial_window,
            close_timeout=self.options.timeouts.close,
            max_queue=self.max_queue,
            max_queue_bytes=self.max_queue_bytes,
            deflate=deflate,
            peer="the server",
        )
        return websocket, raw

    async def _answer(self, stream: trio.abc.Stream, http: Upstream) -> ResponseHead:
        """Waits for the 101; raises what any other answer amounts to."""
        head: ResponseHead | None = None
        body = b""
        while True:
            try:
                event = http.next_event()
            except RemoteProtocolError:
                if head is None:
                    raise
                break  # its body broke off, and is for people
            if event is None:
                data = bytes(await stream.receive_some(_READ))
                http.receive_data(data)
            elif isinstance(event, ResponseReceived):
                if event.head.status == 101:
                    return event.head
                if event.head.status >= 200:
                    head = event.head
            elif isinstance(event, DataReceived):
                body += event.data
                if len(body) >= _MAX_REFUSAL:
                    break
            elif isinstance(event, EndReceived):
                break
        assert head is not None
        response = Response(head.status, head.headers, body[:_MAX_REFUSAL])
        raise refused_by(response)
