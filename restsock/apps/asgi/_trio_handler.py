"""Serves requests of an ASGI 3 application on trio, the loop of the connections."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from restsock.apps._tasks import TaskHandler, open_nursery

from ._call import TrioCall
from ._lifespan import Lifespan
from ._serving import request_for

if TYPE_CHECKING:
    from restsock.connection import Exchange

    from ._request import AsgiRequest, Served

__all__ = ["TrioHandler"]


class TrioHandler(TaskHandler):
    """A `Handler` that runs an app on the loop of the connections: a task for each request.

    Args:
        served: The app. Of its options, `timeouts.disconnect` is used, and `timeouts.close`: how
            long requests, and then the app's shutdown, may take when serving stops.
    """

    def __init__(self, served: Served) -> None:
        super().__init__(
            self._request_for, grace=served.options.timeouts.close, around=self._lifespan
        )
        self._served = served
        self._state: dict[str, Any] | None = None

    def _request_for(self, exchange: Exchange) -> AsgiRequest:
        return request_for(self._served, exchange, TrioCall(), self._state)

    @asynccontextmanager
    async def _lifespan(self) -> AsyncIterator[None]:
        """Runs the app's lifespan while the app is served.

        Raises:
            AppStartupError: The app reports that it cannot start.
        """
        async with open_nursery() as nursery:
            lifespan = Lifespan(self._served.app, TrioCall(shield=True), grace=self._grace)
            nursery.start_soon(lifespan.run)
            try:
                self._state = await lifespan.start()
                yield
            finally:
                with trio.CancelScope(shield=True):
                    await lifespan.stop()
