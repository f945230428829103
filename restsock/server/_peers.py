"""The connections of a server's peers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from restsock._logging import about
from restsock.protocol import CloseCode

from ._connection_tasks import ConnectionTasks

if TYPE_CHECKING:
    import trio

    from restsock.connection import Connection
    from restsock.endpoint import Endpoint

    from ._connection_limiter import ConnectionLimiter
    from ._registrar import Registrar

__all__ = ["Peers"]


class Peers:
    """Starts connections once their handshake is complete, and holds them.

    Args:
        endpoint: The endpoint of the server.
        registrar: Registers the connections.
        limiter: Has a slot for each connection, acquired in its handshake.
    """

    def __init__(
        self, endpoint: Endpoint, registrar: Registrar, limiter: ConnectionLimiter
    ) -> None:
        self._endpoint = endpoint
        self._registrar = registrar
        self._limiter = limiter
        self._nursery: trio.Nursery | None = None
        self._tasks = ConnectionTasks(self._strike_out)
        self._need = self._tasks.need  # one bound method for all connections

    def start(self, nursery: trio.Nursery) -> None:
        """Sets the nursery in which their tasks run."""
        self._nursery = nursery
        self._tasks.start(nursery)

    def drop_all(self) -> None:
        """Ends the connections without a task, because the server is cancelled."""
        self._tasks.drop_all(self._registrar.connections)

    def add(self, connection: Connection) -> None:
        """Registers a connection under its name, and starts it."""
        endpoint = self._endpoint
        endpoint.counters.begin(connection)
        # Checked again in the same step as the registration: another may have been faster.
        problem = self._registrar.objection(connection.name, connection.principal)
        if problem is None:
            self._register(connection)
        else:
            endpoint.limit_log.note(
                "names", "connection %s: %s", connection.id, problem, extra=about(connection)
            )
            connection.heartbeat.calls = None  # the program is not told of a refused connection
            connection.close_soon(CloseCode.NAME_TAKEN, problem)
        connection.begin(endpoint.handler, self._need)

    def _register(self, connection: Connection) -> None:
        older = self._registrar.add(connection)
        self._endpoint.attach(connection)
        assert self._nursery is not None
        if older is not None:
            # A connection whose close was announced still has requests of its peer in flight.
            grace = None if older.leaving else 0
            why = "a newer connection has this name"
            self._nursery.start_soon(older.drain, grace, CloseCode.REPLACED, why)
        if self._endpoint.life.ending:
            connection.close_soon(CloseCode.GOING_AWAY)
        elif connection.name is not None:
            self._endpoint.pending.offer_all(connection.name, connection)

    def _strike_out(self, connection: Connection) -> None:
        """Notes that a connection has ended."""
        assert connection.closed is not None
        self._limiter.release(connection.peer.host)
        self._endpoint.end(connection)
        if connection in self._registrar.connections:  # otherwise it was refused
            self._registrar.remove(connection, connection.closed)
