"""A connection and a WebSocket, as the APIs beside that for trio show them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from restsock._principal import Principal
    from restsock.connection import Closed, Connection, Health, OpenWebSocket, Peer
    from restsock.protocol import Headers
    from restsock.threads import LoopPortal

__all__ = ["ConnectionView", "WebSocketView"]


class ConnectionView:
    """What is known of a connection. Two are equal if they stand for the same connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def id(self) -> str:
        """The id of the connection, the same at both ends."""
        return self._connection.id

    @property
    def name(self) -> str | None:
        """The dialer's name, at both ends; `None` without one."""
        return self._connection.name

    @property
    def metadata(self) -> Any:
        """The dialer's metadata, at both ends: any JSON value."""
        return self._connection.metadata

    @property
    def urls(self) -> tuple[str, ...]:
        """The URLs at which plain HTTP reaches the dialer, in order of preference.

        The same at both ends. Empty if the listener has sent none.
        """
        return self._connection.urls

    @property
    def peer(self) -> Peer:
        """The address of the other end: host, port, and whether TLS is used."""
        return self._connection.peer

    @property
    def principal(self) -> Principal | None:
        """Who the peer is and what it may do; `None` without authentication."""
        return self._connection.principal

    @property
    def round_trip(self) -> float | None:
        """The round-trip time in seconds, from the latest pong; `None` before the first."""
        return self._connection.round_trip

    @property
    def closed(self) -> Closed | None:
        """How the connection ended; `None` while it is open."""
        return self._connection.closed

    def health(self) -> Health:
        """Whether the connection can serve requests now, and if not, why."""
        return self._connection.health()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and other._connection is self._connection

    def __hash__(self) -> int:
        return hash(self._connection)

    def __repr__(self) -> str:
        return repr(self._connection)


class WebSocketView:
    """What is known of a WebSocket, which lives on a loop of trio.

    Args:
        websocket: The WebSocket on the loop.
        portal: The way to the loop.
    """

    def __init__(self, websocket: OpenWebSocket, portal: LoopPortal) -> None:
        self._websocket = websocket
        self._portal = portal

    @property
    def headers(self) -> Headers:
        """The fields of the peer's part of the opening handshake, as pairs of name and value."""
        return self._websocket.headers

    def header(self, name: str, default: str | None = None) -> str | None:
        """The value of a header field, or `default`. Of a repeated field, the first value."""
        return self._websocket.header(name, default)

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that was chosen, or `None`."""
        return self._websocket.subprotocol

    @property
    def close_code(self) -> int | None:
        """The close code of the side that closed first; `None` while it is open.

        1005 means a close without a code, 1006 an end without a close.
        """
        return self._websocket.close_code

    @property
    def close_reason(self) -> str:
        """The text that came with the code."""
        return self._websocket.close_reason

    @property
    def round_trip(self) -> float | None:
        """Seconds, from the latest pong; `None` where there was none."""
        return self._websocket.round_trip

    @contextmanager
    def _receiving(self) -> Iterator[tuple[Callable[[], Awaitable[None]], list[str | bytes]]]:
        """What receives a message on the loop, to be waited for in this block; and that message."""
        websocket = self._websocket  # the loop must not keep this object alive
        taken: list[str | bytes] = []

        async def receive() -> None:
            taken.append(await websocket.receive())

        try:
            yield receive, taken
        except BaseException:
            if taken:  # interrupted, or cancelled, in the moment in which it came
                self._portal.post(lambda: websocket.put_back(taken[0]))
            raise
