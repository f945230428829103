"""`restsock check-config`, `reload` and `route`: by which rules a hub works."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ._exit_codes import ExitCode
from ._options import PATH, admin_options, json_option, output_options

if TYPE_CHECKING:
    from ._admin import Admin
    from ._output import Output

__all__ = ["check_config", "reload", "route"]


@click.command("check-config", short_help="Check the file of a hub.")
@click.argument("path", metavar="[FILE]", type=PATH, required=False)
@click.option("--schema", is_flag=True, help="Write the JSON Schema of such files, for editors.")
@json_option
@output_options
def check_config(path: Path | None, *, output: Output, schema: bool) -> None:
    """Check the file of a hub: its keys, their values, and the files that it names.

    With --json the configuration is written as the hub would use it, without secrets. --schema
    needs no FILE.
    """
    from ._hub import read_config

    if schema:
        from restsock.hub import json_schema

        output.json(json_schema())
        return
    if path is None:
        raise click.UsageError("give the FILE to check")
    config = read_config(path)
    if output.as_json:
        output.json(config.shown())
    else:
        output.say(f"{path}: a hub can use this")


@click.command("reload", short_help="Have a hub read its file again.")
@json_option
@admin_options
@output_options
def reload(*, admin: Admin, output: Output) -> None:
    """Have a hub read its file again. A wrong file changes nothing, and the exit code is 1.

    Connections stay open. Keys that need a restart are written to stdout, one on each line.
    """
    answer = admin.post("config/reload")
    if output.as_json:
        output.json(answer)
        return
    for key in answer["restart_needed"]:
        output.data(key)
    needs = "; the keys above need a restart" if answer["restart_needed"] else ""
    output.say(f"the file is in use{needs}")


@click.command("route", short_help="Explain which peer a request would reach, and why.")
@click.argument("url")
@click.argument("headers", nargs=-1, metavar="[Header:value]...")
@click.option("-X", "--request", "method", default="GET", show_default=True, help="The method.")
@json_option
@admin_options
@output_options
def route(url: str, headers: tuple[str, ...], *, admin: Admin, output: Output, method: str) -> int:
    """Explain which peer a request would reach through the ingress, and why. Nothing is sent.

    \b
    restsock route http://edge-1.localhost:8080/pets
    restsock route http://127.0.0.1:8080/pets Restsock-Peer:edge-1

    The exit code is 3 if no peer would get it.
    """
    from ._items import read_items

    items = read_items(headers)
    if items.data or items.query or items.body is not None:
        raise click.UsageError("only header fields, as Header:value, may follow the URL")
    body = {"url": url, "method": method, "headers": dict(items.headers)}
    found = admin.post("routes/explain", body)
    if output.as_json:
        output.json(found)
    elif found["name"] is None:
        output.data(f"no peer: {found['how']}")
    else:
        output.data(f"peer     {found['name']}")
        output.data(f"by       {found['how']}")
        output.data(f"target   {found['target']}")
        output.data(f"access   {found['access']}")
        output.data(f"state    {'connected' if found['connected'] else 'not connected'}")
    return ExitCode.NO_PEER if found["name"] is None else ExitCode.OK
