"""Connections to the server that is forwarded to: made, kept for a moment, closed in the end."""

from __future__ import annotations

import socket
import ssl
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING

import trio

from restsock._addresses import without_zone
from restsock.apps._tasks import open_nursery
from restsock.connection import Deadlines, ReadyBytes, TLSStream
from restsock.http1 import Upstream
from restsock.tls import ClientTLS, context_of, name_of

from ._arrivals import Arrivals

if TYPE_CHECKING:
    from ._forward import Forward

__all__ = ["ConnectError", "Pool", "UpstreamConnection"]

_READ = 64 * 1024


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
        receive: waits for bytes of the answer. See `ReadyBytes`, also for the next one.
        send_soon: sends bytes of the request, if that is possible without waiting.
    """

    __slots__ = ("_arrivals", "_bytes", "_socket", "http", "idle_since", "receive", "send_soon",
                 "stream", "used")  # fmt: skip

    def __init__(
        self,
        stream: trio.abc.Stream,
        plain: trio.SocketStream,
        max_head: int,
        arrivals: Arrivals,
    ) -> None:
        self.stream = stream
        self.http = Upstream(max_head=max_head)
        self.used = False
        self.idle_since = 0.0
        self._arrivals = arrivals
        self._socket = plain.socket
        arrivals.add(plain.socket)
        self._bytes = ReadyBytes(stream, _READ)
        self.receive = self._bytes.receive
        self.send_soon = self._bytes.send_soon

    @property
    def quiet(self) -> bool:
        """Whether nothing has come: an idle connection on which something has was closed."""
        if self._arrivals.has(self._socket):
            return False
        # Bytes after the response may have been taken from the socket, and wait in TLS.
        return not isinstance(self.stream, TLSStream) or self.stream.quiet()

    @property
    def reusable(self) -> bool:
        """Whether another request may follow, if it is `quiet` then."""
        return self.http.reusable and not self._bytes.cut

    async def send(self, data: bytes) -> None:
        """Sends bytes of the request. Waits only while the server does not take them.

        Raises:
            trio.BrokenResourceError: the server takes no more.
        """
        await self._bytes.send(data)

    async def close(self) -> None:
        """Closes it at once. Does not wait, also when cancelled."""
        self._bytes.close()
        self._arrivals.remove(self._socket)
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(self.stream)


class _Turn:
    """Somebody waits for a connection.

    Attributes:
        task: the task that does.
        come: whether it may have one.
    """

    __slots__ = ("come", "task")

    def __init__(self) -> None:
        self.task = trio.lowlevel.current_task()
        self.come = False


class Pool:
    """At most `max_connections` connections, those in use and the idle ones together.

    Args:
        forward: where to, and its limits.
    """

    def __init__(self, forward: Forward) -> None:
        self._forward = forward
        self._free = forward.max_connections  # those that are idle, or may still be made
        # Who waits for one, in turn; each time that one is free, the first is told.
        self._waiting: OrderedDict[_Turn, None] = OrderedDict()
        self._late: Deadlines[_Turn] = Deadlines(nullcontext(), self._give_up)
        self._nursery: trio.Nursery | None = None
        self._idle: deque[UpstreamConnection] = deque()  # the last used is at the right
        self._idling = trio.Event()
        self._arrivals = Arrivals()
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
        if self._free and not self._waiting:
            self._free -= 1
        else:
            await self._wait_turn()
        try:
            link = await self._take(max_idle)
            if link is None:
                seconds = self._forward.connect_timeout
                with trio.move_on_after(seconds):
                    link = await self._connect()
                if link is None:
                    raise ConnectError(504, f"no connection to the server within {seconds:g} s")
        except BaseException:
            self._let_next()
            raise
        return link

    async def _wait_turn(self) -> None:
        """Waits until there may be one connection more in use.

        Raises:
            ConnectError: that took too long.
        """
        turn = _Turn()
        deadline = trio.current_time() + self._forward.connect_timeout
        self._waiting[turn] = None
        if self._late.add(turn, deadline) and self._nursery is not None:
            self._nursery.start_soon(self._late.watch)

        def abort(_: object) -> trio.lowlevel.Abort:
            self._end_wait(turn)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
        if not turn.come:
            raise ConnectError(503, "too many requests are waiting for the server")

    def _end_wait(self, turn: _Turn) -> None:
        del self._waiting[turn]
        self._late.remove(turn)

    def _give_up(self, turn: _Turn) -> None:
        self._end_wait(turn)
        trio.lowlevel.reschedule(turn.task)

    def _let_next(self) -> None:
        """One connection less is in use: the first that waits may have one."""
        if not self._waiting:
            self._free += 1
            return
        turn = next(iter(self._waiting))
        self._end_wait(turn)
        turn.come = True
        trio.lowlevel.reschedule(turn.task)

    def take_idle(self, max_idle: float) -> UpstreamConnection | None:
        """The connection that was used last, if it is idle and can be used. As `acquire`."""
        if not self._idle or self._waiting or not self._free:
            return None
        link = self._idle[-1]
        now = trio.current_time()
        if now - link.idle_since > max_idle or self._expired(link, now) or not link.quiet:
            return None
        self._free -= 1
        return self._idle.pop()

    def keep(self, link: UpstreamConnection) -> bool:
        """Takes a connection back, and keeps it for the next request if it can be used.

        Returns:
            Whether it does. If not, it has to be closed.
        """
        try:
            keep = self._forward.keep_alive > 0 and link.reusable and not self._closed
        finally:
            self._let_next()
        if keep:
            link.http.restart()
            link.used = True
            link.idle_since = trio.current_time()
            self._idle.append(link)
            self._idling.set()
        return keep

    async def release(self, link: UpstreamConnection) -> None:
        """The same, and closes it if it is not kept. Does not wait, also when cancelled."""
        if not self.keep(link):
            await link.close()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Closes meanwhile what was idle for too long; in the end all that is idle."""
        async with open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._close_idle)
            try:
                yield
            finally:
                self._nursery = None

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
        while len(self._idle) > self._free:
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
            return UpstreamConnection(plain, plain, forward.max_head, self._arrivals)
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
        return UpstreamConnection(stream, plain, forward.max_head, self._arrivals)
