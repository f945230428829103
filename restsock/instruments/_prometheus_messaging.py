"""`MessagingCollector`: the statistics of a `Messaging` for Prometheus."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator

from prometheus_client.core import HistogramMetricFamily, Metric

from ._messaging import (
    BUILT_IN,
    HISTOGRAM,
    METRICS,
    SECONDS,
    MessagingStatisticsLike,
    known_names,
    named,
    values_of,
)
from ._prometheus_statistics import StatisticsCollector

__all__ = ["MessagingCollector"]

_BOUNDS = (*map(str, SECONDS), "+Inf")


class MessagingCollector(StatisticsCollector[MessagingStatisticsLike]):
    """Gives Prometheus the statistics of a `Messaging` whenever it scrapes.

        from prometheus_client import REGISTRY
        from restsock.instruments.prometheus import MessagingCollector

        REGISTRY.register(MessagingCollector(messaging.statistics, channels=["readings"]))

    Peers choose channels and methods, so only the listed ones become label values.

    Args:
        statistics: `Messaging.statistics` of any of the APIs. It is called by the thread that
            collects; the one of the trio API must be called on its loop.
        channels: Names of channels with their own label values; others count as `"other"`.
        methods: The same for methods.
        prefix: The prefix of the metric names.

    Raises:
        TypeError: `channels` or `methods` is a single name, not a list.
    """

    def __init__(
        self,
        statistics: Callable[[], MessagingStatisticsLike],
        *,
        channels: Collection[str] = (),
        methods: Collection[str] = BUILT_IN,
        prefix: str = "restsock_messaging",
    ) -> None:
        super().__init__(statistics, prefix)
        self._known = known_names(channels, methods)

    def collect(self) -> Iterator[Metric]:
        """See `Collector`.

        Raises:
            MessagingClosed: The messaging was not opened yet.
        """
        statistics = self._statistics()
        for metric in METRICS:
            family = self._family(metric, [metric.label] if metric.label else [])
            for label, value in values_of(metric, statistics, self._known):
                family.add_metric([label] if metric.label else [], value)
            yield family
        yield self._times(statistics)

    def _times(self, statistics: MessagingStatisticsLike) -> Metric:
        name, text = HISTOGRAM
        family = HistogramMetricFamily(f"{self._prefix}_{name}", text, labels=["method"])
        found: dict[str, tuple[list[int], float]] = {}
        for method, (counts, total) in statistics.request_seconds.items():
            method = named(method, self._known)
            before, sum_before = found.get(method, ([0] * len(counts), 0.0))
            summed = [a + b for a, b in zip(before, counts, strict=True)]
            found[method] = summed, math.fsum((sum_before, total))
        for method, (counts_, total) in found.items():
            buckets = list(zip(_BOUNDS, map(float, counts_), strict=True))
            family.add_metric([method], buckets=buckets, sum_value=total)
        return family
