"""Serves a coroutine function `async (Request) -> Response`: one task for each request."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable
from typing import TypeAlias

import trio

from restsock.connection import Exchange, Request, Response

from ._errors import BadResponseError, is_for_the_loop, log_failure
from ._response import CONTINUE, checked_field, expects_continue, fail_response
from ._tasks import DrivenCall

__all__ = ["FunctionCall"]

_FunctionApp: TypeAlias = Callable[[Request], Awaitable[Response]]


class FunctionCall(DrivenCall):
    """A call of the function. When the peer leaves, it, or the body that it gave, is cancelled.

    Args:
        app: the function.
        exchange: the request.
    """

    def __init__(self, app: _FunctionApp, exchange: Exchange) -> None:
        super().__init__(exchange)
        self._app = app

    async def run(self) -> None:
        """Calls the function; what it raises ends here."""
        request = Request(self._exchange.request, self._driver, self._connection)
        if expects_continue(self._exchange.request):
            self._exchange.send_head(CONTINUE)
        try:
            with self._scope:
                await self._send(await self._app(request))
        except BaseException as exc:
            if is_for_the_loop(exc):
                raise
            if not log_failure(exc, self._exchange.request, left=self._driver.error):
                fail_response(self._exchange, self.response)

    async def _send(self, answer: Response) -> None:
        if not isinstance(answer, Response):
            raise BadResponseError(f"the app returned {type(answer).__name__}, not a Response")
        response = self.response
        # Looked at first, while a bad one can still be answered with a 500.
        trailers = [checked_field(name, value) for name, value in answer.trailers]
        response.start(answer.status, answer.headers)
        body = answer.body
        if isinstance(body, bytes):
            with self._exchange.batch():
                response.body(body, more=bool(trailers))
        else:
            await self._send_pieces(body)
        if not response.complete:
            response.end(trailers)

    async def _send_pieces(self, body: AsyncIterable[bytes]) -> None:
        pieces = aiter(body)
        try:
            async for piece in pieces:
                with self._exchange.batch():
                    self.response.body(piece, more=True)
                if self.response.bodiless:
                    return  # the rest is not sent, and there may be no end to it
                # The checkpoint is what lets a piece leave before the next one is computed.
                await trio.lowlevel.checkpoint()
                await self._driver.send_data(b"")  # waits while too much waits to leave
        finally:
            # Left to the garbage collector, a generator's `finally` would run late and elsewhere.
            close = getattr(pieces, "aclose", None)
            if close is not None:
                await close()
