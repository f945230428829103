"""Persistent threads that validate, so that the loop does not.

The loop hands a job over through one `queue.SimpleQueue`; the thread hands its result back with one
`run_sync_soon`. There are few threads, since what they do holds the interpreter's lock: more of
them would only take longer each.
"""

from __future__ import annotations

import itertools
import logging
import queue
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio

__all__ = ["Job", "Threads"]

_log = logging.getLogger("restsock.openapi")

_numbers = itertools.count(1)


class Job:
    """A piece of work, and what to do with its result.

    Args:
        work: runs in a thread.
        done: runs on the loop, with the result, or with the exception that came instead.
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
        """Nobody wants the result any more: what it refers to is freed now. On the loop."""
        self.work = self.done = None


class _Run:
    """What belongs to one time of running; a thread that is stuck keeps hold of its own."""

    def __init__(self, token: trio.lowlevel.TrioToken) -> None:
        self.token = token
        self.queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self.ended: list[trio.Event] = []  # one for each thread
        self.open = 0  # jobs whose `done` has not run yet

    def work(self, ended: trio.Event) -> None:
        """What a thread does."""
        jobs, post = self.queue, self.token.run_sync_soon
        try:
            while (job := jobs.get()) is not None:
                work = job.work
                if work is not None:
                    try:
                        job.result = work()
                    except BaseException as exc:  # noqa: BLE001  # handed to the loop, logged there
                        job.error = exc
                del work
                post(self.finish, job)
                del job  # idle, it shall not keep the last body's memory
            post(ended.set)
        except trio.RunFinishedError:
            pass  # the loop did not wait

    def finish(self, job: Job) -> None:
        """Does what is behind a job. On the loop."""
        self.open -= 1
        done = job.done
        if done is not None:
            try:
                done(job.result, job.error)
            except Exception:  # noqa: BLE001  # one request's failure must not end the loop
                _log.exception("a step behind a validation failed")


class Threads:
    """A pool of threads, started as they are needed.

    Args:
        number: how many, at most.
        grace: seconds that jobs under way may take when it stops.
    """

    def __init__(self, *, number: int, grace: float) -> None:
        self._number = number
        self._grace = grace
        self._run: _Run | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Lets jobs be submitted.

        At the end those under way may finish, within the grace, whatever cancels the surroundings;
        then the threads end. One that is stuck (in a pattern that backtracks without end, say) is
        left behind as a daemon.
        """
        if self._run is not None:
            raise RuntimeError("this handler is running already")
        run = self._run = _Run(trio.lowlevel.current_trio_token())
        try:
            yield
        finally:
            self._run = None
            with trio.CancelScope(shield=True) as scope:
                scope.deadline = trio.current_time() + self._grace
                # Behind all jobs; and a thread tells the loop of its jobs before it tells its end.
                for _ in run.ended:
                    run.queue.put(None)
                for ended in run.ended:
                    await ended.wait()
            if scope.cancelled_caught:
                _log.warning("validation is stuck; its thread is left behind")

    def submit(self, job: Job) -> None:
        """Queues a job. On the loop; does not block.

        Raises:
            RuntimeError: it is not running.
        """
        run = self._run
        if run is None:
            raise RuntimeError("nothing is validated here now")
        run.open += 1
        if run.open > len(run.ended) and len(run.ended) < self._number:
            ended = trio.Event()
            # A daemon, since a thread that is stuck must not keep the process from ending.
            thread = threading.Thread(
                target=run.work,
                args=(ended,),
                name=f"restsock-openapi-{next(_numbers)}",
                daemon=True,
            )
            thread.start()
            run.ended.append(ended)
        run.queue.put(job)
