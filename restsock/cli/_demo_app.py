"""`restsock demo-app`: a tiny web server to try things with. `restsock.cli.demo:app` is the app."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ._options import ADDRESS, json_option, output_options

if TYPE_CHECKING:
    from ._output import Output

__all__ = ["command"]


@click.command("demo-app", short_help="Run a tiny web server to try things with.")
@click.option(
    "--listen", type=ADDRESS, default="127.0.0.1:5000", show_default=True, help="Where to listen."
)
@json_option
@output_options
def command(*, output: Output, listen: tuple[str, int]) -> int:
    """Run a tiny web server to try things with.

    \b
    restsock demo-app
    restsock forward 5000 --name demo

    It has the paths / (a page), /pets (JSON, GET and POST), /echo (what was sent), /slow (2 s) and
    /count (ten lines, one each half second). URL on stdout.
    """
    from restsock.apps import make_handler

    from ._listening import Listening
    from .demo import app

    return Listening(listen, make_handler(app), "the demo app", output).run()
