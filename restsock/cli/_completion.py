"""`restsock completion`: the completion script of a shell."""

from __future__ import annotations

import click

__all__ = ["command"]


@click.command("completion", short_help="Print the completion script of a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
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
