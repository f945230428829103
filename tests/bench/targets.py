"""What restsock shall reach, and whether a run has shown it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tests.bench.figures import (
    Results,
    Spread,
    bulk_ratio,
    fairness_ratio,
    rate_ratio,
    spread,
)
from tests.bench.ways import (
    ADAPTER,
    BULK_DIALED,
    BULK_DIALED_C,
    BULK_LISTENED,
    SESSION,
    SESSION_FASTAPI,
)

# The connections at which memory and heartbeats are judged.
MANY = 10_000


class Target(NamedTuple):
    """One line of the headline table, and the section of a run that it is read from."""

    section: str
    title: str
    at_least: bool
    goal: float
    unit: str
    measure: Callable[[Results], Spread | None]

    def verdict(self, found: Spread | None) -> str:
        if found is None:
            return "not measured"
        met = found.median >= self.goal if self.at_least else found.median <= self.goal
        return "met" if met else "MISSED"


def _rates(title: str, way: str, to: str, goals: dict[int, float]) -> list[Target]:
    return [
        Target(
            "rates",
            f"{title}, {threads} thread{'s' if threads > 1 else ''}",
            True,
            goal,
            "x",
            _rate(way, to, "small", threads),
        )
        for threads, goal in goals.items()
    ]


def _rate(way: str, to: str, workload: str, threads: int = 1) -> Callable[[Results], Spread | None]:
    return lambda results: rate_ratio(results, way, to, workload, threads)


def _bulk(way: str, to: str, direction: str) -> Callable[[Results], Spread | None]:
    return lambda results: bulk_ratio(results, way, to, direction)


def _idle(key: str, factor: float = 1) -> Callable[[Results], Spread | None]:
    def measure(results: Results) -> Spread | None:
        rows = results["idle"]["rows"] if "idle" in results else []
        rows = [row for row in rows if row["connections"] == MANY and row[key] is not None]
        return spread([row[key] * factor for row in rows])

    return measure


def _import(results: Results) -> Spread | None:
    return spread(results["import"]["ms"]) if "import" in results else None


TARGETS = [
    *_rates("requests + adapter to waitress", ADAPTER, "waitress", {1: 1.4, 8: 1.3, 32: 2.0}),
    *_rates("restsock.Session to waitress", SESSION, "waitress", {1: 2.3, 8: 2.2, 32: 4.5}),
    *_rates(
        "restsock.Session to uvicorn, FastAPI",
        SESSION_FASTAPI,
        "uvicorn",
        {1: 1.4, 8: 1.8, 32: 2.5},
    ),
    Target(
        "rates",
        "restsock.Session to ssh -R, small GET",
        True,
        4,
        "x",
        _rate(SESSION, "ssh -R", "small"),
    ),
    Target(
        "rates",
        "restsock.Session to ssh -R, GET 10 KB",
        True,
        10,
        "x",
        _rate(SESSION, "ssh -R", "10k"),
    ),
    Target(
        "rates",
        "restsock.Session to ssh -R, POST 1 KB",
        True,
        10,
        "x",
        _rate(SESSION, "ssh -R", "post"),
    ),
    Target(
        "transfers", "bulk down to waitress", True, 1.3, "x", _bulk(BULK_DIALED, "waitress", "down")
    ),
    Target("transfers", "bulk down to ssh -R", True, 5, "x", _bulk(BULK_DIALED, "ssh -R", "down")),
    Target("transfers", "bulk up to ssh -R", True, 1, "x", _bulk(BULK_DIALED, "ssh -R", "up")),
    Target(
        "transfers",
        "bulk up to ssh -R, C masking",
        True,
        4,
        "x",
        _bulk(BULK_DIALED_C, "ssh -R", "up"),
    ),
    Target(
        "transfers",
        "p99 beside a download to alone, caller dials",
        False,
        3.5,
        "x",
        lambda results: fairness_ratio(results, BULK_DIALED),
    ),
    Target(
        "transfers",
        "p99 beside a download to alone, app dials",
        False,
        3.5,
        "x",
        lambda results: fairness_ratio(results, BULK_LISTENED),
    ),
    Target("idle", "idle connection of 10,000, listener", False, 8, "KiB", _idle("listener_kib")),
    Target("idle", "idle connection of 10,000, dialer", False, 8, "KiB", _idle("dialer_kib")),
    Target(
        "idle", "their heartbeats, listener", False, 3, "% of a core", _idle("listener_core", 100)
    ),
    Target("import", "import restsock", False, 150, "ms", _import),
]
