"""`forward`: an existing HTTP/1.1 server as the app that is served. What there is to say about it.

The rest is loaded when it is served: `_handler` takes the requests, `_pool` keeps
connections to the server, `_call` carries one request there and its response back, and
`_head` makes the head that the server gets.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from restsock._addresses import bracketed_host, url_host, without_zone

if TYPE_CHECKING:
    import ssl

__all__ = ["Forward", "Origin", "forward"]

_PORTS = {"http": 80, "https": 443}
_PATH = re.compile(r"(?:/[!-~]*)?")
_NAME = re.compile(r"[0-9A-Za-z_](?:[0-9A-Za-z_.-]*[0-9A-Za-z_.])?")
_AUTHORITY = re.compile(r"(?:[0-9A-Za-z_.~-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_FORWARDED = (None, "x-forwarded", "forwarded", "both")


@dataclass(frozen=True)
class Origin:
    """Where the server is.

    Attributes:
        tls: whether it is spoken to in TLS.
        host: the name or address to connect to.
        port: the port there.
        prefix: what is put in front of each path; without a slash at its end.
    """

    tls: bool
    host: str
    port: int
    prefix: str

    @property
    def authority(self) -> str:
        """The value of Host."""
        host = url_host(without_zone(self.host))
        return (
            host if self.port == _PORTS["https" if self.tls else "http"] else f"{host}:{self.port}"
        )

    def __str__(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.authority}{self.prefix}"


@dataclass(frozen=True, kw_only=True)
class Forward:
    """A server to forward requests to, and how. Made by `forward`, which tells what the fields are.

    It goes wherever an app goes: `restsock.connect(url, app=forward("http://127.0.0.1:5000"))`.
    """

    origin: Origin
    host: str = "keep"
    forwarded: str | None = "x-forwarded"
    trust_forwarded: bool = False
    ssl_context: ssl.SSLContext | None = field(default=None, repr=False)
    unix_socket: str | None = None
    connect_timeout: float = 10.0
    response_timeout: float | None = 60.0
    idle_timeout: float | None = None
    keep_alive: float = 1.5
    max_connections: int = 128
    max_head: int = 64 * 1024

    def __post_init__(self) -> None:
        if self.host not in ("keep", "upstream") and not _AUTHORITY.fullmatch(self.host):
            raise ValueError(f'host has to be "keep", "upstream" or a Host, not {self.host!r}')
        if self.forwarded not in _FORWARDED:
            raise ValueError(f"forwarded has to be one of {_FORWARDED}, not {self.forwarded!r}")
        if self.ssl_context is not None and not self.origin.tls:
            raise ValueError("an ssl_context needs an https:// URL")
        _seconds("connect_timeout", self.connect_timeout)
        if self.response_timeout is not None:
            _seconds("response_timeout", self.response_timeout)
        if self.idle_timeout is not None:
            _seconds("idle_timeout", self.idle_timeout)
        _seconds("keep_alive", self.keep_alive, least=0.0)
        _count("max_connections", self.max_connections, 1, 2**31)
        _count("max_head", self.max_head, 1024, 64 * 1024)


def forward(
    url: str,
    *,
    host: str = "keep",
    forwarded: str | None = "x-forwarded",
    trust_forwarded: bool = False,
    ssl_context: ssl.SSLContext | None = None,
    unix_socket: str | None = None,
    connect_timeout: float = 10.0,
    response_timeout: float | None = 60.0,
    idle_timeout: float | None = None,
    keep_alive: float = 1.5,
    max_connections: int = 128,
    max_head: int = 64 * 1024,
) -> Forward:
    """Serves an existing HTTP/1.1 server, in whatever language it is written.

        async with restsock.connect(hub, app=restsock.forward("http://127.0.0.1:5000")): ...

    Requests and responses are streamed, with trailers, informational responses and upgrades
    (WebSocket). A server that cannot be reached is a 502, one that is too slow a 504, both as
    `application/problem+json`; one that breaks off behind its head has the stream reset, so that
    the caller never takes a part for the whole. When the caller leaves, the connection to the
    server is closed, so that it learns of it.

    A request is sent a second time only if the connection that it was sent over had been used
    before, has ended without a byte of an answer, and the method is idempotent (RFC 9110, section
    9.2.2).

    Args:
        url: `http://` or `https://`, host, port and a path, which is put in front of each request's
            own.
        host: the Host that the server sees: `"keep"` is the caller's, with which redirects of the
            server lead back through the tunnel; `"upstream"` is that of the URL; anything else is
            sent as it is.
        forwarded: tells the server who calls: `"x-forwarded"` sets X-Forwarded-For, -Host and
            -Proto, `"forwarded"` sets Forwarded (RFC 7239), `"both"` all of them; `None` adds
            nothing. The proto is the scheme of the caller's URL, as the caller says.
        trust_forwarded: whether such fields of the caller (also Via, X-Real-IP, X-Original-URL and
            their kin) stay, in front of ours. By default they are removed, whatever `forwarded`
            is, as anybody can write them.
        ssl_context: for `https`; by default the certificates that this system trusts are accepted.
        unix_socket: the path of a Unix socket to connect to, instead of the URL's host and port.
        connect_timeout: seconds to connect, TLS included, or to wait for a free connection.
        response_timeout: seconds from the end of the request to the head of the response; `None`
            waits as long as the caller does.
        idle_timeout: seconds that the server may take to give, or to take, further bytes of a body.
            By default as long as the caller waits: event streams may be silent.
        keep_alive: seconds that a connection is kept for the next request; 0 keeps none. It should
            be less than what the server allows, of which two seconds are the least usual.
        max_connections: to the server at once. Further requests wait, for `connect_timeout`, and
            are answered with 503.
        max_head: bytes of the longest response head, up to 64 KiB.

    Raises:
        ValueError: an argument is not valid. Its message repeats no password.
        TypeError: the URL is not text.
    """
    return Forward(
        origin=_origin(url),
        host=host,
        forwarded=forwarded,
        trust_forwarded=trust_forwarded,
        ssl_context=ssl_context,
        unix_socket=unix_socket,
        connect_timeout=connect_timeout,
        response_timeout=response_timeout,
        idle_timeout=idle_timeout,
        keep_alive=keep_alive,
        max_connections=max_connections,
        max_head=max_head,
    )


def _origin(url: str) -> Origin:
    if not isinstance(url, str):
        raise TypeError(f"the URL must be a str, not {type(url).__name__}")
    if any(char <= " " or char == "\x7f" for char in url):  # urlsplit drops some of these
        raise ValueError("the URL has white space or control characters in it")
    try:
        parts = urlsplit(url)
        port = parts.port
        host = parts.hostname
    except ValueError:
        # Without the cause: urllib's message quotes the authority, with its password.
        raise ValueError("the URL's host or port is malformed") from None
    scheme = parts.scheme.lower()
    if scheme not in _PORTS:
        raise ValueError("the URL to forward to must begin with http:// or https://")
    if "@" in parts.netloc:
        raise ValueError("the URL has a user or password in it, which would not be sent")
    if "?" in url or "#" in url:
        raise ValueError("the URL has a query or fragment; only a path can be put in front")
    host = _checked_host(host or "", bracketed="[" in parts.netloc)
    if not host or port == 0:
        raise ValueError("the URL's host or port is not valid")
    if not _PATH.fullmatch(parts.path):
        raise ValueError("the path of the URL must be percent-encoded ASCII")
    return Origin(scheme == "https", host, port or _PORTS[scheme], parts.path.rstrip("/"))


def _checked_host(host: str, *, bracketed: bool) -> str | None:
    if bracketed:
        return bracketed_host(host)
    return host if _NAME.fullmatch(host) else None


def _seconds(name: str, value: Any, *, least: float | None = None) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or (value <= 0 and value != least):
        raise ValueError(f"{name} must be a number of seconds above 0, not {value!r}")


def _count(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{name} must be a whole number in {low}..{high}, not {value!r}")
