"""Tables that are drawn again and again."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import click

from restsock._logging import escaped

if TYPE_CHECKING:
    from rich.table import Table

    from ._output import Output

__all__ = ["interval_option", "redraw"]

Row = Mapping[str, Any]

interval_option = click.option(
    "--interval",
    type=click.FloatRange(0.1),
    default=2.0,
    show_default=True,
    help="Seconds between updates.",
)
"""Adds `--interval`."""


def redraw(
    look: Callable[[], Sequence[Row]],
    columns: Mapping[str, str],
    output: Output,
    *,
    interval: float,
    readable: Callable[[Row], Row],
) -> NoReturn:
    """Shows a table until it is interrupted: on a terminal in one place, else one after another.

    Args:
        look: Gives the rows.
        columns: Key in a row -> heading.
        output: Where it goes; with `--json`, a line for each look.
        interval: Seconds between updates.
        readable: Makes of a row what people read.
    """
    if output.as_json or not sys.stdout.isatty():
        while True:
            rows = look()
            output.table(rows if output.as_json else [*map(readable, rows)], columns)
            time.sleep(interval)
    from rich.console import Console
    from rich.live import Live

    console = Console(no_color=not output.color, highlight=False)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            # As many as there is room for, below the headings.
            rows = look()[: max(1, console.height - 2)]
            live.update(_drawn([*map(readable, rows)], columns), refresh=True)
            time.sleep(interval)


def _drawn(rows: Sequence[Row], columns: Mapping[str, str]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for heading in columns.values():
        table.add_column(heading, no_wrap=True)
    for row in rows:
        cells = ("-" if row[key] is None else str(row[key]) for key in columns)
        table.add_row(*(Text(escaped(cell)) for cell in cells))
    return table
