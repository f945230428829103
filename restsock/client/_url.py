"""Where to dial: `ws://` and `wss://` URLs, read strictly."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

__all__ = ["Address", "parse_url"]

_PORTS = {"ws": 80, "wss": 443}
# What may stand in a request target as it is; everything else has to be percent-encoded.
_TARGET = re.compile(r"/[!-~]*")
_HOSTNAME = re.compile(r"[0-9A-Za-z_]([0-9A-Za-z_.-]*[0-9A-Za-z_.])?")
_ZONE = re.compile(r"[0-9A-Za-z_.~%-]+")


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
        # A zone tells this machine which interface to take, and nothing to the peer (RFC 6874).
        host = self.host.partition("%")[0]
        if ":" in host:
            host = f"[{host}]"
        return host if self.port == _PORTS[self._scheme] else f"{host}:{self.port}"

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
    if not isinstance(url, str):
        raise TypeError(f"the URL must be a str, not {type(url).__name__}")
    # urlsplit would silently drop some of these, and so dial something else than was written.
    if any(char <= " " or char == "\x7f" for char in url):
        raise ValueError("the URL has white space or control characters in it")
    try:
        parts = urlsplit(url)
        port = parts.port
        host = parts.hostname
    except ValueError as exc:
        # Without the cause: urllib's message quotes the authority, with its password.
        raise ValueError(f"the URL is malformed: {_kind_of(exc)}") from None
    scheme = parts.scheme.lower()
    if scheme not in _PORTS:
        hint = {"http": "; did you mean ws://?", "https": "; did you mean wss://?"}
        raise ValueError(f"the URL must begin with ws:// or wss://{hint.get(scheme, '')}")
    if "@" in parts.netloc:
        raise ValueError(
            "the URL has a user or password in it; send credentials in headers instead"
        )
    if "#" in url:
        raise ValueError("the URL has a fragment, which a WebSocket URL cannot have (RFC 6455, 3)")
    if not host:
        raise ValueError("the URL has no host")
    if port == 0:
        raise ValueError("the URL has port 0, which nobody listens on")
    target = parts.path or "/"
    if parts.query:
        target += f"?{parts.query}"
    if not _TARGET.fullmatch(target):
        raise ValueError("path and query of the URL must be percent-encoded ASCII")
    tls = scheme == "wss"
    return Address(
        tls, _check_host(host, bracketed="[" in parts.netloc), port or _PORTS[scheme], target
    )


def _check_host(host: str, *, bracketed: bool) -> str:
    try:
        if bracketed:
            address, percent, zone = host.partition("%")
            ipaddress.IPv6Address(address)
            if not percent or _ZONE.fullmatch(zone):
                return host
        else:
            name = host if host.isascii() else host.encode("idna").decode("ascii")
            if _HOSTNAME.fullmatch(name):
                return name
    except ValueError:  # of both calls: not an address, not a name in Unicode
        pass
    raise ValueError("the URL's host is not a valid name or address")


def _kind_of(error: ValueError) -> str:
    return "its port is not a number up to 65535" if "port" in str(error).lower() else "its host"
