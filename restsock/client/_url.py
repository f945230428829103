"""Where to dial: URLs, read strictly; none ever shows up whole in an error or a log."""

from __future__ import annotations

import re
from dataclasses import dataclass

from restsock._addresses import PORTS, authority_of, split_url

__all__ = ["Address", "parse_url"]

# What may stand in a request target as it is; everything else has to be percent-encoded.
_TARGET = re.compile(r"/[!-~]*")


@dataclass(frozen=True)
class Address:
    """A parsed URL.

    Its text form is fit for logs: the query, which may hold a secret, is not in it.

    Attributes:
        tls: Whether the URL is a `wss` one.
        host: The name or IP address to dial and to check a certificate against, without brackets.
        port: Where to dial.
        target: Path and query, as they go into the request line.
    """

    tls: bool
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """The value of the Host field: a port that goes without saying is left out."""
        return authority_of(self._scheme, self.host, self.port)

    @property
    def _scheme(self) -> str:
        return "wss" if self.tls else "ws"

    def __str__(self) -> str:
        return f"{self._scheme}://{self.authority}{self.target.partition('?')[0]}"

    def __repr__(self) -> str:
        return f"<Address {self}>"


def parse_url(url: str) -> Address:
    """Reads a `ws://` or `wss://` URL.

    Raises:
        ValueError: It is not one, or has a part that has no place in it. The message does not
            repeat the URL, which may hold a secret.
    """
    hints = {"http": "; did you mean ws://?", "https": "; did you mean wss://?"}
    parts = split_url(url, "the URL", ("ws", "wss"), hints)
    if parts.userinfo is not None:
        raise ValueError(
            "the URL has a user or password in it; send credentials in headers instead"
        )
    target = parts.target if parts.target.startswith("/") else f"/{parts.target}"
    if not _TARGET.fullmatch(target):
        raise ValueError("path and query of the URL must be percent-encoded ASCII")
    return Address(parts.scheme == "wss", parts.host, parts.port or PORTS[parts.scheme], target)
