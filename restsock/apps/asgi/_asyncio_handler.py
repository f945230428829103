"""Serves requests on an asyncio loop: an asyncio task for each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import trio

from restsock._logging import PartLog, about_request
from restsock.apps._admission import Admission, refuse
from restsock.apps._connection_info import describe
from restsock.apps._errors import loggable
from restsock.apps._served import served
from restsock.connection import ignore
from restsock.protocol import ResetCode

from ._asyncio_call import AsyncioCall
from ._asyncio_exchange import AsyncioExchange
from ._asyncio_loop import CallersLoop
from ._asyncio_thread import AsyncioThread
from ._lifespan import Lifespan

if TYPE_CHECKING:
    from restsock.apps._response import Responder
    from restsock.connection import Connection, Exchange

    from ._asyncio_loop import AsyncioLoop

__all__ = ["AsyncioHandler"]

_log = PartLog("restsock.apps")


class Servable(Protocol):
    """Serves one request. It observes its exchange."""

    response: Responder

    async def run(self) -> None:
        """Serves the request; the app's exceptions end here."""


MakeRequest: TypeAlias = "Callable[[AsyncioExchange, AsyncioCall, dict[str, Any] | None], Servable]"


class AsyncioHandler:
    """A `Handler` that runs an app on an asyncio loop.

    Args:
        make_request: Makes the `Servable` of a request, with the `state` of the app's lifespan.
        grace: Seconds that requests, and then the app's shutdown, may take when serving stops.
        app: The ASGI app whose lifespan is run; `None` without one.
        loop: The caller's loop; `None` is a loop in a thread.
    """

    def __init__(
        self,
        make_request: MakeRequest,
        *,
        grace: float,
        app: Any | None = None,
        loop: CallersLoop | None = None,
    ) -> None:
        self._make_request = make_request
        self._grace = grace
        self._app = app
        self._loop = loop
        self._run: _Run | None = None

    def on_asyncio(self, face: Callable[[Connection], Any]) -> AsyncioHandler:
        """The handler for the loop that runs here, which continues after the end of serving."""
        return AsyncioHandler(
            self._make_request, grace=self._grace, app=self._app, loop=CallersLoop()
        )

    def handle(self, exchange: Exchange) -> None:
        """Takes over a request; see `Handler`."""
        if self._run is None:
            refuse(exchange, "nothing is served here now")
        else:
            self._run.start(exchange)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serves requests while the block runs, inside the app's lifespan.

        Raises:
            AppStartupError: The app reports that it cannot start.
            RuntimeError: The handler is running already.
        """
        if self._run is not None:
            raise RuntimeError("this handler is running already")
        loop = self._loop or AsyncioThread(grace=self._grace)
        self._run = _Run(self._make_request, loop, self._app, grace=self._grace)
        try:
            async with self._run.open():
                yield
        finally:
            self._run = None


class _Run:
    """The loop, the lifespan and the requests of an app, from its start to its end."""

    def __init__(
        self, make_request: MakeRequest, loop: AsyncioLoop, app: Any | None, *, grace: float
    ) -> None:
        self._make_request = make_request
        self._grace = grace
        self._loop = loop
        self._app = app
        self._admission: Admission[AsyncioExchange] = Admission()
        self._state: dict[str, Any] | None = None
        self._open = False  # on trio
        # On asyncio.
        self._calls: dict[AsyncioCall, asyncio.Task[None]] = {}

    # --- on trio --------------------------------------------------------------------------

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Starts the loop, if it is ours, and the app on it; ends both.

        Each step of the end has its time limit, also in a cancellation: requests in flight may
        finish within the grace period (none in a cancellation) and are then cancelled; the app is
        shut down; the tasks that it has left on our loop are cancelled.
        """
        async with self._loop.running(), self._lifespan():
            self._open = True
            try:
                yield
                self._open = False
                await self._admission.wait_idle(self._grace)
            finally:
                self._open = False
                await self._end_requests()

    @asynccontextmanager
    async def _lifespan(self) -> AsyncIterator[None]:
        if self._app is None:
            yield
            return
        lifespan = Lifespan(self._app, AsyncioCall(), grace=self._grace)
        self._loop.tell(self._begin_lifespan, lifespan)
        try:
            self._state = await self._loop.run(lifespan.start)
            yield
        finally:
            if not self._loop.closed:
                with trio.CancelScope(shield=True):
                    # A blocked loop never reaches this.
                    with trio.move_on_after(self._grace + 1):
                        await self._loop.run(lifespan.stop)

    async def _end_requests(self) -> None:
        active = self._admission.active
        if active:
            self._loop.tell(self._abort_calls)
            with trio.CancelScope(shield=True):
                await self._admission.wait_idle(0 if self._loop.closed else self._grace)
        for exchange in active:
            _log.error(
                "%s ignores that it is cancelled",
                loggable(exchange.request),
                extra=about_request(exchange),
            )
            exchange.exchange.reset(ResetCode.CANCEL, "going away")
            exchange.exchange.observer = ignore

    def start(self, exchange: Exchange) -> None:
        """Starts to serve a request, or refuses it."""
        if not self._open or self._loop.closed:
            refuse(exchange, "nothing is served here now")
            return
        served = AsyncioExchange(exchange, self._loop)
        if not self._admission.enter(exchange, served):
            return
        describe(exchange.connection)  # here, so that the other thread finds it cached
        self._loop.tell(self._begin, served)

    def _finish(self, served: AsyncioExchange) -> None:
        # An exchange and its observer are a reference cycle: without it, both are freed now.
        served.exchange.observer = ignore
        self._admission.leave(served.exchange, served)

    # --- on asyncio -----------------------------------------------------------------------

    def _begin_lifespan(self, lifespan: Lifespan) -> None:
        # The lifespan keeps its own task; it ends with `stop`, or with the loop.
        self._lifespan_task = asyncio.ensure_future(lifespan.run())

    def _begin(self, exchange: AsyncioExchange) -> None:
        call = AsyncioCall()
        # Made at once, because the next event needs its observer.
        request = self._make_request(exchange, call, self._state)
        # The loop itself does not keep its tasks.
        self._calls[call] = asyncio.ensure_future(self._serve(request, exchange, call))

    async def _serve(self, request: Servable, exchange: AsyncioExchange, call: AsyncioCall) -> None:
        try:
            with served(exchange, request.response, call.is_for_the_loop):
                if not call.aborted:
                    call.begun = True
                    await request.run()
        finally:
            if call.aborted:
                exchange.reset(ResetCode.CANCEL, "going away")  # no effect if it is complete
            del self._calls[call]
            self._loop.tell_trio(None, self._finish, exchange)

    def _abort_calls(self) -> None:
        for call, task in self._calls.items():
            call.aborted = True
            # A task that has not begun could not clean up.
            if call.begun:
                task.cancel()
