"""Whom a request is for: one function, whose result both routing and access go by.

In this order, and a request that says two different things is refused:

1. the exact host of a route, with the longest of its paths;
2. one label below a domain: `edge-1.hub.example`, and `edge-1.localhost` on loopback;
3. the host of a proxied request that is a label itself: `curl -x http://hub:8080 http://edge-1/`;
4. the field Restsock-Peer, on the ingress's own hosts;
5. the path prefix `/_/edge-1/`, on the ingress's own hosts, where it is on.

The ingress's own hosts are those that are nobody else's. Where this machine alone can reach it,
they are only addresses, `localhost` and the domains: a web page whose name was pointed at this
machine (DNS rebinding) has another host.

Labels are compared as those of hosts are: in lower case. A name in the field is taken as it is.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from restsock._addresses import host_and_port, ip_of
from restsock.auth import Refused
from restsock.protocol import RequestHead

if TYPE_CHECKING:
    from ._routes import Route

__all__ = ["PEER_FIELD", "RESERVED", "Found", "Naming", "is_label", "is_plain_path", "nobody"]

PEER_FIELD = b"restsock-peer"

# Labels that are no peers: what people take for the hub itself, or may want for it later.
RESERVED = frozenset(("admin", "api", "hub", "localhost", "www"))

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_PREFIX = re.compile(rb"/_/([^/?]+)(/[^?]*)?(\?.*)?")
_DOMAIN = re.compile(r"[0-9A-Za-z_-]+(?:\.[0-9A-Za-z_-]+)*")
_ENCODED_NAME = re.compile(rb"[\x21-\x7e]+")
_MAX_NAME = 255

# A path that all servers read in the same way, and what else some of them make of others.
_PLAIN_PATH = re.compile(r"(?:/(?!\.{0,2}(?:/|\Z))[0-9A-Za-z._~!$&'()*+,=:@-]+)*/?|\*")
_PARAMETERS = re.compile(r";[^/]*")
_SLASHES = re.compile(r"/+")


def nobody() -> Refused:
    """What a request gets that is for nobody here, or for somebody of whom it may not know."""
    return Refused(404, "There is no such host here.")


def is_label(name: str, reserved: Collection[str] = RESERVED) -> bool:
    """Whether a name can be a label of a host: letters, digits and hyphens, at most 63."""
    return (
        _LABEL.fullmatch(name) is not None and not name.startswith("xn--") and name not in reserved
    )


def is_plain_path(path: str) -> bool:
    """Whether all servers read a path in the same way: it has no dots, escapes or parameters."""
    return _PLAIN_PATH.fullmatch(path) is not None


class Found(NamedTuple):
    """Whom a request is for.

    Attributes:
        name: of the peer.
        target: path and query as the peer is to get them.
        prefix: what was taken off the path, without a slash at the end; empty if nothing was.
        route: what else is to be done; `None` without a rule of its own.
        how: what said it, for `explain`; empty if it was the route.
        host: that was asked, as it came.
    """

    name: str
    target: bytes
    prefix: str
    route: Route | None
    how: str
    host: bytes


class Naming:
    """The rules by which requests are addressed.

    Args:
        domains: below which each peer has a host; in lower case.
        routes: in any order.
        header: whether the field counts.
        path_prefix: whether the path prefix counts.
        reserved: labels that are no peers.
        own_hosts_only: whether the field and the prefix count on addresses, `localhost` and the
            domains alone, and not on any host that is no peer's.
        guarded_by_routes: whether a peer whose routes ask for something is found by its routes
            alone: where nothing else asks, another way to it would go round them.

    Raises:
        ValueError: a domain is none, or two routes are for the same place.
    """

    def __init__(
        self,
        domains: Sequence[str],
        routes: Sequence[Route],
        *,
        header: bool,
        path_prefix: bool,
        reserved: Collection[str] = RESERVED,
        own_hosts_only: bool = False,
        guarded_by_routes: bool = False,
    ) -> None:
        self.domains = tuple(domain.lower().strip(".") for domain in domains)
        for domain in self.domains:
            if not _DOMAIN.fullmatch(domain):
                raise ValueError(f"not a domain: {domain!r}; one is a name such as hub.example")
        self.routes = tuple(routes)
        self.header = header
        self.path_prefix = path_prefix
        self.reserved = frozenset(reserved)
        self._own_hosts_only = own_hosts_only
        self._by_route_only = frozenset(
            route.peer.lower()
            for route in routes
            if guarded_by_routes and (route.access is not None or route.webhook is not None)
        )
        self._routes: dict[str, list[Route]] = {}
        for route in routes:
            self._routes.setdefault(_folded(route.host), []).append(route)
        for host, found in self._routes.items():
            if len({route.path.rstrip("/") for route in found}) < len(found):
                raise ValueError(f"two routes are for the same path of {host}")
            found.sort(key=lambda route: len(route.path.rstrip("/")), reverse=True)

    def find(self, request: RequestHead) -> Found:
        """Says whom a request is for.

        Raises:
            Refused: with 400: it says two things; with 404: it is for nobody here.
        """
        found = self._find(request)
        if found.route is None and found.name.lower() in self._by_route_only:
            raise nobody()
        return found

    def _find(self, request: RequestHead) -> Found:
        authority = b""
        asked = []
        for field, value in request.headers:
            lower = field.lower()
            if lower == b"host":
                authority = value
            elif lower == PEER_FIELD:
                asked.append(value)
        if len(asked) > 1:
            raise Refused(400, "There is more than one Restsock-Peer.")
        host = (_host_in if len(authority) <= _MAX_NAME else _host_in.__wrapped__)(authority)
        target = request.target
        found = self._by_route(host, target, authority) or self._by_host(host, target, authority)
        if found is not None:
            if asked and self._name_in(asked[0]) != found.name:
                raise Refused(400, "Host and Restsock-Peer name different peers.")
            return found
        if self._own_hosts_only and not self._is_own(host):
            raise nobody()
        by_path = _PREFIX.fullmatch(target) if self.path_prefix else None
        name = None if by_path is None else self._label(unquote(by_path[1].decode("latin-1")))
        if asked:
            if not self.header:
                raise Refused(400, "The field Restsock-Peer does not count here.")
            wanted = self._name_in(asked[0])
            if name is not None and name != wanted:
                raise Refused(400, "The path and Restsock-Peer name different peers.")
            if name is None:
                return Found(wanted, target, "", None, "the field Restsock-Peer", authority)
        if by_path is None or name is None:
            raise nobody()
        rest = (by_path[2] or b"/") + (by_path[3] or b"")
        return Found(name, rest, f"/_/{name}", None, "the path prefix", authority)

    def _by_route(self, host: str, target: bytes, authority: bytes) -> Found | None:
        routes = self._routes.get(host)
        if routes is None:
            return None
        path = target.partition(b"?")[0].decode("latin-1")
        route = _covering(routes, path)
        if not is_plain_path(path) and any(
            _covering(routes, reading) is not route for reading in _readings(path)
        ):
            # Rules that are for a path must be for what the app takes it for.
            raise Refused(400, "The path can be read in more than one way.")
        if route is None:
            raise nobody()
        prefix = route.path.rstrip("/") if route.strip else ""
        rest = target[len(prefix) :]
        if not rest.startswith(b"/") and target != b"*":
            rest = b"/" + rest
        return Found(route.peer, rest, prefix, route, "", authority)

    def _by_host(self, host: str, target: bytes, authority: bytes) -> Found | None:
        label, dot, rest = host.partition(".")
        if not dot and is_label(host, self.reserved):
            return Found(host, target, "", None, "the host of a proxied request", authority)
        if rest in self.domains:
            return Found(self._label(label), target, "", None, f"the domain {rest}", authority)
        if any(host.endswith(f".{domain}") for domain in self.domains):
            raise nobody()
        return None

    def _label(self, text: str) -> str:
        name = text.lower()
        if not is_label(name, self.reserved):
            raise nobody()
        return name

    def _is_own(self, host: str) -> bool:
        return host == "localhost" or host in self.domains or ip_of(host.strip("[]")) is not None

    def _name_in(self, value: bytes) -> str:
        try:
            name = unquote(value.decode("latin-1"), errors="strict")
        except UnicodeDecodeError:
            name = ""
        if (
            not _ENCODED_NAME.fullmatch(value)
            or not 0 < len(name) <= _MAX_NAME
            or not name.isprintable()
        ):
            raise Refused(400, "Restsock-Peer is not the name of a peer.")
        return name


@lru_cache(1024)  # clients ask for the same ones again and again
def _host_in(authority: bytes) -> str:
    return _folded(host_and_port(authority.decode("latin-1"))[0])


def _folded(host: str) -> str:
    """A host as it is compared: in lower case, and without the dot that may stand at its end."""
    return host.lower().removesuffix(".")


def _covering(routes: Sequence[Route], path: str) -> Route | None:
    for route in routes:
        if route.covers(path):
            return route
    return None


def _readings(path: str) -> Iterator[str]:
    """What servers may take a path for: decoded, without parameters, slashes or dots."""
    yield (path := unquote(path, "latin-1"))
    yield (path := path.replace("\\", "/"))
    yield (path := _PARAMETERS.sub("", path))
    yield (path := _SLASHES.sub("/", path))
    yield posixpath.normpath(path)
