"""`restsock events` and `top`: what happens at a hub, through its admin API."""

from __future__ import annotations

import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from restsock._logging import escaped

from ._options import admin_options, json_option, output_options
from ._peers import readable

if TYPE_CHECKING:
    from rich.table import Table

    from ._admin import Admin
    from ._output import Output

__all__ = ["events", "top"]

_WORDS = {
    "ConnectionReceived": "connected",
    "ConnectionClosed": "closed",
    "ConnectionFailure": "lost",
}


@click.command("events", short_help="Tell which peers come and go.")
@click.option("-f", "--follow", is_flag=True, help="Go on with those to come.")
@json_option
@admin_options
@output_options
def events(*, admin: Admin, output: Output, follow: bool) -> None:
    """Tell which peers have come and gone: the last thousand events, oldest first.

    With --json each is an object on a line of its own.
    """
    after: str | None = None
    while True:
        page = admin.get("events", after=after)
        for event in page["items"]:
            _write(event, output)
        after = page["latest"]
        if not page["items"]:
            break
    if follow:
        assert after is not None
        for event in admin.events("events", after):
            _write(event, output)
        output.say("the hub has closed")


def _write(event: dict[str, Any], output: Output) -> None:
    if output.as_json:
        output.json(event)
        return
    at = datetime.fromtimestamp(event["time"]).astimezone().isoformat(" ", "seconds")
    if event["type"] == "EventsLost":
        output.data(f"{at}  {event['lost']} events were lost")
        return
    code = "" if event["code"] is None else f" ({event['code']})"
    reason = f"  {event['reason']}{code}" if event["reason"] or code else ""
    name = escaped(event["name"] or "-")
    output.data(f"{at}  {_WORDS[event['type']]:<9}  {name}{escaped(reason)}")


_COLUMNS = {
    "name": "NAME",
    "rate": "REQ/S",
    "in_flight": "IN FLIGHT",
    "requests": "REQUESTS",
    "round_trip": "RTT",
    "age": "AGE",
    "state": "STATE",
}


@click.command("top", short_help="Show what the peers of a hub are doing.")
@click.option(
    "--interval",
    type=click.FloatRange(0.1),
    default=2.0,
    show_default=True,
    help="Seconds between two looks.",
)
@json_option
@admin_options
@output_options
def top(*, admin: Admin, output: Output, interval: float) -> None:
    """Show the busiest peers of a hub, drawn again every two seconds, until Ctrl-C.

    Into a pipe, and with --json, it writes one look and ends.
    """
    before = _look(admin)
    if output.as_json or not sys.stdout.isatty():
        time.sleep(interval)
        now = _look(admin)
        rows = _rows(before, now, interval)
        output.table(rows if output.as_json else [readable(row) for row in rows], _COLUMNS)
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(no_color=not output.color, highlight=False)
    with Live(_drawn([], console.height), console=console, screen=True) as live:
        begun = time.monotonic()
        while True:
            now = _look(admin)
            seconds = max(time.monotonic() - begun, 0.001)
            begun = time.monotonic()
            live.update(_drawn(_rows(before, now, seconds), console.height), refresh=True)
            before = now
            time.sleep(interval)


def _look(admin: Admin) -> list[dict[str, Any]]:
    return admin.pages("peers")


def _rows(
    before: list[dict[str, Any]], now: list[dict[str, Any]], seconds: float
) -> list[dict[str, Any]]:
    """The peers of now with their rates, the busiest first."""
    had = {peer["id"]: peer["requests"] for peer in before}
    rows = [
        {**peer, "rate": round((peer["requests"] - had.get(peer["id"], 0)) / seconds, 1)}
        for peer in now
    ]
    return sorted(rows, key=lambda row: (-row["rate"], -row["in_flight"], row["name"] or ""))


def _drawn(rows: list[dict[str, Any]], height: int) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for heading in _COLUMNS.values():
        table.add_column(heading, no_wrap=True)
    for row in map(readable, rows[: max(1, height - 2)]):
        cells = ("-" if row[key] is None else str(row[key]) for key in _COLUMNS)
        table.add_row(*(Text(escaped(cell)) for cell in cells))
    return table
