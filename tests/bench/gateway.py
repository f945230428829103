"""Gateways: calls that become requests of HTTP, pushes, memory, WebSockets passed on; in turns."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.gateway_hostile import HARM
from tests.bench.gateway_ways import CALLS, OURS, PASSES, Behind, Start, Started, behind, skipped
from tests.bench.message_fan import progress
from tests.bench.message_ways import order
from tests.bench.processes import hear, python, rss_bytes, running

__all__ = ["ALONE", "BESIDE", "CELLS", "PASS_CELLS", "STEADY", "WHERE", "measure"]

ALONE, BESIDE = "alone", "beside 50 hostile clients"
STEADY = "beside 50 that send as many messages and do no harm"
_FLOODS = "beside 10 that call without a pause"
WHERE: dict[str, tuple[str, ...] | None] = {
    ALONE: None,
    STEADY: ("steady",) * 5,
    BESIDE: HARM,
    _FLOODS: ("flood",),
}
"""Where one honest session is measured: beside which kinds of others."""

CELLS = tuple((sessions, in_flight) for sessions in (1, 100, 1_000) for in_flight in (1, 25))
"""Sessions, and calls of each at a time."""
# Calls at a time beyond which a cell is measured once: most gateways are stuck behind it.
_MANY = 10_000
PASS_CELLS = ((1, 1), (1, 25), (100, 25))

# Open before the first weighing: what comes with the first session is not the price of one.
_BEFORE = 100


def measure(
    folder: Path,
    *,
    rounds: int,
    seconds: float,
    sessions: int = 1_000,
    pushes: int = 10,
    only: Collection[str] = (*CALLS, *PASSES),
) -> dict[str, Any]:
    """All spells.

    Args:
        folder: for configurations and logs.
        rounds: in each of which all gateways come one behind the other, in turning order.
        seconds: of a spell.
        sessions: at most so many at once.
        pushes: to all sessions, in a round.
        only: gateways by name.
    """
    found: dict[str, Any] = {"skipped": [], "sessions": sessions}
    for name in dict.fromkeys(only):
        if (why := skipped(name)) is not None:
            found["skipped"].append(f"SKIP gateway {name}: {why}")
            print(found["skipped"][-1], file=sys.stderr, flush=True)
    with contextlib.ExitStack() as stack:
        backend = stack.enter_context(behind(folder))
        found["weights"], lines = [], {}
        for name in _there(CALLS, only):
            lines[name] = line = _Line(stack, folder, CALLS[name], backend)
            found["weights"].append({"gateway": name, **line.weigh(sessions)})
        found["spells"] = []
        found["fans"], found["hostile"] = [], []
        for turn in range(rounds):
            cells = [one for one in CELLS if turn == 0 or one[0] * one[1] < _MANY]
            for name, cell in _turn(lines, cells, sessions, turn):
                figures = lines[name].spell("calls", seconds, *cell)
                found["spells"].append(_cell(name, cell, turn) | figures)
            for name in _order(lines, turn):
                fan = lines[name].order(fan=pushes)
                found["fans"].append({"gateway": name, "round": turn, **fan})
            if OURS in lines:
                found["hostile"] += lines[OURS].beside_hostile(folder, turn, 2 * seconds)
            progress(turn, rounds)
    with contextlib.ExitStack() as stack:
        backend = stack.enter_context(behind(folder))
        lines = {name: _Line(stack, folder, PASSES[name], backend) for name in _there(PASSES, only)}
        found["passes"] = []
        for line in lines.values():
            line.open(min(sessions, max(count for count, _ in PASS_CELLS)))
        for turn in range(rounds):
            for name, cell in _turn(lines, PASS_CELLS, sessions, turn):
                figures = lines[name].spell("echo", seconds, *cell)
                found["passes"].append(_cell(name, cell, turn) | figures)
            progress(turn, rounds)
    return found


def _there(ways: Mapping[str, Start], only: Collection[str]) -> list[str]:
    return [name for name in ways if name in only and skipped(name) is None]


def _order(lines: Mapping[str, _Line], turn: int) -> list[str]:
    return list(lines)[:: 1 if turn % 2 == 0 else -1]


def _turn(
    lines: Mapping[str, _Line], cells: Sequence[tuple[int, int]], most: int, turn: int
) -> list[tuple[str, tuple[int, int]]]:
    """All gateways, cell by cell: neighbours are compared."""
    small = dict.fromkeys((min(sessions, most), in_flight) for sessions, in_flight in cells)
    return [(name, cell) for cell in small for name in _order(lines, turn)]


def _cell(name: str, cell: tuple[int, int], turn: int) -> dict[str, Any]:
    return {"gateway": name, "sessions": cell[0], "in_flight": cell[1], "round": turn}


class _Line:
    """A gateway, and its clients in a process of their own."""

    def __init__(
        self, stack: contextlib.ExitStack, folder: Path, start: Start, backend: Behind
    ) -> None:
        self._folder, self._begin, self._backend = folder, start, backend
        self._stack = stack.enter_context(contextlib.ExitStack())
        self._sessions = 0
        self._gateway: Started
        self._load: subprocess.Popen[str]
        self._start()

    def _start(self) -> None:
        folder = self._folder
        self._gateway = self._stack.enter_context(self._begin(folder, self._backend))
        words = [self._gateway.url, *([self._gateway.publish] if self._gateway.publish else [])]
        command = python("gateway_load", *words)
        log = folder / f"gateway-load-{self._gateway.pids[0]}.log"
        self._load = self._stack.enter_context(running(command, log=log))
        hear(self._load)

    def open(self, sessions: int) -> float:
        """So many in all; how many seconds that took."""
        self._sessions = sessions
        seconds: float = self.order(open=sessions)["seconds"]
        return seconds

    def order(self, **words: Any) -> dict[str, Any]:
        return order(self._load, **words)

    def weigh(self, sessions: int) -> dict[str, Any]:
        """Opens all sessions: what one of them takes while it is quiet."""
        before = min(_BEFORE, sessions // 2)
        self.open(before)
        self.order(calls=0.2, sessions=before, in_flight=1)  # warm
        empty = self._rss()
        seconds = self.open(sessions)
        full = self._rss()
        kib = None if None in (empty, full) else (full - empty) / 1024 / (sessions - before)  # type: ignore[operator]  # both are there
        return {"kib": kib, "opened_per_second": (sessions - before) / seconds}

    def spell(self, kind: str, seconds: float, sessions: int, in_flight: int) -> dict[str, Any]:
        """As many messages as fit; and the CPU time of the gateway and of the backend."""
        pids = {"gateway_cpu": self._gateway.pids, "backend_cpu": [self._backend.pid]}
        words: dict[str, Any] = {kind: seconds, "sessions": sessions, "in_flight": in_flight}
        found = self.order(**words, watch=pids)
        if found["stuck"]:
            # What it has still to do is not for the next spell to wait for.
            self._stack.close()
            self._start()
            sessions = self._sessions
            self.open(min(_BEFORE, sessions))  # the first ones while it is about to start
            self.open(sessions)
        return found

    def beside_hostile(self, folder: Path, turn: int, seconds: float) -> list[dict[str, Any]]:
        """One session, one call at a time: alone, and beside others, with what those cost."""
        pids = {"gateway_cpu": self._gateway.pids}
        words: dict[str, Any] = {"calls": seconds, "sessions": 1, "in_flight": 1, "watch": pids}
        found = []
        for where, kinds in WHERE.items():
            with contextlib.ExitStack() as stack:
                if kinds is not None:
                    command = python("gateway_hostile", self._gateway.url, *kinds)
                    log = folder / "gateway-hostile.log"
                    process = stack.enter_context(running(command, log=log))
                    hear(process)
                    words["watch"] = {**pids, "others_cpu": [process.pid]}
                found.append({"where": where, "round": turn, **self.order(**words)})
        return found

    def _rss(self) -> int | None:
        each = [rss_bytes(pid) for pid in self._gateway.pids]
        return None if None in each else sum(each)  # type: ignore[arg-type]  # none is missing
