"""The tables of a run, as text for a terminal or as Markdown for the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from tests.bench import busy as busy_section
from tests.bench.events import DIRECT, EVENT_WAYS
from tests.bench.figures import (
    Results,
    bulk_ratio,
    cpu_ms,
    event_ratio,
    fairness_ratio,
    mb_per_s,
    number,
    rate,
    rate_ratio,
    select,
    spread,
)
from tests.bench.gateway_figures import gateway_tables
from tests.bench.message_tables import message_tables
from tests.bench.table import Table
from tests.bench.targets import TARGETS
from tests.bench.ways import ASYNCIO_WAYS, BULK_WAYS, GUNICORN_TLS, WAYS, Way, reference
from tests.bench.workloads import WORKLOADS

_NONE = "-"
_KINDS = {
    "adapter": "requests + adapter",
    "session": "restsock.Session",
    "aio": "restsock.aio",
    "plain": "plain HTTP to an endpoint",
    "ingress": "plain HTTP to the ingress, which alone is counted",
}


def tables(results: Results) -> list[Table]:
    """Those of the sections that were run, the headline first."""
    found = [headline(results)]
    for section in section_tables(results).values():
        found += section
    return [table for table in found if table.rows]


def section_tables(results: Results) -> dict[str, list[Table]]:
    """The tables of each section that was run, in the order of the page."""
    ways = {"rates": WAYS, "asyncio": ASYNCIO_WAYS}
    makers: dict[str, Callable[[], list[Table]]] = {
        name: partial(_all_rates, results, name, some) for name, some in ways.items()
    }
    makers |= {
        "events": lambda: [_events(results["events"])],
        "transfers": lambda: [_bulk(results), _fairness(results)],
        "idle": lambda: [_idle(results["idle"]), *_weights(results["idle"])],
        "busy": lambda: [_busy(results["busy"])],
        "messages": lambda: message_tables(results),
        "gateway": lambda: gateway_tables(results),
        "parts": lambda: [_parts(results["parts"])],
        "validation": lambda: [validation_table(results["validation"])],
        "calls": lambda: [_calls(results["calls"])],
        "profiles": lambda: [
            _threads(results["profiles"]["ways"]),
            _shares(results["profiles"]["ways"]),
        ],
    }
    return {name: make() for name, make in makers.items() if name in results}


def headline(results: Results) -> Table:
    """The targets of the sections that were run, and whether they were met."""
    rows = []
    for target in TARGETS:
        if target.section not in results:
            continue
        found = target.measure(results)
        goal = f"{'≥' if target.at_least else '≤'} {target.goal:g} {target.unit}"
        rows.append([target.title, str(found or _NONE), goal, target.verdict(found)])
    heavy = results.get("import", {}).get("heavy")
    if heavy is not None:
        loaded = ", ".join(heavy) or "none"
        verdict = "MISSED" if heavy else "met"
        rows.append(["requests, jsonschema, click loaded by it", loaded, "none", verdict])
    title = "Targets: median of per-round ratios (lowest-highest)"
    return Table(title, ["", "measured", "target", ""], rows)


def _optional(value: float | None) -> str:
    return _NONE if value is None else number(value)


def _all_rates(results: Results, section: str, ways: dict[str, Way]) -> list[Table]:
    return [_rates(results, section, ways, workload) for workload in WORKLOADS]


def _rates(results: Results, section: str, ways: dict[str, Way], workload: str) -> Table:
    rows = []
    spells = results[section]["spells"]
    for name, way in ways.items():
        base = reference(way)
        for threads in sorted({spell["threads"] for spell in spells}):
            mine = select(spells, way=name, workload=workload, threads=threads)
            per_second = spread([rate(spell) for spell in mine])
            if per_second is None:
                continue
            ratio = rate_ratio(results, name, base, workload, threads, section)
            row = [f"{name}, {threads}", f"{per_second.median:.0f}"]
            row.append(f"{ratio} {base}" if ratio and name != base else _NONE)
            row += [_optional(cpu_ms(mine, side)) for side in ("caller", "server", "between")]
            for key in ("p50_ms", "p99_ms"):
                middle = spread([spell[key] for spell in mine])
                row.append(_optional(middle and middle.median))
            rows.append(row)
    kind, where = {"rates": ("threads", ""), "asyncio": ("tasks", ", asyncio")}[section]
    header = [f"way, {kind}", "requests/s", "ratio to", "CPU ms: caller", "server", "between"]
    title = f"{WORKLOADS[workload].title}{where}"
    return Table(title, [*header, "p50 ms", "p99 ms"], rows)


def _events(events: dict[str, Any]) -> Table:
    rows = []
    for name in EVENT_WAYS:
        mine = select(events["streams"], way=name)
        if not mine:
            continue
        middles = [spread([stream[key] for stream in mine]) for key in ("p50_ms", "p99_ms")]
        to = None if name == DIRECT else event_ratio(events, name)
        rows.append([name, *(_optional(one and one.median) for one in middles), str(to or _NONE)])
    title = "Delay of a server-sent event, from the app to its client"
    return Table(title, ["", "p50 ms", "p99 ms", f"p50 to {DIRECT}"], rows)


def _bulk(results: Results) -> Table:
    transfers = results["transfers"]
    rows = []
    for direction in ("down", "up"):
        for name in BULK_WAYS:
            mine = select(transfers["bulk"], way=name, direction=direction)
            speed = spread([mb_per_s(transfer) for transfer in mine])
            if speed is None:
                continue
            row = [f"{direction}, {name}", f"{speed.median:.0f}"]
            for to in ("waitress", GUNICORN_TLS, "ssh -R"):
                ratio = None if to == name else bulk_ratio(results, name, to, direction)
                row.append(str(ratio or _NONE))
            for side in ("caller", "server", "between"):
                used = [transfer[f"{side}_cpu"] for transfer in mine]
                middle = None if None in used else spread(used)
                row.append(_optional(middle and middle.median))
            rows.append(row)
    header = ["", "MB/s", "ratio to waitress", "to https", "to ssh -R"]
    return Table(
        f"{transfers['bulk_mib']} MiB at once",
        [*header, "CPU s: caller", "server", "between"],
        rows,
    )


def _fairness(results: Results) -> Table:
    transfers = results["transfers"]
    rows = []
    for name in BULK_WAYS:
        mine = select(transfers["fairness"], way=name)
        if not mine:
            continue
        row = [name]
        for when in ("idle", "beside"):
            for key in ("p50_ms", "p99_ms"):
                middle = spread([one[when][key] for one in mine])
                row.append(_optional(middle and middle.median))
        rows.append([*row, str(fairness_ratio(results, name))])
    header = ["", "p50 ms alone", "p99 alone", "p50 beside", "p99 beside", "p99 to alone"]
    return Table(
        f"Small requests beside downloads of {transfers['fairness_mib']} MiB", header, rows
    )


def _idle(idle: dict[str, Any]) -> Table:
    rows = []
    for row in idle["rows"]:
        for side in ("listener", "dialer"):
            share = row[f"{side}_core"]
            rows.append(
                [
                    f"{row['connections']}, {side}",
                    _optional(row[f"{side}_kib"]),
                    _NONE if share is None else f"{share * 100:.1f} %",
                    number(row["connect_seconds"]),
                ]
            )
    for row in idle.get("clients", []):
        each, took = _optional(row["ingress_kib"]), number(row["connect_seconds"])
        rows.append([f"{row['connections']}, client of the ingress", each, _NONE, took])
    title = f"Idle connections, a heartbeat each {idle['interval']:g} s"
    return Table(title, ["", "KiB RSS each", "share of a core", "seconds to connect"], rows)


def _weights(idle: dict[str, Any]) -> list[Table]:
    sides = idle.get("weights", {})
    packages = Counter[str]()
    for side in sides.values():
        packages.update(side["bytes"])
    rows = [
        [package, *(str(side["bytes"].get(package, 0)) for side in sides.values())]
        for package, _ in packages.most_common()
    ]
    totals = ["in all", *(str(sum(side["bytes"].values())) for side in sides.values())]
    objects = ["garbage-collected objects", *(str(side["objects"]) for side in sides.values())]
    title = "What an idle connection consists of, in bytes by the package that allocates them"
    return [Table(title, ["", *sides], [*rows, totals, objects])] if sides else []


def _busy(busy: dict[str, Any]) -> Table:
    rows = []
    for where in busy_section.WHERE:
        mine = select(busy["spells"], where=where)
        figures = [spread([spell[key] for spell in mine]) for key in ("rate", "p50_ms", "p99_ms")]
        core = spread([spell["listener_core"] for spell in mine])
        row = [where, *(_optional(middle and middle.median) for middle in figures)]
        rows.append([*row, _NONE if core is None else f"{core.median:.0%}"])
    title = (
        f"{busy['busy']} busy connections at a steady rate, alone and beside {busy['idle']} idle"
    )
    return Table(title, ["", "requests/s", "p50 ms", "p99 ms", "listener: core"], rows)


def _parts(parts: list[dict[str, Any]]) -> Table:
    rows = [
        [
            row["what"],
            number(row["restsock_us"]),
            number(row["library_us"]),
            number(row["library_us"] / row["restsock_us"]),
        ]
        for row in parts
    ]
    return Table("Frames and heads", ["", "µs", "µs of wsproto or h11", "ratio"], rows)


def validation_table(rows: list[dict[str, Any]]) -> Table:
    """What validation adds to a call, by workload and way."""
    return Table(
        "Validation, through the tunnel: µs of one call (median)",
        ["", "µs", "added by validation"],
        [
            [
                f"{row['workload']}: {row['way']}",
                f"{row['us']:.0f}",
                _NONE if row["added_us"] is None else f"{row['added_us']:+.0f}",
            ]
            for row in rows
        ],
    )


def _calls(rows: list[dict[str, Any]]) -> Table:
    """A column for each way; at the top all that restsock calls, and all that anybody does."""
    columns = []
    for row in rows:
        cells = {f"{cell['thread']}: {cell['package']}": cell for cell in row["cells"]}
        everything = (sum(cell[kind] for cell in row["cells"]) for kind in ("python", "c"))
        column = {
            "restsock, all threads": "{} / {}".format(*row["own"]),
            "all, all threads": "{} / {}".format(*everything),
        }
        column |= {where: f"{cell['python']} / {cell['c']}" for where, cell in cells.items()}
        columns.append(column)
    names = sorted({name for column in columns for name in list(column)[2:]})
    names = [*list(columns[0])[:2], *names]
    return Table(
        "Function calls of one small GET, Python / C, by thread and package",
        ["", *(f"{_KINDS[row['kind']]}, {row['scheme']}" for row in rows)],
        [[name, *(column.get(name, _NONE) for column in columns)] for name in names],
    )


def _threads(profiles: dict[str, Any]) -> Table:
    roles = ["calling thread", "caller's loop", "server's loop", "server's workers"]
    rows = [
        [way, *(f"{profile['threads'][role]:.0f}" for role in roles)]
        for way, profile in profiles.items()
    ]
    return Table("CPU µs of one small GET, by thread", ["", *roles], rows)


def _shares(profiles: dict[str, Any]) -> Table:
    columns = {
        f"{way}: {thread}": shares
        for way, profile in profiles.items()
        for thread, shares in profile["shares"].items()
    }
    rows = [
        [name, ", ".join(f"{package} {share:.0%}" for package, share in shares.items())]
        for name, shares in columns.items()
    ]
    return Table("Shares of the packages in it, by cProfile", ["", "share"], rows)
