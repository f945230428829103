"""Where to dial: URLs, read strictly; none ever shows up whole in an error or a log."""

from __future__ import annotations

import re
from dataclasses import dataclass

from restsock._addresses import PORTS, authority_of, split_url, unix_url

__all__ = ["Address", "parse_url"]

# What may stand in a request target as it is; everything else has to be percent-encoded.
_TARGET = re.compile(r"/[!-~]*")


@dataclass(frozen=True)
class Address:
    """A parsed URL.

    Its text form is fit for logs: the query, which may hold a secret, is not in it.

    Attributes:
        tls: Whether the URL is a `wss` or `wss+unix` one.
        host: The name or IP address to dial and to check a certificate against, without brackets.
        port: Where to dial.
        target: Path and query, as they go into the request line.
        socket_path: The file of the Unix socket to dial; `None` for TCP. Then the host, which is
            `localhost`, is for the Host field and for certificates alone.
    """

    tls: bool
    host: str
    port: int
    target: str
    socket_path: str | None = None

    @property
    def authority(self) -> str:
        """The value of the Host field: a port that goes without saying is left out."""
        return authority_of(self._scheme, self.host, self.port)

    @property
    def _scheme(self) -> str:
        return "wss" if self.tls else "ws"

    @property
    def secure_scheme(self) -> str:
        """The scheme of a URL for the same place, with TLS."""
        return "wss" if self.socket_path is None else "wss+unix"

    @property
    def where(self) -> str:
        """What an error calls it: the file of a Unix socket, else the authority."""
        return self.authority if self.socket_path is None else self.socket_path

    def __str__(self) -> str:
        path = self.target.partition("?")[0]
        if self.socket_path is not None:
            return unix_url(self._scheme, self.socket_path) + ("" if path == "/" else f":{path}")
        return f"{self._scheme}://{self.authority}{path}"

    def __repr__(self) -> str:
        return f"<Address {self}>"


def parse_url(url: str) -> Address:
    """Reads a `ws://` or `wss://` URL, or `ws+unix:///path/of/the/file[:/path?query]`.

    Raises:
        ValueError: It is not one, or has a part that has no place in it. The message does not
            repeat the URL, which may hold a secret.
    """
    hints = {"http": "; did you mean ws://?", "https": "; did you mean wss://?"}
    parts = split_url(url, "the URL", ("ws", "wss", "ws+unix", "wss+unix"), hints)
    if parts.userinfo is not None:
        raise ValueError(
            "the URL has a user or password in it; send credentials in headers instead"
        )
    target = parts.target if parts.target.startswith("/") else f"/{parts.target}"
    if not _TARGET.fullmatch(target):
        raise ValueError("path and query of the URL must be percent-encoded ASCII")
    scheme = parts.scheme.partition("+")[0]
    port = parts.port or PORTS[scheme]
    return Address(scheme == "wss", parts.host, port, target, parts.socket_path)
