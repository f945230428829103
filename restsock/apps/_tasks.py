"""The tasks that serve requests on the loop: their nursery, and how they end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Protocol

import trio

from restsock.connection import AsyncExchange, Exchange, ExchangeEvent, Failed

from ._admission import Admission, refuse
from ._errors import is_for_the_loop
from ._response import Responder
from ._served import served

__all__ = ["Call", "DrivenCall", "TaskHandler", "open_nursery"]


@asynccontextmanager
async def open_nursery(
    finish: Callable[[], Awaitable[None]] | None = None,
) -> AsyncIterator[trio.Nursery]:
    """A nursery whose tasks are cancelled when the block ends.

    An exception of the block is not wrapped in an exception group.

    Args:
        finish: Awaited before the tasks are cancelled, unless the block itself was cancelled.
    """
    error: Exception | None = None
    async with trio.open_nursery() as nursery:
        try:
            yield nursery
        except Exception as exc:  # noqa: BLE001  # raised again, outside of the nursery
            error = exc
        if finish is not None:
            await finish()
        nursery.cancel_scope.cancel()
    if error is not None:
        raise error


class DrivenCall:
    """A request that an `AsyncExchange` drives, and that is cancelled when its peer leaves.

    Args:
        exchange: The request.
        accept: Makes its driver.

    Attributes:
        response: The responder.
    """

    def __init__(
        self,
        exchange: Exchange,
        accept: Callable[..., AsyncExchange] = AsyncExchange.accept,
    ) -> None:
        connection = exchange.connection
        assert connection is not None
        self._exchange = exchange
        self._connection = connection
        self._scope = trio.CancelScope()
        self._driver = accept(exchange, limit=connection.limits.send_buffer)
        self.response = Responder(exchange, exchange.request.method)
        self._observe = exchange.observer
        exchange.observer = self._observe_failure

    def _observe_failure(self, event: ExchangeEvent) -> None:
        self._observe(event)
        if isinstance(event, Failed):
            self._scope.cancel()


class Call(Protocol):
    """Serves one request, in a task."""

    response: Responder

    async def run(self) -> None:
        """Serves the request. An app's exceptions end here."""


class TaskHandler:
    """A `Handler` that serves each request in a task of its own, on the loop.

    Args:
        make_call: Makes the `Call` of a request, which observes the exchange from then on.
        grace: Seconds that requests may take to end when serving stops.
        around: Makes a context manager that is entered before the first request and left after the
            last one.
    """

    def __init__(
        self,
        make_call: Callable[[Exchange], Call],
        *,
        grace: float,
        around: Callable[[], AbstractAsyncContextManager[object]] = nullcontext,
    ) -> None:
        self._make_call = make_call
        self._grace = grace
        self._around = around
        self._running = False
        self._nursery: trio.Nursery | None = None
        self._admission: Admission[Responder] = Admission()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serves requests while the block runs.

        At the end new requests are refused. Requests in flight may finish within the grace period
        and are then cancelled; a cancellation from outside cancels them at once.

        Raises:
            RuntimeError: The handler is running already.
        """
        if self._running:
            raise RuntimeError("this handler is running already")
        self._running = True
        try:
            async with self._around(), open_nursery(self._wait_idle) as nursery:
                self._nursery = nursery
                try:
                    yield
                finally:
                    self._nursery = None
        finally:
            self._running = False

    async def _wait_idle(self) -> None:
        await self._admission.wait_idle(self._grace)

    def handle(self, exchange: Exchange) -> None:
        """Starts the task of a request; see `Handler`.

        Refuses the request if serving has stopped, or if its connection has too many running.
        """
        if self._nursery is None:
            refuse(exchange, "nothing is served here now")
            return
        call = self._make_call(exchange)
        if self._admission.enter(exchange, call.response):
            self._nursery.start_soon(self._run, exchange, call)

    async def _run(self, exchange: Exchange, call: Call) -> None:
        try:
            with served(exchange, call.response, is_for_the_loop):
                await call.run()
        finally:
            self._admission.leave(exchange, call.response)
