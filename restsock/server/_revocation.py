"""Connections do not outlive the credentials that they were let in with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from restsock.connection import AccessControl, forbid

if TYPE_CHECKING:
    from ._registry import Connections

__all__ = ["revoke", "revoke_forever"]

# Seconds between two looks at what the authenticator goes by.
_INTERVAL = 1.0


def revoke(connections: Connections, principal: str) -> int:
    """Closes the connections of the principal of this name; returns how many."""
    found = [
        connection
        for connection in connections
        if connection.principal is not None and connection.principal.name == principal
    ]
    for connection in found:
        forbid(connection)
    return len(found)


async def revoke_forever(access_control: AccessControl, connections: Connections) -> None:
    """Closes connections whose credentials are withdrawn, as far as the authenticator tells."""
    while access_control.refresh():
        for connection in connections:
            principal = connection.principal
            if principal is not None and not access_control.still_accepts(principal):
                forbid(connection)
        await trio.sleep(_INTERVAL)
