"""One task that keeps the time for the heartbeats of many connections."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable

import trio

__all__ = ["Beat", "Pulse"]


class Beat:
    """The next heartbeat of one connection. `stop()` forgets it."""

    __slots__ = ("_look", "_number", "due")

    def __init__(self, due: float, number: int, look: Callable[[], float]) -> None:
        self.due = due
        self._number = number
        self._look: Callable[[], float] | None = look

    def __lt__(self, other: Beat) -> bool:
        return (self.due, self._number) < (other.due, other._number)

    def stop(self) -> None:
        """Never calls again. Harmless when repeated."""
        self._look = None

    def look(self) -> float | None:
        """Calls; returns when to call again, or `None` when it was stopped."""
        return None if self._look is None else self._look()


class Pulse:
    """Calls each connection when its time has come. A timer for each would cost far more."""

    def __init__(self) -> None:
        self._beats: list[Beat] = []
        self._numbers = itertools.count()
        self._sleep: trio.CancelScope | None = None

    def add(self, due: float, look: Callable[[], float]) -> Beat:
        """Calls `look` at a time (of the loop's clock), and again whenever it says."""
        beat = Beat(due, next(self._numbers), look)
        heapq.heappush(self._beats, beat)
        if self._sleep is not None and due < self._sleep.deadline:
            self._sleep.deadline = due
        return beat

    async def run(self) -> None:
        """Keeps the time until it is cancelled."""
        beats = self._beats
        while True:
            with trio.CancelScope(deadline=beats[0].due if beats else math.inf) as self._sleep:
                await trio.sleep_forever()
            now = trio.current_time()
            while beats and beats[0].due <= now:
                beat = beats[0]
                due = beat.look()
                if due is None:
                    heapq.heappop(beats)
                else:
                    beat.due = max(due, math.nextafter(now, math.inf))
                    heapq.heapreplace(beats, beat)
