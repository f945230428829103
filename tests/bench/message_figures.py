"""Ratios and rows of messages."""

from __future__ import annotations

from typing import Any

from tests.bench.figures import Results, Spread, number, ratios, select, spread
from tests.bench.message_fan import STALLED, WELL, held
from tests.bench.message_ways import ECHO, FAN, FAN_ECHO, FAN_KINDS, IN_MEMORY, WAYS
from tests.bench.messages import ALONE, BESIDE, SIZES

Spell = dict[str, Any]


def per_second(spell: Spell) -> float:
    return float(spell["messages"] / spell["seconds"])


def _p99(spell: Spell) -> float:
    return float(spell["p99_ms"])


def message_rate(results: Results, way: str, size: int) -> Spread | None:
    """Acknowledged messages per second."""
    if "messages" not in results:
        return None
    spells = select(results["messages"]["spells"], way=way, size=size, where="pump")
    return spread([per_second(spell) for spell in spells])


def message_ratio(results: Results, way: str, size: int, to: str = ECHO) -> Spread | None:
    """How many times the acknowledged messages per second of another way."""
    if "messages" not in results:
        return None
    cell: dict[str, object] = {"size": size, "where": "pump"}
    spells = results["messages"]["spells"]
    return ratios(spells, per_second, {"way": way, **cell}, {"way": to, **cell})


def message_rows(results: Results) -> list[list[str]]:
    """Acknowledged messages, for each size and way."""
    spells = results["messages"]["spells"]
    rows = []
    for size in SIZES:
        for way in WAYS:
            rate = message_rate(results, way, size)
            if rate is None:
                continue
            ratio = None if way == ECHO else message_ratio(results, way, size)
            alone = select(spells, way=way, size=size, where=ALONE)
            latencies = [_middle(alone, key) for key in ("p50_ms", "p99_ms")]
            row = [f"{way}, {size} B", f"{rate.median:.0f}", str(ratio or "-")]
            rows.append([*row, *latencies])
    return rows


def beside_rows(results: Results) -> list[list[str]]:
    """A message and a download on one connection, alone and together."""
    spells = select(results["messages"]["spells"], way=IN_MEMORY, size=SIZES[0])
    downloads = results["messages"]["downloads"]
    pieces = [{**one, **one["gap"]} for one in downloads]
    rows = []
    for title, found in (
        ("message of 100 B, acknowledged", spells),
        ("piece of the download", pieces),
    ):
        row = [title]
        for where in (ALONE, BESIDE):
            row += [_middle(select(found, where=where), key) for key in ("p50_ms", "p99_ms")]
        row.append(str(ratios(found, _p99, {"where": BESIDE}, {"where": ALONE}) or "-"))
        for where in (ALONE, BESIDE):
            speeds = [one for one in select(found, where=where) if "mb_per_s" in one]
            row.append(_middle(speeds, "mb_per_s"))
        rows.append(row)
    return rows


# --- one to many ------------------------------------------------------------------------------


def fan_ratio(results: Results, way: str, fan: int = 0) -> Spread | None:
    """How many times the p99 of those that read is with others stalled, of one of the fans."""
    if "messages" not in results:
        return None
    spells = results["messages"]["fans"][fan]["spells"]
    return ratios(spells, _p99, {"way": way, "where": STALLED}, {"way": way, "where": WELL})


def _fan_to_echo(fan: dict[str, Any], way: str) -> Spread | None:
    """How many times the p99 of a broadcast of websockets, with nobody stalled."""
    if way == FAN_ECHO:
        return None
    cell: dict[str, object] = {"where": WELL}
    return ratios(fan["spells"], _p99, {"way": way, **cell}, {"way": FAN_ECHO, **cell})


def fan_rows(results: Results, fan: int) -> list[list[str]]:
    """Delays of a message to many, with stalled readers and without; and what each weighs."""
    found = results["messages"]["fans"][fan]
    rows = []
    for way, name in FAN_KINDS.items():
        if not select(found["spells"], way=way):
            continue
        row = [name]
        for where in (WELL, STALLED):
            mine = select(found["spells"], way=way, where=where)
            row += [_middle(mine, key) for key in ("p50_ms", "p99_ms")]
        kib = found["kib"][way]
        row += [str(fan_ratio(results, way, fan) or "-"), str(_fan_to_echo(found, way) or "-")]
        rows.append([*row, "-" if kib is None else number(kib)])
    return rows


def _best(results: Results, way: str) -> list[Spell]:
    """For each round the spell of the highest rate that was held."""
    spells = [spell for spell in select(results["messages"]["loads"], way=way) if held(spell)]
    return [
        max(select(spells, round=turn), key=lambda spell: float(spell["rate"]))
        for turn in {spell["round"] for spell in spells}
    ]


def load_rate(results: Results, way: str = FAN) -> Spread | None:
    """The highest rate that was held, in messages per second."""
    if "messages" not in results:
        return None
    if not select(results["messages"]["loads"], way=way):
        return None
    return spread([float(spell["rate"]) for spell in _best(results, way)]) or Spread(0, 0, 0)


def load_rows(results: Results) -> list[list[str]]:
    """The highest rate that each kind has held, and what a message to one reader costs then."""
    rows = []
    for way, name in FAN_KINDS.items():
        rate, best = load_rate(results, way), _best(results, way)
        if rate is None:
            continue
        row = [name, str(rate), _number([per_second(one) for one in best])]
        row += [_middle(best, key) for key in ("p50_ms", "p99_ms")]
        for end in ("server_cpu", "readers_cpu"):
            known = [one[end] / one["messages"] * 1e6 for one in best if one[end] is not None]
            row.append(_number(known))
        rows.append(row)
    return rows


def _middle(spells: list[Spell], key: str) -> str:
    return _number([float(spell[key]) for spell in spells])


def _number(values: list[float]) -> str:
    found = spread(values)
    return "-" if found is None else number(found.median)
