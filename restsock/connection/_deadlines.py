"""The times that bound a connection and its requests, for those who set them.

Each is watched by a task that exists only where the time is set, so the others pay nothing for it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Generic, TypeVar

import trio

from restsock.protocol import CloseCode

if TYPE_CHECKING:
    from ._exchange import Carrier

__all__ = ["Deadlines", "bound_idleness", "bound_lifetime"]

K = TypeVar("K")


async def bound_idleness(connection: Carrier, seconds: float) -> None:
    """Closes a connection that had no stream, and has opened none, for this long.

    Nothing is noted when a stream ends, which would cost every request; the counters are looked
    at, every so many seconds. So it takes twice as long at most.
    """
    seen = -1
    while True:
        now = connection.statistics()
        count = now.requests_sent + now.requests_received
        if count == seen:
            connection.limit_log.note_about(
                connection, "connection_idle", "closing, it was idle for %g s", seconds
            )
            connection.close_soon(CloseCode.GOING_AWAY, "idle")
            return
        # While there are any, the time has not begun.
        seen = -1 if now.open_streams or now.waiting_requests else count
        await trio.sleep(seconds)


async def bound_lifetime(connection: Carrier, seconds: float) -> None:
    """Drains and closes a connection when it is this old."""
    await trio.sleep(seconds)
    connection.limit_log.note_about(connection, "lifetime", "draining, it is %g s old", seconds)
    await connection.drain(code=CloseCode.GOING_AWAY, reason="the end of its lifetime")


class Deadlines(Generic[K]):
    """When the time of each of many is over, which is the same time for all of them.

    So the first that was added is due first, and one task watches all; it exists while there are
    any. Calls are made with the lock.

    Args:
        lock: guards them, where more than one thread adds and removes.
        give_up: is called with one whose time is over, unless it was removed. Without the lock.
    """

    __slots__ = ("_due", "_give_up", "_lock", "_watched")

    def __init__(
        self, lock: AbstractContextManager[object], give_up: Callable[[K], object]
    ) -> None:
        self._due: dict[K, float] = {}
        self._watched = False
        self._lock = lock
        self._give_up = give_up

    def __len__(self) -> int:
        """How many there are."""
        return len(self._due)

    def add(self, key: K, deadline: float) -> bool:
        """Adds one, or gives it another time; tells whether `watch` has to be started.

        Args:
            key: Who it is.
            deadline: On the clock of the loop; not before that of any other.
        """
        self._due.pop(key, None)
        self._due[key] = deadline
        watched, self._watched = self._watched, True
        return not watched

    def remove(self, key: K) -> None:
        """Forgets one, if it was added."""
        self._due.pop(key, None)

    async def watch(self) -> None:
        """Gives up those that are not removed in time, until there are none."""
        while (first := self._first()) is not None:
            key, deadline = first
            await trio.sleep_until(deadline)
            with self._lock:
                over = self._due.get(key) == deadline
                if over:
                    del self._due[key]
            if over:
                self._give_up(key)

    def _first(self) -> tuple[K, float] | None:
        """The one that is due next, and when; `None` once there are none."""
        with self._lock:
            for first in self._due.items():
                return first
            self._watched = False  # after this, the next one has a task of its own
            return None
