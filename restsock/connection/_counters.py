"""The counters of one connection, and the instrument that is told what they count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ._statistics import Counters, EventCounts

if TYPE_CHECKING:
    from ._instruments import Direction, Instruments

__all__ = ["ConnectionCounters"]


class Counted(Protocol):
    """An exchange, as far as it is counted: see `Exchange`."""

    inbound: bool
    opened_at: float
    status: int


class ConnectionCounters:
    """What one connection has carried, and the instrument that is told of it. With the lock.

    What happens to every request is counted in plain integers, by those who make it happen.

    Attributes:
        bytes_sent: and the three below it as in `Statistics`.
        event_counts: what happens to few requests; `None` until something does.
        instrument: is told; `None` without one.
    """

    __slots__ = (
        "_connection",
        "bytes_received",
        "bytes_sent",
        "event_counts",
        "instrument",
        "requests_received",
        "requests_sent",
    )

    def __init__(self, connection: object) -> None:
        self.bytes_sent = self.bytes_received = 0
        self.requests_sent = self.requests_received = 0
        self.event_counts: EventCounts | None = None
        self.instrument: Instruments | None = None
        self._connection = connection

    def count(self, what: str, which: str) -> None:
        """Counts what happens to few requests: see `EventCounts`."""
        if self.event_counts is None:
            self.event_counts = {}
        self.event_counts[what, which] = self.event_counts.get((what, which), 0) + 1

    def count_end(self, exchange: Counted, outcome: str, now: float) -> None:
        """Notes how an exchange, which is in the table no more, has ended."""
        direction: Direction = "received" if exchange.inbound else "sent"
        if outcome != "answered":  # that follows from the rest
            self.count(direction, outcome)
        if self.instrument is not None:
            status = exchange.status
            self.instrument.stream_closed(
                self._connection,
                direction,
                outcome,
                status if status >= 200 or status == 101 else 0,
                now - exchange.opened_at,
            )

    def tell_opened(self, exchange: Counted, now: float) -> None:
        """Tells the instrument that an exchange has its stream."""
        if self.instrument is not None:
            exchange.opened_at = now
            exchange.status = 0
            direction: Direction = "received" if exchange.inbound else "sent"
            self.instrument.stream_opened(self._connection, direction)

    def tell_bytes(self, direction: Direction, nbytes: int) -> None:
        """Tells the instrument of bytes, which have been counted."""
        if self.instrument is not None:
            if direction == "sent":
                self.instrument.bytes_sent(self._connection, nbytes)
            else:
                self.instrument.bytes_received(self._connection, nbytes)

    def tell_round_trip(self, seconds: float) -> None:
        """Tells the instrument how long a ping and its pong took."""
        if self.instrument is not None:
            self.instrument.round_trip(self._connection, seconds)

    def tell_error(self, kind: str) -> None:
        """Tells the instrument of something that went wrong."""
        if self.instrument is not None:
            self.instrument.error(self._connection, kind)

    def add_to(self, counters: Counters) -> None:
        """Adds them to a sum."""
        counters.bytes_sent += self.bytes_sent
        counters.bytes_received += self.bytes_received
        counters.requests_sent += self.requests_sent
        counters.requests_received += self.requests_received
        if self.event_counts is not None:
            counters.add_event_counts(self.event_counts)
