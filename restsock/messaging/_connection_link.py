"""A connection of restsock as a link: its messages take turns with the HTTP on it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from restsock.connection import MessageLane

if TYPE_CHECKING:
    from restsock._principal import Principal
    from restsock.connection import Connection
    from restsock.protocol import Envelope

    from ._session import Session
    from .engine import Link, Outgoing

__all__ = ["ConnectionLink"]


class Attaches(Protocol):
    """A `Messaging`, as its links know it."""

    def attach(self, link: Link) -> Session: ...

    def unavailable(self, name: str | None, *, dialed: bool, connected: bool = ...) -> None: ...


class ConnectionLink:
    """See `Link`; and `MessageReceiver`, of the connection.

    Args:
        messaging: Learns of it, or that the peer takes no messages.
        connection: It has not begun.
    """

    foreign = False

    def __init__(self, messaging: Attaches, connection: Connection) -> None:
        self._messaging = messaging
        self._connection = connection
        self._session: Session | None = None
        self._lane = MessageLane(connection, self)
        self.id = connection.id
        self.dialed = connection.multiplexer.dialer
        # To the dialer its listener has no name: at both ends a connection has that of the dialer.
        self.name: str | None = None if self.dialed else connection.name
        self.metadata: Mapping[str, Any] = _described(connection)
        self.connected_at = time.time()
        peer = self._lane.peer
        self.max_message = 0 if peer is None else peer.max_message
        self.credit: tuple[int, int] | None = None
        if peer is None:
            messaging.unavailable(self.name, dialed=self.dialed)
        else:
            self.credit = peer.credit_messages, peer.credit_bytes
            self._session = messaging.attach(self)

    @property
    def principal(self) -> Principal | None:
        """Whom authentication has found the peer to be."""
        return self._connection.principal

    @property
    def room(self) -> int:
        """See `Link`."""
        return self._lane.room

    def send(self, outgoing: Outgoing) -> bool:
        """See `Link`."""
        if not outgoing.urgent and not self._lane.room:
            return False
        return self._lane.send(outgoing.text, outgoing.size, first=outgoing.urgent)

    def close_soon(self, code: int, reason: str) -> None:
        """See `Link`."""
        self._connection.close_soon(code, reason)

    # --- what comes ---------------------------------------------------------------------------

    def receive(self, envelope: Envelope, size: int) -> None:
        """See `MessageReceiver`."""
        if self._session is not None:
            self._session.receive(envelope, size)

    def resume(self) -> None:
        """See `MessageReceiver`."""
        if self._session is not None:
            self._session.writable()

    def end(self) -> None:
        """The connection has ended."""
        session, self._session = self._session, None
        if session is not None:
            session.detach(str(self._connection.closed))
        else:
            self._messaging.unavailable(self.name, dialed=self.dialed, connected=False)


def _described(connection: Connection) -> dict[str, Any]:
    """What the peer says of itself, and where it is, which it does not say."""
    told = connection.metadata if isinstance(connection.metadata, Mapping) else {}
    peer = connection.peer
    return {**told, "tls": peer.tls, "peer": {"host": peer.host, "port": peer.port}}
