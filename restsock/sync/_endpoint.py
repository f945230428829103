"""What a blocking client and a blocking server have in common."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from restsock._exceptions import ConnectionClosed
from restsock.endpoint import Entered
from restsock.threads import BlockingContext, abandon_unclosed

if TYPE_CHECKING:
    from typing_extensions import Self

    from restsock.client import Client
    from restsock.connection import Health
    from restsock.server import Server
    from restsock.threads import Portal

__all__ = ["BlockingEndpoint"]


E = TypeVar("E", bound="Client | Server")
T = TypeVar("T")


def _do_nothing() -> None:
    pass


class BlockingEndpoint(Generic[E]):
    """What a blocking client and a blocking server have in common: it enters and closes them.

    Args:
        endpoint: The async client or server, which is entered here.

    Raises:
        Exception: Whatever entering raises. Then nothing is left open.
    """

    def __init__(self, endpoint: E) -> None:
        self._entered = Entered(endpoint)
        self._context = BlockingContext(self._entered.run)

    @property
    def portal(self) -> Portal:
        """The loop that it runs on."""
        return self._context.portal

    @property
    def closed(self) -> bool:
        """Whether it has been closed."""
        return self._context.closed

    def health(self) -> Health:
        """Whether requests can be served now (and peers can connect), and if not, why."""
        return self._look_up(self._entered.endpoint.health)

    def _wait_closed(self, timeout: float | None) -> Any:
        portal = self._context.portal
        portal.check_caller()
        try:
            return portal.wait(timeout, self._entered.endpoint.wait_closed)
        except ConnectionClosed:
            # The loop has ended.
            self._context.wait(timeout)
            return self._entered.outcome

    def _look_up(self, function: Callable[[], T]) -> T:
        """Reads from the endpoint on the loop; after the loop has ended, directly."""
        try:
            return self._context.portal.call(function)
        except ConnectionClosed:
            return function()

    def _close(self, *args: Any, grace: float | None = None) -> None:
        context = self._context
        if context.portal.foreign:
            return  # the parent's connection is the parent's to close
        context.portal.check_caller()
        if not context.closed:
            try:
                context.portal.run(partial(self._entered.endpoint.aclose, *args, grace=grace))
            except ConnectionClosed:
                pass  # another thread was faster
        context.close()

    def _close_soon(
        self,
        grace: float | None,
        tell: Callable[[], object] = _do_nothing,
        done: Callable[[], object] = _do_nothing,
    ) -> None:
        """Begins to close in the background. Takes no lock, so a signal handler may call it.

        Args:
            grace: As for `close`.
            tell: Called on the loop before anything else.
            done: Called after the close: on the loop, or here if it was closed before.
        """
        portal = self._context.portal

        async def close() -> None:
            try:
                tell()
                await self._entered.endpoint.aclose(grace=grace)
            finally:
                done()

        def start() -> None:
            if not portal.start_soon(close):
                done()

        try:
            if portal.foreign:
                done()
            else:
                portal.post(start)
        except ConnectionClosed:
            done()  # it has ended already

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *exc: object) -> None:
        self._close(grace=None if exc_type is None else 0)

    def __repr__(self) -> str:
        return repr(self._entered.endpoint)

    def __del__(self) -> None:
        abandon_unclosed(self, getattr(self, "_context", None))
