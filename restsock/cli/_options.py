"""The options that several verbs have, and their types."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from ._hub_address import HubAddress
from ._output import Output
from ._variables import check_variables

__all__ = [
    "ADDRESS",
    "ADMIN",
    "HUB",
    "PATH",
    "Pair",
    "admin_options",
    "complete_names",
    "host_option",
    "hub_options",
    "json_option",
    "output_options",
    "peer_options",
    "timeout_option",
    "url_option",
    "warn_of_token",
]

F = TypeVar("F", bound=Callable[..., Any])

HUB = "ws://127.0.0.1:8080"
ADMIN = "http://127.0.0.1:4480"
PATH = click.Path(path_type=Path, dir_okay=False)


class Pair(click.ParamType[tuple[str, str]]):
    """`key=value`; an empty value is one."""

    name = "key=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """The two halves; see `click.ParamType`."""
        if isinstance(value, tuple):
            return value  # as click passes on what was converted
        key, equals, rest = value.partition("=")
        if not key or not equals:
            self.fail(f"{value!r} is not key=value", param, ctx)
        return key, rest


class _Address(click.ParamType[tuple[str, int]]):
    name = "[host:]port"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        if isinstance(value, tuple):
            return value
        host, _, port = value.rpartition(":")
        if not port.isdigit() or int(port) > 65535:
            self.fail(f"{value!r} is not [HOST:]PORT", param, ctx)
        return host.strip("[]") or "127.0.0.1", int(port)


ADDRESS = _Address()
"""`host:port`, or a port of this machine; an IPv6 address is in brackets."""


def complete_names(ctx: click.Context, param: click.Parameter, text: str) -> list[str]:
    """The names of the peers of the hub, for the completion of a shell."""
    from ._admin import names_of_peers

    return [name for name in names_of_peers(ADMIN) if name.startswith(text)]


def json_option(function: F) -> F:
    """Adds `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Write JSON to stdout.")(function)


def output_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds what is said of the output. The verb gets `output`."""

    @click.option("-q", "--quiet", is_flag=True, help="Only errors on stderr.")
    @click.option("-v", "--verbose", count=True, help="More on stderr; -vv for everything.")
    @click.option(
        "--log-format",
        type=click.Choice(["text", "json", "logfmt"]),
        help="The format of lines on stderr; by default text.",
    )
    @click.option("--no-color", is_flag=True, help="No colours; so does the variable NO_COLOR.")
    @wraps(function)
    def with_output(
        *args: Any, quiet: bool, verbose: int, log_format: str | None, no_color: bool, **others: Any
    ) -> Any:
        output = Output(
            as_json=others.pop("as_json", False),
            quiet=quiet,
            verbose=verbose,
            log_format=log_format,
            color=not no_color,
        )
        output.start_logging()
        return function(*args, output=output, **others)

    return with_output


def warn_of_token() -> None:
    """Says that a token on the command line is no secret."""
    click.echo(
        "restsock: warning: other users can see --token in the list of processes;"
        " use --token-file or RESTSOCK_TOKEN",
        err=True,
    )


def token_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds where the token is. The verb gets `token` and `token_file`, of which one is `None`."""

    @click.option("--token-file", type=PATH, help="A file that holds the token.")
    @click.option(
        "--token",
        metavar="VALUE",
        envvar="RESTSOCK_TOKEN",
        show_envvar=True,
        help="The token itself. Other users of this machine can see it: prefer --token-file.",
    )
    @wraps(function)
    def with_token(*args: Any, token: str | None, token_file: Path | None, **others: Any) -> Any:
        check_variables()
        ctx = click.get_current_context()
        if ctx.get_parameter_source("token") is click.core.ParameterSource.COMMANDLINE:
            if not token:
                raise click.UsageError("--token is empty")
            if token_file is not None:
                raise click.UsageError("--token and --token-file are two tokens: give one")
            warn_of_token()
        elif token_file is not None:
            token = None
        return function(*args, token=token or None, token_file=token_file, **others)

    return with_token


def _server_options(
    name: str, default: str, help: str, make: Callable[..., Any]
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds where a server is, the token for it, and the CAs to trust.

    Args:
        name: Of the option, and of what the verb gets.
        default: Of its URL.
        help: Likewise.
        make: Makes it of URL, token, file of the token, and file of CAs.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @url_option(name, default, help)
        @token_options
        @click.option("--ca", type=PATH, help="A PEM file with the CAs to trust, for TLS.")
        @wraps(function)
        def with_server(
            *args: Any, token: str | None, token_file: Path | None, ca: Path | None, **others: Any
        ) -> Any:
            server = make(others.pop(f"{name}_url"), token, token_file, ca)
            return function(*args, **{name: server}, **others)

        return with_server

    return decorate


def url_option(name: str, default: str, help: str) -> Callable[[F], F]:
    """Adds `--NAME URL`, for which `RESTSOCK_NAME` stands in. The verb gets `NAME_url`."""
    return click.option(
        f"--{name}",
        f"{name}_url",
        metavar="URL",
        envvar=f"RESTSOCK_{name.upper()}",
        default=default,
        show_default=True,
        show_envvar=True,
        help=help,
    )


def _admin(*args: Any) -> Any:
    from ._admin import Admin  # with what it needs, which help does not

    return Admin(*args)


hub_options = _server_options("hub", HUB, "The hub.", HubAddress)
"""Adds which hub, and the token for it. The verb gets `hub`, a `HubAddress`."""

admin_options = _server_options("admin", ADMIN, "The admin API of the hub.", _admin)
"""Adds which admin API, and the token for it. The verb gets `admin`, an `Admin`."""


def timeout_option(seconds: float, help: str) -> Callable[[F], F]:
    """Adds `--timeout`, with this default."""
    return click.option(
        "--timeout",
        type=click.FloatRange(0, min_open=True),
        default=seconds,
        show_default=True,
        help=help,
    )


def host_option(who: str) -> Callable[[F], F]:
    """Adds `--host`: what is sent on to somebody as the Host."""
    return click.option(
        "--host",
        metavar="keep|upstream|HOST",
        default="keep",
        show_default=True,
        help=f"The Host that {who} sees: the caller's, its own, or another.",
    )


def peer_options(function: F) -> F:
    """Adds what a peer tells of itself."""
    for option in (
        click.option(
            "--meta",
            "metadata",
            type=Pair(),
            multiple=True,
            help="Metadata of this peer, for the hub; may be repeated.",
        ),
        click.option(
            "--name", help="The name of the peer; by default of this host and what it serves."
        ),
    ):
        function = option(function)
    return function
