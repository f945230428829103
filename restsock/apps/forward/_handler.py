"""Serves by forwarding: one task for each request, and the pool that they share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from restsock.apps._tasks import RequestTasks

from ._call import ForwardCall
from ._pool import Pool

if TYPE_CHECKING:
    from restsock._options import Options
    from restsock.connection import Exchange

    from ._forward import Forward

__all__ = ["ForwardHandler"]


class ForwardHandler:
    """A `Handler` that forwards to an HTTP/1.1 server.

    Args:
        forward: which server, and how.
        options: `timeouts.close` is what requests under way may take when serving stops, and what
            one side of an upgraded stream may go on after the end of the other.
    """

    def __init__(self, forward: Forward, *, options: Options) -> None:
        self._forward = forward
        self._grace = options.timeouts.close
        self._tasks = RequestTasks(grace=self._grace)
        self._pool = Pool(forward)

    def handle(self, exchange: Exchange) -> None:
        """Takes over a request; see `Handler`."""
        call = ForwardCall(self._forward, self._pool, exchange, grace=self._grace)
        self._tasks.start(exchange, call)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Lets requests be forwarded; after it no connection to the server is left."""
        async with self._tasks.open(background=self._pool.run):
            yield
