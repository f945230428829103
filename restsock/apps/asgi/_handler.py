"""Serves an ASGI 3 application: on an asyncio loop beside trio, or on trio.

A request is served by `HttpRequest` or `WebSocketRequest`, which depend on no loop. A host runs
them, and the app's lifespan around them, on the loop that the app needs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import trio

from restsock.apps._admission import refuse
from restsock.apps._loop import detect_loop
from restsock.apps._tasks import RequestTasks, open_nursery
from restsock.connection import Exchange

from ._call import TrioCall
from ._lifespan import Lifespan
from ._request import Served
from ._serving import request_for

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from restsock._options import Options


__all__ = ["AsgiHandler"]


class _Host(Protocol):
    """Where an app runs."""

    def running(self) -> AbstractAsyncContextManager[None]:
        """Runs the app's lifespan around the time in which it is served."""

    def start(self, exchange: Exchange) -> None:
        """Starts to serve a request, or refuses it."""


class AsgiHandler:
    """A `Handler` that serves an ASGI 3 application.

    Args:
        app: the application.
        options: `timeouts.disconnect` is used; `timeouts.close` is what requests, and then the
            app's shutdown, may take when serving stops. Limits are those of the connections.
        max_websocket_message: bytes of the largest message that a WebSocket of the app receives.
        loop: `"trio"`, `"asyncio"` or `"auto"`.
    """

    def __init__(
        self, app: Any, *, options: Options, max_websocket_message: int, loop: str = "auto"
    ) -> None:
        self._served = Served(app, options, max_websocket_message)
        self._loop = loop
        self._running = False
        self._host: _Host | None = None

    def handle(self, exchange: Exchange) -> None:
        """Takes over a request; see `Handler`."""
        if self._host is None:
            refuse(exchange, "nothing is served here now")
        else:
            self._host.start(exchange)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs the app's lifespan around the time in which it is served.

        Raises:
            AppStartupError: the app says that it cannot start.
        """
        if self._running:
            raise RuntimeError("this handler is running already")
        self._running = True
        try:
            async with AsyncExitStack() as stack:
                self._host = await self._enter_host(stack)
                yield
        finally:
            self._host = None
            self._running = False

    async def _enter_host(self, stack: AsyncExitStack) -> _Host:
        loop = detect_loop(self._served.app) if self._loop == "auto" else self._loop
        if loop == "trio":
            host: _Host = _TrioHost(self._served)
        else:
            from ._asyncio_host import AsyncioHost  # only here: asyncio takes a while to load

            host = AsyncioHost(self._served)
        await stack.enter_async_context(host.running())
        return host


class _TrioHost:
    """Runs an app on the loop of the connections: a task for each request."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._grace = served.options.timeouts.close
        self._tasks = RequestTasks(grace=self._grace)
        self._state: dict[str, Any] | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with open_nursery() as nursery:
            lifespan = Lifespan(self._served.app, TrioCall(shield=True), grace=self._grace)
            nursery.start_soon(lifespan.run)
            try:
                self._state = await lifespan.start()
                async with self._tasks.open():
                    yield
            finally:
                with trio.CancelScope(shield=True):
                    await lifespan.stop()

    def start(self, exchange: Exchange) -> None:
        self._tasks.start(exchange, request_for(self._served, exchange, TrioCall(), self._state))
