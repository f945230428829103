"""Between a thread and the loop of its exchange: events for the one, calls left to the other."""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import trio

from restsock._exceptions import ConnectionClosed, RestsockError, StreamReset, fork_error
from restsock.connection import Exchange, ExchangeEvent, Failed, Requeued, Started, Wakeable, joined
from restsock.protocol import DataReceived, EndReceived, ResetCode, ResponseReceived

__all__ = ["EventQueue", "Withdrawn", "check_thread", "guarded", "withdraw"]

_log = logging.getLogger("restsock.connection")


class Withdrawn:
    """The loop's answer to a wish to withdraw: the exchange had not started, and will not."""

    __slots__ = ("why",)

    def __init__(self, why: RestsockError | None) -> None:
        self.why = why  # what the exchange was waiting for


# From this size on, in bytes, a piece says that more will follow soon.
_LARGE = 16 * 1024


class EventQueue:
    """The events that wait for a thread, and its way to the loop. `put` observes its exchange.

    Apart from `ThreadExchange`, so that an exchange and its driver are not a reference cycle.

    In the queue a `DataReceived` only stands for the next piece in `pieces`, so that a peer whose
    bytes are not taken cannot fill memory with objects of one byte, or with 1xx heads.

    Attributes:
        token: of the loop.
        pid: the process that both belong to.
        queue: the events, in order.
        pieces: the body bytes that have come, in as few pieces as may be.
        lock: to be held to change the pieces.
        sleeper: what is waited in by who does not wait on the queue: a thread that leads, or the
            tasks of another loop.
        started_at: when the exchange got its stream, by `time.monotonic`; `None` without one.
        announce: whether the thread waits for that.
        more: whether a long body is on its way: what came last was a large piece of it.
    """

    __slots__ = (
        "announce",
        "lock",
        "more",
        "pid",
        "pieces",
        "queue",
        "sleeper",
        "started_at",
        "token",
    )

    def __init__(self, token: trio.lowlevel.TrioToken) -> None:
        self.token = token
        self.pid = os.getpid()
        self.queue: queue.SimpleQueue[ExchangeEvent | Withdrawn] = queue.SimpleQueue()
        self.pieces: deque[bytes] = deque()
        self.lock = threading.Lock()
        self.sleeper: Wakeable | None = None
        self.started_at: float | None = None
        self.announce = False
        self.more = False

    def put(self, event: ExchangeEvent | Withdrawn) -> None:
        """Adds an event that the thread is to know of, and wakes it. For any thread."""
        kind = type(event)
        if kind is DataReceived:
            self.more = len(event.data) >= _LARGE  # type: ignore[union-attr]  # see `kind`
            with self.lock:
                if joined(self.pieces, event.data):  # type: ignore[union-attr]  # see `kind`
                    return
            event = _A_PIECE
        elif kind is ResponseReceived:
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
        elif kind is EndReceived or kind is Failed:
            self.more = False
        self.queue.put(event)
        sleeper = self.sleeper
        if sleeper is not None and sleeper.asleep:
            sleeper.wake()

    def post(self, function: Callable[..., object], *args: Any) -> None:
        """Has the loop call a function, soon.

        Raises:
            ConnectionClosed: the loop has ended.
            RestsockError: this is a fork of the process.
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


def withdraw(exchange: Exchange, event_queue: EventQueue) -> None:
    """Takes a request back unless it has started, and tells the thread. On the loop."""
    if event_queue.started_at is None:
        why = None if exchange.explain is None else exchange.explain()
        guarded(event_queue, exchange, exchange.reset, ResetCode.CANCEL, "not started in time")
        event_queue.put(Withdrawn(why))


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
