"""`restsock forward`: a peer in front of an HTTP server that runs already."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ._hub_address import HubAddress, name_of_this_host
from ._options import (
    PATH,
    host_option,
    hub_options,
    json_option,
    output_options,
    peer_options,
    timeout_option,
)

if TYPE_CHECKING:
    from ._output import Output

__all__ = ["command", "upstream_url"]


def upstream_url(target: str) -> str:
    """The URL of what is forwarded to: a port, `host:port`, a URL, or `unix:/path`."""
    if target.isdigit():
        return f"http://127.0.0.1:{target}"
    if target.startswith("unix:"):
        return f"http+unix://{target.removeprefix('unix:').removeprefix('//')}"
    return target if "://" in target else f"http://{target}"


@click.command("forward", short_help="Make an HTTP server that already runs a peer.")
@click.argument("target", metavar="PORT|URL|unix:PATH", required=False)
@peer_options
@host_option("the server")
@click.option("--only", metavar="PATH", multiple=True, help="Publish this path, and no other.")
@click.option(
    "--basic",
    type=PATH,
    help="Ask callers for a user and a password from this file, a JSON object.",
)
@timeout_option(60.0, "Seconds that the server may take until its response begins.")
@click.option("--null", is_flag=True, help="No server: answer everything with an empty 200.")
@json_option
@hub_options
@output_options
def command(
    target: str | None,
    *,
    hub: HubAddress,
    output: Output,
    name: str | None,
    metadata: tuple[tuple[str, str], ...],
    host: str,
    only: tuple[str, ...],
    basic: Path | None,
    timeout: float,
    null: bool,
) -> int:
    """Make an HTTP server that already runs, in any language, a peer of a hub.

    \b
    restsock forward 5000 --name edge-1
    restsock forward https://intranet.example --host upstream --only /api
    restsock forward --null --name hooks --json

    With --basic FILE, such as {"ann": "her password"}, callers have to log in as one of its users.
    Then the hub must not ask for Authorization itself, since it would keep the field.

    The public URL is the only line on stdout. SIGTERM and Ctrl-C finish requests in flight first.
    """
    if null != (target is None):
        raise click.UsageError("give a port, a URL or unix:PATH, or else --null")
    from restsock.apps import forward, make_handler

    from ._doors import OnlyPaths, OnlyUsers, null_app
    from ._peer import Peer

    if target is None:
        handler, served, what = make_handler(null_app, interface="wsgi"), "nothing", "null"
    else:
        try:
            upstream = forward(upstream_url(target), host=host, response_timeout=timeout)
        except ValueError as exc:
            raise click.UsageError(str(exc)) from None
        handler, served = make_handler(upstream), str(upstream.origin)
        what = target if target.isdigit() else served.partition("://")[2]
    if only:
        handler = OnlyPaths(handler, only)
    if basic is not None:
        handler = OnlyUsers(handler, basic)
    return Peer(hub, name or name_of_this_host(what), dict(metadata), handler, served, output).run()
