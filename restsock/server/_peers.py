"""The connections of peers that a server has."""

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
    """Has connections begin once their handshake is done, and keeps them while they last.

    Args:
        endpoint: The server's.
        registrar: Knows who is connected.
        limiter: Has a slot for each, from its handshake on.
    """

    def __init__(
        self, endpoint: Endpoint, registrar: Registrar, limiter: ConnectionLimiter
    ) -> None:
        self._endpoint = endpoint
        self._registrar = registrar
        self._limiter = limiter
        self._nursery: trio.Nursery | None = None
        self._tasks = ConnectionTasks(self._strike_out)
        self._need = self._tasks.need  # one object for all connections

    def start(self, nursery: trio.Nursery) -> None:
        """Where their tasks run."""
        self._nursery = nursery
        self._tasks.start(nursery)

    def drop_all(self) -> None:
        """Ends those that have no task, since the server is cancelled."""
        self._tasks.drop_all(self._registrar.connections)

    def add(self, connection: Connection) -> None:
        """Enters one under its name, and has it begin."""
        endpoint = self._endpoint
        endpoint.counters.begin(connection)
        # Once more, in one step with its entry: another one may have been quicker meanwhile.
        problem = self._registrar.objection(connection.name, connection.principal)
        if problem is None:
            self._register(connection)
        else:
            endpoint.limit_log.note(
                "names", "connection %s: %s", connection.id, problem, extra=about(connection)
            )
            connection.heartbeat.calls = None  # nobody is told of one that is turned away
            connection.close_soon(CloseCode.NAME_TAKEN, problem)
        connection.begin(endpoint.handler, self._need)

    def _register(self, connection: Connection) -> None:
        older = self._registrar.add(connection)
        self._endpoint.attach(connection)
        assert self._nursery is not None
        if older is not None:
            # One that has been announced to close carries what its peer still has in flight.
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
        if connection in self._registrar.connections:  # else there was an objection
            self._registrar.remove(connection, connection.closed)
