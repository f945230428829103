"""Hosts and URLs, read strictly. No error repeats a URL, which may hold a secret.

The zone of an IPv6 address is the interface that a link-local address is on (RFC 4007, RFC 6874).

A URL for a Unix socket is `scheme+unix:///path/of/the/file`, and may have a target after a colon:
`scheme+unix:///path/of/the/file:/path?query`. The path of the file is percent-encoded where it has
a colon or a question mark. There is no standard for it; npm's `ws` reads such URLs, too.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from urllib.parse import quote, unquote_to_bytes

__all__ = [
    "PORTS",
    "UrlParts",
    "authority_of",
    "bracketed_host",
    "check_socket_path",
    "host_and_port",
    "ip_of",
    "is_loopback",
    "is_loopback_socket",
    "networks_of",
    "split_url",
    "unix_url",
    "url_host",
    "without_zone",
]

# The default port of each scheme.
PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}

# How the scheme of a URL ends that names a Unix socket.
_UNIX = "+unix"
# Bytes of its path, without the zero at the end: `sun_path` has 108 on Linux, 104 on BSD and macOS.
_MAX_SOCKET_PATH = 107 if sys.platform == "linux" else 103

# Names of interfaces; systems allow more, but none is in use.
_ZONE = re.compile(r"[0-9A-Za-z_.~-]+")
# The parts of a URL (RFC 3986, appendix B). What `urlsplit` makes of brackets in an authority
# depends on the release of Python.
_URL = re.compile(
    r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):)?(?://(?P<authority>[^/?#]*))?"
    r"(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?(?:#.*)?"
)
_PORT = re.compile(r"0*[0-9]{1,5}")
_HOSTNAME = re.compile(r"[0-9A-Za-z_]([0-9A-Za-z_.-]*[0-9A-Za-z_.])?")


@dataclass(frozen=True)
class UrlParts:
    """What a URL is made of, each part checked. The host is there; scheme and host are lower case.

    Attributes:
        userinfo: what stands in front of the last `@`, as it is written; `None` without an `@`.
        port: `None` where the URL names none.
        target: path and query, as they are written; there may be none.
        socket_path: the file of a Unix socket; `None` where the URL names none. Its host is
            localhost.
    """

    scheme: str
    userinfo: str | None = field(repr=False)
    host: str
    port: int | None
    target: str = field(repr=False)
    socket_path: str | None = None


def bracketed_host(host: str) -> str | None:
    """The address that stands between the brackets of a URL, as the system wants it; or `None`.

    A URL writes the percent sign in front of a zone as `%25`; a bare one is common, too (RFC 6874,
    sections 2 and 3). So `fe80::1%25eth0` and `fe80::1%eth0` are both `fe80::1%eth0`.
    """
    address, percent, zone = host.partition("%")
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        return None
    if not percent:
        return host
    if zone.startswith("25") and len(zone) > 2:
        zone = zone[2:]
    return f"{address}%{zone}" if _ZONE.fullmatch(zone) else None


def url_host(host: str) -> str:
    """A host as it stands in a URL: an IPv6 address in brackets, and its zone after a `%25`."""
    return f"[{host.replace('%', '%25')}]" if ":" in host else host


def without_zone(host: str) -> str:
    """The host as the other end may see it: a zone tells this machine alone where to send."""
    return host.partition("%")[0]


def host_and_port(authority: str) -> tuple[str, int | None]:
    """Takes a value of Host apart that has passed the rules. An IPv6 address keeps its brackets."""
    host, colon, port = authority.rpartition(":")
    if not colon or port.endswith("]"):  # no port; the last colon is one of an IPv6 address
        return authority, None
    return host, int(port) if port else None


@lru_cache(1024)  # a client asks more than once
def ip_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address that a host is, without its zone; `None` if it is a name.

    One of IPv4 that comes over IPv6 (`::ffff:192.0.2.1`) is that of IPv4.
    """
    try:
        address = ipaddress.ip_address(without_zone(host))
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def networks_of(
    texts: str | Collection[str], what: str
) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """Addresses and networks (CIDR), of which there may be one alone.

    Args:
        texts: they.
        what: What to call them in an error.

    Raises:
        TypeError: One is no text.
        ValueError: One is no address or network.
    """
    found = []
    for text in (texts,) if isinstance(texts, str) else texts:
        if not isinstance(text, (str, ipaddress.IPv4Network, ipaddress.IPv6Network)):
            kind = type(text).__name__
            raise TypeError(f"{what} must be addresses and networks as text, not {kind}")
        try:
            found.append(ipaddress.ip_network(text))
        except ValueError as exc:
            raise ValueError(
                f"{what} must be addresses and networks such as '10.0.0.0/8': {exc}"
            ) from None
    return found


def authority_of(scheme: str, host: str, port: int) -> str:
    """The value of Host: without a zone, and without a port that is the default of its scheme."""
    host = url_host(without_zone(host))
    return host if port == PORTS[scheme] else f"{host}:{port}"


def unix_url(scheme: str, path: str) -> str:
    """The URL of the Unix socket at a path, without a target. `scheme` precedes the plus."""
    return f"{scheme}{_UNIX}://{quote(os.fsencode(path))}"


def check_socket_path(path: str, what: str) -> str:
    """The same path, if a Unix socket of this system can have it.

    Args:
        path: Of the file.
        what: What to call it in an error.

    Raises:
        ValueError: It is not absolute, too long, or has a zero byte; or there are no Unix sockets.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise ValueError(f"{what}: this system ({sys.platform}) has no Unix sockets")
    if not path.startswith("/"):
        raise ValueError(f"{what} must have an absolute path, such as /run/restsock.sock")
    if "\0" in path:
        raise ValueError(f"{what} has a zero byte in its path")
    nbytes = len(os.fsencode(path))
    if nbytes > _MAX_SOCKET_PATH:
        raise ValueError(
            f"{what} has a path of {nbytes} bytes; that of a Unix socket has {_MAX_SOCKET_PATH}"
            " at most"
        )
    return path


def split_url(
    url: str, what: str, schemes: Collection[str], hints: Mapping[str, str] = MappingProxyType({})
) -> UrlParts:
    """Takes a URL apart, for one of these schemes.

    Args:
        url: Any text.
        what: What to call it in an error.
        schemes: Those that are allowed, in lower case.
            One that ends in `+unix` is for a Unix socket.
        hints: What to say of some others.

    Raises:
        ValueError: It is malformed, or has a fragment. The message does not repeat it.
        TypeError: It is no text.
    """
    if not isinstance(url, str):
        raise TypeError(f"{what} must be a str, not {type(url).__name__}")
    # Others silently drop some of these, and so dial something else than was written.
    parts = None if any(char <= " " or char == "\x7f" for char in url) else _URL.fullmatch(url)
    if parts is None:
        raise ValueError(f"{what} has white space or control characters in it")
    scheme = (parts["scheme"] or "").lower()
    authority = parts["authority"] or ""
    if scheme not in schemes:
        *some, last = (f"{name}://" for name in schemes)
        raise ValueError(
            f"{what} must begin with {', '.join(some)} or {last}{hints.get(scheme, '')}"
        )
    if "#" in url:
        raise ValueError(f"{what} has a fragment, which it cannot have")
    if scheme.endswith(_UNIX):
        if authority:
            raise ValueError(
                f"{what} has a host, but a Unix socket has a path: write {scheme}:///run/name.sock"
            )
        return _split_unix(scheme, url.partition(":")[2].removeprefix("//"), what)
    userinfo, at, place = authority.rpartition("@")
    host, port = _split_place(place, what)
    return UrlParts(
        scheme,
        userinfo if at else None,
        host,
        port,
        f"{parts['path']}?{parts['query']}" if parts["query"] else parts["path"],
    )


def _split_place(place: str, what: str) -> tuple[str, int | None]:
    """Takes apart what follows the user: a host, checked, and perhaps a port."""
    bracketed = place.startswith("[")
    if bracketed:
        host, bracket, rest = place[1:].partition("]")
        if not bracket or rest[:1] not in ("", ":"):
            raise ValueError(f"{what} is malformed: its host")
        port = rest[1:]
    else:
        host, _, port = place.partition(":")
    if port and (not _PORT.fullmatch(port) or int(port) > 65535):
        raise ValueError(f"{what} is malformed: its port is not a number up to 65535")
    if not host:
        raise ValueError(f"{what} has no host")
    if port and not int(port):
        raise ValueError(f"{what} has port 0, which is not a port to dial")
    name, percent, zone = host.partition("%")
    host = _check_host(f"{name.lower()}{percent}{zone}", what, bracketed=bracketed)
    return host, int(port) if port else None


def _split_unix(scheme: str, rest: str, what: str) -> UrlParts:
    """Takes apart what follows the scheme: the path of a file, and perhaps a target."""
    path, _, target = rest.partition(":")
    if "?" in path:
        raise ValueError(f"{what} has a query without a path: write {scheme}:///run/name.sock:/?…")
    if target and not target.startswith(("/", "?")):
        raise ValueError(f"{what} has a colon after which no path begins; one in a name is %3A")
    path = check_socket_path(os.fsdecode(unquote_to_bytes(path)), what)
    return UrlParts(scheme, None, "localhost", None, target, path)


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


def is_loopback(host: str | None) -> bool:
    """Whether a host to listen on is this machine alone."""
    if host is None:
        return False
    if host == "localhost" or host.startswith("/"):  # a Unix socket
        return True
    address = ip_of(host)
    return address is not None and address.is_loopback


def is_loopback_socket(sock: socket.socket) -> bool:
    """Whether a socket that listens can be reached from this machine alone."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return True  # a Unix socket
    return is_loopback(sock.getsockname()[0])
