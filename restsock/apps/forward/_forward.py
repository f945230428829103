"""`forward`: an existing HTTP/1.1 server as the app that is served, and how to forward to it.

The rest is loaded when it is served: `_pool` keeps connections to the server, `_call` carries one
request there and its response back, and `_head` makes the head that the server gets.
"""

from __future__ import annotations

import re
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING

from restsock._addresses import PORTS, authority_of, split_url, unix_url
from restsock._options import between, not_negative, positive
from restsock.protocol import HOST

if TYPE_CHECKING:
    import ssl

    from restsock.tls import ClientTLS

__all__ = ["Forward", "Origin", "forward"]

_PATH = re.compile(r"(?:/[!-~]*)?")
_SCHEMES = ("http", "https", "http+unix", "https+unix")
_FORWARDED = (None, "x-forwarded", "forwarded", "both")


@dataclass(frozen=True)
class Origin:
    """Where the server is.

    Attributes:
        tls: whether it is spoken to in TLS.
        host: the name or address to connect to.
        port: the port there.
        prefix: what each path begins with; without a slash at its end.
        socket_path: the file of the Unix socket to connect to, instead of host and port.
    """

    tls: bool
    host: str
    port: int
    prefix: str
    socket_path: str | None = None

    @property
    def authority(self) -> str:
        """The value of Host."""
        return authority_of(self._scheme, self.host, self.port)

    @property
    def _scheme(self) -> str:
        return "https" if self.tls else "http"

    def __str__(self) -> str:
        if self.socket_path is not None:
            place = unix_url(self._scheme, self.socket_path)
            return f"{place}:{self.prefix}" if self.prefix else place
        return f"{self._scheme}://{self.authority}{self.prefix}"


@dataclass(frozen=True)
class Forward:
    """An existing HTTP/1.1 server, in any language, as an app. Goes wherever an app goes.

        async with restsock.connect(hub, app=restsock.forward("http://127.0.0.1:5000")): ...

    Requests and responses are streamed, with trailers, informational responses and upgrades
    (WebSocket). A server that cannot be reached is a 502, one that is too slow a 504, both as
    `application/problem+json`. If the server breaks off after its head, the stream is reset, so
    that the caller never takes a part for the whole. When the caller leaves, the connection to the
    server is closed, so that the server learns of it.

    A request is sent a second time only if the connection that it was sent over had been used
    before and ended without a byte of an answer, and the method is idempotent (RFC 9110, section
    9.2.2).

    Args:
        url: `http://` or `https://`, host, port and a path, which comes before each request's own.
            A Unix socket is `http+unix:///run/app.sock`, or `http+unix:///run/app.sock:/path`, as
            in the URLs of `restsock.connect`; its Host is `localhost`.
        host: the Host that the server sees: `"keep"` is the caller's, with which redirects of the
            server lead back through the tunnel; `"upstream"` is that of the URL; anything else is
            sent as it is.
        forwarded: tells the server who calls: `"x-forwarded"` sets X-Forwarded-For, -Host and
            -Proto, `"forwarded"` sets Forwarded (RFC 7239), `"both"` all of them; `None` adds
            nothing. The proto is the scheme of the caller's URL, as the caller says.
        trust_forwarded: whether such fields of the caller (also Via, X-Real-IP, X-Original-URL and
            similar ones) stay, before ours. By default they are removed, also with
            `forwarded=None`, as any caller can write them.
        ssl_context: for `https`: an SSL context or `restsock.tls.client(...)`; by default the
            certificates that this system trusts are accepted.
        connect_timeout: seconds to connect, TLS included, or to wait for a free connection.
        response_timeout: seconds from the end of the request to the head of the response; `None`
            waits as long as the caller does.
        idle_timeout: seconds that the server may take to give, or to take, further bytes of a body.
            By default as long as the caller waits: event streams may be silent.
        keep_alive: seconds that a connection is kept for the next request; 0 keeps none. It should
            be less than what the server allows; few servers allow less than two seconds.
        max_connections: to the server at once. Further requests wait, for `connect_timeout`, and
            are answered with 503.
        max_head: bytes of the longest response head, up to 64 KiB.

    Attributes:
        origin: what the URL says.

    Raises:
        ValueError: an argument is not valid. Its message repeats no password.
        TypeError: the URL is not text.
    """

    url: str
    _: KW_ONLY
    host: str = "keep"
    forwarded: str | None = "x-forwarded"
    trust_forwarded: bool = False
    ssl_context: ssl.SSLContext | ClientTLS | None = field(default=None, repr=False)
    connect_timeout: float = 10.0
    response_timeout: float | None = 60.0
    idle_timeout: float | None = None
    keep_alive: float = 1.5
    max_connections: int = 128
    max_head: int = 64 * 1024
    origin: Origin = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "origin", _origin(self.url))
        if not HOST.fullmatch(self.host.encode("ascii", "replace")):
            raise ValueError(f'host has to be "keep", "upstream" or a Host, not {self.host!r}')
        if self.forwarded not in _FORWARDED:
            raise ValueError(f"forwarded has to be one of {_FORWARDED}, not {self.forwarded!r}")
        if self.ssl_context is not None and not self.origin.tls:
            raise ValueError("TLS needs a URL with https://")
        positive(self, "connect_timeout")
        for name in ("response_timeout", "idle_timeout"):
            if getattr(self, name) is not None:
                positive(self, name)
        not_negative(self, "keep_alive")
        between(self, "max_connections", 1, 2**31)
        between(self, "max_head", 1024, 64 * 1024)


forward = Forward


def _origin(url: str) -> Origin:
    parts = split_url(url, "the URL to forward to", _SCHEMES)
    if parts.userinfo is not None:
        raise ValueError("the URL has a user or password in it, which would not be sent")
    if "?" in url:
        raise ValueError("the URL has a query; only a path can be put in front")
    if not _PATH.fullmatch(parts.target):
        raise ValueError("the path of the URL must be percent-encoded ASCII")
    scheme = parts.scheme.partition("+")[0]
    port = parts.port or PORTS[scheme]
    prefix = parts.target.rstrip("/")
    return Origin(scheme == "https", parts.host, port, prefix, parts.socket_path)
