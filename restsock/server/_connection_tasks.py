"""The tasks of the connections of a server: most of the time, a connection has none."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import trio

from restsock._logging import PartLog, about
from restsock.connection import Connection

__all__ = ["ConnectionTasks"]

_log = PartLog("restsock.server")


class ConnectionTasks:
    """Runs what connections need tasks for, and tells when one has ended.

    Args:
        on_end: Is called once for each connection that was begun here.
    """

    def __init__(self, on_end: Callable[[Connection], object]) -> None:
        self._on_end = on_end
        self._nursery: trio.Nursery | None = None
        self._cancelled = False

    def start(self, nursery: trio.Nursery) -> None:
        """Where the tasks run."""
        self._nursery = nursery

    def need(self, connection: Connection) -> None:
        """A connection that was idle has a task; see `Connection.begin`."""
        assert self._nursery is not None
        self._nursery.start_soon(self._run, connection)

    async def _run(self, connection: Connection) -> None:
        """Raises nothing: the others go on."""
        try:
            await connection.run_tasks()
        except Exception:  # noqa: BLE001  # a bug of ours must not end the server
            _log.exception(
                "connection %s has failed in an unforeseen way",
                connection.id,
                extra=about(connection),
            )
        finally:
            if connection.closed is not None:
                self._on_end(connection)
            elif self._cancelled:
                self._drop(connection)

    def drop_all(self, connections: Iterable[Connection]) -> None:
        """Ends those that have no task, since the server is cancelled."""
        self._cancelled = True
        for connection in list(connections):
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        connection.drop()
        if connection.closed is not None:
            self._on_end(connection)
