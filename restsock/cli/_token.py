"""`restsock token`: makes, lists, revokes and hashes tokens, through a hub or in a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO
from urllib.parse import quote

import click

from ._exit_codes import ExitCode
from ._failures import Failure
from ._options import PATH, admin_options, json_option, output_options

if TYPE_CHECKING:
    from ._admin import Admin
    from ._output import Output

__all__ = ["command"]

_KIND = click.Choice(["peer", "admin"])
_COLUMNS = {
    "id": "ID",
    "kind": "KIND",
    "name": "NAME",
    "created": "CREATED",
    "may_register": "MAY REGISTER",
    "may_call": "MAY CALL",
    "scopes": "SCOPES",
}


def _file_option(function: Callable[..., Any]) -> Callable[..., Any]:
    option = click.option("--file", type=PATH, help="Use this file of tokens instead of a hub.")
    return option(function)


@click.group("token", short_help="Make, list and revoke tokens.")
def command() -> None:
    """Make, list and revoke tokens. A hub reads its file of tokens again when it changes.

    \b
    restsock token new edge-1 --file tokens.json     before there is a hub
    restsock token new edge-1                        through the admin API
    """


@command.command("new", short_help="Make a token.")
@click.argument("name")
@click.option("--kind", type=_KIND, default="peer", help="Who it is for; by default a peer.")
@click.option(
    "--register",
    multiple=True,
    metavar="PATTERN",
    help="A name that its peers may use; by default NAME.",
)
@click.option(
    "--call", multiple=True, metavar="PATTERN", help="A peer that it may call; by default all."
)
@click.option(
    "--scope",
    type=click.Choice(["read", "write"]),
    multiple=True,
    help="What it may do at the admin API.",
)
@_file_option
@json_option
@admin_options
@output_options
def new(
    name: str,
    *,
    admin: Admin,
    output: Output,
    kind: str,
    register: tuple[str, ...],
    call: tuple[str, ...],
    scope: tuple[str, ...],
    file: Path | None,
) -> None:
    """Make a token for the principal NAME. It is the only line on stdout, and is shown once.

    Patterns have * for any text.
    """
    body: dict[str, Any] = {"name": name}
    if register:
        body["may_register"] = list(register)
    if call:
        body["may_call"] = list(call)
    if scope:
        body["scopes"] = list(scope)
    if file is None:
        made = admin.post("tokens", {"kind": kind, **body})
    else:
        token, value = _from_file(lambda: _tokens(file).new(**body))
        made = {"kind": kind, **asdict(token), "token": value}
    if output.as_json:
        output.json(made)
    else:
        output.data(made["token"])
        output.say(f"token {made['id']} of {made['name']}; it is not shown again")


@command.command("ls", short_help="List tokens, without their values.")
@click.option("--kind", type=_KIND, help="Only those of this kind.")
@_file_option
@json_option
@admin_options
@output_options
def ls(*, admin: Admin, output: Output, kind: str | None, file: Path | None) -> None:
    """List tokens, without their values."""
    if file is None:
        found = admin.pages("tokens", kind=kind)
    else:
        found = [asdict(token) for token in _from_file(_tokens(file).ls)]
    rows = found if output.as_json else [_readable(token) for token in found]
    output.table(rows, _COLUMNS)


@command.command("revoke", short_help="Revoke a token.")
@click.argument("id")
@_file_option
@json_option
@admin_options
@output_options
def revoke(id: str, *, admin: Admin, output: Output, file: Path | None) -> None:
    """Revoke the token ID. Peers that use it are disconnected within two seconds."""
    missing = Failure(
        f"there is no token {id!r}", "'restsock token ls' shows all", ExitCode.NO_PEER
    )
    if file is not None:
        if not _from_file(lambda: _tokens(file).revoke(id)):
            raise missing
    else:
        try:
            admin.delete(f"tokens/{quote(id, safe='')}")
        except Failure as exc:
            raise missing if exc.code == ExitCode.NO_PEER else exc from None
    output.event("revoked", f"token {id} counts no more", id=id)


@command.command("hash", short_help="Hash a token, for a file written by hand.")
@click.argument("file", type=click.File("r", "utf-8"), default="-")
@json_option
@output_options
def hash_(*, output: Output, file: TextIO) -> None:
    """Write the hash, for a file of tokens, of the token in FILE or on stdin.

    \b
    openssl rand -hex 32 | tee edge-1.token | restsock token hash
    """
    from restsock.hub import hash_of

    try:
        hashed = hash_of(file.read().strip())
    except ValueError as exc:
        raise Failure(f"this is no token: {exc}") from None
    if output.as_json:
        output.json({"hash": hashed})
    else:
        output.data(hashed)


def _tokens(file: Path) -> Any:
    from restsock.hub import Tokens

    return Tokens(file)


def _from_file(use: Callable[[], Any]) -> Any:
    try:
        return use()
    except ValueError as exc:
        raise Failure(str(exc), "check --file") from None


def _readable(token: dict[str, Any]) -> dict[str, Any]:
    created = token["created"]
    when = None if created is None else datetime.fromtimestamp(created).astimezone()
    shown = None if when is None else when.isoformat(" ", "minutes")
    register = token["may_register"]
    return {**token, "created": shown, "may_register": register or [token["name"]]}
