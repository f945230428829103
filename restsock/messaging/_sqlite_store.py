"""`SQLiteStore`: a store that survives the process, kill -9 and a loss of power.

One thread uses the database (`_sqlite_thread`). A function of the program may have tables of its
own in the file (`transact`).
"""

# ruff: noqa: S608  # statements are put together from names of columns, never from data

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import trio

from ._sqlite_thread import DatabaseThread
from ._store import Loaded
from ._transaction import Transaction, check_work, guarded
from .engine import DeadLetter, InboxKey, Mark, OutRecord, RecordKey

__all__ = ["SQLiteStore"]

# "rsts", so that another database is not taken for one of these.
_APPLICATION = 0x72737473
_VERSION = 1
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

    Raises:
        ValueError: `dead_letters` is below 0.
    """

    def __init__(self, path: str | os.PathLike[str], *, dead_letters: int = 1000) -> None:
        if dead_letters < 0:
            raise ValueError(f"dead_letters must be 0 or more, not {dead_letters!r}")
        self.path = Path(path)
        self._dead_letters = dead_letters
        self._thread = DatabaseThread(self._connect, str(self), f"restsock store {self.path.name}")

    def __repr__(self) -> str:
        return f"<SQLiteStore {str(self.path)!r}>"

    @property
    def commits(self) -> int:
        """How many transactions there have been."""
        return self._thread.commits

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
        await self._thread.open()

    async def aclose(self) -> None:
        """See `Store`. What was given to it before is written first; a cancellation waits, too."""
        await self._thread.aclose()

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

        loaded: Loaded = await self._thread.do(load)
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

        await self._thread.do(move)

    async def revive(self, keys: Sequence[RecordKey]) -> None:
        """See `Store`."""
        await self._many(f"DELETE FROM dead WHERE {_KEY}", list(keys))

    async def mark(self, marks: Sequence[Mark]) -> None:
        """See `Store`."""
        changes = list(marks)
        await self._thread.do(lambda database: _note(database, changes))

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
            result: T = await self._thread.do(both, guest=True)
        return result

    async def forget(self, keys: Sequence[InboxKey]) -> None:
        """See `Store`."""
        gone = list(keys)

        def forget(database: sqlite3.Connection) -> None:
            database.executemany(f"DELETE FROM marks WHERE {_SENDER}", gone)
            database.executemany(f"DELETE FROM handled WHERE {_SENDER}", gone)

        await self._thread.do(forget)

    async def _many(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        def change(database: sqlite3.Connection) -> None:
            database.executemany(statement, rows)

        await self._thread.do(change)

    # --- the file -------------------------------------------------------------------------

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
