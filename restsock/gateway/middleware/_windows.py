"""How often things have happened in the last seconds."""

from __future__ import annotations

from collections import deque

__all__ = ["Window"]

_SLOTS = 10


class Window:
    """Counts what happens, and forgets it after so many seconds, a tenth of the window at a time.

    Args:
        seconds: Its length. What is older does not count; what is younger than nine tenths does.
        kinds: How many kinds of things are counted, each by itself.
    """

    def __init__(self, seconds: float, kinds: int) -> None:
        self._width = seconds / _SLOTS
        self._slots: deque[tuple[int, list[int]]] = deque()
        self._sums = [0] * kinds

    def count(self, kind: int, now: float) -> None:
        """Counts one more.

        Args:
            kind: From 0.
            now: Seconds of a clock that only moves forward.
        """
        self._forget(now)
        number = int(now // self._width)
        if not self._slots or self._slots[-1][0] != number:
            self._slots.append((number, [0] * len(self._sums)))
        self._slots[-1][1][kind] += 1
        self._sums[kind] += 1

    def sums(self, now: float) -> tuple[int, ...]:
        """How many of each kind there were."""
        self._forget(now)
        return tuple(self._sums)

    def clear(self) -> None:
        """Forgets all."""
        self._slots.clear()
        self._sums = [0] * len(self._sums)

    def _forget(self, now: float) -> None:
        oldest = int(now // self._width) - _SLOTS + 1
        while self._slots and self._slots[0][0] < oldest:
            for kind, number in enumerate(self._slots.popleft()[1]):
                self._sums[kind] -= number
