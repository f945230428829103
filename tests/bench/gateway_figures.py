"""Ratios, rows and tables of gateways."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tests.bench.figures import Results, Spread, number, ratios, select, spread
from tests.bench.gateway import ALONE, BESIDE, STEADY, WHERE
from tests.bench.gateway_ways import CALLS, DIRECT, NGINX, OURS, PASSES
from tests.bench.table import Table

Spell = dict[str, Any]


def _rate(spell: Spell) -> float:
    return float(spell["messages"] / spell["seconds"])


def _p99(spell: Spell) -> float:
    return float(spell.get("p99_ms", 0.0))


def _cells(spells: Sequence[Spell]) -> list[dict[str, int]]:
    found = dict.fromkeys((one["sessions"], one["in_flight"]) for one in spells)
    return [{"sessions": sessions, "in_flight": in_flight} for sessions, in_flight in found]


def gateway_ratio(
    results: Results, to: str, cell: tuple[int, int], *, section: str = "spells"
) -> Spread | None:
    """How many times the messages per second of another one, of a cell."""
    return _ratio(results, to, cell, _rate, section)


def gateway_late(results: Results, to: str, cell: tuple[int, int]) -> Spread | None:
    """How many times the p99 of another one, of a cell."""
    return _ratio(results, to, cell, _p99, "spells")


def _ratio(
    results: Results,
    to: str,
    cell: tuple[int, int],
    value: Callable[[Spell], float],
    section: str,
) -> Spread | None:
    if "gateway" not in results:
        return None
    where: dict[str, object] = {"sessions": cell[0], "in_flight": cell[1]}
    spells = results["gateway"][section]
    return ratios(spells, value, {"gateway": OURS, **where}, {"gateway": to, **where})


def gateway_hostile(results: Results) -> Spread | None:
    """How many times the p99 of an honest session beside hostile ones is that of it alone."""
    return _beside(results, BESIDE, ALONE)


def gateway_harm(results: Results) -> Spread | None:
    """The same, to beside as many that do no harm and send as many messages."""
    return _beside(results, BESIDE, STEADY)


def _beside(results: Results, where: str, to: str) -> Spread | None:
    spells = results.get("gateway", {}).get("hostile", [])
    return ratios(spells, _p99, {"where": where}, {"where": to})


def gateway_weight(results: Results) -> Spread | None:
    """KiB of a quiet session."""
    rows = select(results.get("gateway", {}).get("weights", []), gateway=OURS)
    return spread([row["kib"] for row in rows if row["kib"] is not None])


def cell_title(sessions: int, in_flight: int) -> str:
    """Of a row."""
    return f"{sessions:,} session{'s' if sessions > 1 else ''} x {in_flight}"


def _middle(spells: Sequence[Spell], key: str) -> str:
    middle = spread([spell[key] for spell in spells if spell.get(key) is not None])
    return "-" if middle is None else number(middle.median)


def _cpu(spells: Sequence[Spell], key: str) -> str:
    """Microseconds for each message."""
    count = sum(one["messages"] for one in spells)
    used = [one[key] for one in spells]
    return "-" if None in used or not count else number(sum(used) / count * 1e6)


def _spell_rows(
    spells: Sequence[Spell], names: Sequence[str], to: Sequence[str]
) -> list[list[str]]:
    rows = []
    for cell in _cells(spells):
        for name in names:
            mine = select(spells, gateway=name, **cell)
            rate = spread([_rate(one) for one in mine])
            if rate is None:
                continue
            row = [f"{cell_title(*cell.values())}: {name}", f"{rate.median:.0f}"]
            for other in to:
                ratio = ratios(spells, _rate, {"gateway": OURS, **cell}, {"gateway": other, **cell})
                row.append(str(ratio or "-") if name == OURS else "-")
            row += [_middle(mine, "p50_ms"), _middle(mine, "p99_ms")]
            row += [_cpu(mine, key) for key in ("gateway_cpu", "backend_cpu", "load_cpu")]
            rows.append([*row, str(sum(one["errors"] + one["strange"] for one in mine))])
    return rows


def gateway_tables(results: Results) -> list[Table]:
    """Calls, what is passed on, pushes, and quiet sessions."""
    found = results["gateway"]
    others = [name for name in CALLS if name != OURS]
    behind = ["p50 ms", "p99", "CPU µs: gateway", "backend", "clients", "errors"]
    head = ["sessions x calls at a time", "calls/s", *(f"ratio to {name}" for name in others)]
    calls = _spell_rows(found["spells"], list(CALLS), others)
    tables = [Table("Gateways: calls of 100 B over one HTTP backend", [*head, *behind], calls)]
    others = [NGINX, DIRECT]
    head = ["sessions x messages at a time", "messages/s", *(f"ratio to {one}" for one in others)]
    passed = _spell_rows(found["passes"], list(PASSES), others)
    title = "Gateways: messages of 100 B to a WebSocket for each session, and back"
    tables.append(Table(title, [*head, *behind], passed))
    rows = []
    for name in CALLS:
        fans = select(found["fans"], gateway=name)
        weight = next(iter(select(found["weights"], gateway=name)), None)
        if weight is None or not fans:
            continue
        got, due = (sum(fan[key] for fan in fans) for key in ("messages", "expected"))
        each = [{"rate": fan["messages"] / fan["seconds"]} for fan in fans if fan["seconds"]]
        row = [name, _middle(each, "rate"), _middle(fans, "p50_ms"), _middle(fans, "p99_ms")]
        row += [str(due - got), "-" if weight["kib"] is None else number(weight["kib"])]
        rows.append([*row, f"{weight['opened_per_second']:.0f}"])
    head = ["", "pushes/s", "p50 ms", "p99", "not come", "KiB of a quiet session"]
    title = f"Gateways: a push of 100 B to {found['sessions']:,} sessions, and what a session costs"
    tables.append(Table(title, [*head, "sessions opened/s"], rows))
    rows = []
    for where in WHERE:
        mine = select(found["hostile"], where=where)
        if mine:
            each = [{"rate": _rate(one)} for one in mine]
            ratio = _beside(results, where, ALONE) if where != ALONE else None
            row = [where, _middle(each, "rate"), _middle(mine, "p50_ms"), _middle(mine, "p99_ms")]
            rows.append([*row, str(ratio or "-"), *(_share(mine, key) for key in _CPU)])
    title = f"{OURS}: one session, one call at a time, alone and beside others"
    head = ["", "calls/s", "p50 ms", "p99", "p99 to alone", "CPU %: gateway", "the others"]
    return [*tables, Table(title, head, rows)]


_CPU = ("gateway_cpu", "others_cpu")


def _share(spells: Sequence[Spell], key: str) -> str:
    """How much of a core."""
    shares = [{key: 100 * one[key] / one["seconds"]} for one in spells if one.get(key) is not None]
    return _middle(shares, key)
