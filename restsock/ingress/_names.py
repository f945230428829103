"""Whom a request is for: one function, whose result both routing and access go by.

In this order, and a request that says two different things is refused:

1. the exact host of a route, with the longest of its paths;
2. one label below a domain: `edge-1.hub.example`, and `edge-1.localhost` on loopback;
3. the host of a proxied request that is a label itself: `curl -x http://hub:8080 http://edge-1/`;
4. the field Restsock-Peer, on the ingress's own hosts;
5. the path prefix `/_/edge-1/`, on the ingress's own hosts, where it is on.

Names of peers are compared as labels of hosts are: in lower case.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from restsock._addresses import host_and_port
from restsock.auth import Refused
from restsock.protocol import RequestHead, values_of

if TYPE_CHECKING:
    from ._routes import Route

__all__ = ["PEER_FIELD", "RESERVED", "Found", "Naming", "is_label"]

PEER_FIELD = b"restsock-peer"

# Labels that are no peers: what people take for the hub itself, or may want for it later.
RESERVED = frozenset(("admin", "api", "hub", "localhost", "www"))

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_PREFIX = re.compile(rb"/_/([^/?]+)(/[^?]*)?(\?.*)?")
_NAME = re.compile(r"[\x21-\x7e]{1,255}")

_NOBODY = Refused(404, "There is no such host here.")


def is_label(name: str, reserved: Collection[str] = RESERVED) -> bool:
    """Whether a name can be a label of a host: letters, digits and hyphens, at most 63."""
    return (
        _LABEL.fullmatch(name) is not None and not name.startswith("xn--") and name not in reserved
    )


class Found(NamedTuple):
    """Whom a request is for.

    Attributes:
        name: of the peer.
        target: path and query as the peer is to get them.
        prefix: what was taken off the path, without a slash at the end; empty if nothing was.
        route: what else is to be done; `None` without a rule of its own.
        how: what said it, for `explain`.
    """

    name: str
    target: bytes
    prefix: str
    route: Route | None
    how: str


class Naming:
    """The rules by which requests are addressed.

    Args:
        domains: below which each peer has a host; in lower case.
        routes: in any order.
        header: whether the field counts.
        path_prefix: whether the path prefix counts.
        reserved: labels that are no peers.
    """

    def __init__(
        self,
        domains: Sequence[str],
        routes: Sequence[Route],
        *,
        header: bool,
        path_prefix: bool,
        reserved: Collection[str] = RESERVED,
    ) -> None:
        self.domains = tuple(domain.lower().strip(".") for domain in domains)
        self.header = header
        self.path_prefix = path_prefix
        self.reserved = frozenset(reserved)
        self._routes: dict[str, list[Route]] = {}
        for route in routes:
            self._routes.setdefault(route.host.lower(), []).append(route)
        for found in self._routes.values():
            found.sort(key=lambda route: len(route.path), reverse=True)

    def find(self, request: RequestHead) -> Found:
        """Says whom a request is for.

        Raises:
            Refused: with 400: it says two things; with 404: it is for nobody here.
        """
        host = values_of(request.headers, b"host")[0].decode("latin-1")
        host = host_and_port(host)[0].lower().rstrip(".")
        asked = values_of(request.headers, PEER_FIELD)
        if len(asked) > 1:
            raise Refused(400, "There is more than one Restsock-Peer.")
        found = self._by_route(host, request.target) or self._by_host(host, request.target)
        if found is not None:
            if asked and self._name_in(asked[0]) != found.name:
                raise Refused(400, "Host and Restsock-Peer name different peers.")
            return found
        by_path = _PREFIX.fullmatch(request.target) if self.path_prefix else None
        name = None if by_path is None else self._label(unquote(by_path[1].decode("latin-1")))
        if asked:
            if not self.header:
                raise Refused(400, "The field Restsock-Peer does not count here.")
            wanted = self._name_in(asked[0])
            if name is not None and name != wanted:
                raise Refused(400, "The path and Restsock-Peer name different peers.")
            if name is None:
                return Found(wanted, request.target, "", None, "the field Restsock-Peer")
        if by_path is None or name is None:
            raise _NOBODY
        target = (by_path[2] or b"/") + (by_path[3] or b"")
        return Found(name, target, f"/_/{name}", None, "the path prefix")

    def _by_route(self, host: str, target: bytes) -> Found | None:
        path = target.partition(b"?")[0].decode("latin-1")
        for route in self._routes.get(host, ()):
            if route.covers(path):
                prefix = route.path.rstrip("/") if route.strip else ""
                rest = target[len(prefix) :]
                if not rest.startswith(b"/") and target != b"*":
                    rest = b"/" + rest
                return Found(route.peer, rest, prefix, route, f"the route {route}")
        if host in self._routes:
            raise _NOBODY
        return None

    def _by_host(self, host: str, target: bytes) -> Found | None:
        label, dot, rest = host.partition(".")
        if not dot and is_label(host, self.reserved):
            return Found(host, target, "", None, "the host of a proxied request")
        if rest in self.domains:
            return Found(self._label(label), target, "", None, f"the domain {rest}")
        if any(host.endswith(f".{domain}") for domain in self.domains):
            raise _NOBODY
        return None

    def _label(self, text: str) -> str:
        name = text.lower()
        if not is_label(name, self.reserved):
            raise _NOBODY
        return name

    def _name_in(self, value: bytes) -> str:
        name = unquote(value.decode("latin-1"))
        if not _NAME.fullmatch(name):
            raise Refused(400, "Restsock-Peer is not the name of a peer.")
        return name
