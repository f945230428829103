"""One task that keeps the time for the heartbeats of many connections."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable

import trio

__all__ = ["HeartbeatCheck", "HeartbeatTimer"]


class HeartbeatCheck:
    """When one connection is to be checked next. `stop()` forgets it."""

    __slots__ = ("_check", "_number", "due")

    def __init__(self, due: float, number: int, check: Callable[[], float]) -> None:
        self.due = due
        self._number = number
        self._check: Callable[[], float] | None = check

    def __lt__(self, other: HeartbeatCheck) -> bool:
        return (self.due, self._number) < (other.due, other._number)

    def stop(self) -> None:
        """Never calls again. Harmless when repeated."""
        self._check = None

    def check(self) -> float | None:
        """Calls; returns when to call again, or `None` when it was stopped."""
        return None if self._check is None else self._check()


class HeartbeatTimer:
    """Calls each connection when its time has come. A timer for each would cost far more."""

    def __init__(self) -> None:
        self._checks: list[HeartbeatCheck] = []
        self._numbers = itertools.count()
        self._sleep: trio.CancelScope | None = None

    def add(self, due: float, check: Callable[[], float]) -> HeartbeatCheck:
        """Calls `check` at a time (of the loop's clock), and again whenever it says."""
        scheduled = HeartbeatCheck(due, next(self._numbers), check)
        heapq.heappush(self._checks, scheduled)
        if self._sleep is not None and due < self._sleep.deadline:
            self._sleep.deadline = due
        return scheduled

    async def run(self) -> None:
        """Keeps the time until it is cancelled."""
        checks = self._checks
        while True:
            with trio.CancelScope(deadline=checks[0].due if checks else math.inf) as self._sleep:
                await trio.sleep_forever()
            now = trio.current_time()
            while checks and checks[0].due <= now:
                scheduled = checks[0]
                due = scheduled.check()
                if due is None:
                    heapq.heappop(checks)
                else:
                    scheduled.due = max(due, math.nextafter(now, math.inf))
                    heapq.heapreplace(checks, scheduled)
