"""`GatewayCollector`: the statistics of a gateway for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, Protocol

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

__all__ = ["GatewayCollector"]


class GatewayStatisticsLike(Protocol):
    """A `restsock.gateway.GatewayStatistics`."""

    @property
    def channels(self) -> Mapping[str, Any]:
        """The statistics of its channels, by path."""

    @property
    def groups(self) -> int:
        """The number of groups with members."""


class _Metric(NamedTuple):
    """One metric: its name, its type, its description, its field, and its label, if any."""

    name: str
    kind: Literal["counter", "gauge"]
    text: str
    field: str
    label: str = ""


_METRICS = (
    _Metric("sessions_active", "gauge", "Clients that are connected", "sessions_active"),
    _Metric("sessions", "counter", "Clients that have connected", "sessions_total"),
    _Metric("turned_away", "counter", "Clients that got no WebSocket", "turned_away", "reason"),
    _Metric("closed", "counter", "Sessions that have ended", "closed", "code"),
    _Metric("messages_received", "counter", "Messages of clients", "messages_received"),
    _Metric("calls", "counter", "Calls that are over", "calls", "outcome"),
    _Metric("in_flight", "gauge", "Calls that are under way", "in_flight"),
    _Metric("refused", "counter", "Messages that became no call", "refused", "reason"),
    _Metric("pushes", "counter", "What was sent unasked", "pushes", "delivery"),
    _Metric("pushes_dropped", "counter", "What was dropped later", "pushes_dropped"),
)


class GatewayCollector(Collector):
    """Gives Prometheus the statistics of a gateway whenever it scrapes.

        from prometheus_client import REGISTRY
        from restsock.instruments.prometheus import GatewayCollector

        REGISTRY.register(GatewayCollector(gateway.statistics))

    The label `channel` of each metric is the path of the channel.

    Args:
        statistics: `Gateway.statistics`. It is called by the thread that collects.
        prefix: The prefix of the metric names.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(
        self,
        statistics: Callable[[], GatewayStatisticsLike],
        *,
        prefix: str = "restsock_gateway",
    ) -> None:
        self._statistics = statistics
        self._prefix = prefix

    def describe(self) -> Iterator[Metric]:
        """Nothing, so that registering does not call `statistics`; see `Collector`."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """See `Collector`. Raises nothing."""
        statistics = self._statistics()
        for metric in _METRICS:
            kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            labels = ["channel", metric.label] if metric.label else ["channel"]
            family = kind(f"{self._prefix}_{metric.name}", metric.text, labels=labels)
            for path, channel in statistics.channels.items():
                value = getattr(channel, metric.field)
                if metric.label:
                    for label, count in value.items():
                        family.add_metric([path, label], count)
                else:
                    family.add_metric([path], value)
            yield family
        groups = GaugeMetricFamily(f"{self._prefix}_groups", "Groups that somebody is in")
        groups.add_metric([], statistics.groups)
        yield groups

    def exposition(self) -> bytes:
        """Only these metrics, in the text format of Prometheus, whose type is `content_type`."""
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry)
