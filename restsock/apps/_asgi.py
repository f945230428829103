"""Serves an ASGI 3 application on trio: one task for each request.

What the specification leaves to the server is done like this:

- The head of a response leaves with the first part of its body, as ASGI demands.
- Credit for body bytes goes back to the peer when the app receives them, and `send` waits while
  more than the send buffer waits to leave.
- When the peer leaves, `receive` gives `http.disconnect` and `send` raises an `OSError`; an app
  that goes on all the same is cancelled after `Timeouts.disconnect`. Behind the end of its response
  (in a background task) it is left in peace.
- The first `receive` answers `Expect: 100-continue`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from restsock.connection import Exchange, ExchangeEvent, Failed

from ._asgi_scope import asgi_scope
from ._asgi_websocket import WebSocketRequest
from ._errors import BadResponseError, is_for_the_loop, log_failure
from ._inbound import Inbound
from ._lifespan import Lifespan
from ._response import CONTINUE, Responder, expects_continue, fail_response
from ._tasks import RequestTasks

if TYPE_CHECKING:
    from restsock._config import Options

__all__ = ["AsgiApp", "AsgiHandler"]

Message = MutableMapping[str, Any]
AsgiApp = Callable[
    [Any, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]
]


class AsgiHandler:
    """A `Handler` that serves an ASGI 3 application.

    Args:
        app: the application.
        options: `timeouts.disconnect` is used; `timeouts.close` is what requests, and the app's
            shutdown behind them, may take when serving stops. Limits are those of the connections.
        max_websocket_message: bytes of the largest message that a WebSocket of the app receives.
    """

    def __init__(self, app: AsgiApp, *, options: Options, max_websocket_message: int) -> None:
        self._app = app
        self._options = options
        self._max_websocket_message = max_websocket_message
        self._tasks = RequestTasks(grace=options.timeouts.close)
        self._state: dict[str, Any] | None = None

    def handle(self, exchange: Exchange) -> None:
        """Takes over a request; see `Handler`."""
        request: HttpRequest | WebSocketRequest
        if exchange.request.upgrade == b"websocket":
            request = WebSocketRequest(
                self._app,
                exchange,
                options=self._options,
                state=self._state,
                max_message=self._max_websocket_message,
            )
        else:
            request = HttpRequest(self._app, exchange, options=self._options, state=self._state)
        self._tasks.start(exchange, request.response, request.run)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs the app's lifespan around the time in which it is served.

        Raises:
            AppStartupError: the app says that it cannot start.
        """
        self._tasks.check_closed()
        error: Exception | None = None
        async with trio.open_nursery() as nursery:
            lifespan = Lifespan(self._app, grace=self._options.timeouts.close)
            try:
                self._state = await lifespan.start(nursery)
                async with self._tasks.open():
                    yield
            except Exception as exc:  # noqa: BLE001  # raised again, outside of the nursery
                error = exc
            finally:
                await lifespan.stop()
        if error is not None:
            raise error


class HttpRequest:
    """One request of kind `http`, from its scope to the end of the app's call.

    Attributes:
        response: what the app answers.
    """

    def __init__(
        self,
        app: AsgiApp,
        exchange: Exchange,
        *,
        options: Options,
        state: dict[str, Any] | None,
    ) -> None:
        self._app = app
        self._exchange = exchange
        self._state = state
        self._grace = options.timeouts.disconnect
        self._scope = trio.CancelScope()
        self.response = Responder(exchange, exchange.request.method)
        self._inbound = Inbound(exchange)
        self._body_taken = False
        self._continue_due = expects_continue(exchange.request)
        self._trailers_due = False
        self._trailers: list[tuple[bytes, bytes]] = []
        exchange.observer = self._observe

    async def run(self) -> None:
        """Calls the app; whatever it raises ends here."""
        scope = asgi_scope("http", self._exchange, self._state)
        scope["method"] = self._exchange.request.method.decode("ascii")
        scope["extensions"] = {"http.response.trailers": {}}
        try:
            with self._scope:
                await self._app(scope, self._receive, self._send)
                if not self.response.complete and self._inbound.error is None:
                    raise BadResponseError("the app returned before its response was complete")
        except BaseException as exc:
            if is_for_the_loop(exc):
                raise
            if not log_failure(exc, self._exchange.request):
                fail_response(self._exchange, self.response)

    def _observe(self, event: ExchangeEvent) -> None:
        self._inbound(event)
        # What runs behind a complete response is not for the peer.
        if isinstance(event, Failed) and not self.response.complete:
            self._scope.deadline = trio.current_time() + self._grace

    async def _receive(self) -> Message:
        inbound = self._inbound
        if not self._body_taken:
            if self._continue_due and not self.response.head_sent:
                self._continue_due = False
                if not inbound.waiting:
                    self._exchange.send_head(CONTINUE)
            while not (inbound.waiting or inbound.ended or self._over):
                await inbound.wait()
            if not self._over:
                body = inbound.take() if inbound.waiting else b""
                self._body_taken = inbound.ended
                return {"type": "http.request", "body": body, "more_body": not inbound.ended}
        while not self._over:
            await inbound.wait()
        # An app may ask again and again; without this it could not even be cancelled.
        await trio.lowlevel.checkpoint()
        return {"type": "http.disconnect"}

    @property
    def _over(self) -> bool:
        return self._inbound.error is not None or self.response.complete

    async def _send(self, message: Message) -> None:
        self._inbound.check()
        kind = message["type"]
        response = self.response
        if kind == "http.response.body":
            more = message.get("more_body", False)
            with self._exchange.together():
                response.body(message.get("body", b""), more or self._trailers_due)
            if response.complete:
                self._inbound.wake()
            else:
                await self._inbound.drain()
        elif kind == "http.response.start":
            response.start(message["status"], message.get("headers", ()))
            self._trailers_due = message.get("trailers", False)
        elif kind == "http.response.trailers":
            if not self._trailers_due:
                raise BadResponseError("trailers that http.response.start did not announce")
            self._trailers.extend(message.get("headers", ()))
            if not message.get("more_trailers", False):
                response.end(self._trailers)
                self._inbound.wake()
        else:
            raise BadResponseError(f"not a message for an http scope: {kind!r}")
