"""`Endpoint`: what a client and a server have in common."""

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
    """What a client and a server have in common, and pass to the objects that they consist of.

    Attributes:
        log: Its logger.

    Raises:
        ValueError: This system has no such socket option.
        TypeError: The logger is not a logger.
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
        """Raises `RuntimeError` if its messaging, if any, is not open on this loop."""
        if self.messaging is not None:
            self.messaging.check_running()

    def attach(self, connection: Connection) -> None:
        """Registers a connection that is about to begin."""
        if connection.heartbeat.calls is not None:
            connection.heartbeat.calls.loop = self.asyncio_loop
        if self.messaging is not None:
            self.messaging.attach_connection(connection)

    def end(self, connection: Connection) -> None:
        """Notes that a connection has ended."""
        self.counters.end(connection)
        if self.messaging is not None:
            self.messaging.detach_connection(connection)

    def use(self, options: Options) -> None:
        """Uses other options for new connections.

        Raises:
            ValueError: This system has no such socket option; nothing was changed.
        """
        check_socket_options(options.sockets)
        self.options = options
        self.buffered.size = options.limits.buffered_total

    @property
    def queued(self) -> int | None:
        """How many requests wait for a thread of the app; `None` if the app has no such queue."""
        load = load_of(self.handler)
        return None if load is None else load.waiting

    def serve_here(self, face: Callable[[Connection], Any]) -> None:
        """Makes the app, if there is one, run on the asyncio loop that runs here.

        Args:
            face: Wraps a connection in the class that a function app sees on this loop.
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
        """Closes connections after the requests in flight, or when the grace period is over.

        Args:
            living: Returns the connections that have not ended.
            wait_empty: Waits until there are none.
            code: The close code for the peer. After 1001 and 1012 (a restart) a client dials again,
                after 1000 it does not.
            reason: A text for people, at most 123 bytes of UTF-8.
            grace: Seconds for requests in flight; `None` is `Timeouts.grace`, 0 ends them at once.

        Raises:
            ValueError: The code must not be sent. Nothing was changed. Allowed are 1000, 1001, 1011
                to 1013 and 3000 to 4999.
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
        """Adds what both ends report; `missing` says what requests wait for."""
        if len(self.pending):
            report.warning(f"{len(self.pending)} requests wait for {missing}")
        report.load(load_of(self.handler))
        report.limits(self.limit_log.last_hit, time.monotonic())
        return report.health()
