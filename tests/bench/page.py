"""Writes the tables into docs/performance.md, and the plot beside it."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from tests.bench.figures import Results, rate, select, spread
from tests.bench.processes import ROOT
from tests.bench.table import Table
from tests.bench.tables import headline, section_tables
from tests.bench.targets import TARGETS
from tests.bench.ways import WAYS

# In the order of the page.
SECTIONS = (
    *("rates", "asyncio", "events", "transfers", "idle", "busy", "messages", "gateway"),
    *("parts", "validation", "calls", "profiles"),
)

PAGE = ROOT / "docs" / "performance.md"
PLOT = ROOT / "docs" / "performance.png"

_BEGIN = "<!-- figures: written by `make bench ARGS=--page` -->"
_END = "<!-- end of figures -->"
_SECTION = "<!-- section {} -->"

_OURS, _THEIRS = "#1f6feb", "#9aa4b1"


def describe(machine: dict[str, Any]) -> str:
    """One line: where and with what it was measured."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{machine['date']}, Python {machine['python']}, {machine['system']}, "
        f"{machine['cpus']} CPUs ({machine['cpu']}); {versions}"
    )


def write_page(results: Results, page: Path = PAGE) -> None:
    """Replaces what stands between the two marks.

    Sections that were not run keep what they have there. Those that were say by which run, then.

    Raises:
        ValueError: the page has no such marks.
    """
    text = page.read_text()
    before, begin, rest = text.partition(_BEGIN)
    old, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{page} has no place for the figures")
    new = {name: _blocks(found) for name, found in section_tables(results).items()}
    kept = {name: block for name in SECTIONS if name not in new if (block := _block(old, name))}
    run = [describe(results["machine"]), *results["skipped"]]
    top, _, targets = old.partition("\n### ")
    parts = [top.strip()] if kept else run
    parts.append(_targets(headline(results), targets if kept else ""))
    for name in SECTIONS:
        blocks = ([*run, *new[name]] if kept else new[name]) if name in new else kept.get(name)
        if blocks:
            parts += [_SECTION.format(name), *blocks]
    page.write_text("\n\n".join([before + begin, *parts, end]) + after)


def _blocks(found: list[Table]) -> list[str]:
    return [table.markdown() for table in found if table.rows]


def _block(figures: str, name: str) -> list[str]:
    """What a page has of a section; nothing if it has none."""
    _, mark, rest = figures.partition(_SECTION.format(name))
    block = rest.partition("<!--")[0].strip()
    return [block] if mark and block else []


def _targets(table: Table, old: str) -> str:
    """The headline, with the rows of an older one for what was not measured now."""
    rows = {}
    for line in old.partition("\n### ")[0].splitlines():
        words = [word.strip() for word in line.strip("|").split("|")]
        if line.startswith("| ") and len(words) == len(table.header):
            rows[words[0]] = words
    rows |= {row[0]: row for row in table.rows}
    known = [target.title for target in TARGETS]
    ours = [title for title in rows if title not in known and title in {r[0] for r in table.rows}]
    order = [title for title in [*known, *ours] if title in rows]
    return Table(table.title, table.header, [rows[title] for title in order]).markdown()


def write_plot(results: Results, plot: Path = PLOT) -> None:
    """Requests per second of a small GET, all ways, one panel for each number of threads."""
    importlib.import_module("matplotlib").use("Agg")  # needs no screen
    pyplot = importlib.import_module("matplotlib.pyplot")
    spells = select(results["rates"]["spells"], workload="small")
    counts = sorted({spell["threads"] for spell in spells})
    names = [name for name in WAYS if select(spells, way=name)][::-1]
    figure, axes = pyplot.subplots(
        1, len(counts), figsize=(11, 0.6 + 0.38 * len(names)), sharey=True, squeeze=False
    )
    for axis, threads in zip(axes[0], counts, strict=True):
        for row, name in enumerate(names):
            found = spread([rate(s) for s in select(spells, way=name, threads=threads)])
            if found is None:
                continue
            axis.barh(
                row,
                found.median,
                xerr=[[found.median - found.low], [found.high - found.median]],
                color=_OURS if name.startswith("restsock") else _THEIRS,
                error_kw={"ecolor": "#444444", "elinewidth": 0.8},
            )
        axis.set_yticks(range(len(names)), names)
        axis.set_title(f"{threads} thread{'s' if threads > 1 else ''}", fontsize=10)
        axis.set_xlabel("requests/s, GET 200 B")
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(plot, dpi=120)
    pyplot.close(figure)
