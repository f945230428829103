"""`restsock events` and `top`: what happens at a hub, through its admin API."""

from __future__ import annotations

import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from restsock._logging import escaped

from ._filter import Filter, filter_option
from ._live import interval_option, redraw
from ._options import admin_options, json_option, output_options
from ._peers import KEYS, readable

if TYPE_CHECKING:
    from ._admin import Admin
    from ._output import Output

__all__ = ["events", "top"]

_KEYS = ("type", "name", "principal", "connection_id", "reason", "code", "time", "id", "lost")
_WORDS = {
    "ConnectionReceived": "connected",
    "ConnectionClosed": "closed",
    "ConnectionFailure": "lost",
}


@click.command("events", short_help="Show which peers connect and disconnect.")
@click.option("-f", "--follow", is_flag=True, help="Also show new events as they happen.")
@filter_option(_KEYS)
@json_option
@admin_options
@output_options
def events(*, admin: Admin, output: Output, chosen: Filter, follow: bool) -> None:
    """Show which peers connected and disconnected: the last thousand events, oldest first.

    With --json, each event is an object on a line of its own.
    """
    after: str | None = None
    while True:
        page = admin.get("events", after=after)
        for event in page["items"]:
            _write(event, chosen, output)
        after = page["latest"]
        if not page["items"]:
            break
    if follow:
        assert after is not None
        for event in admin.events("events", after):
            _write(event, chosen, output)
        output.say("the hub has closed")


def _write(event: dict[str, Any], chosen: Filter, output: Output) -> None:
    if not chosen.matches(event):
        return
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
@filter_option(("rate", *KEYS))
@interval_option
@json_option
@admin_options
@output_options
def top(*, admin: Admin, output: Output, chosen: Filter, interval: float) -> None:
    """Show the busiest peers of a hub, drawn again every two seconds, until Ctrl-C.

    Into a pipe, and with --json, it writes the list once and ends.
    """
    busiest = _Busiest(admin, chosen)
    if not output.as_json and sys.stdout.isatty():
        redraw(busiest.look, _COLUMNS, output, interval=interval, readable=readable)
    time.sleep(interval)
    rows = busiest.look()
    output.table(rows if output.as_json else [*map(readable, rows)], _COLUMNS)


class _Busiest:
    """The peers with their rates since the look before, the busiest first."""

    def __init__(self, admin: Admin, chosen: Filter) -> None:
        self._admin = admin
        self._chosen = chosen
        self._had: dict[str, int] = {}
        self._begun = time.monotonic()
        self.look()

    def look(self) -> list[dict[str, Any]]:
        peers = self._admin.pages("peers")
        now = time.monotonic()
        seconds = max(now - self._begun, 0.001)
        for peer in peers:
            new = peer["requests"] - self._had.get(peer["id"], peer["requests"])
            peer["rate"] = round(new / seconds, 1)
        self._had = {peer["id"]: peer["requests"] for peer in peers}
        self._begun = now
        rows = [peer for peer in peers if self._chosen.matches(peer)]
        return sorted(rows, key=lambda row: (-row["rate"], -row["in_flight"], row["name"] or ""))
