"""A log that a peer cannot flood, and counters of what went over a limit.

A flood must not fill the disk as well, but the log still has to show it. So whatever a stranger can
repeat at will is logged through here: a limit that was passed, and connections that come, go and
fail.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping

from ._logging import Known, LogLike, OwnLog, PartLog, about

__all__ = ["LimitLog"]


class LimitLog:
    """Counters by kind, and a log that cannot be flooded. For any thread.

    A kind has a number of lines at once, and from then on one for each pause. What is left out is
    counted, and the next line of the kind tells how many they were.

    Args:
        logger: Where the lines go.
        clock: Seconds, of any clock that only moves forward.
        pause: Seconds between two lines of one kind.

    Attributes:
        logger: As given.
        on_hit: Is called with each kind that is counted, on the thread that counts it.
        last_hit: The latest kind that was counted, and when, by the clock.
    """

    def __init__(
        self,
        logger: LogLike,
        clock: Callable[[], float] = time.monotonic,
        *,
        pause: float = 1.0,
    ) -> None:
        self.logger = logger
        self.on_hit: Callable[[str], object] | None = None
        self.last_hit: tuple[str, float] | None = None
        self._clock = clock
        self._pause = pause
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self._kinds: dict[str, _Kind] = {}

    @property
    def own(self) -> OwnLog | None:
        """The log, if it is that of one client or server alone."""
        return self.logger if isinstance(self.logger, OwnLog) else None

    @property
    def counts(self) -> dict[str, int]:
        """How often each kind was counted, for those that were: a copy."""
        with self._lock:
            return dict(self._counts)

    def count(self, name: str) -> None:
        """Counts one more, and logs nothing: for what another line tells already."""
        with self._lock:
            self._counts[name] = self._counts.get(name, 0) + 1
            self.last_hit = (name, self._clock())
        if self.on_hit is not None:
            self.on_hit(name)

    def note(
        self,
        name: str,
        message: str,
        *args: object,
        level: int = logging.WARNING,
        extra: Mapping[str, object] | None = None,
    ) -> None:
        """Counts one more of a kind, mostly a field of `Limits` or `Timeouts`; logs it as `say`."""
        self.count(name)
        self.say(name, message, *args, level=level, extra=extra)

    def note_about(
        self,
        connection: Known,
        name: str,
        message: str,
        *args: object,
        level: int = logging.WARNING,
    ) -> None:
        """The same, of a connection: the line begins with it, and its record names it."""
        message = "connection %s (%s): " + message
        args = (connection.id, connection.name, *args)
        self.note(name, message, *args, level=level, extra=about(connection))

    def say(
        self,
        name: str,
        message: str,
        *args: object,
        level: int = logging.WARNING,
        extra: Mapping[str, object] | None = None,
        burst: int = 1,
    ) -> None:
        """Logs a line unless the kind has had too many just now. It counts as no limit.

        Args:
            name: The kind, one of a few that are known beforehand.
            message: As in `logging`, and so are `args`, `level` and `extra`.
            args: Formatted only when the line is written.
            level: Of the line.
            extra: Attributes of the record.
            burst: How many lines of the kind may follow each other without a pause.
        """
        logger = self.logger.target(extra) if isinstance(self.logger, PartLog) else self.logger
        if not logger.isEnabledFor(level):
            return
        left_out = self._left_out(name, burst)
        if left_out:
            message += " (and %d more like it)"
            logger.log(level, message, *args, left_out, extra=extra)
        elif left_out is not None:
            logger.log(level, message, *args, extra=extra)

    def _left_out(self, name: str, burst: int) -> int | None:
        """How many lines were left out before this one; `None` if this one is, too."""
        with self._lock:
            kind = self._kinds.setdefault(name, _Kind())
            now = self._clock()
            if kind.paid_until > now + (burst - 1) * self._pause:
                kind.left_out += 1
                return None
            kind.paid_until = max(kind.paid_until, now) + self._pause
            left_out, kind.left_out = kind.left_out, 0
            return left_out


class _Kind:
    __slots__ = ("left_out", "paid_until")

    def __init__(self) -> None:
        self.left_out = 0  # lines since the latest one that was written
        self.paid_until = float("-inf")  # each line costs one pause
