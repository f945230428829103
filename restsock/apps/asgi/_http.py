"""Serves the http scope of an ASGI 3 application, on either kind of event loop.

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

from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from restsock.apps._errors import BadResponseError, log_failure
from restsock.apps._response import CONTINUE, Responder, expects_continue, fail_response
from restsock.connection import ExchangeEvent, Failed

from ._inbound import Inbound
from ._scope import asgi_scope

if TYPE_CHECKING:
    from restsock._options import Options
    from restsock.apps._exchange import ServedExchange

    from ._call import AppCall

__all__ = ["AsgiApp", "HttpRequest"]

Message = MutableMapping[str, Any]
AsgiApp = Callable[
    [Any, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]
]


class HttpRequest:
    """One request of kind `http`, from its scope to the end of the app's call.

    Attributes:
        response: what the app answers.
    """

    def __init__(
        self,
        app: AsgiApp,
        exchange: ServedExchange,
        call: AppCall,
        *,
        options: Options,
        state: dict[str, Any] | None,
    ) -> None:
        self._app = app
        self._exchange = exchange
        self._state = state
        self._grace = options.timeouts.disconnect
        self._call = call
        self.response = Responder(exchange, exchange.request.method)
        self._inbound = Inbound(exchange, call)
        self._body_taken = False
        self._disconnect_given = False
        self._continue_due = expects_continue(exchange.request)
        self._trailers_due = False
        self._body_ended = False
        self._trailers: list[tuple[bytes, bytes]] = []
        exchange.observer = self._observe

    async def run(self) -> None:
        """Calls the app; whatever it raises ends here."""
        scope = asgi_scope("http", self._exchange, self._state)
        scope["method"] = self._exchange.request.method.decode("ascii")
        scope["extensions"]["http.response.trailers"] = {}
        scope["extensions"]["http.response.early_hint"] = {}
        try:
            await self._call.run(self._app(scope, self._receive, self._send))
            if not self.response.complete and self._inbound.error is None:
                raise BadResponseError("the app returned before its response was complete")
        except BaseException as exc:
            if self._call.is_for_the_loop(exc):
                raise
            if not log_failure(exc, self._exchange.request, loop=self._call.loop):
                fail_response(self._exchange, self.response)

    def _observe(self, event: ExchangeEvent) -> None:
        self._inbound(event)
        # What runs behind a complete response is not for the peer.
        if isinstance(event, Failed) and not self.response.complete:
            self._call.cancel_after(self._grace)

    async def _receive(self) -> Message:
        inbound = self._inbound
        if not self._body_taken:
            if self._continue_due and not self.response.head_sent:
                self._continue_due = False
                if not inbound.waiting:
                    self._exchange.send_head(CONTINUE)
            while not (inbound.waiting or inbound.ended or self._over):
                await inbound.wait()
            # What came before the peer left comes first.
            if not self._over or (inbound.waiting and not self.response.complete):
                body = inbound.take() if inbound.waiting else b""
                self._body_taken = inbound.ended
                return {"type": "http.request", "body": body, "more_body": not inbound.ended}
        while not self._over:
            await inbound.wait()
        # The first time at once: apps ask in a scope that is cancelled already, so as not to wait.
        # But one may ask again and again, and without this it could not even be cancelled.
        if self._disconnect_given:
            await self._call.checkpoint()
        self._disconnect_given = True
        return {"type": "http.disconnect"}

    @property
    def _over(self) -> bool:
        return self._inbound.error is not None or self.response.complete

    async def _send(self, message: Message) -> None:
        self._inbound.check()
        kind = message["type"]
        response = self.response
        if kind == "http.response.body":
            if self._body_ended:
                raise BadResponseError("a part of the body after its end")
            more = message.get("more_body", False)
            with self._exchange.batch():
                response.body(message.get("body", b""), more or self._trailers_due)
            self._body_ended = not more
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
            if not self._body_ended or response.complete:
                when = (
                    "after the end of the response"
                    if response.complete
                    else "before the body's end"
                )
                raise BadResponseError(f"trailers {when}")
            self._trailers.extend(message.get("headers", ()))
            if not message.get("more_trailers", False):
                response.end(self._trailers)
                self._inbound.wake()
        elif kind == "http.response.early_hint":
            response.early_hint(message["links"])
            await self._call.checkpoint()
        else:
            raise BadResponseError(f"not a message for an http scope: {kind!r}")
