"""The metrics of a `Messaging`: one list for all instruments."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Protocol

from ._metric import Metric

__all__ = [
    "BUILT_IN",
    "HISTOGRAM",
    "METRICS",
    "SECONDS",
    "MessagingStatisticsLike",
    "known_names",
    "named",
    "values_of",
]

_OTHER = "other"

BUILT_IN = ("backpressure", "status", "replay", "subscribe", "unsubscribe")
"""The methods that every `Messaging` has."""


class MessagingStatisticsLike(Protocol):
    """A `restsock.messaging.MessagingStatistics`."""

    @property
    def request_seconds(self) -> Mapping[str, tuple[tuple[int, ...], float]]:
        """How long requests took, by method."""


METRICS = (
    Metric(*("messages_received", "counter", "Messages that came"), "messages_received", "channel"),
    Metric(
        *("messages_published", "counter", "Messages that were handled"),
        *("messages_published", "channel"),
    ),
    Metric(*("messages_sent", "counter", "Messages that were sent"), "messages_sent", "channel"),
    Metric(
        *("messages_acknowledged", "counter", "Messages that peers have handled"),
        *("messages_acknowledged", "channel"),
    ),
    Metric(
        *("messages_redelivered", "counter", "Messages that were sent again"),
        "messages_redelivered",
    ),
    Metric(*("messages_duplicate", "counter", "Messages that came again"), "messages_duplicate"),
    Metric(
        *("messages_dropped", "counter", "Messages that were dropped"),
        *("messages_dropped", "reason"),
    ),
    Metric(*("messages_dead", "counter", "Messages that were given up"), "messages_dead", "reason"),
    Metric(*("nacks_sent", "counter", "Messages refused here"), "nacks_sent", "reason"),
    Metric(*("nacks_received", "counter", "Messages refused by peers"), "nacks_received"),
    Metric(*("connections_active", "gauge", "Peers that are connected"), "connections_active"),
    Metric(*("connections", "counter", "Peers that have connected"), "connections_total"),
    Metric(*("reconnect_attempts", "counter", "Attempts to dial again"), "reconnect_attempts"),
    Metric(*("requests_sent", "counter", "Requests to peers"), "requests_sent", "method"),
    Metric(*("requests_received", "counter", "Requests of peers"), "requests_received", "method"),
    Metric(*("replies_received", "counter", "Answers of peers"), "replies_received", "status"),
    Metric(*("replies_late", "counter", "Answers that came too late"), "replies_late"),
    Metric(
        *("request_timeouts", "counter", "Requests without an answer in time"),
        "request_timeouts",
    ),
    Metric(*("queue_depth", "gauge", "Messages that wait to be handled"), "queue_depth"),
    Metric(
        *("queue_utilization", "gauge", "The part of the queues in use, 0 to 1"),
        "queue_utilization",
    ),
    Metric(*("outbox_messages", "gauge", "Messages that wait for receivers"), "outbox_messages"),
    Metric(*("outbox_bytes", "gauge", "Bytes of these"), "outbox_bytes"),
    Metric(
        *("slow_sent", "counter", "How often a peer was told that it is too quick"), "slow_sent"
    ),
    Metric(*("slow_received", "counter", "How often a peer has said so"), "slow_received"),
    Metric(*("errors", "counter", "What went wrong, by kind"), "errors", "type"),
)

SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)
"""Upper bounds of `MessagingStatistics.request_seconds`."""

HISTOGRAM = ("request_duration_seconds", "From a request to its answer, or to its time-out")


def known_names(channels: Collection[str], methods: Collection[str]) -> frozenset[str]:
    """The channels and methods that have their own label values.

    Raises:
        TypeError: An argument is a single name, not a list.
    """
    if isinstance(channels, str) or isinstance(methods, str):
        raise TypeError("channels and methods must be lists of names, not a single name")
    return frozenset((*channels, *methods))


def named(name: str, known: Collection[str]) -> str:
    """The label value for a channel or a method."""
    return name if name in known else _OTHER


def values_of(
    metric: Metric, statistics: object, known: Collection[str]
) -> Iterator[tuple[str, float]]:
    """The values of a metric by label value; without a label, one value with an empty text.

    Args:
        metric: One of `METRICS`.
        statistics: The current statistics.
        known: Channels and methods with their own label values; others count as `"other"`.
    """
    value: Any = getattr(statistics, metric.field)
    if not metric.label:
        yield "", value
        return
    if metric.label not in ("channel", "method"):
        yield from value.items()
        return
    found: dict[str, float] = {}
    for name, count in value.items():
        name = named(name, known)
        found[name] = found.get(name, 0) + count
    yield from found.items()
