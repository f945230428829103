"""What stands before a server that is forwarded to: which requests get to it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import click

from restsock.auth import BasicUsers, Refused
from restsock.connection import Exchange, Handler, answer, ignore, upgrade_of
from restsock.ingress import is_plain_path

from ._failures import Failure

__all__ = ["OnlyPaths", "OnlyUsers", "null_app"]


class OnlyPaths:
    """A `Handler` that passes on what is under certain paths. Everything else gets a 404.

    Paths that are not in their plain form, with `..`, a semicolon or a percent-encoded letter for
    example, are under none: a server might read them as another path than this does.

    Args:
        handler: What serves the rest.
        paths: Each with what is below it.

    Raises:
        UsageError: One is no path.
    """

    def __init__(self, handler: Handler, paths: Collection[str]) -> None:
        for path in paths:
            if not path.startswith("/") or not is_plain_path(path):
                raise click.UsageError(f"--only: {path!r} has to begin with /, and to be plain")
        self._handler = handler
        self._paths = [path.rstrip("/") for path in paths]

    def running(self) -> AbstractAsyncContextManager[None]:
        """See `Handler`."""
        return self._handler.running()

    def handle(self, exchange: Exchange) -> None:
        """See `Handler`."""
        path = exchange.request.target.partition(b"?")[0].decode("latin-1")
        below = any(path == one or path.startswith(f"{one}/") for one in self._paths)
        if below and is_plain_path(path):
            self._handler.handle(exchange)
        else:
            exchange.observer = ignore
            answer(exchange, 404, "There is nothing here.\n")


class OnlyUsers:
    """A `Handler` that passes on what comes with a user and a password (RFC 7617).

    The field Authorization is for it, and not passed on.

    Args:
        handler: What serves them.
        file: Of `restsock.auth.BasicUsers`: a JSON object of users and passwords. It is read again
            when it changes.

    Raises:
        Failure: It cannot be used.
    """

    def __init__(self, handler: Handler, file: Path) -> None:
        try:
            self._users = BasicUsers(file=file)
        except (OSError, ValueError) as exc:
            raise Failure(f"--basic: {exc}", 'one is {"user": "password"}') from None
        self._handler = handler

    def running(self) -> AbstractAsyncContextManager[None]:
        """See `Handler`."""
        return self._handler.running()

    def handle(self, exchange: Exchange) -> None:
        """See `Handler`."""
        request, connection = exchange.request, exchange.connection
        assert connection is not None
        try:
            principal = self._users(upgrade_of(request, None, connection.peer))
            refused = Refused(401) if principal is None else None
        except Refused as exc:
            refused = exc
        if refused is not None:
            exchange.observer = ignore
            challenge = ((b"WWW-Authenticate", self._users.challenge.encode()),)
            fields = challenge if refused.status == 401 else ()
            answer(exchange, refused.status, f"{refused.text}\n", fields)
            return
        kept = [one for one in request.headers if one[0].lower() != b"authorization"]
        exchange.request = request._replace(headers=kept)
        self._handler.handle(exchange)


def null_app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """A WSGI app that answers everything with an empty 200."""
    body = environ["wsgi.input"]
    while body.read(64 * 1024):
        pass
    start_response("200 OK", [("Content-Length", "0")])
    return [b""]
