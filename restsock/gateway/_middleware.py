"""`Middleware`: what stands between a client and a backend."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from ._backend import Call, Peers
from ._message import Message, Reply

if TYPE_CHECKING:
    import asyncio

__all__ = ["Middleware", "chain", "checked_middleware"]


class Middleware(ABC):
    """Stands before a backend: changes messages and replies, or answers by itself.

    One object may stand in several places; they then share its state.
    """

    def bind(self, peers: Peers, loop: asyncio.AbstractEventLoop | None) -> None:  # noqa: B027
        """The listener that its gateway is served by, and the loop of its asyncio functions.

        See `Backend.bind`. It raises no error.
        """

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Starts what it needs, and ends it. Entered once at a time."""
        yield

    @abstractmethod
    async def __call__(self, message: Message, call_next: Call) -> Reply:
        """Answers a message, mostly by what comes next.

        Args:
            message: The message.
            call_next: What comes next, to be called with this message or another one: once, not at
                all, or again.

        Raises:
            CallFailed: There is no answer.
        """


def chain(middleware: Sequence[Middleware], call: Call) -> Call:
    """What answers with all of these before it. The first is the outermost."""
    for one in reversed(middleware):
        call = partial(one, call_next=call)
    return call


def checked_middleware(middleware: Sequence[Middleware]) -> tuple[Middleware, ...]:
    """The same, if that is what it is.

    Raises:
        TypeError: One is no middleware.
    """
    if isinstance(middleware, Middleware):
        raise TypeError("middleware is a list of these, not one")
    for one in middleware:
        if not isinstance(one, Middleware):
            raise TypeError(f"middleware is an object of Middleware, not {type(one).__name__}")
    return tuple(middleware)
