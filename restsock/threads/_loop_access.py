"""The way from a thread to the loop that its exchange belongs to, within one process."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import trio

from restsock._exceptions import ConnectionClosed, RestsockError, fork_error

if TYPE_CHECKING:
    from ._event_queue import EventQueue

__all__ = ["LoopAccess", "check_thread"]


class LoopAccess:
    """Posts functions to a loop. For one exchange, and any thread.

    Attributes:
        token: of the loop.
        pid: the process that both belong to.
    """

    __slots__ = ("_event_queue", "pid", "token")

    def __init__(self, token: trio.lowlevel.TrioToken, event_queue: EventQueue) -> None:
        self.token = token
        self.pid = os.getpid()
        self._event_queue = event_queue

    def check_process(self) -> None:
        """Raises RestsockError in a fork, which must not touch what it shares with its parent."""
        if os.getpid() != self.pid:
            raise fork_error("exchange", self.pid)

    def post(self, function: Callable[..., object], *args: Any) -> None:
        """Has the loop call a function, soon.

        Raises:
            ConnectionClosed: the loop has ended.
            RestsockError: this is a fork of the process.
        """
        self.check_process()
        try:
            self.token.run_sync_soon(function, *args)
        except trio.RunFinishedError as exc:
            started = self._event_queue.started_at is not None
            raise ConnectionClosed(
                "the event loop of this connection has ended", may_have_run=started
            ) from exc


def check_thread(token: trio.lowlevel.TrioToken) -> None:
    """Raises RestsockError on the thread of this loop, which must not wait for the loop."""
    try:
        here: trio.lowlevel.TrioToken | None = trio.lowlevel.current_trio_token()
    except RuntimeError:
        here = None
    if here is token:
        raise RestsockError(
            "a blocking request on the event loop's own thread would wait for itself for ever:"
            " call it from another thread (trio.to_thread.run_sync), or use the async API here"
        )
