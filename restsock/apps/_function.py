"""Serves a coroutine function `async (Request) -> Response`: one task for each request."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from restsock.connection import ExchangeEvent, Failed, Request, Response

from ._errors import BadResponseError, log_failure
from ._response import CONTINUE, Responder, checked_field, expects_continue, fail_response
from ._tasks import TaskHandler
from .asgi._call import TrioCall
from .asgi._inbound import Inbound

if TYPE_CHECKING:
    from restsock.connection import Connection

    from ._exchange import ServedExchange
    from .asgi._asyncio_handler import AsyncioHandler
    from .asgi._call import AppCall

__all__ = ["FunctionCall", "FunctionHandler"]

FunctionApp: TypeAlias = Callable[[Request], Awaitable[Response]]


class FunctionHandler(TaskHandler):
    """A `Handler` that calls a function on the loop of the connections: a task for each request.

    Args:
        app: The function.
        grace: Seconds that requests may take to end when serving stops.
    """

    def __init__(self, app: FunctionApp, *, grace: float) -> None:
        super().__init__(lambda exchange: FunctionCall(app, exchange, TrioCall()), grace=grace)
        self._app = app

    def on_asyncio(self, face: Callable[[Connection], Any]) -> AsyncioHandler:
        """The handler for the asyncio loop that runs here.

        Args:
            face: Wraps a connection in the class that the function sees there.
        """
        # asyncio takes a while to load.
        from .asgi._asyncio_handler import AsyncioHandler
        from .asgi._asyncio_loop import CallersLoop

        app = self._app
        return AsyncioHandler(
            lambda exchange, call, _: FunctionCall(app, exchange, call, face),
            grace=self._grace,
            loop=CallersLoop(),
        )


class FunctionCall:
    """A call of the function. When the peer leaves, the function or its body is cancelled.

    Args:
        app: The function.
        exchange: The request.
        call: The call of the function.
        face: Wraps a connection in the class that the function sees.

    Attributes:
        response: The responder.
    """

    def __init__(
        self,
        app: FunctionApp,
        exchange: ServedExchange,
        call: AppCall,
        face: Callable[[Connection], Any] | None = None,
    ) -> None:
        self._app = app
        self._exchange = exchange
        self._call = call
        self._face = face
        self.response = Responder(exchange, exchange.request.method)
        self._inbound = Inbound(exchange, call)
        exchange.observer = self._observe

    def _observe(self, event: ExchangeEvent) -> None:
        self._inbound(event)
        if isinstance(event, Failed):
            self._call.cancel_after(0)

    async def run(self) -> None:
        """Calls the function; its exceptions end here."""
        exchange = self._exchange
        connection: Any = exchange.connection
        request = Request(exchange.request, self._inbound, connection)
        if self._face is not None:
            request.connection = self._face(connection)
        if expects_continue(exchange.request):
            exchange.send_head(CONTINUE)
        try:
            await self._call.run(self._answer(request))
        except BaseException as exc:
            if self._call.is_for_the_loop(exc):
                raise
            if not log_failure(exc, exchange.request, left=self._inbound.error):
                fail_response(exchange, self.response)

    async def _answer(self, request: Request) -> None:
        await self._send(await self._app(request))

    async def _send(self, answer: Response) -> None:
        if not isinstance(answer, Response):
            raise BadResponseError(f"the app returned {type(answer).__name__}, not a Response")
        response = self.response
        # Checked first, while an invalid response can still become a 500.
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
                await self._inbound.drain()
        finally:
            # The garbage collector would run a generator's `finally` late and in another place.
            close = getattr(pieces, "aclose", None)
            if close is not None:
                await close()
