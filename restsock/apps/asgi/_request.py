"""One request to an ASGI 3 application: what the kinds `http` and `websocket` share.

They do not depend on a loop. A handler, `TrioHandler` or `AsyncioHandler`, runs them inside the
app's lifespan, on the loop that the app needs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from restsock.apps._errors import BadResponseError, log_failure
from restsock.apps._response import Responder

from ._inbound import Inbound

if TYPE_CHECKING:
    from restsock._options import Options
    from restsock.apps._exchange import ServedExchange
    from restsock.connection import ExchangeEvent

    from ._call import AppCall

__all__ = ["AsgiRequest", "Message", "Served"]

Message: TypeAlias = MutableMapping[str, Any]


@dataclass(frozen=True, slots=True)
class Served:
    """An application, and how it is served.

    Attributes:
        app: The application.
        options: The options of the connections.
        max_websocket_message: The largest message, in bytes, that a WebSocket of the app receives.
        root_path: The path at which the app is mounted.
    """

    app: Callable[[Any, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Any]
    options: Options
    max_websocket_message: int
    root_path: str = ""


class AsgiRequest(ABC):
    """One request, from its scope to the end of the app's call. It observes its exchange.

    Attributes:
        response: The responder.
    """

    def __init__(
        self,
        served: Served,
        exchange: ServedExchange,
        call: AppCall,
        state: dict[str, Any] | None,
    ) -> None:
        self._app = served.app
        self._root_path = served.root_path
        self._timeouts = served.options.timeouts
        self._exchange = exchange
        self._call = call
        self._app_state = state
        self.response = Responder(exchange, exchange.request.method)
        self._inbound = Inbound(exchange, call)
        self._disconnect_given = False
        exchange.observer = self._observe

    @abstractmethod
    async def run(self) -> None:
        """Calls the app; its exceptions end here."""

    @abstractmethod
    def _observe(self, event: ExchangeEvent) -> None: ...

    @abstractmethod
    async def _receive(self) -> Message: ...

    @abstractmethod
    async def _send(self, message: Message) -> None: ...

    @abstractmethod
    def _missing(self) -> str | None:
        """What is missing after the app has returned, as text for an error; or `None`."""

    async def _call_app(self, scope: dict[str, Any]) -> bool:
        """Calls the app, and logs its exceptions; returns whether the app has failed."""
        try:
            await self._call.run(self._app(scope, self._receive, self._send))
            missing = self._missing()
            if missing is not None and self._inbound.error is None:
                raise BadResponseError(f"the app returned {missing}")
        except BaseException as exc:
            if self._call.is_for_the_loop(exc):
                raise
            return not log_failure(exc, self._exchange.request, loop=self._call.loop)
        return False
