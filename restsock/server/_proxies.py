"""Where a dialer is that comes through a reverse proxy: what the proxy says, if it is trusted.

Any dialer can send these fields, so they count only in a request that comes from a trusted
proxy, and only from the right: each proxy adds its client after what was there before (RFC
7239, section 5.2). The last one that is no trusted proxy is the client; what stands before it is
that one's own word.

A content delivery network has a field of its own, which names the client alone. Behind one more
proxy it is no better than the others: whoever goes around the network can send it. So all fields
that are there have to agree.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from restsock._addresses import ip_of, networks_of
from restsock.auth import Refused
from restsock.connection import Peer
from restsock.protocol import values_of

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

    from restsock.protocol import Headers

__all__ = ["ProxiesLike", "TrustedProxies"]

# Stands for all peers without an address; nginx calls them so, too.
_UNIX = "unix:"

# `forwarded-pair` of RFC 7239, section 4, which may be missing, and what separates it from others.
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PAIR = re.compile(rf'[ \t]*(?:({_WORD})=({_WORD}|"(?:[^"\\]|\\.)*")[ \t]*)?([;,]|\Z)')
# `node-port` of section 6.
_PORT = re.compile(r"(?::(?:([0-9]{1,5})|_[0-9A-Za-z._-]+))?")


class _Node(NamedTuple):
    """An address on the way. Its port is 0 if it was not given."""

    host: str
    port: int


class TrustedProxies:
    """Finds the addresses of dialers and clients behind proxies.

        listen(host, port, trusted_proxies=TrustedProxies(CLOUDFLARE, client_ip="cloudflare"))

    Args:
        networks: Addresses and networks (CIDR) of proxies to trust: one or several. `"unix:"` is
            what comes over a Unix socket. Another `TrustedProxies` stands for its own.
        client_ip: Also reads a network's own field: CF-Connecting-IP of `"cloudflare"`, or
            CloudFront-Viewer-Address of `"cloudfront"`. If X-Forwarded-For or Forwarded are
            present, they have to name the same address. So list the networks of all proxies on the
            path, including those of the content delivery network.

    Raises:
        TypeError: One is no text.
        ValueError: One is no address or network, or there is no such field.
    """

    def __init__(
        self,
        networks: ProxiesLike = (),
        *,
        client_ip: Literal["cloudflare", "cloudfront"] | None = None,
    ) -> None:
        if client_ip is not None and client_ip not in _OWN:
            names = " or ".join(map(repr, _OWN))
            raise ValueError(f"client_ip must be {names}, not {client_ip!r}")
        self._own = None if client_ip is None else _OWN[client_ip]
        self._networks: list[IPv4Network | IPv6Network]
        self._trusts_unix: bool
        if isinstance(networks, TrustedProxies):
            self._networks, self._trusts_unix = networks._networks, networks._trusts_unix
            self._own = self._own or networks._own
            return
        listed = (networks,) if isinstance(networks, str) else tuple(networks)
        self._trusts_unix = _UNIX in listed
        self._networks = networks_of([one for one in listed if one != _UNIX], "trusted_proxies")

    def locate(self, peer: Peer, headers: Headers) -> Peer:
        """Where the dialer is who has sent this request.

        Args:
            peer: Who has sent it, at the socket: the dialer or a proxy.
            headers: Of the request.

        Returns:
            The client whom the trusted proxies name. A proxy that does not know it, or says
            nothing, stands for it. `tls` is that of the socket.

        Raises:
            Refused: A trusted proxy let pass what cannot be read, or two fields that differ: one of
                them is the client's own.
        """
        if not self.trusts(peer.host):
            return peer
        ways: tuple[tuple[str, Callable[[str], Iterator[str | None]]], ...] = (
            ("X-Forwarded-For", _listed),
            ("Forwarded", _forwarded),
        )
        found = [] if self._own is None else _named(headers, *self._own)
        for name, read in ways:
            values = values_of(headers, name.lower().encode())
            if not values:
                continue
            try:
                # Line by line: no quoted text of one goes on in the next.
                lines = (value.decode("latin-1") for value in reversed(values))
                nodes = chain.from_iterable(map(read, lines))
                found.append(self._client(_Node(peer.host, peer.port), nodes))
            except ValueError:
                raise Refused(400, f"The {name} field is malformed.") from None
        if not found:
            return peer
        if any(node.host != found[0].host for node in found):
            own = "" if self._own is None else f"{self._own[0]}, "
            raise Refused(400, f"{own}Forwarded and X-Forwarded-For differ.")
        host, port = max(found, key=lambda node: node.port)
        return Peer(host, port, peer.tls)

    def _client(self, nearest: _Node, nodes: Iterable[str | None]) -> _Node:
        """The first, from the right, that is not a trusted proxy."""
        for text in nodes:
            node = None if text is None else _node(text)
            if node is None:
                break
            nearest = node
            if not self.trusts(node.host):
                break
        return nearest

    def trusts(self, host: str) -> bool:
        """Whether a proxy at this address is believed."""
        if not host:
            return self._trusts_unix
        address = ip_of(host) if self._networks else None  # none where there is no TCP
        return address is not None and any(address in network for network in self._networks)


ProxiesLike: TypeAlias = str | Collection[str] | TrustedProxies
"""Addresses and networks of proxies that are to be believed, or `TrustedProxies` that say how."""


def _named(headers: Headers, name: str, read: Callable[[str], _Node]) -> list[_Node]:
    """Whom the field of a content delivery network names; nobody, if there is none.

    Raises:
        Refused: It is malformed, or there twice.
    """
    values = values_of(headers, name.lower().encode())
    try:
        if len(values) > 1:
            raise ValueError("twice")
        return [read(value.decode("latin-1").strip(" \t")) for value in values]
    except ValueError:
        raise Refused(400, f"The {name} field is malformed.") from None


def _address(text: str) -> _Node:
    """An address alone.

    Raises:
        ValueError: It is none.
    """
    address = None if "%" in text else ip_of(text)
    if address is None:
        raise ValueError("malformed")
    return _Node(str(address), 0)


def _viewer(text: str) -> _Node:
    """An address, a colon and a port. That of IPv6 is as often without brackets as with them.

    Raises:
        ValueError: It is malformed.
    """
    host, _, port = text.rpartition(":")
    if not re.fullmatch("[0-9]{1,5}", port):
        raise ValueError("malformed")
    bracketed = re.fullmatch(r"\[(.*)\]", host)
    return _Node(_address(bracketed[1] if bracketed else host).host, int(port))


# The fields of content delivery networks, and how they are read.
_OWN: dict[str, tuple[str, Callable[[str], _Node]]] = {
    "cloudflare": ("CF-Connecting-IP", _address),
    "cloudfront": ("CloudFront-Viewer-Address", _viewer),
}


def _listed(value: str) -> Iterator[str]:
    """The entries of X-Forwarded-For, from the right."""
    for entry in reversed(value.split(",")):
        if text := entry.strip(" \t"):
            yield text


def _forwarded(value: str) -> Iterator[str | None]:
    """The `for` of the elements of Forwarded, from the right; `None` where there is none.

    Read from the left, as a whole: what a quoted text is shows only there.

    Raises:
        ValueError: It is malformed.
    """
    elements: list[dict[str, str]] = [{}]
    at = 0
    while at < len(value):
        found = _PAIR.match(value, at)
        if found is None:
            raise ValueError("malformed")
        name, text, separator = found.groups()
        if name is not None:
            if name.lower() in elements[-1]:
                raise ValueError("malformed")
            elements[-1][name.lower()] = text
        if separator == ",":
            elements.append({})
        at = found.end()
    for element in reversed(elements):
        if element:  # in a list there may be empty ones (RFC 9110, section 5.6.1)
            yield _unquoted(element["for"]) if "for" in element else None


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text


def _node(text: str) -> _Node | None:
    """The address of a node (RFC 7239, section 6); `None` if unknown or hidden.

    Raises:
        ValueError: It is malformed.
    """
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket:
            raise ValueError("malformed")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
        rest = f":{port}"
    else:  # without a port: an IPv6 address stands in brackets in front of one
        host, rest = text, ""
    found = _PORT.fullmatch(rest)
    if found is None or "%" in host:
        raise ValueError("malformed")
    if host.startswith("_") or host.lower() == "unknown":
        return None
    address = ip_of(host)
    if address is None:
        raise ValueError("malformed")
    return _Node(str(address), int(found[1] or 0))
