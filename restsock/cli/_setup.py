"""`restsock completion` and `service`: the command as a part of a system."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from ._units import command_line, escaped, service_unit, socket_unit

__all__ = ["completion", "service"]


@click.command("completion", short_help="Print the completion script of a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash  eval "$(restsock completion bash)"       in ~/.bashrc
    zsh   eval "$(restsock completion zsh)"        in ~/.zshrc
    fish  restsock completion fish | source        in ~/.config/fish/config.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    made = kind(ctx.find_root().command, {}, "restsock", "_RESTSOCK_COMPLETE")
    # Not `source()`: that of bash runs bash first, to see how old it is.
    click.echo(made.source_template % made.source_vars())


# What `ProtectHome=yes` hides.
_HOMES = re.compile(r"/(?:home|root|run/user)(?=/)")


@click.group("service", short_help="Run a command as a system service.")
def service() -> None:
    """Run a verb as a service of the system."""


@service.command(
    "print",
    short_help="Print a systemd unit for a command.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("args", nargs=-1, required=True, type=click.UNPROCESSED)
def print_unit(args: tuple[str, ...]) -> None:
    """Print a unit of systemd that runs `restsock ARGS` in this folder. Nothing is installed.

    \b
    restsock service print hub --config hub.toml > restsock-hub.service
    restsock service print forward 5000 --name edge-1 > restsock-edge-1.service
    """
    if any(arg.partition("=")[0] == "--token" for arg in args):
        raise click.UsageError(
            "everybody can read a unit: put RESTSOCK_TOKEN=... into /etc/restsock/environment"
        )
    if not all(map(str.isprintable, args)):
        raise click.UsageError("a unit has no place for line ends and the like")
    for path, what, hint in (
        (sys.executable, "this Python", "install restsock in /opt"),
        (f"{Path.cwd()}/", "this folder", "run this in another one"),
    ):
        home = _HOMES.match(path)
        if home is not None:
            _warn(f"services see no files in {home[0]}, where {what} is: {hint}")
    unit = service_unit(
        args[0],
        command_line([sys.executable, "-m", "restsock", *args]),
        description=escaped(f"restsock {' '.join(args)}"),
        folder=Path.cwd(),
    )
    click.echo(unit, nl=False)


def _warn(text: str) -> None:
    click.echo(f"restsock: warning: {text}", err=True)


@service.command("socket", short_help="Print a systemd unit for the port of a hub.")
@click.argument("addresses", metavar="[ADDRESS]...", nargs=-1)
def print_socket(addresses: tuple[str, ...]) -> None:
    """Print a unit of systemd that holds the port of a hub, so that a restart refuses nobody.

    \b
    restsock service socket 0.0.0.0:8443 > restsock-hub.socket

    ADDRESS is one that systemd listens on; by default port 8080 everywhere. The file has to have
    the name of the hub's service, with .socket at its end.
    """
    click.echo(socket_unit(addresses or ("0.0.0.0:8080", "[::]:8080")), nl=False)
