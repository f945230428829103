"""Where to dial: URLs are parsed strictly, and never appear whole in an error or a log."""

from __future__ import annotations

import re
from dataclasses import dataclass

from restsock._addresses import PORTS, authority_of, split_url, unix_url

__all__ = ["Address", "parse_url"]

# The characters that a request target may contain; others must be percent-encoded.
_TARGET = re.compile(r"/[!-~]*")


@dataclass(frozen=True)
class Address:
    """A parsed URL.

    Its `str` is safe for logs: it omits the query, which may contain a secret.

    Attributes:
        tls: Whether the scheme of the URL is `wss` or `wss+unix`.
        host: The name or IP address to dial and to check a certificate against, without brackets.
        port: The port to dial.
        target: The request target: path and query.
        socket_path: The file of the Unix socket to dial; `None` for TCP. With a Unix socket, the
            host is `localhost`, and used only for the Host field and for certificates.
    """

    tls: bool
    host: str
    port: int
    target: str
    socket_path: str | None = None

    @property
    def authority(self) -> str:
        """The value of the Host field; a default port is left out."""
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
        """Its name in errors: the file of the Unix socket, or the authority."""
        return self.authority if self.socket_path is None else self.socket_path

    def __str__(self) -> str:
        path = self.target.partition("?")[0]
        if self.socket_path is not None:
            return unix_url(self._scheme, self.socket_path) + ("" if path == "/" else f":{path}")
        return f"{self._scheme}://{self.authority}{path}"

    def __repr__(self) -> str:
        return f"<Address {self}>"


def parse_url(url: str) -> Address:
    """Parses a `ws://` or `wss://` URL, or `ws+unix:///path/of/the/file[:/path?query]`.

    Raises:
        ValueError: It is not such a URL, or has a part that is not allowed. The message does not
            repeat the URL, which may contain a secret.
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
