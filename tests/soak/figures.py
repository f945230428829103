"""What a soak came to, and the judgement of it."""

from __future__ import annotations

import statistics as stat
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.faults.ledger import Counts

__all__ = ["Figures", "growth", "problems"]

# What a process may hold more of at the end than after the warm-up. Then it is at rest, and has
# given free memory back to the system, but for what shares a page with memory in use.
_MORE_MIB = 8.0
_MORE_OBJECTS = 0.05
# Of up to 512 bytes each. One that is kept of each request makes 3 to 7 % in three minutes.
_MORE_BLOCKS = 0.02
_MORE_THREADS = 2  # of a pool, that have not gone home yet

# Under load, free memory counts, too. Each thread that allocates has an arena of malloc with free
# memory in it: 1 to 2 MiB, and ten threads take minutes to fill theirs. So memory grows at first,
# and then ever more slowly. MiB more in the last third of the run than in the first, and than in
# the second.
_MORE_THAN_FIRST = 8.0
_MORE_THAN_SECOND = 4.0


@dataclass
class Figures:
    """What a soak came to.

    Attributes:
        seconds: of load with faults, after the warm-up.
        faults: how often each was done.
        counts: of the requests.
        processes: for each process that must not grow, what it held after the warm-up and at the
            end, and its memory every few seconds in between (MiB).
        problems: what is not as it must be; empty: the soak was clean.
    """

    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    counts: Counts = field(default_factory=Counts)
    connections: int = 0
    processes: dict[str, dict[str, Any]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {
            "seconds": round(self.seconds, 1),
            "faults": dict(self.faults),
            "connections": self.connections,
            "requests": self.counts.as_json(),
            "processes": self.processes,
            "problems": self.problems,
        }

    def text(self) -> str:
        """For people."""
        counts = self.counts
        faults = ", ".join(f"{name}: {number}" for name, number in sorted(self.faults.items()))
        columns = (
            ("MiB", 16),
            ("tasks", 14),
            ("threads", 12),
            ("files", 12),
            ("objects", 20),
            ("blocks", 22),
        )
        head = "".join(f"{name:>{width}}" for name, width in columns)
        outcomes = (
            f"answered {counts.answered:,}, left early {counts.left:,}, not started "
            f"{counts.not_started:,}, may have run {counts.may_have_run:,} (ran {counts.ran:,}), "
            f"caller killed {counts.unknown:,}"
        )
        number = sum(self.faults.values())
        lines = [
            f"{self.seconds:.0f} s, {self.connections} connections, {number} faults: {faults}",
            f"{counts.sent:,} requests: {outcomes}",
            f"answered twice {counts.twice}, wrongly {counts.wrong}, never {counts.hung}",
            "",
            f"{'process':<10}{head}{'CPU s':>9}",
        ]
        for name, found in self.processes.items():
            before, after = found["before"], found["after"]
            cells = "".join(
                f"{f'{before[key.lower()]:,} -> {after[key.lower()]:,}':>{width}}"
                for key, width in columns
            )
            lines.append(f"{name:<10}{cells}{found['cpu_seconds']:>9.1f}")
        lines += [f"NOT AS IT MUST BE: {what}" for what in self.problems]
        return "\n".join(lines)


def problems(figures: Figures, *, memory: bool) -> list[str]:
    """All that is not as it must be; `memory`: whether memory is judged, see `soak`."""
    found = list(figures.counts.faults)
    if not figures.counts.clean:
        found.append("the ledger is not clean")
    if not figures.counts.answered:
        found.append("nothing was answered")
    for name, process in figures.processes.items():
        found += growth(name, process, memory=memory)
    return found


def growth(name: str, process: dict[str, Any], *, memory: bool = True) -> list[str]:
    """What a process held more of at the end than it may.

    Args:
        name: its name.
        process: an item of `Figures.processes`.
        memory: whether memory is judged, see `soak`.
    """
    found = []
    before, after = process["before"], process["after"]
    # Each thread that has waited has a file of its own to wait in, and each connection that
    # threads have waited for another one.
    files = after["threads"] + after["workers"] + 1
    for what, more in (("tasks", 0), ("files", files), ("threads", _MORE_THREADS)):
        if after[what] > before[what] + more:
            found.append(f"{name}: {before[what]} {what}, then {after[what]}")
    if not memory:
        return found
    if after["objects"] > before["objects"] * (1 + _MORE_OBJECTS):
        found.append(f"{name}: {before['objects']} objects, then {after['objects']}")
    if after["blocks"] > before["blocks"] * (1 + _MORE_BLOCKS):
        found.append(f"{name}: {before['blocks']} blocks of memory, then {after['blocks']}")
    if after["mib"] > before["mib"] + _MORE_MIB:
        found.append(f"{name}: {before['mib']} MiB, then {after['mib']}")
    samples = process["samples"]
    third = len(samples) // 3
    if third >= 10:
        late = stat.median(samples[-third:])
        for which, part, more in (
            ("first", samples[:third], _MORE_THAN_FIRST),
            ("second", samples[third:-third], _MORE_THAN_SECOND),
        ):
            early = stat.median(part)
            if late > early + more:
                words = f"{early:.1f} MiB in its {which} third, {late:.1f} in its last"
                found.append(f"{name}: {words}")
    return found
