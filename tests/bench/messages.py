"""Messages: acknowledged ones one to one, one to many, and beside a download, in turns.

"websockets" is the package of that name: its echo, with as many messages under way as restsock
allows, and its `broadcast`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench.figures import Results, Spread, number, ratios, select, spread
from tests.bench.processes import hear, python, running, tell

SIZES = (100, 1024, 16 * 1024)
ECHO = "websockets, echo"
IN_MEMORY = "restsock, in memory"
ONE_SENDER, MANY_SENDERS = "restsock, SQLite, one sender", "restsock, SQLite, 64 senders"
ALONE, BESIDE = "alone", "beside a download"
STALLED, WELL = "one in a hundred stalled", "none stalled"


class MessageWay(NamedTuple):
    """Who sends and who acknowledges; where the messages are kept; how many senders."""

    kind: str
    durable: bool
    tasks: int


WAYS = {
    ECHO: MessageWay("websockets", False, 1),
    IN_MEMORY: MessageWay("restsock", False, 1),
    ONE_SENDER: MessageWay("restsock", True, 1),
    MANY_SENDERS: MessageWay("restsock", True, 64),
}
FAN_ECHO, FAN = "websockets, broadcast", "restsock, broadcast"
FAN_WAYS = {FAN_ECHO: "websockets", FAN: "restsock"}


def measure(
    folder: Path, *, rounds: int, seconds: float, readers: int, pause: float
) -> dict[str, Any]:
    """All spells, of so many seconds each.

    Args:
        folder: for stores.
        rounds: in each of which all ways come one behind the other, in turning order.
        seconds: of a spell.
        readers: of the fan-out; 1 % of them stall in half of the spells.
        pause: seconds between two messages of the fan-out.
    """
    found: dict[str, Any] = {"readers": readers, "pause": pause, "skipped": []}
    found["spells"] = _one_to_one(folder, rounds, seconds)
    found["fan"] = _fan(folder, rounds, seconds, readers, pause)
    return found


# --- one to one -------------------------------------------------------------------------------


@contextlib.contextmanager
def _server(kind: str, file: str, folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    log = folder / f"messages-{kind}.log"  # those who are stopped end without a close
    with running(python("message_ends", "serve", kind, file), log=log) as process:
        yield process, f"ws://127.0.0.1:{hear(process)['port']}/"


def _one_to_one(folder: Path, rounds: int, seconds: float) -> list[dict[str, Any]]:
    spells: list[dict[str, Any]] = []
    with contextlib.ExitStack() as stack:
        callers: dict[tuple[str, bool], subprocess.Popen[str]] = {}
        for kind, durable in dict.fromkeys((way.kind, way.durable) for way in WAYS.values()):
            files = [str(folder / f"{end}.db") if durable else "-" for end in ("in", "out")]
            _, url = stack.enter_context(_server(kind, files[0], folder))
            caller = stack.enter_context(
                running(python("message_ends", "call", kind, files[1], url))
            )
            hear(caller)
            callers[kind, durable] = caller

        def order(name: str, where: str, **words: Any) -> None:
            way = WAYS[name]
            figures = _order(callers[way.kind, way.durable], **words)
            spells.append({"way": name, "where": where, "size": words["size"], **figures})

        for way in WAYS.values():
            _order(callers[way.kind, way.durable], pump=0.2, size=100, tasks=way.tasks)  # warm
        for turn in range(rounds):
            begin = len(spells)
            for size in SIZES:
                for name in list(WAYS)[:: 1 if turn % 2 == 0 else -1]:
                    order(name, "pump", pump=seconds, size=size, tasks=WAYS[name].tasks)
                    if WAYS[name].tasks == 1:
                        order(name, ALONE, one=seconds, size=size)
            order(IN_MEMORY, BESIDE, one=seconds, size=SIZES[0], download=True)
            for spell in spells[begin:]:
                spell["round"] = turn
            _progress(turn, rounds)
    return spells


def _order(process: subprocess.Popen[str], **words: Any) -> dict[str, Any]:
    tell(process, words)
    return hear(process)


def _progress(turn: int, rounds: int) -> None:
    if sys.stderr.isatty():
        print(f"\rround {turn + 1} of {rounds}", end="", file=sys.stderr, flush=True)


# --- one to many ------------------------------------------------------------------------------


def _fan(
    folder: Path, rounds: int, seconds: float, readers: int, pause: float
) -> list[dict[str, Any]]:
    """Delays of the readers that read; the others are processes that are stopped."""
    spells: list[dict[str, Any]] = []
    with contextlib.ExitStack() as stack:
        sites = {}
        for name, kind in FAN_WAYS.items():
            server, url = stack.enter_context(_server(kind, "-", folder))
            holders = []
            few = max(1, readers // 100)
            for role, count in (("well", readers - few), ("slow", few)):
                command = python("message_ends", "hold", kind, role, url, str(count))
                holders.append(stack.enter_context(running(command)))
            for holder in holders:
                hear(holder)
            sites[name] = server, *holders
        for turn in range(rounds):
            for name in list(sites)[:: 1 if turn % 2 == 0 else -1]:
                for where in (WELL, STALLED):
                    server, well, slow = sites[name]
                    with _stopped(slow) if where == STALLED else contextlib.nullcontext():
                        sent = _order(server, fan=seconds, pause=pause)["sent"]
                        figures = _order(well, delays=True)
                    cell = {"way": name, "where": where, "round": turn, "sent": sent}
                    spells.append({**cell, **figures})
            _progress(turn, rounds)
    return spells


@contextlib.contextmanager
def _stopped(process: subprocess.Popen[str]) -> Iterator[None]:
    os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process.pid, signal.SIGCONT)


# --- figures ----------------------------------------------------------------------------------


def per_second(spell: dict[str, Any]) -> float:
    return float(spell["messages"] / spell["seconds"])


def _p99(spell: dict[str, Any]) -> float:
    return float(spell["p99_ms"])


def message_ratio(results: Results, way: str, size: int) -> Spread | None:
    """How many times the acknowledged messages per second of an echo of websockets."""
    if "messages" not in results:
        return None
    cell: dict[str, object] = {"size": size, "where": "pump"}
    spells = results["messages"]["spells"]
    return ratios(spells, per_second, {"way": way, **cell}, {"way": ECHO, **cell})


def _beside_ratio(results: Results, way: str, size: int) -> Spread | None:
    """How many times the p99 of messages beside a download is that of them alone."""
    cell: dict[str, object] = {"way": way, "size": size}
    spells = results["messages"]["spells"]
    found = select(spells, where=ALONE) + select(spells, where=BESIDE)
    return ratios(found, _p99, {**cell, "where": BESIDE}, {**cell, "where": ALONE})


def fan_ratio(results: Results, way: str) -> Spread | None:
    """How many times the p99 of the readers is with a stalled one among them."""
    if "messages" not in results:
        return None
    spells = results["messages"]["fan"]
    return ratios(spells, _p99, {"way": way, "where": STALLED}, {"way": way, "where": WELL})


def fan_to_echo(results: Results, way: str) -> Spread | None:
    """How many times the p99 of a broadcast of websockets, with nobody stalled."""
    spells = results["messages"]["fan"]
    return ratios(spells, _p99, {"way": way, "where": WELL}, {"way": FAN_ECHO, "where": WELL})


def message_rows(results: Results) -> list[list[str]]:
    """Acknowledged messages one to one, for each size and way."""
    spells = results["messages"]["spells"]
    rows = []
    for size in SIZES:
        for way in WAYS:
            cell = {"way": way, "size": size}
            rate = spread([per_second(spell) for spell in select(spells, where="pump", **cell)])
            if rate is None:
                continue
            ratio = None if way == ECHO else message_ratio(results, way, size)
            row = [f"{way}, {size} B", f"{rate.median:.0f}", str(ratio or "-")]
            for where in (ALONE, BESIDE):
                mine = select(spells, where=where, **cell)
                row += [_middle(mine, key) for key in ("p50_ms", "p99_ms")]
            rows.append([*row, str(_beside_ratio(results, way, size) or "-")])
    return rows


def fan_rows(results: Results) -> list[list[str]]:
    """Delays of a broadcast, with a stalled reader and without."""
    spells = results["messages"]["fan"]
    rows = []
    for way in FAN_WAYS:
        row = [way]
        for where in (WELL, STALLED):
            mine = select(spells, way=way, where=where)
            row += [_middle(mine, key) for key in ("p50_ms", "p99_ms")]
        to_echo = None if way == FAN_ECHO else fan_to_echo(results, way)
        rows.append([*row, str(fan_ratio(results, way) or "-"), str(to_echo or "-")])
    return rows


def _middle(spells: list[dict[str, Any]], key: str) -> str:
    found = spread([spell[key] for spell in spells])
    return "-" if found is None else number(found.median)
