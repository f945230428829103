"""Persistent threads that validate, so that the loop does not.

There are few threads, since they hold the interpreter's lock while they work: with more threads,
each would only take longer.

They are shared fairly. Jobs are queued by connection; connections take turns, and none uses more
than half of the threads. A job whose result is no longer needed stops at its next step (see
`_work`), so a timeout of its request frees the thread, too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import trio

from restsock._logging import PartLog
from restsock.openapi.document import SECONDS, within
from restsock.threads import WorkerPool

__all__ = ["Job", "Threads", "beside_the_loop"]

_Result = TypeVar("_Result")

_log = PartLog("restsock.openapi")


class Job:
    """A piece of work, and what to do with its result.

    Args:
        work: Runs in a thread.
        done: Runs on the loop, with the result or the exception.
    """

    __slots__ = ("done", "error", "result", "work")

    def __init__(
        self, work: Callable[[], Any], done: Callable[[Any, BaseException | None], None]
    ) -> None:
        self.work: Callable[[], Any] | None = work
        self.done: Callable[[Any, BaseException | None], None] | None = done
        self.result: Any = None
        self.error: BaseException | None = None

    def forget(self) -> None:
        """Drops the result, so that the memory of the job is freed soon. On the loop."""
        self.work = self.done = None

    @property
    def forgotten(self) -> bool:
        """Whether the result was dropped."""
        return self.work is None


class Threads:
    """A pool of threads, started as they are needed.

    Args:
        number: The maximum number of threads.
        grace: Seconds that running jobs may take when it stops.
        seconds: Seconds of processor time for each job.
    """

    def __init__(self, *, number: int, grace: float, seconds: float = SECONDS) -> None:
        self._number = number
        self._seconds = seconds
        self._grace = grace
        self._pool: WorkerPool[Job] | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs jobs while the block runs.

        At the end running jobs may finish within the grace period, even if this is cancelled; then
        the threads end. A stuck thread is left alone, as a daemon.
        """
        if self._pool is not None:
            raise RuntimeError("this handler is running already")
        over = False  # whether nothing waits any longer

        def work(job: Job) -> None:
            if job.work is not None:
                try:
                    with within(self._seconds, lambda: job.forgotten or over):
                        job.result = job.work()
                except BaseException as exc:  # noqa: BLE001  # handed to the loop, logged there
                    job.error = exc

        pool = self._pool = WorkerPool(
            work,
            name="restsock-openapi",
            number=self._number,
            share=max(1, self._number // 2),
            done=_finish,
        )
        try:
            yield
        finally:
            self._pool = None
            stuck = await pool.finish(self._grace)
            over = True
            if stuck:
                _log.warning("validation is stuck; its thread is left alone")

    def submit(self, job: Job, key: Hashable = None) -> None:
        """Queues a job. On the loop; does not block.

        Args:
            job: The job.
            key: The owner: jobs of one owner share their turn, and use at most half of the
                threads. Without an owner there is no such limit.

        Raises:
            RuntimeError: The threads are not running.
        """
        if self._pool is None:
            raise RuntimeError("nothing is validated here now")
        self._pool.give(job, key)


def _finish(job: Job) -> None:
    """Calls `done` of a job. On the loop."""
    if job.done is not None:
        try:
            job.done(job.result, job.error)
        except Exception:  # noqa: BLE001  # one request's failure must not end the loop
            _log.exception("a step after a validation failed")


async def beside_the_loop(
    function: Callable[..., _Result], *args: Any, seconds: float = SECONDS
) -> _Result:
    """Runs work that is limited by `_work` in a thread of trio.

    If cancelled, this does not wait for the thread, which stops at its next step.

    Args:
        function: The function to run.
        args: Its arguments.
        seconds: Seconds of processor time that it may take.
    """
    over = False

    def work() -> _Result:
        with within(seconds, lambda: over):
            return function(*args)

    try:
        return await trio.to_thread.run_sync(work, abandon_on_cancel=True)
    finally:
        over = True
