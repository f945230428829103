"""Adds connections to the registry and removes them, with log lines and events."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import trio

from restsock._exceptions import RemoteProtocolError
from restsock._logging import PartLog, about
from restsock.connection import AccessControl, forbid
from restsock.protocol import CloseCode

from ._events import ConnectionEvent, EventHub, EventType
from ._registry import Connections

if TYPE_CHECKING:
    from restsock._limit_log import LimitLog
    from restsock._principal import Principal
    from restsock.connection import Closed, Connection

__all__ = ["Registrar", "objection"]

_log = PartLog("restsock.server")

# The burst of log lines when many peers connect or disconnect at once.
_BURST = 20
# Seconds between two checks for revoked credentials.
_INTERVAL = 1.0


class Registrar:
    """Registers the peers of a server under their names, and logs and publishes it.

    Args:
        names: `"replace"`, `"reject"` or `"share"`; see `Server`.
        hub: Publishes the events.
        limit_log: The limit log of the server.

    Attributes:
        connections: The registered connections.
        fold: Maps names that are treated as equal to the same text; see `Server.keep_apart`.

    Raises:
        ValueError: `names` is none of the three.
    """

    def __init__(self, names: str, hub: EventHub, limit_log: LimitLog) -> None:
        self.connections = Connections()
        if names not in ("replace", "reject", "share"):
            raise ValueError(f'names must be "replace", "reject" or "share", not {names!r}')
        self.fold: Callable[[str], str] | None = None
        self._spellings: dict[str, str] = {}  # folded name -> name of a connected peer
        self._names = names
        self._hub = hub
        self._limit_log = limit_log
        self._emptied = trio.lowlevel.ParkingLot()

    def objection(self, name: str | None, principal: Any) -> str | None:
        """Why a newcomer cannot have this name; `None` if it can."""
        if name is None:
            return objection((), principal, self._names)
        if self.fold is not None and self._spellings.get(self.fold(name), name) != name:
            return "the name is taken in another spelling"
        return objection(self.connections.holders(name), principal, self._names)

    def claim(self, name: str | None, principal: Any) -> None:
        """Checks whether a newcomer can have this name.

        Raises:
            RemoteProtocolError: It cannot have the name.
        """
        problem = self.objection(name, principal)
        if problem is not None:
            raise RemoteProtocolError(problem, close_code=CloseCode.NAME_TAKEN, limit="names")

    def add(self, connection: Connection) -> Connection | None:
        """Registers a connection; returns the one whose name it takes over, if any.

        `objection` must have returned `None` for it in the same step.
        """
        older = self.connections.add(connection, share=self._names == "share")
        if self.fold is not None and connection.name is not None:
            self._spellings[self.fold(connection.name)] = connection.name
        away = self.connections.time_away(connection.name, trio.current_time())
        self._limit_log.say(
            "connected" if away is None else "back",
            "connection %s (name %r, principal %r) from %s%s",
            connection.id,
            connection.name,
            _name_of(connection.principal),
            connection.peer,
            "" if away is None else f", back after {away:.1f} s",
            # The end of a failure is logged at the level of the failure.
            level=logging.INFO if away is None else logging.WARNING,
            extra=about(connection),
            burst=_BURST,
        )
        self._publish("ConnectionReceived", connection)
        if older is not None:
            _log.info(
                "connection %s takes over the name of %s",
                connection.id,
                older.id,
                extra=about(connection),
            )
        return older

    def remove(self, connection: Connection, closed: Closed) -> None:
        """Removes a connection that has ended."""
        self.connections.remove(connection)
        name = connection.name
        if self.fold is not None and name is not None and not self.connections.holders(name):
            self._spellings.pop(self.fold(name), None)
        if not closed.clean:
            self.connections.note_failure(connection.name, trio.current_time())
        self._limit_log.say(
            "ended" if closed.clean else "failed",
            "connection %s (name %r) has ended %s: %s (%d)",
            connection.id,
            connection.name,
            "cleanly" if closed.clean else "in failure",
            closed.reason or "no reason given",
            closed.code,
            level=logging.INFO if closed.clean else logging.WARNING,
            extra=about(connection),
            burst=_BURST,
        )
        kind: EventType = "ConnectionClosed" if closed.clean else "ConnectionFailure"
        self._publish(kind, connection, reason=closed.reason, code=closed.code)
        if not len(self.connections):
            self._emptied.unpark_all()

    async def wait_empty(self) -> None:
        """Waits until there is no connection."""
        while len(self.connections):
            await self._emptied.park()

    def revoke(self, principal: str) -> int:
        """Closes the connections of the principal of this name; returns how many."""
        return self._forbid(lambda found: found.name == principal)

    async def revoke_forever(self, access_control: AccessControl) -> None:
        """Closes connections whose credentials the authenticator reports as revoked."""
        while access_control.refresh():
            self._forbid(lambda found: not access_control.still_accepts(found))
            await trio.sleep(_INTERVAL)

    def _forbid(self, wrong: Callable[[Principal], bool]) -> int:
        found = [c for c in self.connections if c.principal is not None and wrong(c.principal)]
        for connection in found:
            forbid(connection)
        return len(found)

    def _publish(
        self, kind: EventType, connection: Connection, *, reason: str = "", code: int | None = None
    ) -> None:
        self._hub.publish(
            ConnectionEvent(
                type=kind,
                connection_id=connection.id,
                name=connection.name,
                metadata=connection.metadata,
                principal=_name_of(connection.principal),
                reason=reason,
                code=code,
            )
        )


def _name_of(principal: Principal | None) -> str | None:
    return None if principal is None else principal.name


def objection(holders: Iterable[Connection], principal: Any, names: str) -> str | None:
    """Why a newcomer cannot have a name, as text for the newcomer; or `None`.

    Args:
        holders: All connections with this name that have not ended. A connection that is ending
            makes room only for its own principal, which may be reconnecting: requests to the name
            are meant for it.
        principal: The newcomer's principal.
        names: The policy.
    """
    who = _name_of(principal)
    if any(_name_of(holder.principal) != who for holder in holders):
        return "the name is taken by another principal"
    if names == "reject" and any(holder.takes_requests for holder in holders):
        return "the name is taken"
    return None
