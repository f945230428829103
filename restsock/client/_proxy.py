"""Which proxy to dial through: the one that was passed, one from the environment, or none.

The environment is read as by other programs: `HTTPS_PROXY` for `wss`, `HTTP_PROXY` for `ws`,
`ALL_PROXY` for both, first in lower case, unless `NO_PROXY` covers the listener. The standard
library reads the variables and compares names. It does not know networks, and splits IPv6 addresses
in the wrong place, so addresses are compared here.
"""

from __future__ import annotations

import base64
import importlib.util
import ipaddress
import ssl
from collections.abc import Mapping
from typing import TypeAlias
from urllib.parse import unquote

from restsock import tls
from restsock._addresses import split_url, url_host, without_zone
from restsock._logging import LoggerLike, PartLog
from restsock.connection import FieldsLike

from ._fields import check_headers
from ._url import Address

__all__ = ["Proxy", "ProxyLike", "choose_proxy", "is_exempt"]

_log = PartLog("restsock.client")

_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}

_IPAddress: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"


class Proxy:
    """A proxy to dial through.

        restsock.connect("wss://hub.example/", proxy="http://user:password@proxy.example:3128")
        restsock.connect("wss://hub.example/", proxy=Proxy(url, ssl_context=context))

    Neither `str` and `repr` nor any error shows user, password or headers.

    Args:
        url: `http://` (CONNECT), `https://` (the same within TLS), `socks5://` (this machine looks
            up the listener's name) or `socks5h://` (the proxy does); `host:port` alone means
            `http://`. User and password come before an `@`, percent-encoded; HTTP proxies get them
            as Basic authentication. The default port is 80, 443 or 1080.
        headers: Additional fields of the CONNECT request: another `Proxy-Authorization`, for
            example.
        ssl_context: For `https://`: an SSL context or `restsock.tls.client(...)`; by default the
            certificates that this system trusts are accepted.

    Attributes:
        scheme: One of the four schemes.
        host: Its name or IP address, without brackets.
        port: Its port.
        headers: The fields of the CONNECT request.
        ssl_context: The context for TLS with the proxy; `None` without TLS.
        credentials: User and password for SOCKS, or `None`.

    Raises:
        ValueError: The URL or a header field is not valid, or not for this kind of proxy.
        ImportError: A SOCKS proxy needs a library (`pip install 'restsock[proxy]'`).
    """

    def __init__(
        self,
        url: str,
        *,
        headers: FieldsLike = (),
        ssl_context: ssl.SSLContext | tls.ClientTLS | None = None,
    ) -> None:
        if "://" not in url:
            url = f"http://{url}"  # the environment often has it in this form
        parts = split_url(url, "the proxy's URL", _PORTS)
        if parts.target not in ("", "/"):
            raise ValueError("the proxy's URL has a path or query, which it cannot have")
        self.scheme = parts.scheme
        self.host = parts.host
        self.port = parts.port or _PORTS[parts.scheme]
        self.headers = check_headers(headers)
        self.ssl_context = tls.check_context(ssl_context, listener=False)
        self.credentials: tuple[str, str] | None = None
        login = _login(parts.userinfo)
        if self.socks:
            if self.headers:
                raise ValueError("a SOCKS proxy takes no headers")
            self.credentials = _for_socks(login)
            _check_socks()
        elif login is not None:
            self.headers.append((b"Proxy-Authorization", _basic(*login)))
        if self.scheme == "https":
            self.ssl_context = self.ssl_context or tls.client()
        elif ssl_context is not None:
            raise ValueError("ssl_context= needs an https:// proxy")

    @property
    def socks(self) -> bool:
        """Whether it speaks SOCKS, and not HTTP."""
        return self.scheme.startswith("socks")

    @property
    def address(self) -> Address:
        """The address to dial, with or without TLS."""
        return Address(False, self.host, self.port, "/")

    def __str__(self) -> str:
        return f"{self.scheme}://{url_host(self.host)}:{self.port}"

    def __repr__(self) -> str:
        return f"<Proxy {self}>"


ProxyLike: TypeAlias = "Proxy | str | bool | None"
"""A proxy or its URL; `False` is no proxy, `None` the one from the environment."""


def choose_proxy(
    address: Address, proxy: ProxyLike, logger: LoggerLike | None = None
) -> Proxy | None:
    """The proxy through which to dial an address; `None` dials it directly.

    Args:
        address: The address of the listener.
        proxy: A proxy or its URL; `None` reads the environment; `False` or `""` is no proxy.
        logger: The logger of the client, if it has one.

    Raises:
        ValueError: The URL that was passed or is in the environment is not valid; the message does
            not repeat it. Or the address is a Unix socket, which no proxy can reach.
        ImportError: A SOCKS proxy needs a library that is not installed.
    """
    if address.socket_path is not None:
        if proxy:
            raise ValueError("proxy= has no meaning for a Unix socket")
        return None
    if proxy is None:
        return _from_environment(address, logger)
    if isinstance(proxy, Proxy):
        return proxy
    if proxy is False or proxy == "":
        return None
    if not isinstance(proxy, str):
        raise TypeError(f"proxy must be a URL, a Proxy, None or False, not {proxy!r}")
    return Proxy(proxy)


def _from_environment(address: Address, logger: LoggerLike | None) -> Proxy | None:
    # Imported here, since it loads all of http.client.
    from urllib.request import getproxies_environment

    found = getproxies_environment()
    for kind in ("https" if address.tls else "http", "all"):
        url = found.get(kind)
        if not url:
            continue
        if is_exempt(address.host, address.port, found):
            return None
        try:
            proxy = Proxy(url)
        except ValueError as exc:
            raise ValueError(f"{kind.upper()}_PROXY in the environment: {exc}") from None
        # The program does not show it, so the log does.
        _log.with_own(logger).info(
            "%s is dialed through %s, as %s_PROXY says", address, proxy, kind.upper()
        )
        return proxy
    return None


def is_exempt(host: str, port: int, found: Mapping[str, str]) -> bool:
    """Whether a host is dialed directly, without a proxy from the environment.

    An entry of NO_PROXY is `*` (everything), a name (which includes all names below it, with or
    without a leading dot or `*.`), an address or a network (`10.0.0.0/8`), each with or without a
    port. This machine itself is never dialed through a proxy, since the proxy would connect to its
    own machine.

    Args:
        host: A name or an IP address without brackets.
        port: The port of the host.
        found: Proxies by kind, as returned by `urllib.request.getproxies_environment`; NO_PROXY is
            under `no`.
    """
    # Not documented, but requests has always relied on it.
    from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

    host = without_zone(host).removesuffix(".").lower()
    entries = [entry.strip() for entry in found.get("no", "").split(",")]
    if "*" in entries:
        return True
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        if host == "localhost" or host.endswith(".localhost"):  # RFC 6761, section 6.3
            return True
        names = ",".join(entry.removeprefix("*") for entry in entries)
        return bool(proxy_bypass_environment(f"{host}:{port}", {"no": names}))
    return ip.is_loopback or any(_covers(entry, ip, port) for entry in entries)


def _covers(entry: str, ip: _IPAddress, port: int) -> bool:
    """Whether an entry of NO_PROXY is this address, or a network that it is in."""
    its_port = ""
    if entry.startswith("["):
        entry, _, its_port = entry[1:].partition("]")
        its_port = its_port.removeprefix(":")
    elif entry.count(":") == 1:
        entry, _, its_port = entry.partition(":")
    if its_port not in ("", str(port)):
        return False
    try:
        # Not strict, because people write 10.1.2.3/8.
        return ip in ipaddress.ip_network(entry.partition("%")[0], strict=False)
    except ValueError:
        return False  # a name


def _login(userinfo: str | None) -> tuple[str, str] | None:
    if not userinfo:
        return None
    user, _, password = userinfo.partition(":")
    try:
        return unquote(user, errors="strict"), unquote(password, errors="strict")
    except UnicodeDecodeError:
        # Without the cause, which quotes user and password.
        raise ValueError("the proxy's user and password must be percent-encoded UTF-8") from None


def _basic(user: str, password: str) -> bytes:
    if ":" in user:
        raise ValueError(
            "the proxy's user has a colon in it, which Basic authentication cannot send"
        )
    return b"Basic " + base64.b64encode(f"{user}:{password}".encode())


def _check_socks() -> None:
    """Raises ImportError if the library is missing."""
    if importlib.util.find_spec("python_socks") is None:
        raise ImportError("a SOCKS proxy needs python-socks: pip install 'restsock[proxy]'")


def _for_socks(login: tuple[str, str] | None) -> tuple[str, str] | None:
    """Checks that user and password fit RFC 1929."""
    for part in login or ():
        if not 1 <= len(part) <= 255 or not part.isascii():
            raise ValueError(
                "a SOCKS proxy's user and password must both be there, with 1 to 255 ASCII"
                " characters each"
            )
    return login
