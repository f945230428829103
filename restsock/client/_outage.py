"""Logs outages (times without a connection): their beginning, their reasons and their end."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from restsock._limit_log import LimitLog
from restsock._logging import about

from ._url import Address

if TYPE_CHECKING:
    from restsock.connection import Connection

__all__ = ["Outage"]

# Seconds until an unchanged failure is logged again.
_REMIND = 600.0
# The burst of lines for one outage with its causes.
_BURST = 5


class Outage:
    """Logs each reason once, and the end of an outage at the level of its beginning.

    Args:
        address: The address of the listener.
        limit_log: The log to write to.

    Attributes:
        since: When the outage began, by the loop's clock; `None` while there is a connection.
    """

    def __init__(self, address: Address, limit_log: LimitLog) -> None:
        self.since: float | None = None
        self._address = address
        self._limit_log = limit_log
        self._told: tuple[str, float] | None = None  # the latest reason, and when
        self._alarmed = False  # whether there was a warning
        self._ended_before = False

    def fail(self, reason: str, pause: float, level: int, now: float) -> None:
        """Logs why there is no connection, and after how many seconds the client dials again."""
        if self._told is not None and self._told[0] == reason and now < self._told[1] + _REMIND:
            level = logging.DEBUG
        else:
            self._told = (reason, now)
        self._alarmed = self._alarmed or level >= logging.WARNING
        self._limit_log.say(
            "dialing" if level > logging.DEBUG else "dialing again",
            "no connection to %s: %s; dialing again in %.2f s",
            self._address,
            reason,
            pause,
            level=level,
            burst=_BURST,
        )

    def end(self, connection: Connection, now: float, *, serving: bool) -> None:
        """Logs a new connection, at the level of the failure that it ends."""
        away = None if self.since is None else now - self.since
        worth_telling = away is not None and (self._alarmed or self._ended_before)
        self._limit_log.say(
            "connected",
            "connected to %s as %s (name %r), %s%s",
            self._address,
            connection.id,
            connection.name,
            "serving an app" if serving else "serving no app",
            f", after {away:.1f} s without a connection" if worth_telling else "",
            level=logging.WARNING if self._alarmed else logging.INFO,
            extra=about(connection),
            burst=_BURST,
        )
        self.since = self._told = None
        self._alarmed, self._ended_before = False, True
