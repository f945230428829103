"""A connection, as the APIs beside that for trio show it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from restsock._principal import Principal
    from restsock.connection import Closed, Connection, Health, Peer

__all__ = ["ConnectionView"]


class ConnectionView:
    """What is known of a connection. Two of these are equal when they mean the same one."""

    def __init__(self, connection: Connection) -> None:
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
    def urls(self) -> tuple[str, ...]:
        """Where plain HTTP reaches the dialer, the best first; empty if the listener tells none.

        The same at both ends.
        """
        return self._connection.urls

    @property
    def peer(self) -> Peer:
        """Where the other end is: host, port, TLS or not."""
        return self._connection.peer

    @property
    def principal(self) -> Principal | None:
        """Who the peer is and what it may do; `None` without authentication."""
        return self._connection.principal

    @property
    def round_trip(self) -> float | None:
        """Seconds, from the latest pong; `None` before the first."""
        return self._connection.round_trip

    @property
    def closed(self) -> Closed | None:
        """How it ended; `None` while it lives."""
        return self._connection.closed

    def health(self) -> Health:
        """Whether requests have a fair chance on it now, and if not, why."""
        return self._connection.health()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and other._connection is self._connection

    def __hash__(self) -> int:
        return hash(self._connection)

    def __repr__(self) -> str:
        return repr(self._connection)
