"""What became of the calls of a run: a row of the table, and who judges it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["AGAIN", "ONCE", "GatewayCounts", "GatewayRow", "judge_calls", "percentile"]

AGAIN = "quotes.get"
"""Calls that may run more than once, and are asked for again."""
ONCE = "orders.add"


@dataclass
class GatewayCounts:
    """What became of the calls of a run.

    Attributes:
        sent: all.
        answered: with what they asked for.
        failed: that were answered with a failure.
        unanswered: that were not answered. Must be 0.
        twice: that may run once, and ran more often. Must be 0.
        again: of those that may run more than once: that did.
        wrong: answered twice, or with the answer to another call. Must be 0.
        lost: sockets that ended, but for those that were told to connect again. Must be 0.
        moved: sockets that were told to connect again, by a gateway that has ended.
    """

    sent: int = 0
    answered: int = 0
    failed: int = 0
    unanswered: int = 0
    twice: int = 0
    again: int = 0
    wrong: int = 0
    lost: int = 0
    moved: int = 0

    def faults(self) -> list[str]:
        """What must not be."""
        names = ("unanswered", "twice", "wrong", "lost")
        return [f"{getattr(self, name)} {name}" for name in names if getattr(self, name)]


@dataclass
class GatewayRow:
    """One line of the table. Times in seconds.

    Attributes:
        fault: what was done.
        counts: what became of the calls.
        delays: of all answers.
        opened: from a fault until the circuit breaker had opened; the longest.
        refused: how long its answers took while it was open.
        back: from the end of a fault until an answer; the longest.
        limit: what is promised of that.
        may_fail: whether calls may be answered with a failure.
        opens: whether the circuit breaker has to open.
    """

    fault: str
    counts: GatewayCounts = field(default_factory=GatewayCounts)
    delays: list[float] = field(default_factory=list, repr=False)
    opened: float | None = None
    refused: list[float] = field(default_factory=list, repr=False)
    back: float | None = None
    limit: float | None = None
    may_fail: bool = True
    opens: bool = False

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def percentile(values: list[float], part: float) -> float | None:
    """`None` of nothing."""
    return sorted(values)[min(int(len(values) * part), len(values) - 1)] if values else None


def judge_calls(row: GatewayRow, ran: Iterable[str]) -> None:
    """Counts what ran more often than once."""
    seen: dict[str, int] = {}
    for call in ran:
        seen[call] = seen.get(call, 0) + 1
    for call, count in seen.items():
        row.counts.again += count > 1 and call.startswith(AGAIN)
        row.counts.twice += count > 1 and not call.startswith(AGAIN)
