"""What the collectors of statistics for Prometheus have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, core, generate_latest
from prometheus_client.registry import Collector

from ._metric import Metric

__all__ = ["StatisticsCollector"]

S = TypeVar("S")


class StatisticsCollector(Collector, Generic[S]):
    """Has Prometheus fetch statistics whenever it asks.

    Args:
        statistics: gives them.
        prefix: The prefix of the metric names.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, statistics: Callable[[], S], prefix: str) -> None:
        self._statistics = statistics
        self._prefix = prefix

    def describe(self) -> Iterator[core.Metric]:
        """Nothing, so that registering does not call `statistics`; see `Collector`."""
        return iter(())

    def exposition(self) -> bytes:
        """Only these metrics, in the text format of Prometheus, whose type is `content_type`.

        Raises what `collect` raises.
        """
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry)

    def _family(
        self, metric: Metric, labels: Sequence[str]
    ) -> core.CounterMetricFamily | core.GaugeMetricFamily:
        kind = core.CounterMetricFamily if metric.kind == "counter" else core.GaugeMetricFamily
        return kind(f"{self._prefix}_{metric.name}", metric.text, labels=labels)
