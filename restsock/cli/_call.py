"""`restsock call`: a request to a peer, through the hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ._hub_address import HubAddress
from ._options import (
    PATH,
    complete_names,
    hub_options,
    json_option,
    output_options,
    timeout_option,
)
from ._pretty import STYLES, Style

if TYPE_CHECKING:
    from ._output import Output

__all__ = ["command"]


@click.command("call", short_help="Send a request to a peer, through the hub.")
@click.argument("name", shell_complete=complete_names)
@click.argument("path")
@click.argument("items", nargs=-1)
@click.option("-X", "--request", "method", help="The method; by default GET, or POST with a body.")
@click.option("-d", "--data", help="The body: text, @FILE, or @- for stdin.")
@click.option("-o", "--output-file", type=PATH, help="Write the body to this file.")
@click.option("-i", "--include", is_flag=True, help="Write the head of the response, too.")
@click.option("--stream", is_flag=True, help="Write the body as it arrives, for events.")
@click.option(
    "--pretty",
    type=click.Choice([*STYLES]),
    help="Show JSON in lines (format), in colours, or both; by default both on a terminal.",
)
@click.option("--download", is_flag=True, help="Write the body to a file, with a progress bar.")
@timeout_option(30.0, "Seconds to wait for the response, and for each part of it.")
@click.option("--repeat", type=click.IntRange(1), default=1, help="Send it this often; show times.")
@click.option("--curl", is_flag=True, help="Send nothing: write the same request for curl.")
@click.option("--openapi", type=PATH, help="The document whose operation ids PATH may be.")
@json_option
@hub_options
@output_options
def command(
    name: str,
    path: str,
    items: tuple[str, ...],
    *,
    hub: HubAddress,
    output: Output,
    method: str | None,
    data: str | None,
    output_file: Path | None,
    include: bool,
    stream: bool,
    pretty: str | None,
    download: bool,
    timeout: float,
    repeat: int,
    curl: bool,
    openapi: Path | None,
) -> int:
    """Send a request to the peer NAME, through the ingress of the hub.

    ITEMS: key=v and key:=json make a JSON body, Header:v a field, q==v a part of the query, and
    @FILE is the whole body. With --openapi, PATH may be the id of an operation, and key=v its
    arguments.

    \b
    restsock call edge-1 /pets limit==10
    restsock call edge-1 /pets name=Rex age:=3
    restsock call edge-1 listPets limit=10 --openapi petstore.json

    Exit codes: 0 for a status below 400, 1 for one above, 3 where there is no such peer or it is
    away, 4 where the hub refuses the token, 5 after a time-out.
    """
    from ._items import read_items
    from ._messages import as_curl, make_request, send, send_repeatedly

    found = read_items(items)
    request = make_request(hub, name, path, found, method, data, openapi)
    if curl:
        output.data(as_curl(request, hub))
        return 0
    if repeat > 1:
        return send_repeatedly(request, hub, output, timeout=timeout, times=repeat)
    return send(
        request,
        hub,
        output,
        timeout=timeout,
        target=output_file,
        include=include,
        stream=stream,
        download=download,
        style=Style.of(pretty, output),
    )
