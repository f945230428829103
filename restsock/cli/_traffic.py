"""Counts the requests that a peer serves, for the panel and for events."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from restsock.connection import Instrument

if TYPE_CHECKING:
    from restsock.connection import Connection
    from restsock.protocol import RequestHead

__all__ = ["Served", "Traffic"]

_KEPT = 1000  # latencies, of which the percentiles are
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Served:
    """A request that was served.

    Attributes:
        method: Of the request.
        path: Without the query, which may hold secrets.
        status: Of the response; 0 where there was none.
        seconds: That it took.
    """

    method: str
    path: str
    status: int
    seconds: float


class Traffic(Instrument):
    """What was served. An instrument: its methods are called by any thread.

    Attributes:
        on_served: Is called with each request after it, if it is set; must not block.
        total: Requests so far.
        in_flight: Requests under way.
        classes: First digit of the status -> how many.
        last: The latest ones, oldest first.
        latencies: Seconds that the latest ones took.
    """

    def __init__(self) -> None:
        self.on_served: Callable[[Served], object] | None = None
        self.total = 0
        self.in_flight = 0
        self.classes: dict[int, int] = {}
        self.last: deque[Served] = deque(maxlen=_SHOWN)
        self.latencies: deque[float] = deque(maxlen=_KEPT)
        self._lock = threading.Lock()

    def serving_begun(self, connection: Connection, head: RequestHead) -> tuple[RequestHead, float]:
        """See `Instrument`."""
        with self._lock:
            self.total += 1
            self.in_flight += 1
        return head, time.monotonic()

    def serving_ended(self, token: tuple[RequestHead, float], status: int) -> None:
        """See `Instrument`."""
        head, begun = token
        served = Served(
            head.method.decode("latin-1"),
            head.target.partition(b"?")[0].decode("latin-1"),
            status,
            time.monotonic() - begun,
        )
        with self._lock:
            self.in_flight -= 1
            self.classes[status // 100] = self.classes.get(status // 100, 0) + 1
            self.latencies.append(served.seconds)
            self.last.append(served)
        if self.on_served is not None:
            self.on_served(served)

    def percentiles(self, *shares: float) -> list[float]:
        """Seconds within which these shares of the latest requests were served."""
        with self._lock:
            return percentiles(self.latencies, *shares)


def percentiles(values: deque[float] | list[float], *shares: float) -> list[float]:
    """The values below which these shares of all lie; 0 where there are none."""
    ordered = sorted(values)
    if not ordered:
        return [0.0 for _ in shares]
    return [ordered[min(int(share * len(ordered)), len(ordered) - 1)] for share in shares]
