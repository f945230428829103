"""Rows of gateways as a table."""

from __future__ import annotations

from collections.abc import Sequence

from tests.faults.columns import lined_up
from tests.faults.gateway.rows import GatewayRow, percentile

__all__ = ["gateway_table"]

_COUNTS = ("sent", "answered", "failed", "unanswered", "again", "twice", "wrong", "lost", "moved")
_HEAD = (
    *("fault", *_COUNTS, "p50 ms", "p99 ms", "opened s", "refused ms", "p99"),
    *("back s", "limit"),
)


def _cells(row: GatewayRow) -> list[str]:
    counts = [str(getattr(row.counts, name)) for name in _COUNTS]
    delays = [percentile(row.delays, part) for part in (0.5, 0.99)]
    refused = [percentile(row.refused, part) for part in (0.5, 0.99)]
    in_ms = ["-" if one is None else f"{one * 1e3:.1f}" for one in (*delays, *refused)]
    opened, back, limit = (
        "-" if one is None else f"{one:.2f}" for one in (row.opened, row.back, row.limit)
    )
    return [row.fault, *counts, *in_ms[:2], opened, *in_ms[2:], back, limit]


def gateway_table(rows: Sequence[GatewayRow], *, markdown: bool = False) -> str:
    """All rows, under a head; and the sum of what must be 0."""
    lines = lined_up([list(_HEAD), *map(_cells, rows)], 1, markdown=markdown)
    return "\n".join([*lines, _sum(rows)])


def _sum(rows: Sequence[GatewayRow]) -> str:
    sent, unanswered, twice, lost = (
        sum(getattr(row.counts, name) for row in rows)
        for name in ("sent", "unanswered", "twice", "lost")
    )
    return (
        f"{sent:,} calls: {unanswered} without an answer, {twice} executed twice, {lost} sockets"
        " lost."
    )
