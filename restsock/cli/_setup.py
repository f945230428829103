"""`restsock completion` and `service`: the command as a part of a system."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from ._options import warn_of_token

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

_UNIT = """\
[Unit]
Description=restsock {verb}
Wants=network-online.target
After=network-online.target

[Service]
Type={kind}
ExecStart={command}
Environment=PYTHONUNBUFFERED=1
# The token: RESTSOCK_TOKEN=... in this file, readable by root alone.
EnvironmentFile=-/etc/restsock/environment
Restart=on-failure
RestartSec=2
# Longer than what is in flight may take (30 s).
TimeoutStopSec=40
DynamicUser=yes
StateDirectory=restsock
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes

[Install]
WantedBy=multi-user.target
"""


@click.group("service", short_help="Run a verb as a service of the system.")
def service() -> None:
    """Run a verb as a service of the system."""


@service.command(
    "print",
    short_help="Print a unit of systemd for a verb.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("args", nargs=-1, required=True, type=click.UNPROCESSED)
def print_unit(args: tuple[str, ...]) -> None:
    """Print a unit of systemd that runs `restsock ARGS`. Nothing is installed.

    \b
    restsock service print forward 5000 --name edge-1 > restsock-edge-1.service
    """
    if any(word.partition("=")[0] == "--token" for word in args):
        warn_of_token()
    for word in args:
        if not word.startswith(("-", "/")) and Path(word).exists():
            _warn(f"the service runs in /: name {word} by its whole path, {Path(word).absolute()}")
    home = _HOMES.match(sys.executable)
    if home is not None:
        _warn(f"services see no files in {home[0]}, where this Python is: install restsock in /opt")
    words = [sys.executable, "-m", "restsock", *args]
    kind = "notify-reload" if args[0] == "hub" else "exec"
    click.echo(
        _UNIT.format(verb=" ".join(args), kind=kind, command=" ".join(map(_quoted, words))),
        nl=False,
    )


def _warn(text: str) -> None:
    click.echo(f"restsock: warning: {text}", err=True)


def _quoted(word: str) -> str:
    """A word as systemd reads it: % and $ mean something, and spaces need quotes."""
    word = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{word}"' if not word or any(c in word for c in " \t\"'\\;") else word
