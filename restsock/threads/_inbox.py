"""Between a thread and the loop of its exchange: what has come, and calls left to the loop."""

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

    Apart from `ThreadExchange`, so that an exchange and its driver are not a reference cycle.

    Attributes:
        token: Of the loop.
        pid: The process that both belong to.
        queue: Not empty when something has come since it was last emptied: what the thread waits
            for.
        sleeper: What is waited in by who does not wait on the queue: a thread that leads, or the
            tasks of another loop.
        withdrawn: The loop's word that the exchange had not started, and will not.
        why: What it was waiting for then, as an error, if that is known.
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
        """Has the thread look again: now, or before it waits the next time. For any thread."""
        if self.queue.empty():
            self.queue.put(None)
        sleeper = self.sleeper
        if sleeper is not None and sleeper.asleep:
            sleeper.wake()

    def look(self) -> None:
        """The thread looks at what has come; it waits for what comes from here on."""
        while not self.queue.empty():
            self.queue.get_nowait()

    def post(self, function: Callable[..., object], *args: Any) -> None:
        """Has the loop call a function, soon.

        Raises:
            ConnectionClosed: The loop has ended.
            RestsockError: This is a fork of the process.
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
    # What was left out cannot be made up for; the peer is not to wait for it. And a request that is
    # said not to have run must not run: nothing of it leaves.
    unsent = not exchange.inbound and error.may_have_run is False
    code = ResetCode.CANCEL if unsent else ResetCode.INTERNAL
    if function != exchange.reset:
        guarded(inbox, exchange, exchange.reset, code, "a step failed")


def withdraw(exchange: Exchange, inbox: ThreadInbox) -> None:
    """Takes a request back unless it has started, and tells the thread. On the loop."""
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
