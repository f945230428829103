"""Connections to the server that is forwarded to: made, kept for a moment, closed in the end."""

from __future__ import annotations

import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from restsock._addresses import without_zone
from restsock.apps._tasks import open_nursery
from restsock.connection import TLSStream
from restsock.http1 import Upstream
from restsock.tls import ClientTLS, context_of, name_of

if TYPE_CHECKING:
    from ._forward import Forward

__all__ = ["ConnectError", "Pool", "UpstreamConnection"]


class ConnectError(Exception):
    """There is no connection to the server.

    Attributes:
        status: of the answer that says so.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class UpstreamConnection:
    """One connection to the server.

    Attributes:
        stream: its bytes.
        http: what they mean.
        used: whether a request has been answered on it.
        idle_since: when that was, on trio's clock.
    """

    __slots__ = ("_cut", "_socket", "http", "idle_since", "stream", "used")

    def __init__(self, stream: trio.abc.Stream, plain: trio.SocketStream, max_head: int) -> None:
        self.stream = stream
        self.http = Upstream(max_head=max_head)
        self.used = False
        self.idle_since = 0.0
        self._cut = False
        self._socket = plain.socket

    @property
    def quiet(self) -> bool:
        """Whether nothing has come: an idle connection on which something has was closed."""
        return not self._socket.is_readable()

    @property
    def reusable(self) -> bool:
        """Whether another request may follow."""
        if self._cut or not (self.http.reusable and self.quiet):
            return False
        # Bytes after the response may have been taken from the socket, and wait in TLS.
        return not isinstance(self.stream, TLSStream) or self.stream.quiet()

    async def send(self, data: bytes) -> None:
        """Sends bytes of the request.

        Raises:
            trio.BrokenResourceError: the server takes no more.
        """
        self._cut = True
        await self.stream.send_all(data)
        self._cut = False

    async def close(self) -> None:
        """Closes it at once. Does not wait, also when cancelled."""
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(self.stream)


class Pool:
    """At most `max_connections` connections, those in use and the idle ones together.

    Args:
        forward: where to, and its limits.
    """

    def __init__(self, forward: Forward) -> None:
        self._forward = forward
        self._limit = trio.Semaphore(forward.max_connections)
        self._idle: deque[UpstreamConnection] = deque()  # the last used is at the right
        self._idling = trio.Event()
        self._closed = False
        self._tls = forward.ssl_context
        if forward.origin.tls and self._tls is None:
            self._tls = ClientTLS()

    async def acquire(self, *, max_idle: float) -> UpstreamConnection:
        """Gives an idle connection, or makes one. To be given back with `release`.

        Args:
            max_idle: seconds that it may have been idle; below 0 it is a new one.

        Raises:
            ConnectError: there is none.
        """
        seconds = self._forward.connect_timeout
        try:
            self._limit.acquire_nowait()  # in turn: it has none while others wait
        except trio.WouldBlock:
            with trio.move_on_after(seconds) as waiting:
                await self._limit.acquire()
            if waiting.cancelled_caught:
                raise ConnectError(503, "too many requests are waiting for the server") from None
        try:
            link = await self._take(max_idle)
            if link is None:
                with trio.move_on_after(seconds):
                    link = await self._connect()
                if link is None:
                    raise ConnectError(504, f"no connection to the server within {seconds:g} s")
        except BaseException:
            self._limit.release()
            raise
        return link

    async def release(self, link: UpstreamConnection) -> None:
        """Takes a connection back: keeps it for the next request if it can be used, or closes it.

        Does not wait, also when cancelled.
        """
        try:
            keep = self._forward.keep_alive > 0 and link.reusable
        finally:
            self._limit.release()
        if keep and not self._closed:
            link.http.restart()
            link.used = True
            link.idle_since = trio.current_time()
            self._idle.append(link)
            self._idling.set()
        else:
            await link.close()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Closes meanwhile what was idle for too long; in the end all that is idle."""
        async with open_nursery() as nursery:
            nursery.start_soon(self._close_idle)
            yield

    async def _close_idle(self) -> None:
        try:
            while True:
                await self._idling.wait()
                while self._idle:
                    await trio.sleep_until(self._idle[0].idle_since + self._forward.keep_alive)
                    now = trio.current_time()
                    while self._idle and self._expired(self._idle[0], now):
                        await self._idle.popleft().close()
                self._idling = trio.Event()
        finally:
            self._closed = True
            while self._idle:
                await self._idle.popleft().close()

    def _expired(self, link: UpstreamConnection, now: float) -> bool:
        return now >= link.idle_since + self._forward.keep_alive

    async def _take(self, max_idle: float) -> UpstreamConnection | None:
        now = trio.current_time()
        while self._idle and now - self._idle[-1].idle_since <= max_idle:
            link = self._idle.pop()
            if not self._expired(link, now) and link.quiet:
                return link
            await link.close()
        # Else the idle ones would come on top of those in use.
        while len(self._idle) > self._limit.value:
            await self._idle.popleft().close()
        return None

    async def _connect(self) -> UpstreamConnection:
        forward = self._forward
        origin = forward.origin
        try:
            if origin.socket_path is not None:
                plain = await trio.open_unix_socket(origin.socket_path)
            else:
                plain = await trio.open_tcp_stream(origin.host, origin.port)
                # For upgraded connections, which may be silent for hours.
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        except (OSError, UnicodeError) as exc:
            raise ConnectError(502, "no connection to the server") from exc
        if self._tls is None:
            return UpstreamConnection(plain, plain, forward.max_head)
        # A response that only the end of the connection delimits has to end with TLS's own end, or
        # an attacker on the way could cut it short.
        stream = TLSStream(
            plain,
            context_of(self._tls),
            server_hostname=without_zone(name_of(self._tls, origin.host)),
            close_required=True,
        )
        try:
            await stream.do_handshake()
        except BaseException as exc:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)
            if isinstance(exc, (trio.BrokenResourceError, ssl.CertificateError, ssl.SSLError)):
                raise ConnectError(502, "the TLS handshake with the server failed") from exc
            raise
        return UpstreamConnection(stream, plain, forward.max_head)
