"""The tasks that serve requests on the loop: where they live, and how they come to their end."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from restsock.protocol import ResetCode

from ._errors import is_for_the_loop, loggable

if TYPE_CHECKING:
    from restsock.connection import Connection, Exchange, ExchangeEvent

    from ._response import Responder

__all__ = ["RequestTasks", "ignore"]

_log = logging.getLogger("restsock.apps")


class RequestTasks:
    """One task for each request.

    A call of the app can outlive its stream, so the bound on open streams does not bound the calls:
    a peer that asks and resets, over and over, would have any number of them run. Hence each
    connection may also have only `Limits.max_streams` calls whose response is not complete.

    Args:
        grace: seconds that requests may take to their end when serving stops.
    """

    def __init__(self, *, grace: float) -> None:
        self._grace = grace
        self._nursery: trio.Nursery | None = None
        self._active = 0
        self._responses: dict[Connection, set[Responder]] = {}
        self._idle = trio.Event()

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
            if self._active:
                self._idle = trio.Event()
                with trio.move_on_after(self._grace):
                    await self._idle.wait()
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
            self._refuse(exchange, "nothing is served here now")
            return
        connection = exchange.connection
        assert connection is not None
        responses = self._responses.setdefault(connection, set())
        if len(responses) >= connection.limits.max_streams:
            # What an app does behind its response is no fault of the peer's.
            responses -= {other for other in responses if other.complete}
            if len(responses) >= connection.limits.max_streams:
                self._refuse(exchange, "too many requests still running")
                return
        responses.add(response)
        self._active += 1
        self._nursery.start_soon(self._run, exchange, response, serve)

    def _refuse(self, exchange: Exchange, reason: str) -> None:
        exchange.reset(ResetCode.REFUSED, reason)
        exchange.observer = ignore  # see `_run`

    async def _run(
        self, exchange: Exchange, response: Responder, serve: Callable[[], Awaitable[None]]
    ) -> None:
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
            # An exchange and the request that observes it are a ring: cut it, and both are freed
            # now instead of at the next collection. What may still come is for nobody.
            exchange.observer = ignore
            self._forget(exchange.connection, response)
            self._active -= 1
            if not self._active:
                self._idle.set()

    def _forget(self, connection: Connection | None, response: Responder) -> None:
        assert connection is not None
        responses = self._responses.get(connection, set())  # complete, it may have been dropped
        responses.discard(response)
        if not responses:
            self._responses.pop(connection, None)


def ignore(event: ExchangeEvent) -> None:
    """The observer of an exchange that is served."""
