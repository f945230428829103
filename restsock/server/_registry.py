"""Which peers are connected now, found by id, name or metadata."""

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

# Names of peers that were here once, kept to tell "gone" from "never seen". Peers choose their
# names, so there has to be an end to it.
_MAX_SEEN = 10_000


class Connections:
    """The connections of a server whose handshake is complete. Nothing is left of one that ended.

    Iteration goes over a snapshot, oldest first, so that connections may come and go meanwhile.
    Looking something up is safe from any thread, and never raises for a value that is not there.
    """

    def __init__(self) -> None:
        self._by_id: dict[str, Connection] = {}
        # Both oldest first, and never changed in place: those that requests to a name go to, and
        # all that dialed in under it, those that were replaced and have not ended yet included.
        self._by_name: dict[str, tuple[Connection, ...]] = {}
        self._holders: dict[str, tuple[Connection, ...]] = {}
        # With the time of a failure after which no peer of the name has come back.
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

        Several there are only with `names="share"`.
        """
        return list(self._by_name.get(name, ())) if isinstance(name, str) else []

    def holders(self, name: str) -> tuple[Connection, ...]:
        """All connections of this name that are there, those that were replaced, too."""
        return self._holders.get(name, ())

    def pick(self, name: str) -> Connection | None:
        """The connection that a request to this name should go to, or `None`. Changes nothing.

        Of several, it is one that takes requests and, if there is one, has not refused any within
        the last second and has a stream free; of those, the one with the fewest requests under way,
        and of equals the one that has been given none for the longest time. When none takes
        requests, it is the newest.
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

        Compared as JSON values: the order of an object's members does not matter, `1` is `1.0` and
        is not `true`. What is not JSON equals no metadata.
        """
        wanted = _canonical(metadata)
        if wanted is None:
            return []
        # list(): one step for the interpreter, so a thread may call this.
        return [
            self._by_id[id]
            for id, found in list(self._metadata.items())
            if found == wanted and id in self._by_id
        ]

    def was_seen(self, name: str) -> bool:
        """Whether a peer of this name is or was connected (of the last 10,000 names)."""
        return name in self._by_name or name in self._seen

    def absence(self, name: str, waited: float) -> RestsockError:
        """What a request fails with that has waited for this peer, for so many seconds."""
        seen = self.was_seen(name)
        before = "it was, and has gone" if seen else "never was"
        text = f"peer {name!r} is not connected ({before}); waited {round(waited, 1):g} s"
        return PeerUnavailable(text) if seen else PeerNotFound(text)

    def note_failure(self, name: str | None, now: float) -> None:
        """Notes when a connection of this name has failed, for `time_away`."""
        if name is not None and name in self._seen:
            self._seen[name] = now

    def time_away(self, name: str | None, now: float) -> float | None:
        """Seconds since a connection of this name has failed; tells it once for each failure."""
        since = None if name is None else self._seen.get(name)
        if name is None or since is None:
            return None
        self._seen[name] = None
        return now - since

    def add(self, connection: Connection, *, share: bool = False) -> Connection | None:
        """Enters a connection; returns the one whose name it takes over, if any.

        The older one stays listed under its id until it is removed.

        Args:
            connection: Its handshake is complete.
            share: Whether it shares its name with those that have it, and takes over nothing.
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
        """Strikes out a connection; does nothing when it is not listed."""
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


# One object for the many peers that have none.
_NO_METADATA = hashlib.sha256(b"null").digest()


def _canonical(value: Any) -> bytes | None:
    """One digest for all that is the same JSON value; `None` for what is none.

    The text itself may be several times as long as what the peer has sent.
    """
    if value is None:
        return _NO_METADATA
    try:
        text = json.dumps(
            _plain_numbers(value), sort_keys=True, allow_nan=False, separators=(",", ":")
        )
        return hashlib.sha256(text.encode("ascii")).digest()
    # RecursionError: a hostile peer may nest its metadata as deep as its own parser allows.
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
