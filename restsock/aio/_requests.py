"""Requests: what a client, a route and a connection have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from restsock.connection import AsyncRequests, Requester, check_asyncio
from restsock.endpoint import Adapters
from restsock.threads import LoopExchange

if TYPE_CHECKING:
    from restsock.connection import TaskExchange
    from restsock.protocol import RequestHead

__all__ = ["AsyncioRequester"]


class AsyncioRequester(AsyncRequests, Adapters):
    """Sends requests from tasks of asyncio. Any number of tasks may share one.

    Args:
        requester: The requester of the API for trio, on the background loop.
    """

    def __init__(self, requester: Requester) -> None:
        self._requester = requester

    def _sender(self) -> Requester:
        return self._requester

    def _submitter(self) -> Requester:
        return self._requester

    def _open_exchange(self, head: RequestHead, *, body: bytes = b"", end: bool) -> TaskExchange:
        check_asyncio("restsock.aio", "restsock")
        return LoopExchange.open(self._requester, head, body=body, end=end, announce=True)
