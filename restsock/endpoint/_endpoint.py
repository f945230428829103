"""`Endpoint`: what a client and a server have, whichever way their connections come about."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

import trio

from restsock._buffered import Buffered
from restsock._limit_log import LimitLog
from restsock._logging import LoggerLike, PartLog
from restsock._options import Options
from restsock.apps import on_asyncio
from restsock.connection import (
    Connection,
    Handler,
    Health,
    HealthReport,
    InstrumentLike,
    MessagingLike,
    Side,
    check_asyncio,
    drains_of,
    instruments_of,
    load_of,
)

from ._counters import EndpointCounters
from ._lifecycle import Lifecycle
from ._pending_requests import PendingRequests
from ._socket_options import check_socket_options

if TYPE_CHECKING:
    import asyncio

__all__ = ["Endpoint"]


class Endpoint:
    """What a client and a server have in common, and hand to the objects that they consist of.

    Attributes:
        log: Where its records go.

    Raises:
        ValueError: This system has no such socket option.
        TypeError: The logger is none.
    """

    def __init__(
        self,
        side: Side,
        log: PartLog,
        handler: Handler | None,
        options: Options | None,
        instrument: InstrumentLike | None,
        messaging: MessagingLike | None = None,
        logger: LoggerLike | None = None,
    ) -> None:
        self.log = log.with_own(logger)
        self.handler = handler
        self.asyncio_loop: asyncio.AbstractEventLoop | None = None  # that it was entered on
        self.options = Options() if options is None else options
        check_socket_options(self.options.sockets)
        self.instrument = instruments_of(instrument)
        self.limit_log = LimitLog(self.log)
        self.life = Lifecycle("client" if side == "dialer" else "server", self.log)
        if self.instrument is not None:
            self.instrument.log = self.log
            self.limit_log.on_hit = self.instrument.limit_hit
        self.counters = EndpointCounters(side, self.instrument)
        self.buffered = Buffered(self.options.limits.buffered_total)
        self.pending = PendingRequests()
        self.messaging = messaging

    def check_messaging(self) -> None:
        """Raises `RuntimeError` unless its messaging, if it has one, is open here."""
        if self.messaging is not None:
            self.messaging.check_running()

    def attach(self, connection: Connection) -> None:
        """Notes a connection that is about to begin, and is to stay."""
        if connection.heartbeat.calls is not None:
            connection.heartbeat.calls.loop = self.asyncio_loop
        if self.messaging is not None:
            self.messaging.attach_connection(connection)

    def end(self, connection: Connection) -> None:
        """Notes a connection that has ended."""
        self.counters.end(connection)
        if self.messaging is not None:
            self.messaging.detach_connection(connection)

    def use(self, options: Options) -> None:
        """Replaces the options, for new connections and requests.

        Raises:
            ValueError: This system has no such socket option; nothing was changed.
        """
        check_socket_options(options.sockets)
        self.options = options
        self.buffered.size = options.limits.buffered_total

    @property
    def queued(self) -> int | None:
        """Requests that wait for a thread of the app; `None` where it has no such queue."""
        load = load_of(self.handler)
        return None if load is None else load.waiting

    def serve_here(self, face: Callable[[Connection], Any]) -> None:
        """Has the app, if there is one, run on the loop of asyncio that runs here.

        Args:
            face: Makes of a connection what a function is to see of it on this loop.
        """
        if self.handler is not None:
            self.handler = on_asyncio(self.handler, face)
        self.asyncio_loop = check_asyncio("this", "the API for trio")

    async def drain(
        self,
        living: Callable[[], Iterable[Connection]],
        wait_empty: Callable[[], Awaitable[object]],
        code: int,
        reason: str,
        grace: float | None,
    ) -> None:
        """Closes connections after what is in flight, or when the grace is over.

        Args:
            living: Gives those that have not ended.
            wait_empty: Waits until there are none.
            code: The close code for the peer. After 1001 and 1012 (a restart) a client dials again,
                after 1000 not.
            reason: For people, at most 123 bytes of UTF-8.
            grace: Seconds for what is in flight; `None` is `Timeouts.grace`, 0 cuts it off.

        Raises:
            ValueError: The code cannot be sent; nothing was changed. Those that can are 1000, 1001,
                1011 to 1013 and 3000 to 4999.
        """
        timeouts = self.options.timeouts
        grace = timeouts.grace if grace is None else grace
        for connection in list(living()):
            connection.drain_soon(code, reason)
        drains = drains_of(self.handler)
        if drains is not None:
            drains.drain_soon(grace, code, reason)
        with trio.move_on_after(grace):
            await wait_empty()
        if drains is not None:
            with trio.move_on_after(timeouts.close):
                await drains.wait_drained()
        for connection in list(living()):
            connection.close_soon(code, reason)
        with trio.move_on_after(timeouts.close):
            await wait_empty()

    def complete(self, report: HealthReport, missing: str) -> Health:
        """Adds what is worth a word about either end; `missing` is what requests wait for."""
        if len(self.pending):
            report.warning(f"{len(self.pending)} requests wait for {missing}")
        report.load(load_of(self.handler))
        report.limits(self.limit_log.last_hit, time.monotonic())
        return report.health()
