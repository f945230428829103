"""Chooses the kind of request with which an ASGI application is called."""

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
    """Makes the object that serves a request. It observes the exchange from now on.

    Args:
        served: The application.
        exchange: The request.
        call: The call of the application.
        state: The `state` of the app's lifespan; `None` if it has no lifespan.
    """
    websocket = exchange.request.upgrade == b"websocket"
    kind: type[AsgiRequest] = WebSocketRequest if websocket else HttpRequest
    return kind(served, exchange, call, state)
