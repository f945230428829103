"""The life cycle of a client and of a server: four states, and one table of transitions.

| State    | A client ...                          | A server ...                               |
|----------|---------------------------------------|--------------------------------------------|
| NEW      | has not dialed yet                    | has bound nothing yet                      |
| OPEN     | has a connection, or dials            | binds its sockets, then accepts            |
| DRAINING | stops dialing; requests in flight     | answers new connections with 503; requests |
|          | continue                              | in flight continue                         |
| CLOSED   | has no connection left                | has no socket and no connection left       |

Entering leads from NEW to OPEN. `aclose()` leads to DRAINING; so does, in a client, a final close
code or the last failure to dial. When no connection is left it is CLOSED: at once if it was never
entered, failed to start, or was cancelled.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from enum import Enum
from typing import TYPE_CHECKING, Any

import trio

from restsock._logging import logging_for
from restsock.connection import check_trio

if TYPE_CHECKING:
    from restsock._logging import LogLike
    from restsock.connection import Handler

__all__ = ["Lifecycle", "State"]


class State(Enum):
    """The state of a client or a server."""

    NEW = "new"
    OPEN = "open"
    DRAINING = "draining"
    CLOSED = "closed"


_NEXT = {
    State.NEW: (State.OPEN, State.DRAINING, State.CLOSED),
    State.OPEN: (State.DRAINING, State.CLOSED),
    State.DRAINING: (State.CLOSED,),
    State.CLOSED: (),
}


_Start = Callable[[trio.Nursery], Awaitable[object]]
_Close = Callable[..., Awaitable[object]]  # takes grace=
_End = Callable[[], object]


class Lifecycle:
    """The state of a client or a server, and the context manager that runs it.

    Args:
        what: `"client"` or `"server"`, for errors.
        log: The logger for all tasks that it starts.

    Attributes:
        state: The current state.
        token: The token of the loop on which it was entered; `None` before.
    """

    def __init__(self, what: str, log: LogLike) -> None:
        self._log = log
        self.state = State.NEW
        self.token: trio.lowlevel.TrioToken | None = None
        self._what = what
        self._closed = trio.Event()
        self._manager: AbstractAsyncContextManager[None] | None = None

    @property
    def ending(self) -> bool:
        """Whether it is draining or closed."""
        return self.state in (State.DRAINING, State.CLOSED)

    def to(self, state: State) -> bool:
        """Changes to a state if the table allows it; returns whether it did."""
        if state not in _NEXT[self.state]:
            return False
        self.state = state
        if state is State.CLOSED:
            self._closed.set()
        return True

    async def wait_closed(self) -> None:
        """Waits until it is closed."""
        await self._closed.wait()

    async def enter(
        self, handlers: Iterable[Handler | None], start: _Start, close: _Close, end: _End
    ) -> None:
        """Starts it: the first half of the context manager.

        Args:
            handlers: Handlers that run as long as it does.
            start: Starts it, with tasks in this nursery. What it raises is raised here.
            close: Drains it when the block is left; without a grace period after an error.
            end: Closes it without waiting. Always called last, and also if it failed to start.

        Raises:
            RuntimeError: It was entered or closed before.
            RestsockError: This is asyncio.
        """
        maker = "connect" if self._what == "client" else "listen"
        check_trio(f"restsock.{maker}", f"restsock.aio.{maker}")
        if not self.to(State.OPEN):
            raise RuntimeError(f"a {self._what} can be entered once; make another one")
        self.token = trio.lowlevel.current_trio_token()
        self._manager = self._run(handlers, start, close, end)
        with logging_for(self._log):
            await self._manager.__aenter__()

    async def leave(self, *exc: Any) -> bool | None:
        """Ends it: the second half of the context manager."""
        assert self._manager is not None
        with logging_for(self._log):
            return await self._manager.__aexit__(*exc)

    @asynccontextmanager
    async def _run(
        self, handlers: Iterable[Handler | None], start: _Start, close: _Close, end: _End
    ) -> AsyncIterator[None]:
        error: BaseException | None = None
        try:
            async with _running(handlers), trio.open_nursery() as nursery:
                try:
                    try:
                        await start(nursery)
                    except BaseException:
                        end()  # there is nothing to drain
                        raise
                    yield
                # Kept from the nursery, which would wrap it in an exception group.
                except (Exception, KeyboardInterrupt, SystemExit) as exc:  # noqa: BLE001  # raised below
                    error = exc
                if self.state is not State.CLOSED:
                    await close(grace=None if error is None else 0)
                nursery.cancel_scope.cancel()
        finally:
            end()  # in any case, whatever still waits has to fail
        if error is not None:
            raise error


@asynccontextmanager
async def _running(handlers: Iterable[Handler | None]) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for handler in handlers:
            if handler is not None:
                await stack.enter_async_context(handler.running())
        yield
