"""The panel of a terminal: at most twelve lines, drawn again as they change."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from restsock._logging import escaped

if TYPE_CHECKING:
    from ._output import Output
    from ._traffic import Traffic

__all__ = ["MAX_LINES", "View", "panel"]

MAX_LINES = 12
_PAUSE = 0.25  # seconds between two looks


@dataclass(frozen=True)
class View:
    """What the panel shows.

    Attributes:
        ok: Whether all is well.
        status: In a word or two, with the reason if it is not.
        rows: Further lines: what, and its value.
        traffic: What was served.
    """

    ok: bool
    status: str
    rows: tuple[tuple[str, str], ...]
    traffic: Traffic


@asynccontextmanager
async def panel(look: Callable[[], View], output: Output) -> AsyncIterator[None]:
    """Shows the panel on stderr while the block runs; other lines appear above it.

    Args:
        look: Tells what to show.
        output: Whose lines those are.
    """
    console = Console(stderr=True, no_color=not output.color, highlight=False)
    with Live(render(look()), console=console, auto_refresh=False, redirect_stdout=True) as live:
        output.write_lines_by(lambda line: console.print(Text(line)))
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_refresh, live, look)
                yield
                nursery.cancel_scope.cancel()
        finally:
            output.write_lines_by(None)


async def _refresh(live: Live, look: Callable[[], View]) -> None:
    while True:
        await trio.sleep(_PAUSE)
        live.update(render(look()), refresh=True)


def render(view: View) -> Table:
    """The lines of the panel."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, min_width=10, style="dim")
    table.add_column(no_wrap=True, overflow="ellipsis")
    table.add_row("Status", Text(view.status, style="green" if view.ok else "yellow"))
    for what, value in view.rows:
        table.add_row(what, Text(value))
    traffic = view.traffic
    p50, p95 = traffic.percentiles(0.5, 0.95)
    classes = "  ".join(
        f"{number}xx {count}" if number else f"cut off {count}"
        for number, count in sorted(traffic.classes.items())
    )
    table.add_row(
        "Requests",
        Text(
            f"{traffic.total} total  {traffic.in_flight} in flight"
            f"  p50 {p50 * 1000:.0f} ms  p95 {p95 * 1000:.0f} ms"
        ),
    )
    if classes:
        table.add_row("", Text(classes))
    for served in [*traffic.last][-(MAX_LINES - table.row_count) :]:
        style = "red" if served.status >= 500 or not served.status else ""
        path = escaped(served.path)
        line = (
            f"{served.method:<7} {served.status or '---'} {served.seconds * 1000:6.0f} ms  {path}"
        )
        table.add_row("", Text(line, style=style))
    return table
