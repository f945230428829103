"""`MessagingMetrics`: the statistics of a `Messaging` as OpenTelemetry metrics."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, Protocol

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Meter, Observation

from restsock._exceptions import RestsockError

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
from ._metric import Metric

__all__ = ["MessagingMetrics"]


class Measured(Protocol):
    """A `Messaging` of any of the APIs."""

    def statistics(self) -> MessagingStatisticsLike: ...

    def on_request(self, function: Any) -> Any: ...


class MessagingMetrics:
    """Gives OpenTelemetry the statistics of a `Messaging` whenever it collects.

        from restsock.instruments.opentelemetry import MessagingMetrics

        metrics = MessagingMetrics(messaging, channels=["readings"])

    The names are those of `MessagingCollector` for Prometheus, with the prefix
    `restsock.messaging.`. Peers choose channels and methods, so only the listed ones become
    attribute values. Nothing is observed before the messaging is open. Without a configured SDK,
    this does nothing.

    Args:
        messaging: A `Messaging` of any of the APIs. It is called by the thread that collects.
        channels: Names of channels with their own attribute values; others count as `"other"`.
        methods: The same for methods.
        prefix: The prefix of the metric names.
        meter_provider: Makes the instruments; by default the global one.

    Raises:
        TypeError: `channels` or `methods` is a single name, not a list.
    """

    def __init__(
        self,
        messaging: Measured,
        *,
        channels: Collection[str] = (),
        methods: Collection[str] = BUILT_IN,
        prefix: str = "restsock.messaging",
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        self._known = known_names(channels, methods)
        # The trio API belongs to its loop, and this may be any thread.
        portal = getattr(messaging, "portal", None)
        look_up: Callable[..., Any] = (lambda call: call()) if portal is None else portal.look_up
        self._statistics: Callable[[], Any] = lambda: look_up(messaging.statistics)
        meter = metrics.get_meter("restsock", meter_provider=meter_provider)
        for metric in METRICS:
            make = (
                meter.create_observable_counter
                if metric.kind == "counter"
                else meter.create_observable_gauge
            )
            make(
                f"{prefix}.{metric.name}",
                callbacks=[self._observer(metric)],
                description=metric.text,
            )
        name, text = HISTOGRAM
        self._seconds = _histogram(meter, f"{prefix}.{name.removesuffix('_seconds')}", text)
        messaging.on_request(self._note)

    def _note(self, method: str, seconds: float) -> None:
        self._seconds.record(seconds, {"method": named(method, self._known)})

    def _observer(self, metric: Metric) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(options: CallbackOptions) -> Iterable[Observation]:
            try:
                statistics = self._statistics()
            except RestsockError:  # it was not opened yet
                return
            for label, value in values_of(metric, statistics, self._known):
                yield Observation(value, {metric.label: label} if metric.label else {})

        return observe


def _histogram(meter: Meter, name: str, text: str) -> metrics.Histogram:
    try:
        return meter.create_histogram(
            name, unit="s", description=text, explicit_bucket_boundaries_advisory=SECONDS
        )
    except TypeError:  # versions of opentelemetry-api that have buckets in views only
        return meter.create_histogram(name, unit="s", description=text)
