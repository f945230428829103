"""One of the metrics that statistics are told as."""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = ["Metric"]


class Metric(NamedTuple):
    """One metric.

    Attributes:
        name: without its prefix.
        kind: what it is.
        text: its description.
        field: of the statistics.
        label: by what it is counted; empty if it is one number.
    """

    name: str
    kind: Literal["counter", "gauge"]
    text: str
    field: str
    label: str = ""
