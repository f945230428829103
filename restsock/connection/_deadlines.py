"""The times that bound a connection, for those who set them.

Each is watched by a task that exists only where the time is set, so the others pay nothing for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from restsock._logging import about
from restsock.protocol import CloseCode

if TYPE_CHECKING:
    from ._exchange import Carrier

__all__ = ["bound_idleness", "bound_lifetime"]


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
