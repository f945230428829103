"""`ClientWebSocket`: the client end of a WebSocket."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._websocket import OpenWebSocket

if TYPE_CHECKING:
    from restsock._options import Options
    from restsock.protocol import Headers

    from ._interfaces import RawBytes

__all__ = ["ClientWebSocket"]


class ClientWebSocket(OpenWebSocket):
    """The client end of a WebSocket that the server has accepted.

    The server is an app of the peer (see `Requester.websocket`), or any server
    (`restsock.websockets`).

    Any number of tasks of one loop may send, and several may receive: each message goes to one of
    them.

    Attributes:
        headers: The header fields of the 101.
        subprotocol: The subprotocol that the app or the server has chosen, or `None`.
    """

    @classmethod
    def to_app(
        cls, raw: RawBytes, headers: Headers, subprotocol: str | None, options: Options
    ) -> ClientWebSocket:
        """Makes a WebSocket to an app of the peer.

        Args:
            raw: The upgraded exchange.
            headers: The header fields of the 101.
            subprotocol: The subprotocol that the app has chosen.
            options: The options of this side.
        """
        limits = options.limits
        return cls(
            raw,
            client=True,
            headers=headers,
            subprotocol=subprotocol,
            max_message=limits.max_websocket_message,
            buffer=limits.initial_window,
            close_timeout=options.timeouts.close,
            peer="the app",
        )
