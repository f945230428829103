"""Endpoints for peers that speak a protocol other than restsock.v1."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol, TypeGuard

from restsock.connection import Exchange, Wire

if TYPE_CHECKING:
    from restsock._options import Options

__all__ = ["PeerEndpoint", "is_peer_endpoint", "websocket_target"]

# What looks like an upgrade to a WebSocket; its errors are answered later.
_TARGET = re.compile(rb"(?:\r\n)*GET (/[^ ]*) HTTP/1\.1\r\n")
_WEBSOCKET = re.compile(rb"\r\nupgrade:[ \t]*websocket[ \t]*(?:\r\n|\Z)", re.IGNORECASE)


class PeerEndpoint(Protocol):
    """An endpoint of a listener whose WebSockets are connections of peers.

    They are in `Server.connections`, and the app, the limits, `auth` and the events of the listener
    apply to them.
    """

    @property
    def wire(self) -> Wire:
        """The protocol that they speak."""

    def options_for(self, options: Options) -> Options:
        """Their options, given those of the listener."""

    def handle(self, exchange: Exchange) -> None:
        """Answers a request that does not open a connection of a peer."""


def is_peer_endpoint(endpoint: object) -> TypeGuard[PeerEndpoint]:
    """Whether an endpoint is a `PeerEndpoint`."""
    return hasattr(endpoint, "options_for") and hasattr(endpoint, "wire")


def websocket_target(received: bytes) -> bytes | None:
    """The target of an upgrade to a WebSocket, from the first bytes of a client; or `None`."""
    head = received.partition(b"\r\n\r\n")[0]
    found = _TARGET.match(head)
    return found[1] if found is not None and _WEBSOCKET.search(head) else None
