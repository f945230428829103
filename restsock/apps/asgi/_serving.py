"""Which kind of request an ASGI application is called for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._http import HttpRequest
from ._websocket import WebSocketRequest

if TYPE_CHECKING:
    from restsock.apps._exchange import ServedExchange

    from ._call import AppCall
    from ._request import AsgiRequest, Served

__all__ = ["request_for"]


def request_for(
    served: Served, exchange: ServedExchange, call: AppCall, state: dict[str, Any] | None
) -> AsgiRequest:
    """Makes what serves a request. It observes the exchange from now on.

    Args:
        served: The application.
        exchange: The request.
        call: Of the application for it.
        state: What the app left in `state` at its start; `None` when it has no lifespan.
    """
    websocket = exchange.request.upgrade == b"websocket"
    kind: type[AsgiRequest] = WebSocketRequest if websocket else HttpRequest
    return kind(served, exchange, call, state)
