"""The counters and the health of a messaging."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .engine import Engine

__all__ = [
    "REQUEST_SECONDS",
    "MessagingHealth",
    "MessagingStatistics",
    "RequestCounters",
    "statistics_of",
]

REQUEST_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)
"""Upper bounds of the histogram of request durations, in seconds."""


@dataclass(frozen=True, kw_only=True)
class MessagingStatistics:
    """Counters since the messaging was opened, and some present values.

    Attributes:
        messages_received: messages received, by channel (those above `max_channels` as `"other"`).
        messages_published: messages that all required handlers have handled, by channel.
        messages_sent: messages passed to a connection, repeats included, by channel.
        messages_acknowledged: messages of this side that a peer has handled, by channel.
        messages_redelivered: messages sent again after a nack or a time-out.
        messages_duplicate: messages received again that were handled before, or are being handled.
        messages_dropped: messages that were dropped, by reason.
        messages_dead: dead letters, by reason.
        nacks_sent: by reason (those of handlers as `"handler"`).
        nacks_received: nacks of peers.
        connections_active: sessions now.
        connections_total: sessions that were attached.
        reconnect_attempts: attempts of this side to dial again.
        requests_sent: requests of this side, by method.
        requests_received: requests of peers, by method (unknown ones as `"unknown"`).
        replies_received: by status.
        replies_late: replies after the time-out.
        request_timeouts: requests of this side without an answer in time.
        request_seconds: by method: how many requests of this side took at most each of
            `REQUEST_SECONDS`, how many there were, and their seconds in all. Includes requests
            without an answer in time.
        queue_depth: messages that wait to be handled.
        queue_capacity: how many may wait.
        outbox_messages: messages of this side that wait to be handled by their receivers.
        outbox_bytes: bytes of those.
        slow_sent: how often a foreign peer was sent `slow`.
        slow_received: how often a peer has sent `slow`.
        errors: by kind: `parse_error`, `unknown_type`, `credit`, `ack_unknown`, `store` ...
    """

    messages_received: Mapping[str, int] = field(default_factory=dict)
    messages_published: Mapping[str, int] = field(default_factory=dict)
    messages_sent: Mapping[str, int] = field(default_factory=dict)
    messages_acknowledged: Mapping[str, int] = field(default_factory=dict)
    messages_redelivered: int = 0
    messages_duplicate: int = 0
    messages_dropped: Mapping[str, int] = field(default_factory=dict)
    messages_dead: Mapping[str, int] = field(default_factory=dict)
    nacks_sent: Mapping[str, int] = field(default_factory=dict)
    nacks_received: int = 0
    connections_active: int = 0
    connections_total: int = 0
    reconnect_attempts: int = 0
    requests_sent: Mapping[str, int] = field(default_factory=dict)
    requests_received: Mapping[str, int] = field(default_factory=dict)
    replies_received: Mapping[str, int] = field(default_factory=dict)
    replies_late: int = 0
    request_timeouts: int = 0
    request_seconds: Mapping[str, tuple[tuple[int, ...], float]] = field(default_factory=dict)
    queue_depth: int = 0
    queue_capacity: int = 0
    outbox_messages: int = 0
    outbox_bytes: int = 0
    slow_sent: int = 0
    slow_received: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)

    @property
    def queue_utilization(self) -> float:
        """The share of the queue that is in use, 0 to 1."""
        return self.queue_depth / self.queue_capacity if self.queue_capacity else 0.0


class RequestCounters:
    """The requests of this side, by method.

    Args:
        on_request: is called with the method and the seconds of each that is over.
    """

    def __init__(self, on_request: Callable[[str, float], object]) -> None:
        self._on_request = on_request
        self.by_method: dict[str, int] = {}
        self.timeouts = 0
        self._seconds: dict[str, tuple[list[int], float]] = {}

    def sent(self, method: str) -> None:
        """A request has left."""
        self.by_method[method] = self.by_method.get(method, 0) + 1

    def answered(self, method: str, seconds: float) -> None:
        """There was an answer."""
        counts, total = self._seconds.get(method) or ([0] * (len(REQUEST_SECONDS) + 1), 0.0)
        for at, bound in enumerate((*REQUEST_SECONDS, math.inf)):
            if seconds <= bound:
                counts[at] += 1
        self._seconds[method] = counts, total + seconds
        self._on_request(method, seconds)

    def timed_out(self, method: str, seconds: float) -> None:
        """There was none in time."""
        self.timeouts += 1
        self.answered(method, seconds)

    def seconds(self) -> dict[str, tuple[tuple[int, ...], float]]:
        """See `MessagingStatistics.request_seconds`."""
        return {name: (tuple(counts), total) for name, (counts, total) in self._seconds.items()}


def statistics_of(
    engine: Engine, requests: RequestCounters, requests_received: Mapping[str, int], redials: int
) -> MessagingStatistics:
    """What was counted until now.

    Args:
        engine: Counts messages.
        requests: Of this side.
        requests_received: Of peers, by method.
        redials: Attempts of carriers to dial again.
    """
    counters = engine.counters
    depth, capacity = engine.waiting()
    messages, bytes = engine.outgoing()
    return MessagingStatistics(
        messages_received=dict(counters.received),
        messages_published=dict(counters.published),
        messages_sent=dict(counters.sent),
        messages_acknowledged=dict(counters.acknowledged),
        messages_redelivered=counters.redelivered,
        messages_duplicate=counters.duplicate,
        messages_dropped=dict(counters.dropped),
        messages_dead=dict(counters.dead),
        nacks_sent=dict(counters.nacks_sent),
        nacks_received=counters.nacks_received,
        connections_active=len(engine.peers),
        connections_total=counters.attached,
        reconnect_attempts=redials,
        requests_sent=dict(requests.by_method),
        requests_received=dict(requests_received),
        replies_received=dict(counters.replies),
        replies_late=counters.late,
        request_timeouts=requests.timeouts,
        request_seconds=requests.seconds(),
        queue_depth=depth,
        queue_capacity=capacity,
        outbox_messages=messages,
        outbox_bytes=bytes,
        slow_sent=counters.slow_sent,
        slow_received=counters.slow_received,
        errors=dict(counters.errors),
    )


@dataclass(frozen=True, kw_only=True)
class MessagingHealth:
    """The health of a messaging.

    Attributes:
        healthy: whether it can do its work.
        status: `"ok"`, or why not, in a line.
        details: `mode` (`"server"`, `"client"`, `"both"` or `"none"`), `connections` (`active`,
            `total`), `queue` (`depth`, `utilization`) and `throughput` (messages per second that
            were handled, over the last minute).
    """

    healthy: bool
    status: str
    details: Mapping[str, Any]

    def __bool__(self) -> bool:
        return self.healthy

    def to_json(self) -> dict[str, Any]:
        """The same as a JSON object."""
        return asdict(self)
