"""The address of a dialer behind a reverse proxy: what the proxy says, if it is trusted.

Any dialer can send these fields. So they count only in a request from a trusted proxy, and they are
read from the right: each proxy appends the address of its client (RFC 7239, section 5.2). The last
address that is not a trusted proxy is the client; anything before it is only the client's claim.

A content delivery network has its own field, which contains only the client. With another proxy in
between, this field is no better than the others, since a client that bypasses the network can send
it. So all fields that are present have to agree.
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

# Means all peers without an address; nginx uses the same name.
_UNIX = "unix:"

# `forwarded-pair` of RFC 7239, section 4, which may be missing, and the separator after it.
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PAIR = re.compile(rf'[ \t]*(?:({_WORD})=({_WORD}|"(?:[^"\\]|\\.)*")[ \t]*)?([;,]|\Z)')
# `node-port` of section 6.
_PORT = re.compile(r"(?::(?:([0-9]{1,5})|_[0-9A-Za-z._-]+))?")


class _Node(NamedTuple):
    """An address on the path. The port is 0 if it was not given."""

    host: str
    port: int


class TrustedProxies:
    """Finds the addresses of dialers and clients behind proxies.

        listen(host, port, trusted_proxies=TrustedProxies(CLOUDFLARE, client_ip="cloudflare"))

    Args:
        networks: Addresses and networks (CIDR) of proxies to trust: one or several. `"unix:"` means
            everything over a Unix socket. Another `TrustedProxies` adds its networks.
        client_ip: Also reads a network's own field: CF-Connecting-IP of `"cloudflare"`, or
            CloudFront-Viewer-Address of `"cloudfront"`. If X-Forwarded-For or Forwarded are
            present, they have to name the same address. So list the networks of all proxies on the
            path, including those of the content delivery network.

    Raises:
        TypeError: One of them is not a str.
        ValueError: One of them is not an address or network, or `client_ip` is unknown.
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
        """The address of the dialer that has sent this request.

        Args:
            peer: The other end of the socket: the dialer or a proxy.
            headers: The fields of the request.

        Returns:
            The client that the trusted proxies name. If a proxy does not name its client, its own
            address is used. `tls` is that of the socket.

        Raises:
            Refused: A trusted proxy has passed on a malformed field, or two fields that differ (so
                one of them comes from the client).
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
                # Line by line: a quoted string cannot continue on the next line.
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
        """The first address, from the right, that is not a trusted proxy."""
        for text in nodes:
            node = None if text is None else _node(text)
            if node is None:
                break
            nearest = node
            if not self.trusts(node.host):
                break
        return nearest

    def trusts(self, host: str) -> bool:
        """Whether a proxy at this address is trusted."""
        if not host:
            return self._trusts_unix
        address = ip_of(host) if self._networks else None  # `None` without TCP
        return address is not None and any(address in network for network in self._networks)


ProxiesLike: TypeAlias = str | Collection[str] | TrustedProxies
"""Addresses and networks of trusted proxies, or a `TrustedProxies`."""


def _named(headers: Headers, name: str, read: Callable[[str], _Node]) -> list[_Node]:
    """The client that the field of a content delivery network names; empty without the field.

    Raises:
        Refused: The field is malformed, or appears twice.
    """
    values = values_of(headers, name.lower().encode())
    try:
        if len(values) > 1:
            raise ValueError("twice")
        return [read(value.decode("latin-1").strip(" \t")) for value in values]
    except ValueError:
        raise Refused(400, f"The {name} field is malformed.") from None


def _address(text: str) -> _Node:
    """Parses an address without a port.

    Raises:
        ValueError: It is not an address.
    """
    address = None if "%" in text else ip_of(text)
    if address is None:
        raise ValueError("malformed")
    return _Node(str(address), 0)


def _viewer(text: str) -> _Node:
    """Parses an address, a colon and a port. An IPv6 address may lack its brackets.

    Raises:
        ValueError: It is malformed.
    """
    host, _, port = text.rpartition(":")
    if not re.fullmatch("[0-9]{1,5}", port):
        raise ValueError("malformed")
    bracketed = re.fullmatch(r"\[(.*)\]", host)
    return _Node(_address(bracketed[1] if bracketed else host).host, int(port))


# The fields of content delivery networks, and their parsers.
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
    """The `for` of the elements of Forwarded, from the right; `None` for those without one.

    Parsed from the left: only then is it clear where quoted strings begin and end.

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
        if element:  # a list may have empty elements (RFC 9110, section 5.6.1)
            yield _unquoted(element["for"]) if "for" in element else None


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text


def _node(text: str) -> _Node | None:
    """The address of a node (RFC 7239, section 6); `None` if unknown or obfuscated.

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
    else:  # without a port: before one, an IPv6 address is in brackets
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
