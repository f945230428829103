"""`Faults`: what a client does wrong holds up its own next messages, and in the end closes it."""

from __future__ import annotations

import math

__all__ = ["Faults"]

# A fault is forgotten a second later, one by one.
_FORGOTTEN = 1.0
# So many are an accident, and hold up nothing; each further one does, for so many seconds.
_FREE = 10
_PAUSE = 0.5


class Faults:
    """Those of a session. Times are seconds of a clock that only moves forward.

    Attributes:
        until: Before this time no further message of the session is to be looked at; below 0
            before there was one.
    """

    __slots__ = ("_forgotten", "until")

    def __init__(self) -> None:
        self.until = -math.inf
        self._forgotten = -math.inf  # when all of them are

    def note(self, now: float, most: int) -> bool:
        """Counts one more.

        Args:
            now: The time.
            most: How many there may be that are not forgotten.

        Returns:
            Whether that was too many.
        """
        self._forgotten = max(self._forgotten, now) + _FORGOTTEN
        count = (self._forgotten - now) / _FORGOTTEN
        if count > _FREE:
            self.until = max(self.until, now) + _PAUSE
        if count <= most:
            return False
        self._forgotten = now + most * _FORGOTTEN
        return True
