"""Transactions of a program in the database of a store.

A store that has them (`TransactionalStore`) calls a function of the program in the transaction that
notes a message as handled. So both are there, or neither, whatever happens to the process.
"""

from __future__ import annotations

import inspect
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

from ._store import Store
from .engine import Mark

__all__ = ["Transaction", "TransactionalStore", "check_work", "guarded"]

T = TypeVar("T")

Parameters: TypeAlias = "Sequence[Any] | Mapping[str, Any]"

# The store begins and ends the transaction; nobody else may.
_NOT_ALLOWED = frozenset(
    {
        sqlite3.SQLITE_TRANSACTION,
        sqlite3.SQLITE_SAVEPOINT,
        sqlite3.SQLITE_PRAGMA,
        sqlite3.SQLITE_ATTACH,
        sqlite3.SQLITE_DETACH,
    }
)


class Transaction:
    """The database of a store, within one transaction: for tables of the program's own.

    The function of `Message.transact` or `Messaging.transact` gets it, for use during that call, on
    its thread. The store begins and ends the transaction: when the function returns, everything is
    kept; when it raises, nothing is. Statements that would end the transaction, `PRAGMA`, `ATTACH`,
    `ALTER TABLE` of a temporary table, and the tables of the store are refused.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database: sqlite3.Connection | None = database

    def execute(self, statement: str, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
        """Executes one statement of SQL.

        Args:
            statement: with `?` or `:name` in place of values.
            parameters: the values.

        Returns:
            All rows of a query; none for other statements.

        Raises:
            sqlite3.Error: it has failed, or is not allowed.
            RuntimeError: the transaction is over.
        """
        cursor = self._open().execute(statement, parameters)
        try:
            return cursor.fetchall()
        finally:
            cursor.close()  # an error's traceback may keep it, and get to another thread

    def executemany(self, statement: str, rows: Iterable[Parameters]) -> None:
        """Executes a statement once with the values of each row.

        Raises:
            sqlite3.Error: it has failed, or is not allowed.
            RuntimeError: the transaction is over.
        """
        self._open().executemany(statement, rows).close()

    def end(self) -> None:
        """For the store: nothing more is done in it. Raises nothing."""
        self._database = None

    def _open(self) -> sqlite3.Connection:
        if self._database is None:
            raise RuntimeError("this transaction is over")
        return self._database


@runtime_checkable
class TransactionalStore(Store, Protocol):
    """A store in which a program may have tables of its own."""

    async def transact(self, work: Callable[[Transaction], T], marks: Sequence[Mark]) -> T:
        """Calls a function in a transaction, and notes messages as handled in the same one.

        A cancellation waits until it is known what came of it.

        Args:
            work: is called, in a thread of the store's; more than once, if the transaction has to
                be done again.
            marks: see `Store.mark`.

        Returns:
            What the function has returned. All is stored then.

        Raises:
            BaseException: what the function has raised, or the storage. Nothing is stored then.
        """


def check_work(work: object) -> None:
    """Raises `TypeError` unless it is a function that a store can call."""
    if not callable(work) or inspect.iscoroutinefunction(work):
        raise TypeError(f"a plain function is called with the transaction, not {work!r}")


def guarded(
    database: sqlite3.Connection, work: Callable[[Transaction], T], tables: frozenset[str]
) -> T:
    """Calls a function with a transaction in which it cannot harm the store.

    Args:
        database: within a transaction.
        work: the function.
        tables: which it may not touch.
    """

    def authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
        # What is read, written, indexed, altered or has a trigger is one of these two.
        named = {name.lower() for name in (first, second) if name}
        # A new name is not told, and a temporary table of the same name comes before another one.
        hides = action == sqlite3.SQLITE_ALTER_TABLE and first == "temp"
        refused = action in _NOT_ALLOWED or hides or bool(named & tables)
        return sqlite3.SQLITE_DENY if refused else sqlite3.SQLITE_OK

    transaction = Transaction(database)
    # Each of these has all statements compiled anew, so none of the store's can be used again.
    database.set_authorizer(authorize)
    try:
        return work(transaction)
    finally:
        transaction.end()
        database.set_authorizer(_allow)  # `None` does that from Python 3.11


def _allow(*_: object) -> int:
    return sqlite3.SQLITE_OK
