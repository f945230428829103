"""`App`: an app in this process answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from restsock._options import Heartbeat, Options, between
from restsock.apps import in_process, make_handler
from restsock.gateway._errors import CallFailed

from ._http_backend import MAX_BODY, HTTPBackend, ask

if TYPE_CHECKING:
    from restsock.connection import Requester, Response
    from restsock.gateway._message import Message

    from ._http_mapping import HTTPMapping, HTTPRequest

__all__ = ["App"]


class App(HTTPBackend):
    """Answers with an app in this process: ASGI, WSGI, or a coroutine function of trio.

        App(flask_app, HTTPMapping(method="GET", path="/pets/{body[id]}"))

    The app runs as with `restsock.connect`: WSGI in threads, ASGI on a loop of asyncio in a thread
    of its own. It is told when a call is cancelled.

    Args:
        app: What to serve, or a `Handler`, such as an `OpenAPIHandler`.
        mapping: How messages become requests; by default they are POSTs to `/`.
        options: Limits and time-outs between the gateway and the app. `Limits.max_streams` calls
            run at once, and more wait for `Timeouts.connect` at most.
        max_body: Bytes of the largest body of an answer; a larger one is a 502.
        app_options: Those of `restsock.connect` for an app: `interface`, `workers`, and so on.

    Raises:
        TypeError: This is not an app. ValueError: A number is out of range.
    """

    def __init__(
        self,
        app: Any,
        mapping: HTTPMapping | None = None,
        *,
        options: Options | None = None,
        max_body: int = MAX_BODY,
        **app_options: Any,
    ) -> None:
        super().__init__(mapping)
        self.max_body = max_body
        between(self, "max_body", 1, 2**31)
        # Both ends live, or neither.
        self._options = replace(options or Options(), heartbeat=Heartbeat(interval=None))
        self._handler = make_handler(app, options=self._options, **app_options)
        self._requester: Requester | None = None
        self._app = app

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs the app meanwhile.

        Raises:
            AppStartupError: The app says that it cannot start.
        """
        async with in_process(self._handler, options=self._options) as self._requester:
            try:
                yield
            finally:
                self._requester = None

    async def _send(self, message: Message, request: HTTPRequest) -> Response:
        requester = self._requester
        if requester is None:
            raise CallFailed(503, "the gateway is not open")
        return await ask(
            requester,
            request,
            wait=self._options.timeouts.connect,
            deadline=message.deadline,
            max_body=self.max_body,
        )

    def __repr__(self) -> str:
        return f"App({getattr(self._app, '__name__', type(self._app).__name__)})"
