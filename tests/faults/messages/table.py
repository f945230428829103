"""Rows of messages as a table."""

from __future__ import annotations

from collections.abc import Sequence

from tests.faults.columns import lined_up
from tests.faults.messages.field import MessageRow

__all__ = ["message_table"]

_COUNTS = ("sent", "refused", "unknown", "handled", "lost", "again", "twice", "disorder", "wrong")
_HEAD = ("fault", "delivery", "sender", *_COUNTS, "back s", "limit")
_NAMES = 3  # columns of words


def _cells(row: MessageRow) -> list[str]:
    counts = [str(getattr(row.counts, name)) for name in _COUNTS]
    times = ["-" if time is None else f"{time:.2f}" for time in (row.back, row.limit)]
    return [row.fault, row.delivery.replace("_", " "), row.sender, *counts, *times]


def message_table(rows: Sequence[MessageRow], *, markdown: bool = False) -> str:
    """All rows, under a head; and the sum of what must be 0."""
    lines = lined_up([list(_HEAD), *map(_cells, rows)], _NAMES, markdown=markdown)
    return "\n".join([*lines, _sum(rows)])


def _sum(rows: Sequence[MessageRow]) -> str:
    sent = sum(row.counts.sent for row in rows)
    lost = sum(row.counts.lost for row in rows if row.delivery == "at_least_once")
    twice, disorder = (sum(getattr(row.counts, k) for row in rows) for k in ("twice", "disorder"))
    return (
        f"{sent:,} messages: {lost} of those at least once lost, {twice} handled twice,"
        f" {disorder} out of order."
    )
