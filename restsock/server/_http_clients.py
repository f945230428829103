"""The connections of a server's plain HTTP clients."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import trio

from restsock._options import Heartbeat
from restsock.auth import Refused
from restsock.connection import Closed, Connection, Peer
from restsock.endpoint import EndpointCounters
from restsock.http_server import NEXT_REQUEST, HTTPConnection, HTTPInstruments
from restsock.protocol import CloseCode

from ._connection_limiter import RETRY_AFTER
from ._connection_tasks import ConnectionTasks

if TYPE_CHECKING:
    from restsock._options import Options
    from restsock.endpoint import Endpoint

    from ._front_door import FrontDoor
    from ._peer_endpoint import PeerEndpoint

__all__ = ["HTTPClients"]

_DROPPED = Closed(False, CloseCode.TRY_AGAIN_LATER, "others need the room", by_peer=False)

# Seconds to wait for the first request of a client that was accepted from a socket which another
# process takes over. By then it has arrived, or will not arrive soon.
_PATIENCE = 1.0


class HTTPClients:
    """Holds the connections, in a nursery of the server.

    Above `Limits.max_http_clients` the connection that has been idle longest is closed. If none is
    idle, the new one is refused.

    Args:
        endpoint: The endpoint of the server.
        front_door: Answers their requests; without one there are no such clients.
        serves_late: Whether the first request of a client that connects while the server is closing
            is served; otherwise it is answered with 503.

    Attributes:
        tasks: The tasks of the connections.
        counters: The counters of all connections together.
    """

    def __init__(
        self, endpoint: Endpoint, front_door: FrontDoor | None, *, serves_late: bool = False
    ) -> None:
        self._endpoint = endpoint
        self._serves_late = serves_late
        self._front_door = front_door
        self.use(endpoint.options)
        # In the order of their last use, with a precision of a few seconds.
        self._connections: dict[Connection, None] = {}
        told = None if endpoint.instrument is None else HTTPInstruments([endpoint.instrument])
        self.counters = EndpointCounters("listener", told)
        self._emptied = trio.lowlevel.ParkingLot()
        self.tasks = ConnectionTasks(self._remove)
        # One bound method each, shared by all connections.
        self._need, self._on_active = self.tasks.need, self._note_active
        self._clock: Callable[[], float] | None = None

    def use(self, options: Options) -> None:
        """Uses these options for new connections."""
        # The heartbeat, and the idle time and lifetime of a connection, are for peers only.
        self._options = replace(
            options,
            heartbeat=Heartbeat(interval=None),
            timeouts=replace(options.timeouts, connection_idle=None, lifetime=None),
        )

    def start(self, nursery: trio.Nursery) -> None:
        """Sets the nursery in which the tasks of the connections run. On the loop."""
        self._clock = trio.lowlevel.current_clock().current_time
        self.tasks.start(nursery)

    @property
    def wanted(self) -> bool:
        """Whether there can be any such clients."""
        return self._front_door is not None

    @property
    def alone(self) -> bool:
        """Whether all new connections are such clients."""
        return self._front_door is not None and not self._front_door.peers

    def peer_endpoint(self, received: bytes) -> PeerEndpoint | None:
        """See `FrontDoor.peer_endpoint`."""
        return None if self._front_door is None else self._front_door.peer_endpoint(received)

    def __len__(self) -> int:
        return len(self._connections)

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._connections))

    def add(self, stream: trio.abc.Stream, received: bytes, peer: Peer) -> Refused | None:
        """Takes over a connection with the bytes received so far, or returns the refusal."""
        if len(self._connections) >= self._endpoint.options.limits.max_http_clients:
            self._endpoint.limit_log.note(
                "max_http_clients", "too many clients of plain HTTP: %d", len(self._connections)
            )
            if not self._make_room():
                text = "There are too many clients, and none of them is idle."
                return Refused(503, text, headers={"Retry-After": RETRY_AFTER})
        assert self._clock is not None
        connection = HTTPConnection(
            stream,
            received,
            peer=peer,
            options=self._options,
            clock=self._clock,
            limit_log=self._endpoint.limit_log,
            buffered=self._endpoint.buffered,
            on_active=self._on_active,
        )
        self._connections[connection] = None
        ending = self._endpoint.life.ending
        if ending and not self._serves_late:
            connection.multiplexer.send_goaway(CloseCode.GOING_AWAY)
        self.counters.begin(connection)
        connection.begin(self._front_door, self._need)
        if ending:
            connection.drain_soon()
        return None

    def _make_room(self) -> bool:
        """Drops the connection that has been idle longest; returns whether there was one.

        A connection whose last response is still being sent is not idle: it would be cut off.
        """
        for connection in self._connections:
            if not (connection.multiplexer.open_streams or connection.writer.has_unsent):
                # Counted as gone at once: otherwise it would make room for several new ones.
                self._remove(connection)
                connection.lifecycle.abort(_DROPPED)
                return True
        return False

    def _note_active(self, connection: Connection) -> None:
        if connection in self._connections:
            del self._connections[connection]
            self._connections[connection] = None

    def _remove(self, connection: Connection) -> None:
        if connection in self._connections:
            del self._connections[connection]
            self.counters.end(connection)
        if not self._connections:
            self._emptied.unpark_all()

    async def wait_empty(self) -> None:
        """Waits until there is no connection."""
        while self._connections:
            await self._emptied.park()

    async def drain(
        self,
        grace: float,
        code: int,
        reason: str,
        wait_newcomers: Callable[[], Awaitable[object]] | None,
    ) -> None:
        """Answers the requests in flight, and closes the WebSockets of the clients.

        Args:
            grace: Seconds that this may take; closing the WebSockets may take `Timeouts.close`
                more.
            code: The close code for the WebSockets.
            reason: The close reason for the WebSockets.
            wait_newcomers: Waits for accepted clients that may still send a request.
        """
        if self._front_door is None:
            return
        self._front_door.drain_soon(grace, code, reason)
        with trio.move_on_after(grace):
            self._drain_idle()
            if wait_newcomers is not None:
                with trio.move_on_after(_PATIENCE):
                    await wait_newcomers()
                self._drain_idle()
            # A busy client sends one more request; the response tells it to connect again.
            with trio.move_on_after(NEXT_REQUEST):
                await self.wait_empty()
            for client in self:
                client.drain_soon()
            await self.wait_empty()
        with trio.move_on_after(self._endpoint.options.timeouts.close):
            await self._front_door.wait_drained()

    def _drain_idle(self) -> None:
        """Closes idle connections; on the others, the next response is the last.

        Closing a connection in use would lose a request that is already in transit.
        """
        for client in self:
            assert isinstance(client, HTTPConnection)
            client.serve_last()
            if client.idle_time >= NEXT_REQUEST:
                client.drain_soon()
