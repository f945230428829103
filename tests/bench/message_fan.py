"""One message to many readers: with some of them stalled, at a rising rate, and at rest."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.bench.message_ways import FAN_KINDS, Ends, Site, order, skipped
from tests.bench.processes import cpu_seconds, rss_bytes

__all__ = ["STALLED", "WELL", "Fan", "held", "progress"]

STALLED, WELL = "some stalled", "none stalled"

_MOST_MS = 100.0
"""The p99 up to which a rate counts as held."""

_SETTLE = 0.2  # seconds for those that were stalled to read what they have missed


def progress(turn: int, rounds: int) -> None:
    """Says how far it is, to a person."""
    if sys.stderr.isatty():
        print(f"\rround {turn + 1} of {rounds}", end="", file=sys.stderr, flush=True)


def held(spell: dict[str, Any]) -> bool:
    """Whether all messages came, as many as were to be sent, in time."""
    wanted = spell["rate"] * spell["seconds"]
    complete = spell["messages"] >= 0.999 * spell["sent"] * spell["readers"]
    return bool(spell["sent"] >= 0.95 * wanted and complete and spell["p99_ms"] <= _MOST_MS)


class _Crowd(NamedTuple):
    """A server; readers that read; and a process of those that are stopped in half of the spells.

    `kib` is what each of them weighs in the server while nothing is sent.
    """

    site: Site
    well: subprocess.Popen[str]
    slow: subprocess.Popen[str]
    kib: float | None


class Fan:
    """Servers of all kinds that there are, with so many readers each.

    Args:
        ends: starts them.
        readers: of each.
    """

    def __init__(self, ends: Ends, readers: int) -> None:
        self._few = max(1, readers // 100)
        self._well = readers - self._few
        self._readers = readers
        self._crowds = {kind: self._gather(ends, kind) for kind in FAN_KINDS if not skipped(kind)}

    @property
    def described(self) -> dict[str, Any]:
        """How many there are, and KiB of an idle one in the server, by kind."""
        kib = {kind: crowd.kib for kind, crowd in self._crowds.items()}
        return {"readers": self._readers, "stalled": self._few, "kib": kib}

    def _gather(self, ends: Ends, kind: str) -> _Crowd:
        site = ends.serve(kind)
        slow = ends.hold(kind, site.url, "slow", self._few)  # what is loaded with the first counts
        before = rss_bytes(site.holds)
        well = ends.hold(kind, site.url, "well", self._well)
        after = rss_bytes(site.holds)
        kib = None
        if before is not None and after is not None:
            kib = (after - before) / self._well / 1024
        return _Crowd(site, well, slow, kib)

    def _spell(self, kind: str, seconds: float, pause: float) -> dict[str, Any]:
        """What became of the messages to those that read."""
        site, well, _, _ = self._crowds[kind]
        ends = {"server": [site.process.pid, site.holds], "readers": [well.pid]}
        pids = {end: list(dict.fromkeys(ids)) for end, ids in ends.items()}
        before = {end: cpu_seconds(ids) for end, ids in pids.items()}
        sent = order(site.process, fan=seconds, pause=pause)
        expect = sent["sent"] * self._well
        found = order(well, since=sent["since"], expect=expect)
        late = {"p50_ms": math.inf, "p99_ms": math.inf}  # if there are none
        for end, ids in pids.items():
            now, then = cpu_seconds(ids), before[end]
            found[f"{end}_cpu"] = None if now is None or then is None else now - then
        return {"way": kind, "readers": self._well, **sent, **late, **found}

    def stalls(self, rounds: int, seconds: float, pause: float) -> list[dict[str, Any]]:
        """Delays of those that read, while the others do, and while they are stopped."""
        spells: list[dict[str, Any]] = []
        for kind in self._crowds:
            self._spell(kind, seconds / 4, pause)  # warm
        for turn in range(rounds):
            step = 1 if turn % 2 == 0 else -1
            for kind in list(self._crowds)[::step]:
                for where in (WELL, STALLED)[::step]:
                    slow = self._crowds[kind].slow
                    with _stopped(slow) if where == STALLED else contextlib.nullcontext():
                        spell = self._spell(kind, seconds, pause)
                    spells.append({**spell, "where": where, "round": turn})
            progress(turn, rounds)
        return spells

    def loads(self, rounds: int, seconds: float, rates: tuple[int, ...]) -> list[dict[str, Any]]:
        """Delays at each rate, in rising order, up to the first that is not held."""
        spells: list[dict[str, Any]] = []
        for turn in range(rounds):
            for kind in list(self._crowds)[:: 1 if turn % 2 == 0 else -1]:
                for rate in rates:
                    spell = self._spell(kind, seconds, 1 / rate)
                    spells.append({**spell, "rate": rate, "round": turn})
                    if not held(spells[-1]):
                        time.sleep(_SETTLE)
                        break
            progress(turn, rounds)
        return spells


@contextlib.contextmanager
def _stopped(process: subprocess.Popen[str]) -> Iterator[None]:
    os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process.pid, signal.SIGCONT)
        time.sleep(_SETTLE)
