"""`restsock gateway`: a hub with nothing but channels, unless its file says more."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ._hub import read_config, run_hub
from ._options import PATH, json_option, output_options

if TYPE_CHECKING:
    from ._output import Output

__all__ = ["command"]


@click.group(
    "gateway",
    invoke_without_command=True,
    short_help="Run a gateway: messages of WebSockets become calls.",
)
@click.option("-c", "--config", "path", type=PATH, help="The file of the gateway, in TOML.")
@click.option("--listen", metavar="HOST:PORT", help="Where clients connect.")
@json_option
@output_options
@click.pass_context
def command(
    ctx: click.Context, *, output: Output, path: Path | None, listen: str | None
) -> int | None:
    """Run a gateway: clients send messages over plain WebSockets, and each becomes a call.

    \b
    restsock gateway -c gateway.toml
    restsock gateway check gateway.toml

    The file is that of a hub, with a [[channel]] at least. Peers, ingress and admin API are off
    unless it has their tables. The URLs of the channels are the only lines on stdout. SIGTERM and
    Ctrl-C answer what is under way first; SIGHUP has the file read again, and clients stay.
    """
    if ctx.invoked_subcommand is not None:
        return None
    if path is None:
        raise click.UsageError("name the file of the gateway with --config")
    return run_hub(read_config(path, {"hub.listen": listen}, alone=True), output)


@command.command("check", short_help="Check the file of a gateway.")
@click.argument("path", metavar="FILE", type=PATH)
@json_option
@output_options
def check(path: Path, *, output: Output) -> None:
    """Check the file of a gateway: its keys, their values, and the files that it names.

    With --json the configuration is written as the gateway would use it, without secrets.
    """
    config = read_config(path, alone=True)
    if output.as_json:
        output.json(config.shown())
    else:
        output.say(f"{path}: a gateway can use this")
