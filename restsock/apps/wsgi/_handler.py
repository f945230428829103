"""Serves a WSGI application in worker threads, with a queue."""

from __future__ import annotations

import contextvars
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from restsock._logging import PartLog, about
from restsock.apps._admission import refuse
from restsock.apps._errors import loggable
from restsock.apps._response import Responder
from restsock.connection import Exchange, Load, ignore
from restsock.protocol import ResetCode
from restsock.threads import ThreadExchange, Worker, WorkerPool

from ._request import WsgiApp, WsgiRequest

if TYPE_CHECKING:
    from restsock._options import Options
    from restsock.connection import Carrier

__all__ = ["WsgiHandler"]

_log = PartLog("restsock.apps")

# The Retry-After for clients when the queue is full, in seconds.
_RETRY_AFTER = b"1"


class WsgiHandler:
    """A `Handler` that serves a WSGI application.

    Args:
        app: The application; several threads call it at once.
        options: `timeouts.idle` is used, and `timeouts.disconnect`: how long requests in flight may
            take when serving stops.
        workers: The maximum number of threads. They are started as needed.
        queue_size: How many requests may wait for a worker; above that, the latest requests of the
            connection with the most waiting requests are answered with 503.
        root_path: The path at which the app is mounted.
    """

    def __init__(
        self,
        app: WsgiApp,
        *,
        options: Options,
        workers: int,
        queue_size: int,
        root_path: str = "",
    ) -> None:
        if workers < 1:
            raise ValueError(f"workers must be at least 1, not {workers}")
        if queue_size < 0:
            raise ValueError(f"queue_size must not be negative, not {queue_size}")
        self._app = app
        self._options = options
        self._max_workers = workers
        self._queue_size = queue_size
        self._root_path = root_path
        self._pool: WorkerPool[ThreadExchange] | None = None
        self._token: trio.lowlevel.TrioToken | None = None

    def handle(self, exchange: Exchange) -> None:
        """Takes over a request; see `Handler`."""
        pool, token = self._pool, self._token
        if pool is None or token is None:
            exchange.reset(ResetCode.REFUSED, "nothing is served here now")
            return
        connection = exchange.connection
        assert connection is not None
        if pool.items >= self._max_workers and not self._may_wait(pool, exchange, connection):
            return
        request = ThreadExchange.accept(exchange, token=token, limits=connection.options.limits)
        pool.give(request, connection)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs the workers while the block runs.

        At the end, waiting requests are refused, and those in flight may take up to
        `timeouts.disconnect`, even if this is cancelled. A thread that is stuck in the app after
        that is named in the log and left alone: it ends with the process at the latest.
        """
        if self._pool is not None:
            raise RuntimeError("this handler is running already")
        self._token = trio.lowlevel.current_trio_token()
        # Each run has its own pool; stuck workers may still finish theirs later.
        pool = self._pool = WorkerPool(
            self._work, name="restsock-wsgi", number=self._max_workers, told=_tell_depth
        )
        try:
            yield
        finally:
            self._pool = None
            for waiting in pool.clear():
                waiting.exchange.reset(ResetCode.REFUSED, "going away")
            # No connection is left that could take a response.
            for worker in await pool.finish(self._options.timeouts.disconnect):
                self._report_stuck(worker)

    def _may_wait(
        self, pool: WorkerPool[ThreadExchange], exchange: Exchange, connection: Carrier
    ) -> bool:
        """Finds room for a request that has to wait, or answers it; returns whether it may wait.

        A request can end while it waits, and its peer can send another one. So the limit on open
        streams does not limit the queue, and requests that have ended do not count.
        """
        bound, room = connection.limits.max_streams, self._max_workers + self._queue_size
        if pool.waiting(connection) >= bound or pool.items >= room:
            pool.drop(connection, lambda request: request.exchange.closed)
        if pool.waiting(connection) >= bound:
            why = "too many requests still waiting"
            connection.limit_log.note_about(connection, "max_streams", why + ": refused")
            refuse(exchange, why)
            return False
        if pool.items < room:
            return True
        other = pool.make_room(connection)
        self._refuse(exchange if other is None else other.exchange)
        return other is not None

    def load(self) -> Load:
        """The current state of the queue. For any thread."""
        pool = self._pool
        if pool is None:
            return Load(0, False)
        return Load(pool.depth, pool.items >= self._max_workers + self._queue_size)

    def _refuse(self, exchange: Exchange) -> None:
        connection = exchange.connection
        if connection is not None:
            why = "all workers are busy, and the queue is full: 503"
            connection.limit_log.note_about(connection, "queue_size", why)
        exchange.observer = ignore
        response = Responder(exchange, exchange.request.method)
        response.plain(503, "All workers are busy\n", [(b"Retry-After", _RETRY_AFTER)])

    def _work(self, exchange: ThreadExchange) -> None:
        """Serves a request. In a worker."""
        try:
            idle = self._options.timeouts.idle
            request = WsgiRequest(
                exchange, threads=self._max_workers, idle=idle, root_path=self._root_path
            )
            # Its own context: the next request must not see variables of this one.
            contextvars.copy_context().run(request.run, self._app)
        except BaseException:  # noqa: BLE001  # a bug here; the peer and the log must learn of it
            connection = exchange.exchange.connection
            _log.exception(
                "serving %s failed",
                loggable(exchange.exchange.request),
                extra=None if connection is None else about(connection),
            )
            exchange.close(ResetCode.INTERNAL, "an internal error")

    def _report_stuck(self, worker: Worker[ThreadExchange]) -> None:
        stuck = worker.item
        what = "?" if stuck is None else loggable(stuck.exchange.request)
        _log.warning(
            "the thread %s is still busy with %s after %s s and is left alone",
            worker.thread.name,
            what,
            self._options.timeouts.disconnect,
        )


def _tell_depth(request: ThreadExchange, depth: int) -> None:
    """Tells the instrument how many requests wait."""
    connection = request.exchange.connection
    if connection is not None and connection.instrument is not None:
        connection.instrument.queue("workers", depth)
