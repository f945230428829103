"""Between the loop and a thread: the events that wait for it, and its steps on the loop."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from restsock._exceptions import RestsockError, StreamReset
from restsock.connection import Exchange, ExchangeEvent, Failed, Requeued, Sleeper, Started, joined
from restsock.protocol import DataReceived, ResetCode, ResponseReceived

__all__ = ["EventQueue", "Withdrawn", "guarded"]

_log = logging.getLogger("restsock.connection")


class Withdrawn:
    """The loop's answer to a wish to withdraw: the exchange had not started, and will not."""

    __slots__ = ("why",)

    def __init__(self, why: RestsockError | None) -> None:
        self.why = why  # what the exchange was waiting for


class EventQueue:
    """The events that wait for a thread; the observer of its exchange.

    Apart from `ThreadExchange`, so that an exchange and its driver are not a reference cycle.

    In the queue a `DataReceived` only stands for the next piece in `pieces`, so that a peer whose
    bytes nobody takes cannot fill memory with objects of one byte, or with 1xx heads.

    Attributes:
        queue: the events, in order.
        pieces: the body bytes that have come, in as few pieces as may be.
        lock: to be held by whoever changes the pieces.
        sleeper: what the thread waits in while it leads, and may not wait on the queue.
    """

    __slots__ = ("announce", "lock", "pieces", "queue", "sleeper", "started_at")

    def __init__(self) -> None:
        self.queue: queue.SimpleQueue[ExchangeEvent | Withdrawn] = queue.SimpleQueue()
        self.pieces: deque[bytes] = deque()
        self.lock = threading.Lock()
        self.sleeper: Sleeper | None = None
        self.started_at: float | None = None
        self.announce = False

    def put(self, event: ExchangeEvent | Withdrawn) -> None:
        """Adds an event, and wakes the thread. For any thread."""
        self.queue.put(event)
        sleeper = self.sleeper
        if sleeper is not None and sleeper.asleep:
            sleeper.wake()

    def __call__(self, event: ExchangeEvent) -> None:
        kind = type(event)
        if kind is DataReceived:
            with self.lock:
                if not joined(self.pieces, event.data):  # type: ignore[union-attr]  # see `kind`
                    self.put(_A_PIECE)
            return
        if kind is ResponseReceived:
            status = event.head.status  # type: ignore[union-attr]
            if status < 200 and status != 101:
                return  # a thread passes over these anyhow
        elif kind is Started:
            self.started_at = time.monotonic()
            if not self.announce:
                return
        elif kind is Requeued:
            self.started_at = None
            self.announce = True  # who waits for room to send waits for the next start, too
        self.put(event)


_A_PIECE = DataReceived(0, b"")


def guarded(
    event_queue: EventQueue, exchange: Exchange, function: Callable[..., object], *args: Any
) -> None:
    """Runs a step on the loop; an exception there would end the loop and all its connections."""
    try:
        function(*args)
    except RestsockError as exc:
        error: RestsockError = exc
    except Exception as exc:  # noqa: BLE001  # handed to the thread, and logged
        _log.exception("a step of an exchange failed")
        error = StreamReset(
            "an internal error of restsock; see the log", code=ResetCode.INTERNAL, by_peer=False
        )
        error.__cause__ = exc
    else:
        return
    event_queue.put(Failed(error))
    # What was left out cannot be made up for; the peer is not to wait for it. And a request that is
    # said not to have run must not run: nothing of it leaves.
    unsent = not exchange.inbound and error.may_have_run is False
    code = ResetCode.CANCEL if unsent else ResetCode.INTERNAL
    if function != exchange.reset:
        guarded(event_queue, exchange, exchange.reset, code, "a step failed")
