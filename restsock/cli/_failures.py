"""Errors as one line: what went wrong, and what to do next."""

from __future__ import annotations

from typing import IO, Any

import click

from restsock._exceptions import (
    HandshakeError,
    PeerNotFound,
    PeerUnavailable,
    RequestTimeout,
    RestsockError,
)
from restsock._logging import escaped

from ._exit_codes import ExitCode

__all__ = ["Failure", "failure_of", "in_words"]


class Failure(click.ClickException):
    """Ends the command with a line on stderr and an exit code.

    Args:
        message: What went wrong.
        hint: What to do next.
        code: What to exit with.
        details: Lines to show before, such as a traceback.
    """

    def __init__(
        self,
        message: str,
        hint: str = "",
        code: ExitCode = ExitCode.FAILURE,
        details: str = "",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint
        self.details = details

    def show(self, file: IO[Any] | None = None) -> None:
        """Writes it to stderr."""
        hint = f"; {self.hint}" if self.hint else ""
        message = escaped(" ".join(self.message.split()))  # it may have words of a peer
        click.echo(f"{self.details}restsock: {message}{hint}", file=file, err=file is None)


def in_words(error: Exception) -> str:
    """What an error says; of one of the system without its number."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"


_HINTS = (
    ("certificate has expired", "have the hub's certificate renewed, and check this clock"),
    ("certificate is not accepted", "pass the CA of the hub with --ca FILE"),
    ("does not speak TLS", "dial it with --hub ws://..."),
    ("Connection refused", "is the hub running there? try: restsock doctor"),
    ("Name or service not known", "check the host in --hub; try: restsock doctor"),
)


def failure_of(error: RestsockError) -> Failure:
    """What to show for an error of the library."""
    text = str(error)
    if isinstance(error, HandshakeError):
        if error.status == 401:
            return Failure(
                f"the hub does not accept this token: {text}",
                "check --token-file or RESTSOCK_TOKEN; 'restsock token new' on the hub makes one",
                ExitCode.REFUSED,
            )
        if error.status == 403 or error.by_listener:
            return Failure(
                f"the hub refuses this peer: {text}",
                "may this token have that name? choose another with --name",
                ExitCode.REFUSED,
            )
        hint = next((hint for words, hint in _HINTS if words in text), "try: restsock doctor")
        return Failure(text, hint)
    if isinstance(error, RequestTimeout):
        return Failure(text, "allow more time with --timeout", ExitCode.TIMEOUT)
    if isinstance(error, (PeerNotFound, PeerUnavailable)):
        return Failure(text, "'restsock ls' shows who is there", ExitCode.NO_PEER)
    return Failure(text)
