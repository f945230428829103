"""Whether a messaging does its work: what its carriers tell, and a sample each second."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import trio

from ._statistics import MessagingHealth

if TYPE_CHECKING:
    from ._driver import Driver

__all__ = ["Monitor"]

# Seconds: how long a listener may be without peers, and a queue full; over what a rate is measured.
_LONELY = 300.0
_FULL = 30.0
_SPAN = 60.0


class Monitor:
    """Collects what `Messaging.health` is made of. Times are those of one clock.

    Attributes:
        redials: how often carriers have dialed again.
    """

    def __init__(self) -> None:
        self.redials = 0
        self._listening = self._dialing = False
        self._gave_up = ""
        self._lonely_since: float | None = None
        self._full_since: float | None = None
        self._handled: deque[tuple[float, int]] = deque()

    def note_listening(self, now: float) -> None:
        """A carrier waits for peers."""
        self._listening = True
        if self._lonely_since is None:
            self._lonely_since = now

    def note_dialing(self, *, again: bool) -> None:
        """A carrier begins to dial, for the first time or again."""
        self._dialing = True
        self.redials += again

    def note_gave_up(self, reason: str) -> None:
        """A carrier dials no more."""
        self._gave_up = reason or "it dials no more"

    def note_connected(self, *, dialed: bool) -> None:
        """A peer is connected."""
        self._lonely_since = None
        if dialed:
            self._gave_up = ""

    def note_alone(self, now: float) -> None:
        """The last peer has gone."""
        self._lonely_since = now

    def sample(self, now: float, handled: int, utilization: float) -> None:
        """Looks at how many messages were handled in all, and how full the queues are."""
        samples = self._handled
        samples.append((now, handled))
        while samples[0][0] < now - _SPAN:
            samples.popleft()
        if utilization < 1:
            self._full_since = None
        elif self._full_since is None:
            self._full_since = now

    async def sample_forever(self, driver: Driver) -> None:
        """Takes a sample each second."""
        while True:
            handled = driver.engine.counters.handled
            self.sample(trio.current_time(), handled, _fullest(driver)[1])
            await trio.sleep(1)

    def health_of(self, driver: Driver) -> MessagingHealth:
        """What it amounts to now."""
        if not driver.open:
            return self.health(0.0, running=False, active=0, total=0, depth=0, utilization=0.0)
        depth, utilization = _fullest(driver)
        return self.health(
            trio.current_time(),
            running=True,
            active=len(driver.engine.peers),
            total=driver.engine.counters.attached,
            depth=depth,
            utilization=round(utilization, 4),
        )

    def health(
        self, now: float, *, running: bool, active: int, total: int, depth: int, utilization: float
    ) -> MessagingHealth:
        """What it amounts to."""
        reasons = []
        if not running:
            reasons.append("the messaging is not open")
        if self._gave_up:
            reasons.append(f"out of retries: {self._gave_up}")
        lonely = None if self._lonely_since is None else now - self._lonely_since
        if self._listening and lonely is not None and lonely >= _LONELY:
            reasons.append(f"nobody has been connected for {lonely:.0f} s")
        if self._full_since is not None and now - self._full_since >= _FULL:
            reasons.append(f"the queue has been full for {now - self._full_since:.0f} s")
        details: dict[str, Any] = {
            "mode": self._mode(),
            "connections": {"active": active, "total": total},
            "queue": {"depth": depth, "utilization": utilization},
            "throughput": self._throughput(),
        }
        status = "; ".join(reasons) or "ok"
        return MessagingHealth(healthy=not reasons, status=status, details=details)

    def _mode(self) -> str:
        if self._listening:
            return "both" if self._dialing else "server"
        return "client" if self._dialing else "none"

    def _throughput(self) -> float:
        if len(self._handled) < 2:
            return 0.0
        (first, before), (last, after) = self._handled[0], self._handled[-1]
        return round((after - before) / (last - first), 3) if last > first else 0.0


def _fullest(driver: Driver) -> tuple[int, float]:
    """How many messages wait to be handled, and how full the fullest queue is."""
    queues = [peer.waiting for peer in driver.engine.peers.values()]
    return sum(map(len, queues)), max((queue.level for queue in queues), default=0.0)
