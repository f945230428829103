"""One of the metrics that statistics are told as."""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = ["Metric"]


class Metric(NamedTuple):
    """One metric.

    Attributes:
        name: Its name without the prefix.
        kind: Its type: counter or gauge.
        text: Its description.
        field: The field of the statistics.
        label: The name of its label; empty without one.
    """

    name: str
    kind: Literal["counter", "gauge"]
    text: str
    field: str
    label: str = ""
