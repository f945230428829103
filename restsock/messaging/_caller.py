"""How functions of others are called: on trio, on asyncio, or in a thread."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from restsock.apps import asyncio_thread
from restsock.connection import call_user_function, is_async

from ._asyncio import seen_on_asyncio
from ._blocking import seen_in_thread

if TYPE_CHECKING:
    from restsock.apps import AsyncioThread

    from ._driver import Driver

__all__ = ["Caller", "check_loop"]


def check_loop(loop: str) -> None:
    """Raises `ValueError` unless it is a loop that functions can be called on."""
    if loop not in ("trio", "asyncio"):
        raise ValueError(f'loop has to be "trio" or "asyncio", not {loop!r}')


class Caller:
    """Calls functions of a messaging.

    Args:
        driver: has their tasks.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._limiter: trio.CapacityLimiter | None = None
        self._thread: AsyncioThread | None = None
        self._starting: trio.Lock | None = None

    def prepare(self, function: Any, loop: str = "trio") -> Callable[[Any], Awaitable[Any]]:
        """How to call a function with one argument.

        Args:
            function: a coroutine function, or a plain one, which is called in a thread.
            loop: on which loop a coroutine function is to run.
        """
        if not callable(function):
            raise TypeError(f"a function is needed, not {function!r}")
        if loop == "asyncio":
            return partial(self._on_asyncio, function)
        if is_async(function):
            return function  # type: ignore[no-any-return]  # that is what it is
        return partial(self._in_thread, function)

    async def _in_thread(self, function: Any, argument: Any) -> Any:
        if self._limiter is None:
            self._limiter = trio.CapacityLimiter(self._driver.options.threads)
        seen = seen_in_thread(argument)
        return await call_user_function(function, seen, limiter=self._limiter)

    async def _on_asyncio(self, function: Any, argument: Any) -> Any:
        thread = self._thread or await self._start()
        return await thread.run(function, seen_on_asyncio(argument))

    async def _start(self) -> AsyncioThread:
        if self._starting is None:
            self._starting = trio.Lock()
        async with self._starting:
            if self._thread is None:
                self._thread = await self._driver.start(self._run)
        assert self._thread is not None
        return self._thread

    async def _run(self, task_status: trio.TaskStatus[AsyncioThread]) -> None:
        thread = asyncio_thread(grace=self._driver.options.grace)
        async with thread.running():
            task_status.started(thread)
            await trio.sleep_forever()
