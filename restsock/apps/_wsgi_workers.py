"""The worker threads of a WSGI application, and the queue in front of them."""

from __future__ import annotations

import contextvars
import itertools
import logging
import queue
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import trio

from restsock.connection import Exchange, ThreadExchange
from restsock.protocol import ResetCode

from ._errors import loggable
from ._response import Responder
from ._tasks import ignore
from ._wsgi import WsgiApp, WsgiRequest

if TYPE_CHECKING:
    from restsock._config import Options

__all__ = ["WsgiHandler"]

_log = logging.getLogger("restsock.apps")

_numbers = itertools.count(1)

# What a client of a full server is told to wait, in seconds.
_RETRY_AFTER = b"1"


class _Worker:
    """One thread.

    Attributes:
        served: how many requests it has finished. Written by the thread, read by the loop.
        serving: what it is busy with, for the log.
        ended: set on the loop when the thread has ended.
    """

    def __init__(self) -> None:
        self.served = 0
        self.serving: Exchange | None = None
        self.ended = trio.Event()
        self.thread: threading.Thread | None = None


class WsgiHandler:
    """A `Handler` that serves a WSGI application.

    Args:
        app: the application; it is called by several threads at once.
        options: `timeouts.idle` is used; `timeouts.close` is what requests under way may take when
            serving stops. Limits are those of the connections.
        workers: how many threads there are at most. They are started as they are needed.
        queue_size: how many requests may wait for a worker; further ones are answered with a 503.
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
        self._queue: queue.SimpleQueue[ThreadExchange | None] = queue.SimpleQueue()
        self._workers: list[_Worker] = []
        self._accepted = 0
        self._token: trio.lowlevel.TrioToken | None = None
        self._context = contextvars.Context()

    def handle(self, exchange: Exchange) -> None:
        """Takes over a request; see `Handler`."""
        if self._token is None:
            exchange.reset(ResetCode.REFUSED, "nothing is served here now")
            return
        # A sum of counters with one writer each: exact enough without a lock.
        busy = self._accepted - sum([worker.served for worker in self._workers])
        if busy >= len(self._workers):
            if len(self._workers) < self._max_workers:
                self._start_worker(self._token)
            elif busy >= self._max_workers + self._queue_size:
                self._refuse(exchange)
                return
        self._accepted += 1
        connection = exchange.connection
        assert connection is not None
        self._queue.put(
            ThreadExchange.accept(exchange, token=self._token, limits=connection.limits)
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Lets the workers run.

        At the end, requests that still wait are refused, and those under way may take up to
        `timeouts.close`, whatever cancels the surroundings. A thread that is stuck in the app
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

    def _refuse(self, exchange: Exchange) -> None:
        exchange.observer = ignore
        response = Responder(exchange, exchange.request.method)
        response.plain(503, "All workers are busy\n", [(b"Retry-After", _RETRY_AFTER)])

    def _start_worker(self, token: trio.lowlevel.TrioToken) -> None:
        worker = _Worker()
        # A daemon, since an app that never returns must not keep the process from ending.
        worker.thread = threading.Thread(
            target=self._work,
            args=(worker, self._queue, token, self._context),
            name=f"restsock-wsgi-{next(_numbers)}",
            daemon=True,
        )
        worker.thread.start()
        self._workers.append(worker)

    def _work(
        self,
        worker: _Worker,
        requests: queue.SimpleQueue[ThreadExchange | None],
        token: trio.lowlevel.TrioToken,
        context: contextvars.Context,
    ) -> None:
        while (exchange := requests.get()) is not None:
            worker.serving = exchange.exchange
            try:
                # A context of its own: what one request sets, the next shall not see.
                idle = self._options.timeouts.idle
                request = WsgiRequest(exchange, threads=self._max_workers, idle=idle)
                context.copy().run(request.run, self._app)
            except BaseException:  # noqa: BLE001  # a bug here must not cost a worker
                _log.exception("serving %s failed", loggable(exchange.exchange.request))
                exchange.close(ResetCode.INTERNAL, "an internal error")
            worker.serving = None
            worker.served += 1
            del exchange  # idle, it shall not keep the last request's memory
        try:
            token.run_sync_soon(worker.ended.set)
        except trio.RunFinishedError:
            pass  # the loop did not wait

    async def _stop(self) -> None:
        with suppress(queue.Empty):  # not `while not empty()`: the workers still take from it
            while (waiting := self._queue.get_nowait()) is not None:
                waiting.exchange.reset(ResetCode.REFUSED, "going away")
        workers, self._workers = self._workers, []
        self._accepted = 0
        for _ in workers:
            self._queue.put(None)
        # The next run has a queue of its own; stuck workers may still come for their `None` here.
        self._queue = queue.SimpleQueue()
        with trio.CancelScope(shield=True) as scope:
            scope.deadline = trio.current_time() + self._options.timeouts.close
            for worker in workers:
                await worker.ended.wait()
        for worker in workers:
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
            self._options.timeouts.close,
        )
