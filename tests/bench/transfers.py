"""Large bodies: how fast they move, and what they do to small requests beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.bench.ways import (
    BULK_DIALED,
    BULK_DIALED_TLS,
    BULK_LISTENED,
    BULK_LISTENED_TLS,
    BULK_WAYS,
    GUNICORN_TLS,
    Line,
    opened,
)

# Those whose small requests are measured beside a download.
FAIRNESS_WAYS = (
    "waitress",
    GUNICORN_TLS,
    "ssh -R",
    BULK_DIALED,
    BULK_LISTENED,
    BULK_DIALED_TLS,
    BULK_LISTENED_TLS,
)


def measure(
    folder: Path, *, bulk_mib: int, rounds: int, fairness_mib: int, fairness_seconds: float
) -> dict[str, Any]:
    """Transfers in turns of all ways, then latencies alone and beside downloads."""
    with opened(BULK_WAYS, folder) as (lines, skips):
        for line in lines.values():
            line.order("bulk", direction="down", mib=8)  # everybody is warm
        return {
            "bulk": _bulk(lines, bulk_mib, rounds),
            "bulk_mib": bulk_mib,
            "fairness": _fairness(lines, fairness_mib, fairness_seconds, rounds),
            "fairness_mib": fairness_mib,
            "skipped": skips,
        }


def _bulk(lines: dict[str, Line], mib: int, rounds: int) -> list[dict[str, Any]]:
    found = []
    for turn in range(rounds):
        for direction in ("down", "up"):
            for name in lines if turn % 2 == 0 else reversed(list(lines)):
                figures = lines[name].order("bulk", direction=direction, mib=mib)
                found.append({"way": name, "direction": direction, "round": turn, **figures})
    return found


def _fairness(
    lines: dict[str, Line], mib: int, seconds: float, rounds: int
) -> list[dict[str, Any]]:
    return [
        {"way": name, "round": turn, **line.order("beside", mib=mib, seconds=seconds)}
        for turn in range(rounds)
        for name, line in lines.items()
        if name in FAIRNESS_WAYS
    ]
