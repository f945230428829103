"""Where to dial: URLs, read strictly; none ever shows up whole in an error or a log."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import urlsplit

from restsock._addresses import bracketed_host, url_host, without_zone

__all__ = ["Address", "UrlParts", "parse_url", "split_url"]

_PORTS = {"ws": 80, "wss": 443}
# What may stand in a request target as it is; everything else has to be percent-encoded.
_TARGET = re.compile(r"/[!-~]*")
_HOSTNAME = re.compile(r"[0-9A-Za-z_]([0-9A-Za-z_.-]*[0-9A-Za-z_.])?")


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
        host = url_host(without_zone(self.host))
        return host if self.port == _PORTS[self._scheme] else f"{host}:{self.port}"

    @property
    def _scheme(self) -> str:
        return "wss" if self.tls else "ws"

    def __str__(self) -> str:
        return f"{self._scheme}://{self.authority}{self.target.partition('?')[0]}"

    def __repr__(self) -> str:
        return f"<Address {self}>"


@dataclass(frozen=True)
class UrlParts:
    """What a URL is made of, each part checked. The host is there; scheme and host are lower case.

    Attributes:
        userinfo: what stands in front of the last `@`, as it is written; `None` without an `@`.
        port: `None` where the URL names none.
        target: path and query, as they are written; there may be none.
    """

    scheme: str
    userinfo: str | None = field(repr=False)
    host: str
    port: int | None
    target: str = field(repr=False)


def parse_url(url: str) -> Address:
    """Reads a `ws://` or `wss://` URL.

    Raises:
        ValueError: It is not one, or has a part that has no place in it. The message does not
            repeat the URL, which may hold a secret.
    """
    parts = split_url(
        url, "the URL", _PORTS, {"http": "; did you mean ws://?", "https": "; did you mean wss://?"}
    )
    if parts.userinfo is not None:
        raise ValueError(
            "the URL has a user or password in it; send credentials in headers instead"
        )
    target = parts.target if parts.target.startswith("/") else f"/{parts.target}"
    if not _TARGET.fullmatch(target):
        raise ValueError("path and query of the URL must be percent-encoded ASCII")
    return Address(parts.scheme == "wss", parts.host, parts.port or _PORTS[parts.scheme], target)


def split_url(
    url: str, what: str, schemes: Collection[str], hints: Mapping[str, str] = MappingProxyType({})
) -> UrlParts:
    """Takes a URL apart, for one of these schemes.

    Args:
        url: Any text.
        what: What to call it in an error.
        schemes: Those that are allowed, in lower case.
        hints: What to say of some others.

    Raises:
        ValueError: It is malformed, or has a fragment. The message does not repeat it.
        TypeError: It is no text.
    """
    if not isinstance(url, str):
        raise TypeError(f"{what} must be a str, not {type(url).__name__}")
    # urlsplit would silently drop some of these, and so dial something else than was written.
    if any(char <= " " or char == "\x7f" for char in url):
        raise ValueError(f"{what} has white space or control characters in it")
    try:
        parts = urlsplit(url)
        port = parts.port
        host = parts.hostname
    except ValueError as exc:
        # Without the cause: urllib's message quotes the authority, with its password.
        raise ValueError(f"{what} is malformed: {_kind_of(exc)}") from None
    scheme = parts.scheme.lower()
    if scheme not in schemes:
        *some, last = (f"{name}://" for name in schemes)
        raise ValueError(
            f"{what} must begin with {', '.join(some)} or {last}{hints.get(scheme, '')}"
        )
    if "#" in url:
        raise ValueError(f"{what} has a fragment, which it cannot have")
    if not host:
        raise ValueError(f"{what} has no host")
    if port == 0:
        raise ValueError(f"{what} has port 0, which is not a port to dial")
    userinfo, at, place = parts.netloc.rpartition("@")
    return UrlParts(
        scheme,
        userinfo if at else None,
        _check_host(host, what, bracketed="[" in place),
        port,
        f"{parts.path}?{parts.query}" if parts.query else parts.path,
    )


def _check_host(host: str, what: str, *, bracketed: bool) -> str:
    try:
        if bracketed:
            address = bracketed_host(host)
            if address is not None:
                return address
        else:
            name = host if host.isascii() else host.encode("idna").decode("ascii")
            labels = name.removesuffix(".").split(".")
            if _HOSTNAME.fullmatch(name) and all(0 < len(label) <= 63 for label in labels):
                return name
    except ValueError:  # not a name in Unicode
        pass
    raise ValueError(f"{what}'s host is not a valid name or address")


def _kind_of(error: ValueError) -> str:
    return "its port is not a number up to 65535" if "port" in str(error).lower() else "its host"
