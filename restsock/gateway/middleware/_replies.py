"""The replies that a cache has: as many as fit, and for as long as they are good."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from restsock.gateway._message import Reply

__all__ = ["Replies", "size_of"]


class _Entry(NamedTuple):
    reply: Reply
    stored: float
    nbytes: int


class Replies:
    """Replies by their keys. When they are too many, those that nobody has asked for are dropped.

    Args:
        max_entries: Replies.
        max_bytes: Bytes that they and their keys take.
        ttl: Seconds for which one is good.
        stale: Seconds after that for which it is better than none.
    """

    def __init__(self, max_entries: int, max_bytes: int, ttl: float, stale: float) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._ttl = ttl
        self._stale = stale
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self.nbytes = 0

    def __len__(self) -> int:
        """How many there are."""
        return len(self._entries)

    def get(self, key: Hashable, now: float, *, stale: bool = False) -> Reply | None:
        """A reply that is good; `None` if there is none.

        Args:
            key: Of the message.
            now: Seconds of a clock that only moves forward.
            stale: Whether one is good enough that is not good any more.
        """
        entry = self._entries.get(key)
        if entry is None:
            return None
        age = now - entry.stored
        if age >= self._ttl + self._stale:
            self._drop(key)
            return None
        if age >= self._ttl and not stale:
            return None
        self._entries.move_to_end(key)
        return entry.reply

    def put(self, key: Hashable, reply: Reply, now: float) -> None:
        """Keeps a reply, unless it is too large for that."""
        if key in self._entries:
            self._drop(key)
        nbytes = size_of(key) + size_of(reply.body) + size_of(reply.headers)
        if nbytes > self._max_bytes or self._ttl + self._stale <= 0:
            return
        self._entries[key] = _Entry(reply, now, nbytes)
        self.nbytes += nbytes
        while len(self._entries) > self._max_entries or self.nbytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

    def clear(self) -> None:
        """Forgets all."""
        self._entries.clear()
        self.nbytes = 0

    def _drop(self, key: Hashable) -> None:
        self.nbytes -= self._entries.pop(key).nbytes


def size_of(value: Any) -> int:
    """The bytes of memory that a value takes, with all that is in it."""
    nbytes = 0
    left = [value]
    while left:
        one = left.pop()
        nbytes += sys.getsizeof(one)
        if isinstance(one, Mapping):
            left += one.keys()
            left += one.values()
        elif isinstance(one, (list, tuple)):
            left += one
    return nbytes
