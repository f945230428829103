"""The admin API as a `Handler`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from restsock.apps import ignore
from restsock.connection import Exchange, answer

from ._interface import HubLike

__all__ = ["AdminAPI"]


class AdminAPI:
    """Answers the admin API of a hub.

    Args:
        hub: whose it is.
    """

    def __init__(self, hub: HubLike) -> None:
        self._hub = hub

    def handle(self, exchange: Exchange) -> None:
        """Takes over a request; see `Handler`."""
        exchange.observer = ignore
        answer(exchange, 404, "There is nothing here.\n")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """See `Handler`."""
        yield
