"""What a client and a server have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from restsock._exceptions import ConnectionClosed
from restsock.connection import check_asyncio
from restsock.endpoint import Entered
from restsock.threads import AsyncioContext, abandon_unclosed, run_from_asyncio

from ._connection import Connection

if TYPE_CHECKING:
    from typing_extensions import Self

    from restsock.client import Client
    from restsock.connection import Health
    from restsock.server import Server
    from restsock.threads import Portal

__all__ = ["AsyncioEndpoint"]

E = TypeVar("E", bound="Client | Server")
T = TypeVar("T")


class AsyncioEndpoint(Generic[E]):
    """What a client and a server have in common: it enters and closes them.

    Args:
        endpoint: The client or server of the API for trio; it is entered on the background loop.
    """

    _maker: str

    def __init__(self, endpoint: E) -> None:
        self._endpoint = endpoint
        self._entered = Entered(endpoint)
        self._context: AsyncioContext[E] | None = None

    @property
    def _portal(self) -> Portal:
        context = self._context
        if context is None:
            raise RuntimeError(
                f'this was not entered: use "async with restsock.aio.{self._maker}(...)"'
            )
        return context.portal

    def health(self) -> Health:
        """Whether requests can be served now (and peers can connect), and if not, why."""
        return self._look_up(self._endpoint.health)

    async def _wait_closed(self) -> Any:
        portal = self._portal
        assert self._context is not None
        try:
            return await run_from_asyncio(portal, self._endpoint.wait_closed)
        except ConnectionClosed:
            # The loop has ended.
            await self._context.wait()
            return self._entered.outcome

    def _look_up(self, function: Callable[[], T]) -> T:
        """Reads from the endpoint on its loop; after that has ended, directly."""
        if self._context is None:
            return function()
        try:
            return self._context.portal.call(function)
        except ConnectionClosed:
            return function()

    async def _close(self, *args: Any, grace: float | None = None) -> None:
        context = self._context
        if context is None or context.portal.foreign:
            return  # there is nothing to close, or it is the parent's
        try:
            if not context.closed:
                close = partial(self._endpoint.aclose, *args, grace=grace)
                try:
                    await run_from_asyncio(context.portal, close)
                except ConnectionClosed:
                    pass  # it has ended meanwhile
        finally:
            await context.close()

    async def __aenter__(self) -> Self:
        maker = self._maker
        check_asyncio(f"restsock.aio.{maker}", f"restsock.{maker}")
        if self._context is not None:
            raise RuntimeError(f"this can be entered once: call restsock.aio.{maker} again")
        context = self._context = AsyncioContext(self._entered.run)
        self._endpoint.serve_here(partial(Connection, context.portal))
        await context.open()
        return self

    async def __aexit__(self, exc_type: type[BaseException] | None, *exc: object) -> None:
        if exc_type is not None and issubclass(exc_type, asyncio.CancelledError):
            if self._context is not None:
                await self._context.close(drop=True)
        else:
            await self._close(grace=None if exc_type is None else 0)

    def __repr__(self) -> str:
        return repr(self._endpoint)

    def __del__(self) -> None:
        abandon_unclosed(self, getattr(self, "_context", None))
