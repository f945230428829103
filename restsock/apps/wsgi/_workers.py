"""The worker threads of a WSGI application, and the queue in front of them."""

from __future__ import annotations

import contextvars
import itertools
import logging
import queue
import threading
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from restsock._logging import about
from restsock.apps._admission import ignore, refuse
from restsock.apps._connection_info import describe
from restsock.apps._errors import loggable
from restsock.apps._response import Responder
from restsock.connection import Exchange, Load
from restsock.protocol import ResetCode
from restsock.threads import FairQueue, ThreadExchange

from ._request import WsgiApp, WsgiRequest

if TYPE_CHECKING:
    from restsock._options import Options
    from restsock.connection import Carrier

__all__ = ["WsgiHandler"]

_log = logging.getLogger("restsock.apps")

_numbers = itertools.count(1)

# What a client of a full server is told to wait, in seconds.
_RETRY_AFTER = b"1"


class _Worker:
    """One thread.

    Attributes:
        inbox: its next request; `None` ends it.
        serving: what it is busy with, for the log.
        ended: set on the loop when the thread has ended.
    """

    def __init__(self) -> None:
        self.inbox: queue.SimpleQueue[ThreadExchange | None] = queue.SimpleQueue()
        self.serving: Exchange | None = None
        self.ended = trio.Event()
        self.thread: threading.Thread | None = None


class _WorkerPool:
    """The workers of one run, and the requests that wait for them.

    The last worker to become idle is called first: what it needs is still in the caches. Requests
    that wait are taken in turn from the connections that they came on.

    Attributes:
        workers: all that were started.
        requests: how many have been given and are not finished.
    """

    def __init__(self) -> None:
        self.workers: list[_Worker] = []
        self.requests = 0
        self._waiting: FairQueue[ThreadExchange] = FairQueue()
        self._idle: list[_Worker] = []
        self._lock = threading.Lock()

    def give(self, request: ThreadExchange) -> None:
        """Hands a request to an idle worker, or lets it wait for the next one."""
        with self._lock:
            self.requests += 1
            if not self._idle:
                self._waiting.put(request.exchange.connection, request)
                self._tell(request)
                return
            worker = self._idle.pop()
        worker.inbox.put(request)

    def next(self, worker: _Worker) -> ThreadExchange | None:
        """Waits for the next request of a worker, which has finished its last; `None`: end."""
        with self._lock:
            if worker.serving is not None:
                worker.serving = None
                self.requests -= 1
            if self._waiting:
                request = self._waiting.take()
                self._tell(request)
                return request
            self._idle.append(worker)
        return worker.inbox.get()

    def waiting(self, connection: Carrier) -> int:
        """How many requests of a connection wait."""
        with self._lock:
            return self._waiting.length(connection)

    def forget_ended(self, connection: Carrier) -> None:
        """Drops those requests of a connection that are over before anybody has begun them."""
        with self._lock:
            for request in self._waiting.items(connection):
                if request.exchange.closed:
                    self._drop(connection, request)

    def make_room(self, connection: Carrier) -> ThreadExchange | None:
        """Gives up a request for another one, of a connection that has fewer waiting.

        Returns:
            The last one of those who have the most; `None` if nobody has more than their part.
        """
        with self._lock:
            if not self._waiting:
                return None
            owner = self._waiting.longest()
            if self._waiting.length(owner) <= self._waiting.length(connection) + 1:
                return None
            request = self._waiting.items(owner)[-1]
            self._drop(owner, request)
            return request

    def _drop(self, owner: Hashable, request: ThreadExchange) -> None:
        self._waiting.remove(owner, request)
        self.requests -= 1
        self._tell(request)

    def end(self) -> list[ThreadExchange]:
        """Ends all workers, each after its present request; returns what nobody has begun."""
        with self._lock:
            left = self._waiting.clear()
            for request in left:
                self._tell(request)
        for worker in self.workers:
            worker.inbox.put(None)
        return left

    @property
    def depth(self) -> int:
        """How many requests wait for a worker."""
        return len(self._waiting)

    def _tell(self, request: ThreadExchange) -> None:
        """Tells the instrument of a request that has begun, or ceased, to wait. With the lock."""
        connection = request.exchange.connection
        if connection is not None and connection.instrument is not None:
            connection.instrument.queue("workers", len(self._waiting))


class WsgiHandler:
    """A `Handler` that serves a WSGI application.

    Args:
        app: the application; it is called by several threads at once.
        options: `timeouts.idle` is used; `timeouts.close` is what requests under way may take when
            serving stops. Limits are those of the connections.
        workers: how many threads there are at most. They are started as they are needed.
        queue_size: how many requests may wait for a worker; those above are answered with 503, the
            last ones first of the connection that has the most waiting.
    """

    def __init__(self, app: WsgiApp, *, options: Options, workers: int, queue_size: int) -> None:
        if workers < 1:
            raise ValueError(f"workers must be at least 1, not {workers}")
        if queue_size < 0:
            raise ValueError(f"queue_size must not be negative, not {queue_size}")
        self._app = app
        self._options = options
        self._max_workers = workers
        self._queue_size = queue_size
        self._pool = _WorkerPool()
        self._token: trio.lowlevel.TrioToken | None = None
        self._context = contextvars.Context()

    def handle(self, exchange: Exchange) -> None:
        """Takes over a request; see `Handler`."""
        if self._token is None:
            exchange.reset(ResetCode.REFUSED, "nothing is served here now")
            return
        pool = self._pool
        connection = exchange.connection
        assert connection is not None
        if pool.requests >= len(pool.workers):
            if len(pool.workers) < self._max_workers:
                self._start_worker(self._token)
            elif not self._may_wait(exchange, connection):
                return
        describe(connection)  # here, so that the worker finds it known
        pool.give(ThreadExchange.accept(exchange, token=self._token, limits=connection.limits))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Lets the workers run.

        At the end, requests that still wait are refused, and those under way may take up to
        `timeouts.disconnect`, whatever cancels the surroundings. A thread that is stuck in the app
        behind that is named in the log and left alone: it ends with the process at the latest.
        """
        if self._token is not None:
            raise RuntimeError("this handler is running already")
        self._token = trio.lowlevel.current_trio_token()
        self._context = contextvars.copy_context()
        try:
            yield
        finally:
            self._token = None
            await self._stop()

    def _may_wait(self, exchange: Exchange, connection: Carrier) -> bool:
        """Finds room for a request that has to wait, or answers it; tells which.

        A request can end while it waits, and its peer send another one: so the bound on open
        streams does not bound what waits, and those that are over do not count.
        """
        pool = self._pool
        bound, room = connection.limits.max_streams, self._max_workers + self._queue_size
        if pool.waiting(connection) >= bound or pool.requests >= room:
            pool.forget_ended(connection)
        if pool.waiting(connection) >= bound:
            why = "too many requests still waiting"
            connection.limit_log.note_about(connection, "max_streams", why + ": refused")
            refuse(exchange, why)
            return False
        if pool.requests < room:
            return True
        other = pool.make_room(connection)
        self._refuse(exchange if other is None else other.exchange)
        return other is not None

    def load(self) -> Load:
        """The queue in front of the workers, now. For any thread."""
        pool = self._pool
        return Load(pool.depth, pool.requests >= self._max_workers + self._queue_size)

    def _refuse(self, exchange: Exchange) -> None:
        connection = exchange.connection
        if connection is not None:
            why = "all workers are busy, and the queue is full: 503"
            connection.limit_log.note_about(connection, "queue_size", why)
        exchange.observer = ignore
        response = Responder(exchange, exchange.request.method)
        response.plain(503, "All workers are busy\n", [(b"Retry-After", _RETRY_AFTER)])

    def _start_worker(self, token: trio.lowlevel.TrioToken) -> None:
        worker = _Worker()
        # A daemon, since an app that never returns must not keep the process from ending.
        worker.thread = threading.Thread(
            target=self._work,
            args=(worker, self._pool, token, self._context),
            name=f"restsock-wsgi-{next(_numbers)}",
            daemon=True,
        )
        worker.thread.start()
        self._pool.workers.append(worker)

    def _work(
        self,
        worker: _Worker,
        pool: _WorkerPool,
        token: trio.lowlevel.TrioToken,
        context: contextvars.Context,
    ) -> None:
        while (exchange := pool.next(worker)) is not None:
            worker.serving = exchange.exchange
            try:
                # A context of its own: what one request sets, the next shall not see.
                idle = self._options.timeouts.idle
                request = WsgiRequest(exchange, threads=self._max_workers, idle=idle)
                context.copy().run(request.run, self._app)
            except BaseException:  # noqa: BLE001  # a bug here must not cost a worker
                connection = exchange.exchange.connection
                _log.exception(
                    "serving %s failed",
                    loggable(exchange.exchange.request),
                    extra=None if connection is None else about(connection),
                )
                exchange.close(ResetCode.INTERNAL, "an internal error")
            del exchange  # idle, it shall not keep the last request's memory
        try:
            token.run_sync_soon(worker.ended.set)
        except trio.RunFinishedError:
            pass  # the loop did not wait

    async def _stop(self) -> None:
        # The next run has a pool of its own; workers that are stuck may still end theirs later.
        pool, self._pool = self._pool, _WorkerPool()
        for waiting in pool.end():
            waiting.exchange.reset(ResetCode.REFUSED, "going away")
        with trio.CancelScope(shield=True) as scope:
            # No connection is left that could take an answer.
            scope.deadline = trio.current_time() + self._options.timeouts.disconnect
            for worker in pool.workers:
                await worker.ended.wait()
        for worker in pool.workers:
            if not worker.ended.is_set():
                self._report_stuck(worker)

    def _report_stuck(self, worker: _Worker) -> None:
        assert worker.thread is not None
        stuck = worker.serving
        what = "?" if stuck is None else loggable(stuck.request)
        _log.warning(
            "the thread %s is still busy with %s after %s s and is left alone",
            worker.thread.name,
            what,
            self._options.timeouts.disconnect,
        )
