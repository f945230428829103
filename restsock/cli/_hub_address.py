"""Whom to dial, as what, and where that is found from outside."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._failures import Failure, in_words

if TYPE_CHECKING:
    from restsock.auth import Bearer
    from restsock.client import Address
    from restsock.tls import ClientTLS

__all__ = ["HubAddress", "label_of", "name_of_this_host"]

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_DIALED = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


@dataclass(frozen=True)
class HubAddress:
    """A hub, and the token for it.

    Attributes:
        url: Where it is: `ws://`, `wss://`, or the same with `http`.
        token: The bearer token itself, if it is known.
        token_file: The file that holds it, if it is in one.
        ca: A file with the CAs to trust; `None` is those of this system.
    """

    url: str
    token: str | None = None
    token_file: Path | None = None
    ca: Path | None = None

    @cached_property
    def address(self) -> Address:
        """The URL, read strictly.

        Raises:
            UsageError: It is none.
        """
        from restsock.client import parse_url

        scheme, colon, rest = self.url.partition("://")
        start, plus, end = scheme.partition("+")
        url = f"{_DIALED.get(start, start)}{plus}{end}{colon}{rest}"
        try:
            return parse_url(url)
        except ValueError as exc:
            raise click.UsageError(f"--hub: {exc}") from None

    @property
    def websocket_url(self) -> str:
        """What a peer dials, with its query."""
        address = self.address
        query = address.target.partition("?")[2]
        return f"{address}?{query}" if query else str(address)

    @property
    def http_url(self) -> str:
        """Where the same hub answers plain HTTP; without a slash at the end.

        Raises:
            UsageError: That cannot be told for a Unix socket.
        """
        address = self.address
        if address.socket_path is not None:
            raise click.UsageError("--hub: calls go to a hub by TCP, not over a Unix socket")
        return f"{'https' if address.tls else 'http'}://{address.authority}"

    @property
    def credentials(self) -> Bearer | None:
        """What a peer shows.

        Raises:
            Failure: There is no such file, or no token in it.
        """
        from restsock.auth import Bearer

        try:
            if self.token_file is not None:
                return Bearer(file=self.token_file)
            return None if self.token is None else Bearer(self.token)
        except (OSError, ValueError) as exc:
            raise Failure(f"cannot use this token: {in_words(exc)}", "check --token-file") from None

    @property
    def authorization(self) -> str | None:
        """The value of the field `Authorization` of a request."""
        credentials = self.credentials
        return None if credentials is None else credentials()[0][1].decode("ascii")

    @property
    def tls(self) -> ClientTLS | None:
        """How TLS is spoken with it; `None` where none is.

        Raises:
            Failure: The file of CAs cannot be used.
        """
        from restsock import tls

        if not self.address.tls:
            return None
        try:
            return tls.client(ca=self.ca)
        except (OSError, ValueError) as exc:
            raise Failure(f"cannot use these CAs: {in_words(exc)}", "check --ca") from None

    def connect_arguments(self) -> dict[str, Any]:
        """What `restsock.connect` needs to know of it."""
        return {"url": self.websocket_url, "auth": self.credentials, "tls": self.tls}


def label_of(text: str) -> str:
    """A text as a label of a host name: small letters, digits and hyphens."""
    label = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63].strip("-")
    return label if _LABEL.fullmatch(label) else "peer"


def name_of_this_host(what: str) -> str:
    """A name for a peer that was given none: this machine, and what it serves. Always the same."""
    return label_of(f"{socket.gethostname().partition('.')[0]}-{what}")
