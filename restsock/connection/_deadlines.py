"""The times that bound a connection, for those who set them.

Each is watched by a task that exists only where the time is set, so the others pay nothing for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from restsock._logging import about
from restsock.protocol import CloseCode

if TYPE_CHECKING:
    import threading

    from ._exchange import Carrier

__all__ = ["RequestDeadlines", "bound_idleness", "bound_lifetime"]


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
            connection.limit_log.note(
                "connection_idle",
                "connection %s (%s): closing, it was idle for %g s",
                connection.id,
                connection.name,
                seconds,
                extra=about(connection),
            )
            connection.close_soon(CloseCode.GOING_AWAY, "idle")
            return
        # While there are any, the time has not begun.
        seen = -1 if now.open_streams or now.waiting_requests else count
        await trio.sleep(seconds)


async def bound_lifetime(connection: Carrier, seconds: float) -> None:
    """Drains and closes a connection when it is this old."""
    await trio.sleep(seconds)
    connection.limit_log.note(
        "lifetime",
        "connection %s (%s): draining, it is %g s old",
        connection.id,
        connection.name,
        seconds,
        extra=about(connection),
    )
    await connection.drain(code=CloseCode.GOING_AWAY, reason="the end of its lifetime")


class RequestDeadlines:
    """When the time of each request of the peer is over. Calls are made with the lock.

    Args:
        lock: of the connection.
        give_up: ends a request, by its stream, unless it is over.
    """

    __slots__ = ("_due", "_give_up", "_lock", "_watched")

    def __init__(self, lock: threading.RLock, give_up: Callable[[int], object]) -> None:
        self._due: dict[int, float] = {}  # all have the same time: the first is due first
        self._watched = False
        self._lock = lock
        self._give_up = give_up

    def __len__(self) -> int:
        """How many are noted."""
        return len(self._due)

    def add(self, stream_id: int, deadline: float) -> bool:
        """Notes a request; tells whether `watch` has to be started."""
        self._due[stream_id] = deadline
        watched, self._watched = self._watched, True
        return not watched

    def remove(self, stream_id: int) -> None:
        """Forgets a request, if it was noted."""
        self._due.pop(stream_id, None)

    async def watch(self) -> None:
        """Gives up the requests that are not over in time, until there are none."""
        while (due := self._next()) is not None:
            stream_id, deadline = due
            await trio.sleep_until(deadline)
            self._give_up(stream_id)  # unless it is over meanwhile

    def _next(self) -> tuple[int, float] | None:
        """The first request whose time will be over, and when; `None` once there are none."""
        with self._lock:
            for due in self._due.items():
                return due
            self._watched = False  # after this, the next request has a task of its own
            return None
