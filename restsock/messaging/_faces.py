"""What handlers and methods on asyncio see: the same objects, whose coroutines are asyncio's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import trio

from ._errors import MessagingClosed
from ._message import Message

if TYPE_CHECKING:
    import asyncio

    from restsock.apps import AsyncioThread

    from ._driver import Driver

__all__ = ["AsyncioMessage", "face_on_asyncio"]


class AsyncioMessage:
    """A `Message` for a handler on asyncio. All attributes and methods are those of the message."""

    def __init__(self, message: Message, call: Callable[..., Awaitable[Any]]) -> None:
        self._message = message
        self._call = call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._message, name)

    async def reply(
        self, body: Any, *, channel: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """See `Message.reply`.

        Raises:
            MessagingError: as there.
        """

        async def reply() -> None:
            await self._message.reply(body, channel=channel, headers=headers)

        await self._call(reply)

    async def ack(self) -> None:
        """See `Message.ack`. Raises nothing."""
        await self._call(self._message.ack)


def face_on_asyncio(driver: Driver) -> Callable[[Any, AsyncioThread], Any]:
    """Makes of what a function is called with what it is to see of it on asyncio."""

    def face(argument: Any, thread: AsyncioThread) -> Any:
        if not isinstance(argument, Message):
            return argument

        async def call(function: Callable[[], Awaitable[Any]]) -> Any:
            return await _on_trio(driver, thread, function)

        return AsyncioMessage(argument, call)

    return face


async def _on_trio(
    driver: Driver, thread: AsyncioThread, function: Callable[[], Awaitable[Any]]
) -> Any:
    """Awaits a function of trio's from a task on asyncio. If cancelled, that is, too."""
    import asyncio  # loaded: there is a loop of it

    future = asyncio.get_running_loop().create_future()
    scope = trio.CancelScope()

    async def run() -> None:
        result, error = None, None
        try:
            with scope:
                result = await function()
        except Exception as exc:  # noqa: BLE001  # raised again on asyncio
            error = exc
        thread.tell(_settle, future, result, error)

    def start() -> None:
        if driver.open:
            driver.start_soon(run)
        else:
            thread.tell(_settle, future, None, MessagingClosed("the messaging was closed"))

    thread.tell_trio(None, start)
    try:
        return await future
    except asyncio.CancelledError:
        thread.tell_trio(None, scope.cancel)
        raise


def _settle(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
