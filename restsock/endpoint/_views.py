"""A connection, as the APIs for threads and asyncio show it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from restsock._principal import Principal
    from restsock.connection import Closed, Connection, Health, Peer

__all__ = ["ConnectionView"]


class ConnectionView:
    """What is known of a connection. Two are equal if they stand for the same connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def id(self) -> str:
        """The id of the connection, the same at both ends."""
        return self._connection.id

    @property
    def name(self) -> str | None:
        """The dialer's name, at both ends; `None` without one."""
        return self._connection.name

    @property
    def metadata(self) -> Any:
        """The dialer's metadata, at both ends: any JSON value."""
        return self._connection.metadata

    @property
    def urls(self) -> tuple[str, ...]:
        """The URLs at which plain HTTP reaches the dialer, in order of preference.

        The same at both ends. Empty if the listener has sent none.
        """
        return self._connection.urls

    @property
    def peer(self) -> Peer:
        """The address of the other end: host, port, and whether TLS is used."""
        return self._connection.peer

    @property
    def principal(self) -> Principal | None:
        """Who the peer is and what it may do; `None` without authentication."""
        return self._connection.principal

    @property
    def round_trip(self) -> float | None:
        """The round-trip time in seconds, from the latest pong; `None` before the first."""
        return self._connection.round_trip

    @property
    def closed(self) -> Closed | None:
        """How the connection ended; `None` while it is open."""
        return self._connection.closed

    def health(self) -> Health:
        """Whether the connection can serve requests now, and if not, why."""
        return self._connection.health()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and other._connection is self._connection

    def __hash__(self) -> int:
        return hash(self._connection)

    def __repr__(self) -> str:
        return repr(self._connection)
