"""How a connection lives and ends: one state, and one place for what is said of its end.

| State    | New requests | Those under way       | What is sent              | Leads to          |
|----------|--------------|-----------------------|---------------------------|-------------------|
| OPEN     | start        | go on                 | all                       | DRAINING, CLOSING |
| DRAINING | are refused  | go on, until the last | all                       | CLOSING           |
| CLOSING  | are refused  | go on, until the end  | all, the close frame last | CLOSED            |
| CLOSED   | fail         | have failed           | nothing                   | -                 |

DRAINING is this side's alone: a peer that drains says so by a GOAWAY, which the multiplexer knows.
CLOSING begins with the wish of this side to close, or with the end of what comes in (a close frame,
a broken socket, silence), whichever is first.

A connection that is idle has no task. What takes time is one: to send what the socket did not take,
to close, to wait. When it needs the first, the owner is told, and runs its tasks until there are
none (`run_tasks`), in a nursery that ends with the connection. From CLOSING on there always is one.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

import trio

from restsock._exceptions import ConnectionClosed
from restsock.protocol import CloseCode

from ._close import CLEAN, Closed, printable

if TYPE_CHECKING:
    from restsock.protocol import MessageLayer

__all__ = ["CLOSED", "CLOSING", "DRAINING", "OPEN", "Lifecycle", "State"]


class State(enum.IntEnum):
    """Where a connection is in its life. It only goes up."""

    OPEN = 0
    DRAINING = 1
    CLOSING = 2
    CLOSED = 3


OPEN, DRAINING, CLOSING, CLOSED = State

_NEXT: dict[State, tuple[State, ...]] = {
    OPEN: (DRAINING, CLOSING),
    DRAINING: (CLOSING,),
    CLOSING: (CLOSED,),
    CLOSED: (),
}


_Task = tuple[Callable[..., Awaitable[object]], tuple[object, ...]]


class Lifecycle:
    """The state of one connection, its tasks, and how it ends. Changed on the loop.

    Args:
        connection: whose it is.
        websocket: says which close frames have crossed.
        patience: seconds that a close may take.

    Attributes:
        state: to be read by any thread.
        announced: code and reason of the close that this side has begun or, while it drains, is
            going to begin; `None` when there is none.
        closing: the same, once it has begun: the close frame that is to end what is sent.
        outcome: how it ends; `None` until that is known.
        context: for what is started and served here: that of the task that it began in.
        running: whether its owner runs its tasks, or is about to.
    """

    context: Context

    __slots__ = (
        "_connection",
        "_deadline",
        "_finished",
        "_need",
        "_nursery",
        "_patience",
        "_waiting",
        "_websocket",
        "announced",
        "closing",
        "context",
        "outcome",
        "running",
        "state",
    )

    def __init__(self, connection: object, websocket: MessageLayer, patience: float) -> None:
        self.state = OPEN
        self.announced: tuple[int, str] | None = None
        self.closing: tuple[int, str] | None = None
        self.outcome: Closed | None = None
        self.running = False
        self._websocket = websocket
        self._patience = patience
        self._connection = connection
        self._need: Callable[[Any], object] | None = None  # while tasks can be started
        self._nursery: trio.Nursery | None = None  # while they run
        self._waiting: list[_Task] | None = None  # those that do not run yet
        self._deadline = math.inf  # of all of them
        self._finished: trio.Event | None = None  # made by the first to wait for it

    def _enter(self, state: State) -> None:
        assert state in _NEXT[self.state], f"{self.state.name} does not lead to {state.name}"
        self.state = state
        if state is CLOSING:
            self.start_soon(trio.sleep_forever)  # until the end; it has to be somebody's

    # --- the way to the end ---------------------------------------------------------------

    def drain(self, code: int, reason: str) -> bool:
        """Begins to drain, if it is open; tells whether it was. With the lock."""
        if self.state is not OPEN:
            return False
        self._enter(DRAINING)
        self.announced = code, reason
        return True

    def close(self, code: int, reason: str) -> bool:
        """Begins to close, unless that has begun; tells whether it had not. With the lock."""
        if self.state >= CLOSING:
            return False
        self._enter(CLOSING)
        self.announced = self.closing = code, reason
        self._bound_closing()
        return True

    def end(self, outcome: Closed) -> None:
        """Notes how it ends; the first word counts."""
        if self.state < CLOSING:
            self._enter(CLOSING)
        if self.outcome is None:
            self.outcome = outcome

    def abort(self, outcome: Closed) -> None:
        """Ends it without waiting for anybody."""
        self.end(outcome)
        self.bound(-math.inf)

    def finish(self) -> Closed:
        """Nothing is sent from here on, and nothing comes. Returns how it ended."""
        if self.outcome is None:
            if self.closing is not None:
                self.end(self._closed_here(self.closing))
            else:
                self.end(Closed(False, CloseCode.ABNORMAL, "cancelled", by_peer=False))
        self._enter(CLOSED)
        assert self.outcome is not None
        return self.outcome

    # --- what the end amounts to ----------------------------------------------------------

    def closed_by_peer(self, code: int, reason: str) -> Closed:
        """The outcome when a close frame has come."""
        if self.closing is not None:
            return self._closed_here(self.closing)
        return Closed(code in CLEAN, code, printable(reason), by_peer=True)

    def lost(self, reason: str) -> Closed:
        """The outcome when nothing comes any more."""
        if self.closing is not None and self._websocket.close_sent:
            return self._closed_here(self.closing, answered=not self._websocket.answers_close)
        return Closed(False, CloseCode.ABNORMAL, reason, by_peer=True)

    def _closed_here(self, closing: tuple[int, str], *, answered: bool = False) -> Closed:
        """The outcome of a close that this side began: clean if the peer has answered it."""
        code, reason = closing
        clean = code in CLEAN and (answered or self._websocket.close_received)
        return Closed(clean, code, reason, by_peer=False)

    def closed_error(self, *, may_have_run: bool) -> ConnectionClosed:
        """What a request fails with that was, or was to be, on it. Once it is known how it ends."""
        closed = self.outcome
        assert closed is not None
        may = "may have run" if may_have_run else "did not start"
        return ConnectionClosed(
            f"the connection ended ({closed}); the request {may}",
            code=closed.code,
            reason=closed.reason,
            may_have_run=may_have_run,
        )

    # --- tasks ----------------------------------------------------------------------------

    @property
    def has_tasks(self) -> bool:
        """Whether tasks can be started: from the beginning until it is over."""
        return self._need is not None

    def begin(self, need: Callable[[Any], object]) -> None:
        """It lives from now on; `need` tells its owner that `run_tasks` has to be run."""
        self.context = copy_context()
        self._need = need
        if self.state is CLOSING:
            self.start_soon(trio.sleep_forever)
            self._bound_closing()

    def start_soon(self, function: Callable[..., Awaitable[object]], *args: object) -> None:
        """Starts a task that ends with it, unless it is over."""
        if self._need is None:
            return
        if self._nursery is not None and self._nursery.child_tasks:
            self._nursery.start_soon(function, *args)
            return
        if self._waiting is None:
            self._waiting = []
        self._waiting.append((function, args))
        if not self.running:
            self.running = True
            # A copy: this may be the one that is in use.
            self.context.copy().run(self._need, self._connection)

    async def run_tasks(self) -> bool:
        """Runs its tasks until there are none; tells whether it is over. For its owner.

        What a task raises is raised here; then it is over, too, and so it is after a cancellation.
        """
        while self._waiting is not None:
            async with trio.open_nursery() as nursery:
                waiting, self._waiting = self._waiting, None
                self._nursery = nursery
                for function, args in waiting:
                    nursery.start_soon(function, *args)
                self.bound(self._deadline)
            self._nursery = None
        self.running = False
        return self.state >= CLOSING

    def crash(self, error: BaseException) -> None:
        """Ends it because of a bug: the error is raised where its owner runs its tasks."""
        self.start_soon(_raise, error)

    def stop_tasks(self) -> None:
        """It is over, and takes no task from here on."""
        self._need = self._nursery = self._waiting = None

    def bound(self, until: float) -> None:
        """Has it end, tasks and all, at this time at the latest."""
        self._deadline = min(self._deadline, until)
        if self._nursery is not None:
            self._nursery.cancel_scope.deadline = self._deadline
            if self._deadline == -math.inf:  # and not with the next look at the clock
                self._nursery.cancel_scope.cancel()

    def _bound_closing(self) -> None:
        if self._need is not None:
            self.bound(trio.current_time() + self._patience)

    # --- waiting for it -------------------------------------------------------------------

    def tell_finished(self) -> None:
        """Wakes those who wait for the end."""
        if self._finished is not None:
            self._finished.set()

    async def wait_finished(self) -> Closed:
        """Waits for the end, and tells how it was."""
        if self._finished is None:
            self._finished = trio.Event()
            if self.state is CLOSED:
                self._finished.set()
        await self._finished.wait()
        assert self.outcome is not None
        return self.outcome


async def _raise(error: BaseException) -> None:
    raise error
