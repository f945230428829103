"""The tasks that serve requests on the loop: where they live, and how they come to their end."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

from restsock.connection import AsyncExchange, Exchange, ExchangeEvent, Failed
from restsock.protocol import ResetCode

from ._admission import Admission, ignore, refuse
from ._errors import is_for_the_loop, loggable
from ._response import Responder
from ._served import begin_serving, end_serving

__all__ = ["DrivenCall", "RequestTasks"]

_log = logging.getLogger("restsock.apps")


class DrivenCall:
    """A request that an `AsyncExchange` drives, and that is cancelled when its peer leaves.

    Attributes:
        response: what goes back.
    """

    def __init__(self, exchange: Exchange) -> None:
        connection = exchange.connection
        assert connection is not None
        self._exchange = exchange
        self._connection = connection
        self._scope = trio.CancelScope()
        self._driver = AsyncExchange.accept(exchange, limit=connection.limits.send_buffer)
        self.response = Responder(exchange, exchange.request.method)
        self._observe = exchange.observer
        exchange.observer = self._observe_failure

    def _observe_failure(self, event: ExchangeEvent) -> None:
        self._observe(event)
        if isinstance(event, Failed):
            self._scope.cancel()


class RequestTasks:
    """One task for each request.

    Args:
        grace: seconds that requests may take to their end when serving stops.
    """

    def __init__(self, *, grace: float) -> None:
        self._grace = grace
        self._nursery: trio.Nursery | None = None
        self._admission: Admission[Responder] = Admission()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """While this is open, tasks can be started.

        At the end new requests are refused, those under way get their grace and are cancelled
        behind it; a cancellation from outside cancels them at once. An exception of the body comes
        out as it is, not in a group.
        """
        self.check_closed()
        error: Exception | None = None
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                yield
            except Exception as exc:  # noqa: BLE001  # raised again, outside of the nursery
                error = exc
            finally:
                self._nursery = None
            # Not in `finally`: when it is cancelled from outside, so are the tasks.
            if self._admission.active:
                await self._admission.wait_idle(self._grace)
            nursery.cancel_scope.cancel()
        if error is not None:
            raise error

    def check_closed(self) -> None:
        """Raises `RuntimeError` while `open` is open."""
        if self._nursery is not None:
            raise RuntimeError("this handler is running already")

    def start(
        self, exchange: Exchange, response: Responder, serve: Callable[[], Awaitable[None]]
    ) -> None:
        """Starts the task of a request.

        Refuses the request when serving has stopped, or when too many of its connection still run.
        """
        if self._nursery is None:
            refuse(exchange, "nothing is served here now")
            return
        if not self._admission.enter(exchange, response):
            return
        self._nursery.start_soon(self._run, exchange, response, serve)

    async def _run(
        self, exchange: Exchange, response: Responder, serve: Callable[[], Awaitable[None]]
    ) -> None:
        serving = begin_serving(exchange)
        try:
            await serve()
        except BaseException as exc:
            # An app's exceptions end in `serve`. Whatever comes out of it is trio's, or a bug here,
            # and that must not end the other requests.
            if is_for_the_loop(exc):
                exchange.reset(ResetCode.CANCEL, "going away")
                raise
            _log.exception("serving %s failed", loggable(exchange.request))
            exchange.reset(ResetCode.INTERNAL, "an internal error")
        finally:
            end_serving(exchange, serving, response.status)
            # An exchange and the request that observes it are a ring: cut it, and both are freed
            # now instead of at the next collection. What may still come is for nobody.
            exchange.observer = ignore
            self._admission.leave(exchange, response)
