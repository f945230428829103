"""An ASGI application, and how its requests are served, on whichever loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._http import AsgiApp, HttpRequest
from ._websocket import WebSocketRequest

if TYPE_CHECKING:
    from restsock._options import Options
    from restsock.apps._exchange import ServedExchange

    from ._call import AppCall

__all__ = ["AsgiServing"]


class AsgiServing:
    """An app, and how its requests are served: what both kinds of host need to know.

    Args:
        app: the application.
        options: those of the connections.
        max_websocket_message: bytes of the largest message that a WebSocket of the app receives.
    """

    def __init__(self, app: AsgiApp, options: Options, max_websocket_message: int) -> None:
        self.app = app
        self.options = options
        self._max_websocket_message = max_websocket_message

    def request(
        self, exchange: ServedExchange, call: AppCall, state: dict[str, Any] | None
    ) -> HttpRequest | WebSocketRequest:
        """Makes what serves a request. It observes the exchange from now on."""
        if exchange.request.upgrade == b"websocket":
            return WebSocketRequest(
                self.app,
                exchange,
                call,
                options=self.options,
                state=state,
                max_message=self._max_websocket_message,
            )
        return HttpRequest(self.app, exchange, call, options=self.options, state=state)
