"""Requests per second of every way, in interleaved rounds."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.ways import WAYS, Way, opened


@dataclass(frozen=True)
class Cell:
    """What is asked, from how many threads, for how long in each round, and of whom (all)."""

    workload: str
    threads: int
    seconds: float
    ways: tuple[str, ...] = tuple(WAYS)


@dataclass(frozen=True)
class Plan:
    """The cells of one round, how many rounds there are, and the table of all ways."""

    cells: tuple[Cell, ...]
    rounds: int
    table: dict[str, Way] = field(default_factory=lambda: WAYS)

    @property
    def ways(self) -> dict[str, Way]:
        """Those that some cell names, in the order of the table."""
        return {
            name: way for name, way in self.table.items() if any(name in c.ways for c in self.cells)
        }


def measure(plan: Plan, folder: Path) -> dict[str, Any]:
    """Every spell of every way.

    In each cell of each round all ways come one behind the other, in turning order, so that a
    ratio is one of neighbours: the machine drifts by half within an hour, but little in a second.
    """
    spells: list[dict[str, Any]] = []
    with opened(plan.ways, folder) as (lines, skips):
        for line in lines.values():
            line.order("spell", workload="small", threads=4, seconds=0.2)  # everybody is warm
        for turn in range(plan.rounds):
            for cell in plan.cells:
                ways = [name for name in lines if name in cell.ways]
                for name in ways if turn % 2 == 0 else reversed(ways):
                    figures = lines[name].order(
                        "spell",
                        workload=cell.workload,
                        threads=cell.threads,
                        seconds=cell.seconds,
                    )
                    where = {"way": name, "workload": cell.workload, "threads": cell.threads}
                    spells.append({**where, "round": turn, **figures})
            if sys.stderr.isatty():
                done = f"round {turn + 1} of {plan.rounds}, {time.strftime('%H:%M:%S')}"
                print(f"\r{done}", end="", file=sys.stderr, flush=True)
    return {"spells": spells, "skipped": skips}
