"""What went over a limit: counted each time, written to the log once a second.

Whoever floods a peer must not fill its disk as well, and whoever looks after the peer has to learn
of it all the same.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping

__all__ = ["LimitLog"]


class LimitLog:
    """Counters by kind, and a log that cannot be flooded. For any thread.

    Args:
        logger: Where the lines go.
        clock: Seconds, of any clock that only moves forward.
        pause: Seconds between two lines of one kind.

    Attributes:
        on_hit: Is called with each kind that is noted, on the thread that notes it.
        last_hit: The latest kind, and when, by the clock.
    """

    def __init__(
        self,
        logger: logging.Logger,
        clock: Callable[[], float] = time.monotonic,
        *,
        pause: float = 1.0,
    ) -> None:
        self._logger = logger
        self.on_hit: Callable[[str], object] | None = None
        self.last_hit: tuple[str, float] | None = None
        self._clock = clock
        self._pause = pause
        self._lock = threading.Lock()
        self._kinds: dict[str, _Kind] = {}

    @property
    def counts(self) -> dict[str, int]:
        """How often each kind was noted, for those that were: a copy."""
        with self._lock:
            return {name: kind.count for name, kind in self._kinds.items()}

    def note(
        self,
        name: str,
        message: str,
        *args: object,
        level: int = logging.WARNING,
        extra: Mapping[str, object] | None = None,
    ) -> None:
        """Counts one more, and logs it unless the kind had a line just now.

        A line that follows others which were left out says how many they were.

        Args:
            name: The kind: mostly the field of `Limits` or `Timeouts` that it is about.
            message: For the log, with `args` as in `logging`.
            args: Formatted only when the line is written.
            level: Of the line.
            extra: Attributes of the record, as in `logging`.
        """
        left_out = self._count(name)
        if self.on_hit is not None:
            self.on_hit(name)
        if left_out:
            message += " (and %d more like it)"
            self._logger.log(level, message, *args, left_out, extra=extra)
        elif left_out is not None:
            self._logger.log(level, message, *args, extra=extra)

    def _count(self, name: str) -> int | None:
        """How many lines were left out before this one; `None` if this one is, too."""
        with self._lock:
            kind = self._kinds.setdefault(name, _Kind())
            kind.count += 1
            now = self._clock()
            self.last_hit = (name, now)
            if now < kind.quiet_until:
                return None
            left_out = kind.count - 1 - kind.logged
            kind.logged = kind.count
            kind.quiet_until = now + self._pause
            return left_out


class _Kind:
    __slots__ = ("count", "logged", "quiet_until")

    def __init__(self) -> None:
        self.count = 0
        self.logged = 0  # the count at the latest line
        self.quiet_until = float("-inf")
