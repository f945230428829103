"""`Limit`: bounds the calls in flight."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Literal

import trio

from restsock._options import between
from restsock.connection import until
from restsock.gateway._errors import CallFailed
from restsock.gateway._middleware import Middleware

from ._parts import when_over
from ._scopes import Scope, key_function

if TYPE_CHECKING:
    from restsock.gateway._backend import Call
    from restsock.gateway._message import Message, Reply

__all__ = ["Limit"]


class Limit(Middleware):
    """Limits calls in flight. Further ones wait their turn, or are refused with 503.

        Channel("/ws", Action(), router, middleware=[Limit(100), Limit(5, scope="session")])

    A reply in parts holds its place until the last part. A message waits until its deadline at
    most; when its client leaves, the next one takes its place.

    Args:
        in_flight: Calls at a time, of each scope.
        scope: Which calls count together.
        on_full: Whether further ones wait, or are refused.
        queue: How many may wait, of each scope; those beyond are refused.

    Raises:
        TypeError: An argument is of a wrong type.
        ValueError: A number is out of bounds, or a word is unknown.
    """

    def __init__(
        self,
        in_flight: int,
        *,
        scope: Scope = "channel",
        on_full: Literal["wait", "refuse"] = "wait",
        queue: int = 1000,
    ) -> None:
        self.in_flight = in_flight
        self.queue = queue
        between(self, "in_flight", 1, 2**31)
        between(self, "queue", 0, 2**31)
        if on_full not in ("wait", "refuse"):
            raise ValueError(f'Limit.on_full must be "wait" or "refuse", not {on_full!r}')
        if on_full == "refuse":
            self.queue = 0
        self._key = key_function(scope)
        # Of those alone that have calls now, so that there are no more than calls.
        self._rooms: dict[Hashable, trio.Semaphore] = {}

    @property
    def statistics(self) -> dict[str, int]:
        """How many calls go on (`in_flight`), and how many wait (`waiting`), of all scopes."""
        rooms = self._rooms.values()
        return {
            "in_flight": sum(self.in_flight - room.value for room in rooms),
            "waiting": sum(room.statistics().tasks_waiting for room in rooms),
        }

    async def __call__(self, message: Message, call_next: Call) -> Reply:
        """See `Middleware`.

        Raises:
            CallFailed: With 503 there is no room, with 504 there was none in time. It has not run.
        """
        key = self._key(message)
        if key is None:
            return await call_next(message)
        await self._enter(key, message.deadline)
        try:
            reply = await call_next(message)
        except BaseException:
            self._leave(key)
            raise
        return when_over(reply, lambda _: self._leave(key))

    async def _enter(self, key: Hashable, deadline: float) -> None:
        room = self._rooms.get(key)
        if room is None:
            room = self._rooms[key] = trio.Semaphore(self.in_flight)
        try:
            room.acquire_nowait()
        except trio.WouldBlock:
            if room.statistics().tasks_waiting >= self.queue:
                text = "there are too many calls at a time"
                raise CallFailed(503, text, retry_after=1) from None
        else:
            return
        with until(deadline):
            await room.acquire()
            return
        raise CallFailed(504, "there was no room in time")

    def _leave(self, key: Hashable) -> None:
        room = self._rooms[key]
        room.release()
        if room.value == self.in_flight:
            del self._rooms[key]
