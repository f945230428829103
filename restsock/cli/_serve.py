"""`restsock serve`: an app as a peer, or behind a port."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._failures import Failure
from ._hub_address import HubAddress, name_of_this_host
from ._options import ADDRESS, PATH, hub_options, json_option, output_options, peer_options

if TYPE_CHECKING:
    from restsock.connection import Handler

    from ._output import Output

__all__ = ["command"]


@click.command("serve", short_help="Serve an app as a peer of a hub.")
@click.argument("app", metavar="MODULE:APP")
@peer_options
@click.option(
    "--interface",
    type=click.Choice(["wsgi", "asgi", "function"]),
    help="The kind of app, if it cannot be detected.",
)
@click.option(
    "--app-dir",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path(),
    help="The folder of the modules; by default this one.",
)
@click.option("--factory", is_flag=True, help="Call APP to make the app.")
@click.option("--reload", is_flag=True, help="Start again when a file changes. For development.")
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=32,
    show_default=True,
    help="Threads that call a WSGI app.",
)
@click.option("--openapi", type=PATH, help="Check requests against this OpenAPI document.")
@click.option(
    "--listen",
    type=ADDRESS,
    help="Do not dial a hub: listen here, for peers and for plain HTTP.",
)
@json_option
@hub_options
@output_options
def command(
    app: str,
    *,
    hub: HubAddress,
    output: Output,
    name: str | None,
    metadata: tuple[tuple[str, str], ...],
    interface: str | None,
    app_dir: Path,
    factory: bool,
    reload: bool,
    workers: int,
    openapi: Path | None,
    listen: tuple[str, int] | None,
) -> int:
    """Serve a WSGI app, an ASGI app or an async function as a peer of a hub.

    \b
    restsock serve main:app --name edge-1
    restsock serve main:create_app --factory --reload

    The public URL is the only line on stdout. SIGTERM and Ctrl-C finish requests in flight first.
    """
    if reload:
        from ._reload import run_with_reload

        return run_with_reload(app_dir, [arg for arg in sys.argv[1:] if arg != "--reload"])
    from ._apps import load_app

    loaded = load_app(app, app_dir, factory=factory)
    handler = _handler_of(loaded, interface, workers, openapi)
    if listen is not None:
        from ._listening import Listening

        return Listening(listen, handler, app, output, peers=True).run()
    from ._peer import Peer

    name = name or name_of_this_host(app.partition(":")[0].rpartition(".")[2])
    return Peer(hub, name, dict(metadata), handler, app, output).run()


def _handler_of(app: Any, interface: str | None, workers: int, openapi: Path | None) -> Handler:
    from restsock._exceptions import SpecError
    from restsock.apps import make_handler

    try:
        if openapi is None:
            return make_handler(app, interface=interface, workers=workers)
        from restsock.openapi import OpenAPIHandler

        return OpenAPIHandler(app, str(openapi), interface=interface, workers=workers)
    except TypeError as exc:
        raise Failure(str(exc), "try --interface, or --factory") from None
    except SpecError as exc:
        raise Failure(f"--openapi: {exc}") from None
