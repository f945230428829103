"""The tasks of a server's connections. Most of the time, a connection has none."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import trio

from restsock._logging import PartLog, about
from restsock.connection import Connection

__all__ = ["ConnectionTasks"]

_log = PartLog("restsock.server")


class ConnectionTasks:
    """Runs the tasks of connections, and reports the end of each connection.

    Args:
        on_end: Called once for each connection that was begun here.
    """

    def __init__(self, on_end: Callable[[Connection], object]) -> None:
        self._on_end = on_end
        self._nursery: trio.Nursery | None = None
        self._cancelled = False

    def start(self, nursery: trio.Nursery) -> None:
        """Sets the nursery in which the tasks run."""
        self._nursery = nursery

    def need(self, connection: Connection) -> None:
        """Starts the task of a connection that was idle; see `Connection.begin`."""
        assert self._nursery is not None
        self._nursery.start_soon(self._run, connection)

    async def _run(self, connection: Connection) -> None:
        """Runs a connection. Raises nothing, so that the others continue."""
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
        """Ends the connections without a task, because the server is cancelled."""
        self._cancelled = True
        for connection in list(connections):
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        connection.drop()
        if connection.closed is not None:
            self._on_end(connection)
