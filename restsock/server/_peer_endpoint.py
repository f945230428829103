"""Peers that speak something else than restsock.v1: what takes them, and how they are found."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol, TypeGuard

from restsock.connection import Exchange, Wire

if TYPE_CHECKING:
    from restsock._options import Options

__all__ = ["PeerEndpoint", "is_peer_endpoint", "websocket_target"]

# An upgrade to a WebSocket, as far as can be seen; what is wrong with it is answered later.
_TARGET = re.compile(rb"(?:\r\n)*GET (/[^ ]*) HTTP/1\.1\r\n")
_WEBSOCKET = re.compile(rb"\r\nupgrade:[ \t]*websocket[ \t]*(?:\r\n|\Z)", re.IGNORECASE)


class PeerEndpoint(Protocol):
    """An endpoint of a listener whose WebSockets are connections of peers, each with a wire.

    They are among `Server.connections`, and the app, the limits, `auth` and the events of the
    listener are theirs, too.
    """

    @property
    def wire(self) -> Wire:
        """What they speak."""

    def options_for(self, options: Options) -> Options:
        """Their options, given those of the listener."""

    def handle(self, exchange: Exchange) -> None:
        """Answers a request that opens no connection of a peer."""


def is_peer_endpoint(endpoint: object) -> TypeGuard[PeerEndpoint]:
    """Whether it is one."""
    return hasattr(endpoint, "options_for") and hasattr(endpoint, "wire")


def websocket_target(received: bytes) -> bytes | None:
    """The target of an upgrade to a WebSocket, given the first bytes of a client; else `None`."""
    head = received.partition(b"\r\n\r\n")[0]
    found = _TARGET.match(head)
    return found[1] if found is not None and _WEBSOCKET.search(head) else None
