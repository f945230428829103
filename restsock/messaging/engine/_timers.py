"""When the outboxes and the peers of an engine have something to do."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from heapq import heappop, heappush

from ._outbox import Outbox
from ._peer import Peer

__all__ = ["Timers"]


class Timers:
    """A heap of times. What was set to an earlier time since is passed over.

    Args:
        alarm: is called with a time that is earlier than all that were set.
    """

    def __init__(self, alarm: Callable[[float], object]) -> None:
        self._alarm = alarm
        self._heap: list[tuple[float, int, Outbox | Peer]] = []
        self._ties = itertools.count()

    def schedule(self, outbox: Outbox, now: float) -> None:
        """Sets the time of an outbox, if it has one, and an earlier one than is set."""
        due = outbox.due(now)
        if due is not None and (outbox.timer is None or due < outbox.timer):
            outbox.timer = due
            self._push(due, outbox)

    def wait(self, peer: Peer, due: float) -> None:
        """Sets the time of a peer that is sent to slowly, unless it is set."""
        if not peer.paced:
            peer.paced = True
            self._push(due, peer)

    def _push(self, due: float, what: Outbox | Peer) -> None:
        first = self.due()
        heappush(self._heap, (due, next(self._ties), what))
        if first is None or due < first:
            self._alarm(due)

    def due(self) -> float | None:
        """The earliest time; `None` if nothing is set."""
        return self._heap[0][0] if self._heap else None

    def pop(self, now: float) -> Outbox | Peer | None:
        """What is due now; `None` if nothing is, any more."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            due, _, what = heappop(heap)
            if isinstance(what, Peer):
                what.paced = False
                return what
            if what.timer == due:
                what.timer = None
                return what
        return None
