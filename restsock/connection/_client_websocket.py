"""`ClientWebSocket`: a WebSocket of the side that has asked for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._websocket import OpenWebSocket

if TYPE_CHECKING:
    from restsock._options import Options
    from restsock.protocol import Headers

    from ._interfaces import RawBytes

__all__ = ["ClientWebSocket"]


class ClientWebSocket(OpenWebSocket):
    """A WebSocket of the side that has asked for it, after the other one has accepted it.

    To an app of the peer (see `Requester.websocket`), or to any server (`restsock.websockets`).

    Any number of tasks of one loop may send, and several may receive: each message goes to one.

    Attributes:
        headers: those of the 101.
        subprotocol: the one that the app or the server has chosen; `None` without one.
    """

    @classmethod
    def to_app(
        cls, raw: RawBytes, headers: Headers, subprotocol: str | None, options: Options
    ) -> ClientWebSocket:
        """One to an app of the peer.

        Args:
            raw: the exchange that was upgraded.
            headers: of the 101.
            subprotocol: the one that the app has chosen.
            options: of this side.
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
