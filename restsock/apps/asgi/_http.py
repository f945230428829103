"""Serves the http scope of an ASGI 3 application, on either kind of event loop.

What the specification leaves open:

- The head of a response is sent with the first part of its body, as ASGI requires.
- Credit for body bytes is returned to the peer when the app receives them, and `send` waits while
  the send buffer is full.
- When the peer leaves, `receive` returns `http.disconnect` and `send` raises an `OSError`. An app
  that continues nevertheless is cancelled after `Timeouts.disconnect`. After the end of its
  response (in a background task) it may continue.
- The first `receive` answers `Expect: 100-continue`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from restsock.apps._errors import BadResponseError
from restsock.apps._response import CONTINUE, expects_continue, fail_response
from restsock.connection import ExchangeEvent, Failed

from ._request import AsgiRequest, Message, Served
from ._scope import asgi_scope

if TYPE_CHECKING:
    from restsock.apps._exchange import ServedExchange

    from ._call import AppCall

__all__ = ["HttpRequest"]


class HttpRequest(AsgiRequest):
    """One request of kind `http`."""

    def __init__(
        self,
        served: Served,
        exchange: ServedExchange,
        call: AppCall,
        state: dict[str, Any] | None,
    ) -> None:
        super().__init__(served, exchange, call, state)
        self._body_taken = False
        self._continue_due = expects_continue(exchange.request)
        self._trailers_due = False
        self._body_ended = False
        self._trailers: list[tuple[bytes, bytes]] = []

    async def run(self) -> None:
        """See `AsgiRequest`."""
        scope = asgi_scope("http", self._exchange, self._app_state, self._root_path)
        scope["method"] = self._exchange.request.method.decode("ascii")
        scope["extensions"]["http.response.trailers"] = {}
        scope["extensions"]["http.response.early_hint"] = {}
        if await self._call_app(scope):
            fail_response(self._exchange, self.response)

    def _missing(self) -> str | None:
        return None if self.response.complete else "before its response was complete"

    def _observe(self, event: ExchangeEvent) -> None:
        self._inbound(event)
        # Code that runs after a complete response is not for the peer.
        if isinstance(event, Failed) and not self.response.complete:
            self._call.cancel_after(self._timeouts.disconnect)

    async def _receive(self) -> Message:
        inbound = self._inbound
        if not self._body_taken:
            if self._continue_due and not self.response.head_sent:
                self._continue_due = False
                if not inbound.pieces:
                    self._exchange.send_head(CONTINUE)
            while not (inbound.pieces or inbound.has_all or self._over):
                await inbound.wait()
            # What arrived before the peer left comes first.
            if not self._over or (inbound.pieces and not self.response.complete):
                body = inbound.take_all() if inbound.pieces else b""
                self._body_taken = inbound.has_all
                return {"type": "http.request", "body": body, "more_body": not self._body_taken}
        while not self._over:
            await inbound.wait()
        # Immediate the first time: apps poll in a cancelled scope, so as not to wait. But an app
        # may call it repeatedly, and without this it could not even be cancelled.
        if self._disconnect_given:
            await self._call.checkpoint()
        self._disconnect_given = True
        return {"type": "http.disconnect"}

    @property
    def _over(self) -> bool:
        return self._inbound.error is not None or self.response.complete

    async def _send(self, message: Message) -> None:
        self._inbound.check_connected()
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
                when = "after their end" if response.complete else "before the end of the body"
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
