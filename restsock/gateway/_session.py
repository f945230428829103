"""`Session`: a client of a gateway, while it is connected."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import trio

    from restsock._principal import Principal
    from restsock.websockets import Request, ServerWebSocket

__all__ = ["Session"]


class Session:
    """A client of a gateway, from its opening handshake to its end. On the loop.

    Attributes:
        id: A new one for each, a UUID.
        request: What the client has asked for with its opening handshake.
        principal: Who it was found to be; `None` without authentication.
        connected_at: When it connected, in seconds since 1970.
        metadata: What is known of it, for those who look for it by that.
        stash: What functions and middleware want to keep for as long as it is connected.
        groups: The names of those that it is in.
    """

    def __init__(self, websocket: ServerWebSocket, nursery: trio.Nursery) -> None:
        self.id = websocket.id
        self.request: Request = websocket.request
        self.principal: Principal | None = websocket.principal
        self.connected_at = websocket.connected_at
        self.metadata: dict[str, Any] = {}
        self.stash: dict[str, Any] = {}
        self.groups: set[str] = set()
        self._websocket = websocket
        self._nursery = nursery

    def start_soon(self, function: Callable[..., Awaitable[Any]], *args: Any) -> None:
        """Runs a function of trio for as long as the client is connected; cancelled at its end."""
        self._nursery.start_soon(function, *args)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Closes it, after what waits to be sent. Does not wait. Twice is harmless.

        Raises:
            ValueError: This is no code to send.
        """
        self._websocket.close_soon(code, reason)

    def __repr__(self) -> str:
        return f"<Session {self.id}>"
