"""A client or a server that is entered on the background loop, for callers elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Generic, Protocol, TypeVar

import trio

__all__ = ["Entered"]


class _Endpoint(Protocol):
    async def __aenter__(self) -> Any: ...

    async def __aexit__(self, *exc: Any) -> bool | None: ...

    async def wait_closed(self) -> Any: ...


E = TypeVar("E", bound=_Endpoint)


class Entered(Generic[E]):
    """An endpoint while it is entered.

    The loop refers to this, and not to the public object. So a public object that is dropped can be
    garbage-collected, and closes what it owned.
    """

    def __init__(self, endpoint: E) -> None:
        self.endpoint = endpoint
        self.outcome: Any = None

    @asynccontextmanager
    async def run(self) -> AsyncIterator[E]:
        try:
            async with self.endpoint:
                yield self.endpoint
        finally:
            # It has ended by now; this only asks how.
            with trio.CancelScope(shield=True):
                self.outcome = await self.endpoint.wait_closed()
