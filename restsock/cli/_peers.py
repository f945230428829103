"""`restsock ls`, `kick` and `drain`: the peers of a hub, through its admin API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from ._filter import Filter, filter_option
from ._live import interval_option, redraw
from ._options import admin_options, complete_names, json_option, output_options

if TYPE_CHECKING:
    from ._admin import Admin
    from ._output import Output

__all__ = ["KEYS", "drain", "kick", "ls", "readable"]

_COLUMNS = {
    "name": "NAME",
    "id": "ID",
    "state": "STATE",
    "age": "AGE",
    "round_trip": "RTT",
    "in_flight": "IN FLIGHT",
    "requests": "REQUESTS",
    "principal": "PRINCIPAL",
    "address": "ADDRESS",
    "url": "URL",
}


KEYS = (*_COLUMNS, "tls")
"""Of a peer, as the admin API tells them."""

_UNITS = (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1))


@click.command("ls", short_help="List the peers of a hub.")
@click.argument("name", required=False, shell_complete=complete_names)
@filter_option(KEYS)
@click.option("--watch", is_flag=True, help="Update the list until Ctrl-C.")
@interval_option
@json_option
@admin_options
@output_options
def ls(
    name: str | None,
    *,
    admin: Admin,
    output: Output,
    chosen: Filter,
    watch: bool,
    interval: float,
) -> None:
    """List the peers of a hub: all, or those that match NAME, in which * is any text.

    \b
    restsock ls --filter 'state:open in_flight:>0'
    restsock ls 'edge-*' --filter '!principal:ops' --watch

    With --watch, a terminal shows the list in one place. Elsewhere, and with --json, each new list
    is written after the one before.
    """

    def look() -> list[dict[str, Any]]:
        return [peer for peer in admin.pages("peers", name=name) if chosen.matches(peer)]

    if watch:
        redraw(look, _COLUMNS, output, interval=interval, readable=readable)
    peers = look()
    output.table(peers if output.as_json else [readable(peer) for peer in peers], _COLUMNS)
    if not peers and not output.as_json:
        who = "peer" if name is None else f"peer {name!r}"
        output.say(f"no {who} is connected{' that --filter lets through' if chosen else ''}")


def readable(peer: Mapping[str, Any]) -> dict[str, Any]:
    """A peer with its numbers as people read them."""
    trip, age = peer["round_trip"], peer["age"]
    return {
        **peer,
        "id": peer["id"][:8],
        "age": None if age is None else _duration(age),
        "round_trip": None if trip is None else f"{trip * 1000:.1f} ms",
    }


def _duration(seconds: float) -> str:
    """Seconds in one or two units: `5s`, `2m10s`, `3h5m`, `4d2h`."""
    whole = int(seconds)
    for unit, size, below, part in _UNITS:
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size}{unit}" + (f"{rest}{below}" if rest else "")
    return f"{whole}s"


@click.command("kick", short_help="Close the connections of a peer.")
@click.argument("name", metavar="NAME|ID", shell_complete=complete_names)
@click.option("--reconnect", is_flag=True, help="Let it dial again.")
@json_option
@admin_options
@output_options
def kick(name: str, *, admin: Admin, output: Output, reconnect: bool) -> None:
    """Close the connections of a peer at once; requests in flight on them fail.

    It does not dial again by itself, except with --reconnect. `restsock token revoke` keeps it
    away.
    """
    members = admin.members(name)
    for member in members:
        admin.delete(f"peers/{member['id']}", reconnect="true" if reconnect else None)
    output.event("kicked", f"{len(members)} closed", ids=[member["id"] for member in members])


@click.command("drain", short_help="Have a peer dial again, after its requests in flight.")
@click.argument("name", metavar="NAME|ID", shell_complete=complete_names)
@json_option
@admin_options
@output_options
def drain(name: str, *, admin: Admin, output: Output) -> None:
    """Close the connections of a peer after the requests in flight. Its client dials again.

    Behind a load balancer it may then reach another hub, and it may bring a new token.
    """
    members = admin.members(name)
    for member in members:
        admin.post(f"peers/{member['id']}/drain")
    output.event("drained", f"{len(members)} leaving", ids=[member["id"] for member in members])
