"""The URLs of a peer at an ingress: what a peer is told when it dials in."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from restsock._addresses import PORTS, UrlParts, split_url, url_host
from restsock.auth import Refused
from restsock.protocol import MAX_URLS, RequestHead, is_plain_url

from ._names import Naming

__all__ = ["check_url", "urls_of"]

# By what a listener of peers is dialed, to what a client of HTTP says on the same port.
_SCHEMES = {"ws": "http", "wss": "https", "http": "http", "https": "https"}


def check_url(url: str) -> str:
    """The same URL, if an ingress can be found there.

    Raises:
        ValueError: it is not one of http or https, or has more than scheme, host and port.
    """
    parts = split_url(url, "the URL of an ingress", ("http", "https"))
    if parts.userinfo is not None or parts.target not in ("", "/"):
        raise ValueError("the URL of an ingress has a scheme, a host, perhaps a port, and no more")
    return url


def urls_of(naming: Naming, name: str, url: str) -> tuple[str, ...]:
    """The URLs that are for the peer of this name, the best first.

    Each of them is asked about as a request for it would be: none leads to another peer.

    Args:
        naming: says whom a request is for.
        name: of the peer.
        url: where the ingress is found.

    Returns:
        None for an ingress that no URL leads to: one on a Unix socket, or in memory.
    """
    try:
        parts = split_url(url, "the URL of an ingress", tuple(_SCHEMES))
    except ValueError:
        return ()
    scheme = _SCHEMES[parts.scheme]
    port = "" if parts.port in (None, PORTS[scheme]) else f":{parts.port}"
    found: list[str] = []
    for host, path in _places(naming, name, parts):
        candidate = f"{scheme}://{host}{port}{path}"
        if candidate not in found and is_plain_url(candidate) and _leads(naming, name, host, path):
            found.append(candidate)
    return tuple(found[:MAX_URLS])


def _places(naming: Naming, name: str, parts: UrlParts) -> Iterator[tuple[str, str]]:
    """Hosts and paths that may be the peer's."""
    routes = [route for route in naming.routes if route.peer == name]
    yield from ((route.host, route.path) for route in routes if route.webhook is None)
    yield from ((f"{name}.{domain}", "/") for domain in naming.domains)
    yield from ((route.host, route.path) for route in routes if route.webhook is not None)
    if naming.path_prefix:
        own = [*naming.domains] if _is_everywhere(parts.host) else [url_host(parts.host)]
        yield from ((host, f"/_/{name}/") for host in own[:1])


def _is_everywhere(host: str) -> bool:
    """Whether it is what one listens on, and nobody can dial."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _leads(naming: Naming, name: str, host: str, path: str) -> bool:
    head = RequestHead(b"GET", path.encode("latin-1"), [(b"Host", host.encode("latin-1"))])
    try:
        return naming.find(head).name == name
    except Refused:
        return False
