"""From what was measured to figures: medians of per-round ratios, with their spread."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

# Where busy connections are measured.
ALONE, BESIDE = "alone", "beside idle ones"

Results = dict[str, Any]
"""All that a run has measured; what `--json` writes. A section that was not run is missing."""


class Spread(NamedTuple):
    """A median and what it lies between."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{number(self.median)} ({number(self.low)}-{number(self.high)})"


def number(value: float) -> str:
    """Three significant digits or so."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def spread(values: Sequence[float]) -> Spread | None:
    """`None` when there are none."""
    if not values:
        return None
    return Spread(statistics.median(values), min(values), max(values))


def select(rows: Sequence[dict[str, Any]], **wanted: object) -> list[dict[str, Any]]:
    """The rows that have these values."""
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def ratios(
    rows: Sequence[dict[str, Any]],
    value: Callable[[dict[str, Any]], float],
    of: dict[str, object],
    to: dict[str, object],
) -> Spread | None:
    """Of one to the other, in each round that has both."""
    base = {row["round"]: value(row) for row in select(rows, **to)}
    found = [
        value(row) / base[row["round"]] for row in select(rows, **of) if base.get(row["round"])
    ]
    return spread(found)


def rate(spell: dict[str, Any]) -> float:
    return float(spell["requests"] / spell["seconds"])


def mb_per_s(transfer: dict[str, Any]) -> float:
    return float(transfer["mb_per_s"])


def rate_ratio(
    results: Results, way: str, to: str, workload: str, threads: int, section: str = "rates"
) -> Spread | None:
    """How many times the requests per second of another way."""
    if section not in results:
        return None
    cell: dict[str, object] = {"workload": workload, "threads": threads}
    return ratios(results[section]["spells"], rate, {"way": way, **cell}, {"way": to, **cell})


def bulk_ratio(results: Results, way: str, to: str, direction: str) -> Spread | None:
    """How many times the bytes per second of another way."""
    if "transfers" not in results:
        return None
    cell: dict[str, object] = {"direction": direction}
    return ratios(results["transfers"]["bulk"], mb_per_s, {"way": way, **cell}, {"way": to, **cell})


def fairness_ratio(results: Results, way: str) -> Spread | None:
    """How many times the p99 of small requests beside a download is that of them alone."""
    if "transfers" not in results:
        return None
    rows = select(results["transfers"]["fairness"], way=way)
    return spread([row["beside"]["p99_ms"] / row["idle"]["p99_ms"] for row in rows])


def event_ratio(events: dict[str, Any], way: str, to: str = "waitress") -> Spread | None:
    """How many times as long an event takes as on another way."""
    return ratios(
        events["streams"], lambda stream: float(stream["p50_ms"]), {"way": way}, {"way": to}
    )


def busy_ratio(results: Results) -> Spread | None:
    """How many times the p99 of busy connections beside idle ones is that of them alone."""
    if "busy" not in results:
        return None
    spells = results["busy"]["spells"]
    return ratios(spells, lambda spell: float(spell["p99_ms"]), {"where": BESIDE}, {"where": ALONE})


def own_calls(results: Results, kind: str, scheme: str, which: int) -> Spread | None:
    """Calls of restsock's functions (0), or by them of functions in C (1), for one small GET."""
    rows = select(results.get("calls", []), kind=kind, scheme=scheme)
    return spread([row["own"][which] for row in rows])


def cpu_ms(spells: Sequence[dict[str, Any]], side: str) -> float | None:
    """CPU milliseconds of a request on one side, over all rounds; `None` when not known."""
    seconds = [spell[f"{side}_cpu"] for spell in spells]
    requests = sum(spell["requests"] for spell in spells)
    if None in seconds or not requests:
        return None
    return float(sum(seconds) / requests * 1e3)
