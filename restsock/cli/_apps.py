"""Imports apps by their names."""

from __future__ import annotations

import sys
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from restsock.connection import Exchange, Handler

from ._failures import Failure

__all__ = ["RunsAlready", "load_app"]

_FRAMES = 4  # of the app's own code, in the traceback of one that does not import


def load_app(reference: str, app_dir: Path, *, factory: bool = False) -> Any:
    """Imports an app.

    Args:
        reference: `module:attribute`; the attribute may have dots.
        app_dir: Where modules are looked for first.
        factory: Whether it has to be called to make the app.

    Raises:
        UsageError: The reference is none.
        Failure: It does not import, or there is nothing of that name in it.
    """
    module_name, colon, path = reference.partition(":")
    if not module_name or not colon or not path:
        raise click.UsageError(f"{reference!r} is not MODULE:APP, such as main:app")
    sys.path.insert(0, str(app_dir.resolve()))
    try:
        found: Any = import_module(module_name)
    except ModuleNotFoundError as exc:
        if exc.name is not None and f"{module_name}.".startswith(f"{exc.name}."):
            raise Failure(
                f"there is no module {exc.name!r} in {app_dir.resolve()}",
                "name the folder that it is in with --app-dir",
            ) from None
        raise _broken(reference, exc) from None
    except (Exception, SystemExit) as exc:  # noqa: BLE001  # whatever the app's own code raises
        raise _broken(reference, exc) from None
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            close = get_close_matches(name, dir(found), n=1)
            hint = f"did you mean {close[0]!r}?" if close else "check what stands after the colon"
            raise Failure(f"{module_name!r} has no {path!r}", hint) from None
    if not factory:
        return found
    try:
        return found()
    except (Exception, SystemExit) as exc:  # noqa: BLE001  # whatever the app's own code raises
        raise _broken(reference, exc) from None


def _broken(reference: str, error: BaseException) -> Failure:
    """What an app has raised: its own frames, and none of the import system or of ours."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "importlib" not in frame.filename and frame.filename != __file__
    ]
    lines = traceback.format_list(frames[-_FRAMES:])
    lines += traceback.format_exception_only(type(error), error)
    return Failure(
        f"{reference!r} cannot be imported: {type(error).__name__}",
        "the lines above say where",
        details="".join(lines),
    )


@dataclass
class RunsAlready:
    """A `Handler` whose life is another's business: for one that stands in two places."""

    handler: Handler

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """See `Handler`."""
        yield

    def handle(self, exchange: Exchange) -> None:
        """See `Handler`."""
        self.handler.handle(exchange)
