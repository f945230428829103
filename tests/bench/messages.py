"""Messages: acknowledged ones one to one, one to many, and beside a download, in turns."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.bench import message_fan
from tests.bench.message_ways import IN_MEMORY, WAYS, Ends, MessageWay, order, skipped
from tests.bench.processes import hear, tell

__all__ = ["ALONE", "BESIDE", "SIZES", "measure"]

SIZES = (100, 1024, 16 * 1024)
ALONE, BESIDE = "alone", "beside a download"


def measure(
    folder: Path,
    *,
    rounds: int,
    seconds: float,
    fans: tuple[tuple[int, float], ...],
    rates: tuple[int, ...],
    senders: int = 8,
) -> dict[str, Any]:
    """All spells.

    Args:
        folder: for stores.
        rounds: in each of which all ways come one behind the other, in turning order.
        seconds: of a spell.
        fans: readers, of whom 1 % stall in half of the spells, and seconds between two messages.
        rates: messages per second to the readers of the first fan, in rising order: as many of
            them are tried as are held.
        senders: at most so many at once.
    """
    found: dict[str, Any] = {"skipped": []}
    for kind in dict.fromkeys(way.kind for way in WAYS.values()):
        why = skipped(kind)
        if why is not None:
            found["skipped"].append(f"SKIP messages of {kind}: {why}")
            print(found["skipped"][-1], file=sys.stderr, flush=True)
    with Ends(folder) as ends:
        found["spells"], found["downloads"] = _one_to_one(ends, rounds, seconds, senders)
    found["fans"] = []
    for readers, pause in fans:
        with Ends(folder) as ends:
            fan = message_fan.Fan(ends, readers)
            spells = fan.stalls(rounds, 2 * seconds, pause)
            found["fans"].append({**fan.described, "pause": pause, "spells": spells})
            if "loads" not in found:
                found["loads"] = fan.loads(min(rounds, 2), 2 * seconds, rates)
    return found


class _Line:
    """An open way: its server, and those that send to it."""

    def __init__(self, ends: Ends, way: MessageWay) -> None:
        self._ends = ends
        self._kind, self._durable = way.kind, way.durable
        self._url = ends.serve(way.kind, durable=way.durable).url
        self._callers: list[subprocess.Popen[str]] = []

    def callers(self, count: int) -> list[subprocess.Popen[str]]:
        while len(self._callers) < count:
            caller = self._ends.call(self._kind, self._url, durable=self._durable)
            order(caller, pump=0.2, size=100, tasks=1)  # warm
            self._callers.append(caller)
        return self._callers[:count]

    def pump(self, way: MessageWay, size: int, seconds: float) -> dict[str, Any]:
        """As many messages as fit, from all senders of a way at once."""
        callers = self.callers(way.senders)
        for caller in callers:
            tell(caller, {"pump": seconds, "size": size, "tasks": way.tasks})
        found = [hear(caller) for caller in callers]
        return {
            "messages": sum(one["messages"] for one in found),
            "seconds": max(one["seconds"] for one in found),
        }


def _one_to_one(
    ends: Ends, rounds: int, seconds: float, senders: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Spells of messages; and of downloads, alone and beside messages."""
    spells: list[dict[str, Any]] = []
    downloads: list[dict[str, Any]] = []
    ways = {
        name: way._replace(senders=min(way.senders, senders))
        for name, way in WAYS.items()
        if skipped(way.kind) is None
    }
    lines: dict[tuple[str, bool], _Line] = {}
    for way in ways.values():
        if (way.kind, way.durable) not in lines:
            lines[way.kind, way.durable] = _Line(ends, way)
        lines[way.kind, way.durable].callers(way.senders)
    for turn in range(rounds):

        def note(name: str, where: str, size: int, figures: dict[str, Any]) -> None:
            cell = {"way": name, "where": where, "size": size, "round": turn}  # noqa: B023  # now
            spells.append({**cell, **figures})

        for size in SIZES:
            for name in list(ways)[:: 1 if turn % 2 == 0 else -1]:
                way = ways[name]
                line = lines[way.kind, way.durable]
                note(name, "pump", size, line.pump(way, size, seconds))
                if way.tasks == WAYS[name].senders == 1:
                    figures = order(line.callers(1)[0], one=seconds, size=size)
                    note(name, ALONE, size, figures)
        [caller] = lines["restsock", False].callers(1)
        found = order(caller, load=seconds)
        downloads.append({"where": ALONE, "round": turn, **found})
        found = order(caller, one=2 * seconds, size=SIZES[0], download=True)
        load = {key: found.pop(key) for key in downloads[-1] if key in found}
        downloads.append({"where": BESIDE, "round": turn, **load})
        note(IN_MEMORY, BESIDE, SIZES[0], found)
        message_fan.progress(turn, rounds)
    return spells, downloads
