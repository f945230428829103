"""`Backend`: what answers messages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import trio

from restsock.connection import call_user_function

from ._message import Message, Reply

if TYPE_CHECKING:
    import asyncio

    from restsock.server import Route

__all__ = ["Backend", "Call", "FunctionBackend", "Part", "Peers", "as_backend"]

_THREADS = 40

Call: TypeAlias = Callable[[Message], Awaitable[Reply]]
"""Answers a message: `Backend.call`, or that with middleware before it."""


class Peers(Protocol):
    """A listener, as far as backends need it: `restsock.Server`."""

    def route(self, name: str) -> Route:
        """The way to the peer of that name."""


class Part(Protocol):
    """A backend, or a middleware, as far as it has to be started."""

    def bind(self, peers: Peers, loop: asyncio.AbstractEventLoop | None) -> None:
        """Learns of the listener, and of the loop of asyncio functions."""

    def running(self) -> AbstractAsyncContextManager[None]:
        """Starts what it needs, and ends it."""


class Backend(ABC):
    """What answers messages. One serves any number of channels, while its `running()` is open."""

    def bind(self, peers: Peers, loop: asyncio.AbstractEventLoop | None) -> None:  # noqa: B027
        """The listener that its gateway is served by, and the loop of its asyncio functions.

        It is called before `running()`, and again for another listener. It raises no error.

        Args:
            peers: The listener.
            loop: The loop of asyncio that a listener of `restsock.aio` is on; `None` of others.
        """

    def parts(self) -> Iterable[Part]:
        """The backends and middleware that it is made of, the first to be started first.

        Whoever runs it binds and runs each of these before it, and once, however many it is part
        of.
        """
        return ()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Starts what it needs (connections, tasks), and ends it. Entered once at a time."""
        yield

    @abstractmethod
    async def call(self, message: Message) -> Reply:
        """Answers a message. If cancelled, the call may still have had an effect.

        Any number of calls may run at a time.

        Raises:
            CallFailed: There is no answer. Other errors of restsock reach the client in the same
            way.
        """


class FunctionBackend(Backend):
    """Answers with a function: an async one, or a plain one, which runs in one of 40 threads.

    The function returns a `Reply`, or just the body of one. An async function runs on the loop of
    the
    listener: on that of asyncio, if it is one of `restsock.aio`.

    Args:
        function: Gets the message.
    """

    def __init__(self, function: Callable[[Message], Any]) -> None:
        if not callable(function):
            raise TypeError(f"a backend has to be a function, not {type(function).__name__}")
        self._function = function
        # Its own: functions that hang must not take the threads of hooks, and of look-ups of names.
        self._limiter = trio.CapacityLimiter(_THREADS)
        self._loop: asyncio.AbstractEventLoop | None = None

    def bind(self, peers: Peers, loop: asyncio.AbstractEventLoop | None) -> None:
        """See `Backend.bind`. Raises nothing."""
        self._loop = loop

    async def call(self, message: Message) -> Reply:
        """See `Backend.call`. Exceptions of the function become a 500, and are logged."""
        result = await call_user_function(
            self._function, message, limiter=self._limiter, loop=self._loop
        )
        return result if isinstance(result, Reply) else Reply(result)


def as_backend(what: Backend | Callable[[Message], Any]) -> Backend:
    """The same as a backend: a function becomes a `FunctionBackend`.

    Raises:
        TypeError: It is neither.
    """
    return what if isinstance(what, Backend) else FunctionBackend(what)
