"""One connection, seen from threads; and the connections of a server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from restsock.protocol import CloseCode

from ._requests import BlockingRequester

if TYPE_CHECKING:
    from restsock._principal import Principal
    from restsock.connection import Closed, Health, Peer, Statistics
    from restsock.connection import Connection as AsyncConnection
    from restsock.server import Connections as AsyncConnections
    from restsock.threads import Portal

__all__ = ["Connection", "Connections"]


class Connection(BlockingRequester):
    """A connection: what is known of the peer, and requests to it.

    Its requests go over this very connection and fail when it has ended; those of a `Client` or a
    `Route` go over the next one, too. Two of these are equal when they mean the same connection.
    """

    def __init__(self, portal: Portal, connection: AsyncConnection) -> None:
        super().__init__(portal, connection)
        self._connection = connection

    @property
    def id(self) -> str:
        """The same at both ends."""
        return self._connection.id

    @property
    def name(self) -> str | None:
        """What the dialer calls itself, at both ends."""
        return self._connection.name

    @property
    def metadata(self) -> Any:
        """The dialer's metadata, at both ends: any JSON value."""
        return self._connection.metadata

    @property
    def peer(self) -> Peer:
        """Where the other end is: host, port, TLS or not."""
        return self._connection.peer

    @property
    def principal(self) -> Principal | None:
        """Whom authentication has found the peer to be; None without authentication."""
        return self._connection.principal

    @property
    def round_trip(self) -> float | None:
        """Seconds, from the latest pong; None before the first."""
        return self._connection.round_trip

    @property
    def closed(self) -> Closed | None:
        """How it ended; None while it lives."""
        return self._connection.closed

    def statistics(self) -> Statistics:
        """Its counters now.

        Raises:
            ConnectionClosed: The client or server that it belonged to was closed.
        """
        return self._portal.call(self._connection.statistics)

    def health(self) -> Health:
        """Whether requests have a fair chance on it now, and if not, why."""
        return self._connection.health()

    def wait_closed(self, timeout: float | None = None) -> Closed | None:
        """Wait for its end.

        Args:
            timeout: Seconds; None waits as long as it takes.

        Returns:
            How it ended, or None when it did not in time.
        """
        if self.closed is not None:
            return self.closed
        return self._portal.wait(timeout, self._connection.wait_closed)

    def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Close it, and wait until it is closed. Twice is harmless.

        Args:
            code: 1000 ends the peer's client for good, 1001 lets it dial again.
            reason: For people, at most 123 bytes of UTF-8.
        """
        if self.closed is None:
            self._portal.run(self._connection.aclose, code, reason)

    def drain(
        self, grace: float | None = None, code: int = CloseCode.GOING_AWAY, reason: str = ""
    ) -> Closed:
        """Close it after what is in flight, and wait until it is closed.

        Args:
            grace: Seconds that this may take; None is `Timeouts.grace`.
            code: 1000 ends the peer's client for good, 1001 lets it dial again.
            reason: For people, at most 123 bytes of UTF-8.

        Returns:
            How it ended.
        """
        if self.closed is not None:
            return self.closed
        return self._portal.run(self._connection.drain, grace, code, reason)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Connection) and other._connection is self._connection

    def __hash__(self) -> int:
        return hash(self._connection)

    def __repr__(self) -> str:
        return repr(self._connection)


class Connections:
    """The connections of a server whose handshake is complete, for threads.

    Iteration goes over a snapshot, oldest first. Looking up what is not there never raises.
    """

    def __init__(self, portal: Portal, registry: AsyncConnections) -> None:
        self._portal = portal
        self._registry = registry

    def __len__(self) -> int:
        return len(self._registry)

    def __iter__(self) -> Iterator[Connection]:
        return iter([Connection(self._portal, found) for found in self._registry])

    def __contains__(self, connection: object) -> bool:
        return isinstance(connection, Connection) and connection._connection in self._registry

    def by_id(self, id: str) -> Connection | None:
        """The connection with this id, or None."""
        return self._found(self._registry.by_id(id))

    def by_name(self, name: str) -> Connection | None:
        """The connection of the peer of this name, or None. Of several, the newest."""
        return self._found(self._registry.by_name(name))

    def all_by_name(self, name: str) -> list[Connection]:
        """All connections that requests to this name may go to, oldest first.

        Several there are only with `names="share"`.
        """
        return [Connection(self._portal, found) for found in self._registry.all_by_name(name)]

    def by_metadata(self, metadata: Any) -> list[Connection]:
        """All connections with exactly this metadata, compared as JSON values, oldest first."""
        return [Connection(self._portal, found) for found in self._registry.by_metadata(metadata)]

    def _found(self, connection: AsyncConnection | None) -> Connection | None:
        return None if connection is None else Connection(self._portal, connection)

    def __repr__(self) -> str:
        return repr(self._registry)
