"""`SQLiteStore`: a store that survives the process, kill -9 and a loss of power.

One thread uses the database. All calls that wait when it begins share one transaction, so that many
messages share one write to the disk. Each call is a savepoint in it, and succeeds or fails alone.
So does a function of the program that has tables of its own in the file (`transact`).
"""

# ruff: noqa: S608  # statements are put together from names of columns, never from data

from __future__ import annotations

import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import trio

from ._store import Loaded
from ._transaction import Transaction, check_work, guarded
from .engine import DeadLetter, InboxKey, Mark, OutRecord, RecordKey

__all__ = ["SQLiteStore"]

# "rsts", so that another database is not taken for one of these.
_APPLICATION = 0x72737473
_VERSION = 1
# Calls that share a transaction, at most: the first of them waits for the last.
_MOST = 256
# Seconds to wait for another process that is about to let go of the file.
_PATIENCE = 2.0

_SCHEMA = """
CREATE TABLE outbox (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    destination TEXT NOT NULL, channel TEXT NOT NULL, epoch TEXT NOT NULL, seq INTEGER NOT NULL,
    id TEXT NOT NULL, timestamp INTEGER NOT NULL, content TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    UNIQUE (destination, channel, epoch, seq));
CREATE TABLE dead (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    destination TEXT NOT NULL, channel TEXT NOT NULL, epoch TEXT NOT NULL, seq INTEGER NOT NULL,
    id TEXT NOT NULL, timestamp INTEGER NOT NULL, content TEXT NOT NULL,
    attempts INTEGER NOT NULL, reason TEXT NOT NULL, at REAL NOT NULL,
    UNIQUE (destination, channel, epoch, seq));
CREATE TABLE marks (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    sender TEXT NOT NULL, channel TEXT NOT NULL, epoch TEXT NOT NULL, upto INTEGER NOT NULL,
    UNIQUE (sender, channel, epoch));
CREATE TABLE handled (
    sender TEXT NOT NULL, channel TEXT NOT NULL, epoch TEXT NOT NULL, seq INTEGER NOT NULL,
    PRIMARY KEY (sender, channel, epoch, seq)) WITHOUT ROWID;
"""

_TABLES = frozenset({"outbox", "dead", "marks", "handled"})

_RECORD = "destination, channel, epoch, seq, id, timestamp, content, attempts"
_KEY = "destination = ? AND channel = ? AND epoch = ? AND seq = ?"
_SENDER = "sender = ? AND channel = ? AND epoch = ?"

_Work = Callable[[sqlite3.Connection], Any]

T = TypeVar("T")


class SQLiteStore:
    """Keeps the outbox and the inbox in a file of SQLite (WAL, `synchronous=FULL`).

    When `Channel.send` has returned, the message survives a kill of the process, and a loss of
    power if the disk keeps what it reports as written. Only one process can open the file at a
    time.

    Args:
        path: of the file. If it does not exist, it is created, readable only by this user; its
            folder must exist. `path-wal` is next to it while it is open.
        dead_letters: how many of them are kept; above it the oldest go.

    Attributes:
        path: as given.
        commits: how many transactions there have been.

    Raises:
        ValueError: `dead_letters` is below 0.
    """

    def __init__(self, path: str | os.PathLike[str], *, dead_letters: int = 1000) -> None:
        if dead_letters < 0:
            raise ValueError(f"dead_letters must be 0 or more, not {dead_letters!r}")
        self.path = Path(path)
        self.commits = 0
        self._dead_letters = dead_letters
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"<SQLiteStore {str(self.path)!r}>"

    @property
    def durable(self) -> bool:
        """A call takes as long as the disk."""
        return True

    # --- life -----------------------------------------------------------------------------

    async def open(self) -> None:
        """Opens the file, and creates it if it does not exist.

        Raises:
            OSError: The file cannot be created or read, or another process has it open.
            sqlite3.DatabaseError: It is not a database, or not one of restsock.
        """
        if self._thread is not None:
            raise RuntimeError(f"{self} is open already")
        opened = _Job(None)
        self._thread = threading.Thread(
            target=self._run, args=(opened,), name=f"restsock store {self.path.name}", daemon=True
        )
        self._thread.start()
        try:
            await opened.wait()
        except BaseException:
            with trio.CancelScope(shield=True):
                await self.aclose()
            raise

    async def aclose(self) -> None:
        """See `Store`. What was given to it before is written first; a cancellation waits, too."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._jobs.put(None)
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(thread.join)

    # --- what it keeps --------------------------------------------------------------------

    async def load(self) -> Loaded:
        """See `Store`."""

        def load(database: sqlite3.Connection) -> Loaded:
            records = database.execute(f"SELECT {_RECORD} FROM outbox ORDER BY position")
            dead = database.execute(f"SELECT {_RECORD}, reason, at FROM dead ORDER BY position")
            handled: dict[InboxKey, list[int]] = {}
            for *key, seq in database.execute("SELECT * FROM handled ORDER BY seq"):
                handled.setdefault((key[0], key[1], key[2]), []).append(seq)
            marks = database.execute(
                "SELECT sender, channel, epoch, upto FROM marks ORDER BY position"
            )
            return Loaded(
                [OutRecord(*row) for row in records],
                [
                    Mark(
                        sender,
                        channel,
                        epoch,
                        upto,
                        tuple(handled.get((sender, channel, epoch), ())),
                    )
                    for sender, channel, epoch, upto in marks
                ],
                [DeadLetter(OutRecord(*row[:8]), row[8], row[9]) for row in dead],
            )

        loaded: Loaded = await self._do(load)
        return loaded

    async def add(self, records: Sequence[OutRecord]) -> None:
        """See `Store`."""
        rows = [_row(record) for record in records]
        await self._many(f"INSERT INTO outbox ({_RECORD}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    async def done(self, keys: Sequence[RecordKey]) -> None:
        """See `Store`."""
        await self._many(f"DELETE FROM outbox WHERE {_KEY}", list(keys))

    async def attempts(self, counts: Mapping[RecordKey, int]) -> None:
        """See `Store`."""
        rows = [(count, *key) for key, count in counts.items()]
        await self._many(f"UPDATE outbox SET attempts = ? WHERE {_KEY}", rows)

    async def dead(self, letters: Sequence[DeadLetter]) -> None:
        """See `Store`."""
        rows = [(*_row(letter.record), letter.reason, letter.at) for letter in letters]
        keys = [letter.record.key for letter in letters]

        def move(database: sqlite3.Connection) -> None:
            database.executemany(f"DELETE FROM outbox WHERE {_KEY}", keys)
            database.executemany(
                f"INSERT OR REPLACE INTO dead ({_RECORD}, reason, at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                rows,
            )
            database.execute(
                "DELETE FROM dead WHERE position NOT IN"
                " (SELECT position FROM dead ORDER BY position DESC LIMIT ?)",
                (self._dead_letters,),
            )

        await self._do(move)

    async def revive(self, keys: Sequence[RecordKey]) -> None:
        """See `Store`."""
        await self._many(f"DELETE FROM dead WHERE {_KEY}", list(keys))

    async def mark(self, marks: Sequence[Mark]) -> None:
        """See `Store`."""
        changes = list(marks)
        await self._do(lambda database: _note(database, changes))

    async def transact(self, work: Callable[[Transaction], T], marks: Sequence[Mark] = ()) -> T:
        """See `TransactionalStore`. The function is called on the thread that has the database."""
        check_work(work)
        changes = list(marks)

        def both(database: sqlite3.Connection) -> T:
            result = guarded(database, work, _TABLES)
            if not database.in_transaction:  # ... OR ROLLBACK, and it went on
                raise sqlite3.OperationalError("a statement has rolled the transaction back")
            _note(database, changes)
            return result

        with trio.CancelScope(shield=True):
            result: T = await self._do(both, guest=True)
        return result

    async def forget(self, keys: Sequence[InboxKey]) -> None:
        """See `Store`."""
        gone = list(keys)

        def forget(database: sqlite3.Connection) -> None:
            database.executemany(f"DELETE FROM marks WHERE {_SENDER}", gone)
            database.executemany(f"DELETE FROM handled WHERE {_SENDER}", gone)

        await self._do(forget)

    async def _many(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        def change(database: sqlite3.Connection) -> None:
            database.executemany(statement, rows)

        await self._do(change)

    async def _do(self, work: _Work, *, guest: bool = False) -> Any:
        if self._thread is None:
            raise RuntimeError(f"{self} is not open")
        job = _Job(work, guest=guest)
        self._jobs.put(job)
        return await job.wait()

    # --- the thread -----------------------------------------------------------------------

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
            job.finish(error=RuntimeError(f"{self} could not be opened"))

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

    def _connect(self) -> sqlite3.Connection:
        # SQLite would make it readable by others, as far as the umask goes.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        database = sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None)
        try:
            self._prepare(database)
        except sqlite3.OperationalError as exc:
            database.close()
            if "locked" in str(exc):
                raise OSError(f"{self.path} is in use by another process") from exc
            raise
        except BaseException:
            database.close()
            raise
        return database

    def _prepare(self, database: sqlite3.Connection) -> None:
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA journal_size_limit = 67108864")
        database.execute("BEGIN IMMEDIATE")  # which takes the lock, for as long as it is open
        (application,) = database.execute("PRAGMA application_id").fetchone()
        (version,) = database.execute("PRAGMA user_version").fetchone()
        (tables,) = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if not (application or version or tables):
            for statement in _SCHEMA.split(";"):
                database.execute(statement)
            database.execute(f"PRAGMA application_id = {_APPLICATION}")
            database.execute(f"PRAGMA user_version = {_VERSION}")
        elif application != _APPLICATION:
            raise sqlite3.DatabaseError(f"{self.path} is a database of another program")
        elif version != _VERSION:
            raise sqlite3.DatabaseError(
                f"{self.path} was made by another version of restsock: its format is {version},"
                f" and this one knows {_VERSION}"
            )
        database.execute("COMMIT")


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


def _note(database: sqlite3.Connection, marks: Sequence[Mark]) -> None:
    """Notes messages as handled.

    What was noted up to a number stays so: a transaction of the program may overtake marks that
    wait to be noted, and are of before.
    """
    for mark in marks:
        # REPLACE gives it a new position: the least recently changed is the first.
        database.execute(
            "INSERT OR REPLACE INTO marks (sender, channel, epoch, upto) VALUES (?, ?, ?,"
            f" max(?, ifnull((SELECT upto FROM marks WHERE {_SENDER}), 0)))",
            (*mark.key, mark.upto, *mark.key),
        )
        database.executemany(
            "INSERT OR IGNORE INTO handled VALUES (?, ?, ?, ?)",
            [(*mark.key, seq) for seq in mark.seqs],
        )
        database.execute(
            f"DELETE FROM handled WHERE {_SENDER}"
            f" AND seq <= (SELECT upto FROM marks WHERE {_SENDER})",
            (*mark.key, *mark.key),
        )


def _row(record: OutRecord) -> tuple[Any, ...]:
    return (*record.key, record.id, record.timestamp, record.content, record.attempts)
