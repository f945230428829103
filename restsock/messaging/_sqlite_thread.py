"""The thread that uses a database of SQLite, for tasks of trio.

All calls that wait when it begins share one transaction, so that many share one write to the disk.
Each call is a savepoint in it, and succeeds or fails alone.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable
from typing import Any

import trio

__all__ = ["DatabaseThread"]

# Calls that share a transaction, at most: the first of them waits for the last.
_MOST = 256

_Work = Callable[[sqlite3.Connection], Any]


class DatabaseThread:
    """See above.

    Args:
        connect: opens the database. On the thread.
        owner: what errors call its owner.
        name: of the thread.

    Attributes:
        commits: how many transactions there have been.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection], owner: str, name: str) -> None:
        self.commits = 0
        self._connect = connect
        self._owner = owner
        self._name = name
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def open(self) -> None:
        """Starts the thread, which opens the database.

        Raises:
            RuntimeError: it is open.
            Exception: what `connect` has raised.
        """
        if self._thread is not None:
            raise RuntimeError(f"{self._owner} is open already")
        opened = _Job(None)
        self._thread = threading.Thread(
            target=self._run, args=(opened,), name=self._name, daemon=True
        )
        self._thread.start()
        try:
            await opened.wait()
        except BaseException:
            with trio.CancelScope(shield=True):
                await self.aclose()
            raise

    async def aclose(self) -> None:
        """Ends it, after all that was given to it before. A cancellation waits, too."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._jobs.put(None)
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(thread.join)

    async def do(self, work: _Work, *, guest: bool = False) -> Any:
        """Calls a function in a transaction, and returns what it returns once that is stored.

        Args:
            work: is called on the thread. If this is cancelled, it is called all the same.
            guest: whether it is a function of the program.

        Raises:
            RuntimeError: it is not open.
            BaseException: what the function or the database has raised; nothing of it is stored.
        """
        if self._thread is None:
            raise RuntimeError(f"{self._owner} is not open")
        job = _Job(work, guest=guest)
        self._jobs.put(job)
        return await job.wait()

    # --- on the thread ------------------------------------------------------------------------

    def _run(self, opened: _Job) -> None:
        try:
            database = self._connect()
        except Exception as exc:  # noqa: BLE001  # for who opens it
            opened.finish(error=exc)
            self._fail_all()
            return
        opened.finish()
        try:
            while jobs := self._next_jobs():
                self._transact(database, jobs)
        finally:
            database.close()

    def _next_jobs(self) -> list[_Job]:
        """Waits for a call; returns it with those behind it. Empty at the end."""
        first = self._jobs.get()
        jobs = [] if first is None else [first]
        while jobs and len(jobs) < _MOST:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is None:
                self._jobs.put(None)  # after these
                break
            jobs.append(job)
        return jobs

    def _fail_all(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.finish(error=RuntimeError(f"{self._owner} could not be opened"))

    def _transact(self, database: sqlite3.Connection, jobs: list[_Job]) -> None:
        while jobs:
            results: list[tuple[_Job, Any, BaseException | None]] = []
            culprit: _Job | None = None
            try:
                database.execute("BEGIN IMMEDIATE")
                for job in jobs:
                    culprit = job
                    results.append(_in_savepoint(database, job))
                culprit = None
                database.execute("COMMIT")
                self.commits += 1
            except Exception as exc:  # noqa: BLE001  # for all who wait for this transaction
                if database.in_transaction:
                    database.execute("ROLLBACK")
                if culprit is not None and culprit.guest:
                    # A function of the program has ended the transaction: the others do without.
                    culprit.finish(error=exc)
                    jobs = [job for job in jobs if job is not culprit]
                    continue
                results = [(job, None, exc) for job in jobs]
            for job, result, error in results:
                job.finish(result, error)
            return


class _Job:
    """A call, from the loop to the thread and back.

    Args:
        work: what to do; `None` for nothing.
        guest: whether it is a function of the program.

    Attributes:
        guest: as above.
    """

    def __init__(self, work: _Work | None, *, guest: bool = False) -> None:
        self.guest = guest
        self._work = work
        self._token = trio.lowlevel.current_trio_token()
        self._finished = trio.Event()
        self._result: Any = None
        self._error: BaseException | None = None

    def run(self, database: sqlite3.Connection) -> Any:
        """Does it. On the thread."""
        assert self._work is not None
        return self._work(database)

    def finish(self, result: Any = None, error: BaseException | None = None) -> None:
        """Tells who waits. On the thread.

        No cursor may get out of it, not even in a traceback: where it is thrown away it resets its
        statement, which this thread may be using by then. A guest has none (see `Transaction`), and
        its author wants to know where it has failed.
        """
        self._result = result
        self._error = error if error is None or self.guest else error.with_traceback(None)
        try:
            self._token.run_sync_soon(self._finished.set)
        except trio.RunFinishedError:
            pass  # nobody waits any more

    async def wait(self) -> Any:
        await self._finished.wait()
        if self._error is not None:
            raise self._error
        return self._result


def _in_savepoint(
    database: sqlite3.Connection, job: _Job
) -> tuple[_Job, Any, BaseException | None]:
    """Does a call, all or nothing; what the others in the transaction have done stays."""
    database.execute("SAVEPOINT call")
    try:
        result = job.run(database)
    except BaseException as exc:  # a `SystemExit` of a guest is for who has called
        if not database.in_transaction:
            if not isinstance(exc, Exception):
                raise RuntimeError("the transaction was ended") from exc
            raise  # a full disk ends the whole transaction
        database.execute("ROLLBACK TO call")
        database.execute("RELEASE call")
        return job, None, exc
    database.execute("RELEASE call")
    return job, result, None
