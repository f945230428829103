"""The connected peers, by id, name or metadata."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from restsock._exceptions import PeerNotFound, PeerUnavailable, RestsockError

if TYPE_CHECKING:
    from restsock.connection import Connection

__all__ = ["Connections"]

# How many names of former peers are kept, to tell "gone" from "never seen". Peers choose their
# names, so there must be a limit.
_MAX_SEEN = 10_000


class Connections:
    """The connections of a server whose handshake is complete; ended connections are removed.

    Iteration goes over a snapshot, oldest first, so the connections may change meanwhile. Lookups
    are safe from any thread. A lookup that finds nothing does not raise.
    """

    def __init__(self) -> None:
        self._by_id: dict[str, Connection] = {}
        # Both oldest first, and never changed in place: the connections that requests to a name go
        # to, and all with that name, including replaced ones that have not ended yet.
        self._by_name: dict[str, tuple[Connection, ...]] = {}
        self._holders: dict[str, tuple[Connection, ...]] = {}
        # Name -> time of a failure after which no peer of that name has come back.
        self._seen: OrderedDict[str, float | None] = OrderedDict()
        self._metadata: dict[str, bytes | None] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._by_id.values()))

    def __contains__(self, connection: object) -> bool:
        id = getattr(connection, "id", None)
        return isinstance(id, str) and self._by_id.get(id) is connection

    def __repr__(self) -> str:
        return f"<Connections: {len(self)}>"

    def by_id(self, id: object) -> Connection | None:
        """The connection with this id, or `None`."""
        return self._by_id.get(id) if isinstance(id, str) else None

    def by_name(self, name: object) -> Connection | None:
        """The connection of the peer of this name, or `None`. Of several, the newest."""
        found = self._by_name.get(name) if isinstance(name, str) else None
        return None if found is None else found[-1]

    def all_by_name(self, name: object) -> list[Connection]:
        """All connections that requests to this name may go to, oldest first.

        Without `names="share"` there is at most one.
        """
        return list(self._by_name.get(name, ())) if isinstance(name, str) else []

    def holders(self, name: str) -> tuple[Connection, ...]:
        """All connections of this name, including replaced ones that have not ended yet."""
        return self._holders.get(name, ())

    def pick(self, name: str) -> Connection | None:
        """The connection that a request to this name should go to, or `None`. Changes nothing.

        Of several, it is one that accepts requests. It prefers connections that have not refused a
        request within the last second and have a free stream; then those with the fewest requests
        in flight; then the one that was used least recently. If none accepts requests, it is the
        newest.
        """
        found = self._by_name.get(name)
        if found is None:
            return None
        if len(found) == 1:
            return found[0]
        open_ones = [c for c in found if c.takes_requests]
        return min(open_ones, key=_reluctance) if open_ones else found[-1]

    def by_metadata(self, metadata: Any) -> list[Connection]:
        """All connections with exactly this metadata, oldest first.

        Compared as JSON values: the order of an object's members does not matter, and `1` equals
        `1.0` but not `true`. A value that is not JSON equals no metadata.
        """
        wanted = _canonical(metadata)
        if wanted is None:
            return []
        # list() is one atomic step of the interpreter, so any thread may call this.
        return [
            self._by_id[id]
            for id, found in list(self._metadata.items())
            if found == wanted and id in self._by_id
        ]

    def was_seen(self, name: str) -> bool:
        """Whether a peer of this name is or was connected (among the last 10,000 names)."""
        return name in self._by_name or name in self._seen

    def absence(self, name: str, waited: float) -> RestsockError:
        """The error for a request that has waited this many seconds for this peer."""
        seen = self.was_seen(name)
        before = "it was, and has gone" if seen else "never was"
        text = f"peer {name!r} is not connected ({before}); waited {round(waited, 1):g} s"
        return PeerUnavailable(text) if seen else PeerNotFound(text)

    def note_failure(self, name: str | None, now: float) -> None:
        """Records when a connection of this name failed, for `time_away`."""
        if name is not None and name in self._seen:
            self._seen[name] = now

    def time_away(self, name: str | None, now: float) -> float | None:
        """Seconds since a connection of this name failed; returned once for each failure."""
        since = None if name is None else self._seen.get(name)
        if name is None or since is None:
            return None
        self._seen[name] = None
        return now - since

    def add(self, connection: Connection, *, share: bool = False) -> Connection | None:
        """Adds a connection; returns the one whose name it takes over, if any.

        The older one stays listed under its id until it is removed.

        Args:
            connection: A connection whose handshake is complete.
            share: Whether it shares its name with the others, and replaces none.
        """
        self._by_id[connection.id] = connection
        self._metadata[connection.id] = _canonical(connection.metadata)
        name = connection.name
        if name is None:
            return None
        older = self._by_name.get(name, ())
        self._by_name[name] = (*older, connection) if share else (connection,)
        self._holders[name] = (*self.holders(name), connection)
        self._seen.setdefault(name, None)
        self._seen.move_to_end(name)
        if len(self._seen) > _MAX_SEEN:
            self._seen.popitem(last=False)
        return older[-1] if older and not share else None

    def remove(self, connection: Connection) -> None:
        """Removes a connection; does nothing if it is not listed."""
        self._metadata.pop(connection.id, None)
        self._by_id.pop(connection.id, None)
        if connection.name is not None:
            for named in (self._by_name, self._holders):
                left = tuple(c for c in named.get(connection.name, ()) if c is not connection)
                if left:
                    named[connection.name] = left
                else:
                    named.pop(connection.name, None)


def _reluctance(connection: Connection) -> tuple[bool, bool, int, int]:
    return (
        connection.refused_lately,
        not connection.multiplexer.can_open,
        connection.outstanding,
        connection.turn,
    )


# One object for the many peers without metadata.
_NO_METADATA = hashlib.sha256(b"null").digest()


def _canonical(value: Any) -> bytes | None:
    """A digest that is the same for equal JSON values; `None` for a value that is not JSON.

    The text itself may be several times as long as what the peer has sent.
    """
    if value is None:
        return _NO_METADATA
    try:
        text = json.dumps(
            _plain_numbers(value), sort_keys=True, allow_nan=False, separators=(",", ":")
        )
        return hashlib.sha256(text.encode("ascii")).digest()
    # RecursionError: a hostile peer may send deeply nested metadata.
    except (TypeError, ValueError, RecursionError):
        return None


def _plain_numbers(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _plain_numbers(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain_numbers(item) for item in value]
    return value
