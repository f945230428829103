"""Between a thread and the loop of its exchange: events for the thread, calls for the loop."""

from __future__ import annotations

import os
import queue
from collections.abc import Callable
from typing import Any

import trio

from restsock._exceptions import ConnectionClosed, RestsockError, StreamReset, fork_error
from restsock._logging import PartLog, about_request
from restsock.connection import Exchange, Failed, Inbox, Wakeable
from restsock.protocol import ResetCode

__all__ = ["ThreadInbox", "check_thread", "guarded", "withdraw"]

_log = PartLog("restsock.connection")


class ThreadInbox(Inbox):
    """The inbox of a thread, and its way to the loop.

    Separate from `ThreadExchange`, so that an exchange and its driver are not a reference cycle.

    Attributes:
        token: The token of the loop.
        pid: The process of both.
        queue: Not empty if there was an event since it was last emptied; the thread waits on it.
        sleeper: For those that do not wait on the queue: a thread that is the leader, or the tasks
            of another loop.
        withdrawn: Whether the loop has confirmed that the exchange did not start, and will not.
        why: What the exchange was waiting for, as an error, if known.
    """

    __slots__ = ("pid", "queue", "sleeper", "token", "why", "withdrawn")

    def __init__(self, token: trio.lowlevel.TrioToken) -> None:
        super().__init__()
        self.token = token
        self.pid = os.getpid()
        self.queue: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.sleeper: Wakeable | None = None
        self.announce = False
        self.withdrawn = False
        self.why: RestsockError | None = None

    def wake(self) -> None:
        """Makes the thread check again: now, or before its next wait. For any thread."""
        if self.queue.empty():
            self.queue.put(None)
        sleeper = self.sleeper
        if sleeper is not None and sleeper.asleep:
            sleeper.wake()

    def look(self) -> None:
        """Called before the thread checks for events; it then waits for later ones."""
        while not self.queue.empty():
            self.queue.get_nowait()

    def post(self, function: Callable[..., object], *args: Any) -> None:
        """Makes the loop call a function soon.

        Raises:
            ConnectionClosed: The loop has ended.
            RestsockError: This is the child of a fork.
        """
        if os.getpid() != self.pid:
            raise fork_error("exchange", self.pid)
        try:
            self.token.run_sync_soon(function, *args)
        except trio.RunFinishedError as exc:
            raise ConnectionClosed(
                "the event loop of this connection has ended",
                may_have_run=self.started_at is not None,
            ) from exc

    def check_loop(self) -> None:
        """Raises ConnectionClosed if the loop has ended."""
        self.post(_nothing)


def _nothing() -> None:
    """Posted to learn whether the loop still runs."""


def guarded(
    inbox: ThreadInbox, exchange: Exchange, function: Callable[..., object], *args: Any
) -> None:
    """Runs a step on the loop; an exception there would end the loop and all its connections."""
    try:
        function(*args)
    except RestsockError as exc:
        error: RestsockError = exc
    except Exception as exc:  # noqa: BLE001  # handed to the thread, and logged
        _log.exception("a step of an exchange failed", extra=about_request(exchange))
        error = StreamReset(
            "an internal error of restsock; see the log", code=ResetCode.INTERNAL, by_peer=False
        )
        error.__cause__ = exc
    else:
        return
    inbox(Failed(error))
    # The step cannot be repeated; the peer must not wait for it. And a request that is reported as
    # not run must not run: nothing of it is sent.
    unsent = not exchange.inbound and error.may_have_run is False
    code = ResetCode.CANCEL if unsent else ResetCode.INTERNAL
    if function != exchange.reset:
        guarded(inbox, exchange, exchange.reset, code, "a step failed")


def withdraw(exchange: Exchange, inbox: ThreadInbox) -> None:
    """Withdraws a request unless it has started, and tells the thread. On the loop."""
    if inbox.started_at is None:
        inbox.why = None if exchange.explain is None else exchange.explain()
        guarded(inbox, exchange, exchange.reset, ResetCode.CANCEL, "not started in time")
        inbox.withdrawn = True
        inbox.wake()


def check_thread(token: trio.lowlevel.TrioToken) -> None:
    """Raises RestsockError on the thread of this loop, which must not wait for the loop."""
    try:
        here: trio.lowlevel.TrioToken | None = trio.lowlevel.current_trio_token()
    except RuntimeError:
        here = None
    if here is token:
        raise RestsockError(
            "a blocking request on the event loop's own thread would wait for itself indefinitely:"
            " call it from another thread (trio.to_thread.run_sync), or use the async API here"
        )
