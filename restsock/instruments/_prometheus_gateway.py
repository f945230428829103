"""`GatewayCollector`: the statistics of a gateway for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from prometheus_client import core

from ._metric import Metric
from ._prometheus_statistics import StatisticsCollector

__all__ = ["GatewayCollector"]


class GatewayStatisticsLike(Protocol):
    """A `restsock.gateway.GatewayStatistics`."""

    @property
    def channels(self) -> Mapping[str, Any]:
        """The statistics of its channels, by path."""

    @property
    def groups(self) -> int:
        """The number of groups with members."""


_METRICS = (
    Metric("sessions_active", "gauge", "Clients that are connected", "sessions_active"),
    Metric("sessions", "counter", "Clients that have connected", "sessions_total"),
    Metric("turned_away", "counter", "Clients that got no WebSocket", "turned_away", "reason"),
    Metric("closed", "counter", "Sessions that have ended", "closed", "code"),
    Metric("messages_received", "counter", "Messages of clients", "messages_received"),
    Metric("calls", "counter", "Calls that are over", "calls", "outcome"),
    Metric("in_flight", "gauge", "Calls that are under way", "in_flight"),
    Metric("refused", "counter", "Messages that became no call", "refused", "reason"),
    Metric("pushes", "counter", "What was sent unasked", "pushes", "delivery"),
    Metric("pushes_dropped", "counter", "What was dropped later", "pushes_dropped"),
)


class GatewayCollector(StatisticsCollector[GatewayStatisticsLike]):
    """Gives Prometheus the statistics of a gateway whenever it scrapes.

        from prometheus_client import REGISTRY
        from restsock.instruments.prometheus import GatewayCollector

        REGISTRY.register(GatewayCollector(gateway.statistics))

    The label `channel` of each metric is the path of the channel.

    Args:
        statistics: `Gateway.statistics`. It is called by the thread that collects.
        prefix: The prefix of the metric names.
    """

    def __init__(
        self,
        statistics: Callable[[], GatewayStatisticsLike],
        *,
        prefix: str = "restsock_gateway",
    ) -> None:
        super().__init__(statistics, prefix)

    def collect(self) -> Iterator[core.Metric]:
        """See `Collector`. Raises nothing."""
        statistics = self._statistics()
        for metric in _METRICS:
            family = self._family(
                metric, ["channel", metric.label] if metric.label else ["channel"]
            )
            for path, channel in statistics.channels.items():
                value = getattr(channel, metric.field)
                if metric.label:
                    for label, count in value.items():
                        family.add_metric([path, label], count)
                else:
                    family.add_metric([path], value)
            yield family
        groups = core.GaugeMetricFamily(f"{self._prefix}_groups", "Groups that somebody is in")
        groups.add_metric([], statistics.groups)
        yield groups
