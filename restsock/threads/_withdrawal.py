"""Taking back a request of a thread that did not start in time."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from restsock.connection import Exchange, ExchangeEvent, Failed
from restsock.protocol import ResetCode

from ._event_queue import EventQueue, Withdrawn, guarded

if TYPE_CHECKING:
    from ._loop_access import LoopAccess

__all__ = ["withdraw"]

# How long a request whose connect time is over waits for the loop to say that it was not started.
_WITHDRAWAL = 1.0


def withdraw(
    exchange: Exchange,
    event_queue: EventQueue,
    loop: LoopAccess,
    absorb: Callable[[ExchangeEvent], object],
) -> Withdrawn | None:
    """Takes a request back, unless it has started.

    Args:
        exchange: of the thread that calls this.
        event_queue: of the same.
        loop: of the same.
        absorb: takes in an event.

    Returns:
        What the loop says to it. `None` when it has started or failed meanwhile, or when the loop
        does not even answer, and may still start it.
    """
    loop.post(_reset_unless_started, exchange, event_queue)
    deadline = time.monotonic() + _WITHDRAWAL
    while event_queue.started_at is None:
        try:
            event = event_queue.queue.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        if isinstance(event, Withdrawn):
            return event
        absorb(event)
        if isinstance(event, Failed):
            break
    return None


def _reset_unless_started(exchange: Exchange, event_queue: EventQueue) -> None:  # on the loop
    if event_queue.started_at is None:
        why = None if exchange.explain is None else exchange.explain()
        code = ResetCode.CANCEL
        guarded(event_queue, exchange, exchange.reset, code, "not started in time")
        event_queue.put(Withdrawn(why))
