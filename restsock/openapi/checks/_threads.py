"""Persistent threads that validate, so that the loop does not.

The loop hands a job over through one `queue.SimpleQueue`; the thread hands its result back with one
`run_sync_soon`. There are few threads, since what they do holds the interpreter's lock: more of
them would only take longer each.

They are shared fairly. Jobs wait by the connection that they are from; connections have their
turns, and none has more than half of the threads. A job that nobody waits for any more stops at its
next step, see `_work`, so a time-out of its request frees the thread, too.
"""

from __future__ import annotations

import itertools
import logging
import queue
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import trio

from restsock.openapi.document import SECONDS, within

__all__ = ["Job", "Threads", "beside_the_loop"]

_Result = TypeVar("_Result")

_log = logging.getLogger("restsock.openapi")

_numbers = itertools.count(1)


class Job:
    """A piece of work, and what to do with its result.

    Args:
        work: runs in a thread.
        done: runs on the loop, with the result, or with the exception that came instead.
    """

    __slots__ = ("done", "error", "key", "result", "work")

    def __init__(
        self, work: Callable[[], Any], done: Callable[[Any, BaseException | None], None]
    ) -> None:
        self.work: Callable[[], Any] | None = work
        self.done: Callable[[Any, BaseException | None], None] | None = done
        self.key: Hashable = None
        self.result: Any = None
        self.error: BaseException | None = None

    def forget(self) -> None:
        """Nobody wants the result any more: what it refers to is freed soon. On the loop."""
        self.work = self.done = None

    @property
    def forgotten(self) -> bool:
        """Whether that was said."""
        return self.work is None


class _Run:
    """What belongs to one time of running; a thread that is stuck keeps hold of its own."""

    def __init__(self, token: trio.lowlevel.TrioToken, number: int, seconds: float) -> None:
        self.token = token
        self.queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self.threads: list[tuple[threading.Thread, trio.Event]] = []  # with what tells of its end
        self.idle = trio.Event()  # once there is no job, when it ends
        self.over = False  # nobody waits any more
        self._number = number
        self._share = max(1, number // 2)
        self._seconds = seconds
        # In the order in which it is their turn; all on the loop.
        self._waiting: dict[Hashable, deque[Job]] = {}
        self._busy: dict[Hashable, int] = {}
        self._running = 0

    @property
    def open(self) -> int:
        """Jobs whose `done` has not run yet."""
        return self._running + sum(map(len, self._waiting.values()))

    def add(self, job: Job) -> None:
        """Queues a job. On the loop."""
        self._waiting.setdefault(job.key, deque()).append(job)
        self.hand_over()

    def hand_over(self) -> None:
        """Gives jobs to threads that have none. On the loop."""
        while self._running < self._number and (job := self._next()) is not None:
            self._running += 1
            self._busy[job.key] = self._busy.get(job.key, 0) + 1
            if self._running > len(self.threads):
                self._start_thread()
            self.queue.put(job)

    def _next(self) -> Job | None:
        for key, jobs in list(self._waiting.items()):
            while jobs and jobs[0].forgotten:
                jobs.popleft()
            if jobs and key is not None and self._busy.get(key, 0) >= self._share:
                continue
            del self._waiting[key]
            if jobs:
                job = jobs.popleft()
                if jobs:
                    self._waiting[key] = jobs  # behind all others
                return job
        return None

    def _start_thread(self) -> None:
        ended = trio.Event()
        # A daemon, since a thread that is stuck must not keep the process from ending.
        thread = threading.Thread(
            target=self._work,
            args=(ended,),
            name=f"restsock-openapi-{next(_numbers)}",
            daemon=True,
        )
        thread.start()
        self.threads.append((thread, ended))

    def _work(self, ended: trio.Event) -> None:
        """What a thread does."""
        jobs, post = self.queue, self.token.run_sync_soon
        try:
            while (job := jobs.get()) is not None:
                self._do(job)
                post(self._finish, job)
                del job  # idle, it shall not keep the last body's memory
            post(ended.set)
        except trio.RunFinishedError:
            pass  # the loop did not wait

    def _do(self, job: Job) -> None:
        work = job.work
        if work is not None:
            try:
                with within(self._seconds, lambda: job.forgotten or self.over):
                    job.result = work()
            except BaseException as exc:  # noqa: BLE001  # handed to the loop, logged there
                job.error = exc

    def _finish(self, job: Job) -> None:
        """Does what is behind a job. On the loop."""
        self._running -= 1
        self._busy[job.key] -= 1
        if not self._busy[job.key]:
            del self._busy[job.key]
        self.hand_over()
        done = job.done
        if done is not None:
            try:
                done(job.result, job.error)
            except Exception:  # noqa: BLE001  # one request's failure must not end the loop
                _log.exception("a step behind a validation failed")
        if not self._running and not self._waiting:
            self.idle.set()


class Threads:
    """A pool of threads, started as they are needed.

    Args:
        number: how many, at most.
        grace: seconds that jobs under way may take when it stops.
        seconds: of processor time, for each job.
    """

    def __init__(self, *, number: int, grace: float, seconds: float = SECONDS) -> None:
        self._number = number
        self._seconds = seconds
        self._grace = grace
        self._run: _Run | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Lets jobs be submitted.

        At the end those under way may finish, within the grace, whatever cancels the surroundings;
        then the threads end. One that is stuck is left behind as a daemon.
        """
        if self._run is not None:
            raise RuntimeError("this handler is running already")
        token = trio.lowlevel.current_trio_token()
        run = self._run = _Run(token, self._number, self._seconds)
        try:
            yield
        finally:
            self._run = None
            with trio.CancelScope(shield=True) as scope:
                scope.deadline = trio.current_time() + self._grace
                if run.open:
                    run.idle = trio.Event()
                    await run.idle.wait()
                # A thread tells the loop of its jobs before it tells its end.
                for _ in run.threads:
                    run.queue.put(None)
                for thread, ended in run.threads:
                    await ended.wait()
                    thread.join()  # that was the last it had to do
            run.over = True
            if scope.cancelled_caught:
                for _ in run.threads:
                    run.queue.put(None)
                _log.warning("validation is stuck; its thread is left behind")

    def submit(self, job: Job, key: Hashable = None) -> None:
        """Queues a job. On the loop; does not block.

        Args:
            job: the job.
            key: whose it is: jobs of one key share their turn, and have half of the threads at
                most. Without one there is no such limit.

        Raises:
            RuntimeError: it is not running.
        """
        if self._run is None:
            raise RuntimeError("nothing is validated here now")
        job.key = key
        self._run.add(job)


async def beside_the_loop(
    function: Callable[..., _Result], *args: Any, seconds: float = SECONDS
) -> _Result:
    """Runs work that is bounded by `_work` in a thread of trio's.

    A cancellation does not wait for the thread: that stops at its next step.

    Args:
        function: what to do.
        args: for it.
        seconds: of processor time that it may take.
    """
    over = False

    def work() -> _Result:
        with within(seconds, lambda: over):
            return function(*args)

    try:
        return await trio.to_thread.run_sync(work, abandon_on_cancel=True)
    finally:
        over = True
