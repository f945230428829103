"""One exchange, driven from outside of its loop: all of that but the waiting.

`ThreadExchange` waits as a thread does, `LoopExchange` as a task of another loop.
"""

from __future__ import annotations

import os
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from restsock._exceptions import RequestTimeout, RestsockError, StreamReset
from restsock.connection import Exchange, ExchangeEvent, Failed, Requeued, joined, with_fields
from restsock.protocol import (
    DataReceived,
    EndReceived,
    Headers,
    RequestHead,
    ResetCode,
    ResponseHead,
    ResponseReceived,
    StopSending,
)

from ._event_queue import EventQueue, Withdrawn, check_thread, guarded, withdraw
from ._flow import ThreadFlow

if TYPE_CHECKING:
    from typing_extensions import Self

    from restsock._options import Limits
    from restsock.connection import Requester

__all__ = ["LOOK_AFTER", "WITHDRAWAL", "ExchangeDriver"]

# Who waits without a time limit looks this often, in seconds, whether the loop still runs. Every
# orderly end of a loop fails its exchanges; this is for one that crashed, and for a Ctrl-C that
# comes in the instant before the wait of a thread, which Python notices after it.
LOOK_AFTER = 5.0

# How long a request whose connect time is over waits for the loop to say that it was not started.
WITHDRAWAL = 1.0


class ExchangeDriver:
    """Drives one `Exchange` from outside of its loop. Nothing here waits. Made by `open`.

    Attributes:
        exchange: what is driven.
        response: the final response head (or a 101), once it has come; `None` before.
        unread: body bytes that have come and were not taken yet.
        received: whether the peer's half is complete (`unread` bytes may still wait).
        trailers: the peer's trailers, once `received`.
        stopped: whether the peer wants no more of the body that this side sends.
        error: why the exchange has failed, if it has.
    """

    __slots__ = (
        "_closed",
        "_connect",
        "_event_queue",
        "_flow",
        "_inbound",
        "_opened_at",
        "_requeued",
        "_sent",
        "_withdrawn",
        "error",
        "exchange",
        "received",
        "response",
        "stopped",
        "trailers",
        "unread",
    )

    def __init__(self, exchange: Exchange, event_queue: EventQueue, limits: Limits) -> None:
        self.exchange = exchange
        self.response: ResponseHead | None = None
        self.unread = 0
        self.received = False
        self.trailers: Headers = ()
        self.stopped = False
        self.error: RestsockError | None = None
        self._event_queue = event_queue
        self._flow = ThreadFlow(exchange, event_queue, limits)
        self._opened_at = 0.0
        self._connect: float | None = None  # as it was told to `wait_started`
        self._closed = False
        self._sent = False  # this side's half is complete
        self._inbound: deque[bytes] = deque()
        self._requeued = False  # without a stream again, after it had one
        self._withdrawn: Withdrawn | None = None

    # --- making one ---------------------------------------------------------------------------

    @classmethod
    def open(
        cls,
        requester: Requester,
        request: RequestHead,
        *,
        body: bytes = b"",
        end: bool = True,
        announce: bool = False,
    ) -> Self:
        """Sends a request, from the calling thread. Does not wait.

        Args:
            requester: what carries it.
            request: its head.
            body: the first bytes of its body.
            end: whether they are all of it.
            announce: whether `wait_started` will be called.

        Raises:
            RestsockError: this is the loop's own thread, which would wait for itself.
            ConnectionClosed: the loop has ended. Nothing was sent.
        """
        check_thread(requester.token)
        if requester.instrument is not None:
            request = with_fields(requester.instrument, request)
        event_queue = EventQueue(requester.token)
        event_queue.announce = announce
        exchange = Exchange(request, event_queue.put, body=body, end=end)
        exchange.any_thread = True
        exchange.resubmit = requester.submit
        self = cls(exchange, event_queue, requester.options.limits)
        # The request half of an upgrade stays open: it is the way for the raw bytes.
        self._sent = end and request.upgrade is None
        self._opened_at = time.monotonic()
        guard = partial(guarded, event_queue, exchange)
        connection = requester.pick()
        if connection is not None:
            event_queue.pid = connection.pid
        if connection is None or not connection.exchange_table.start_here(exchange, guard):
            event_queue.post(guard, requester.submit, exchange)
        return self

    # --- receiving and sending ----------------------------------------------------------------

    def poll(self) -> None:
        """Takes in all events that have come, without waiting."""
        events = self._event_queue.queue
        if not events.empty():
            self._absorb(events.get_nowait())

    @property
    def writable(self) -> bool:
        """Whether more can be sent without holding too much in memory."""
        return self._flow.outstanding <= self._flow.limit

    def send_end(self, trailers: Headers = ()) -> None:
        """Queues the end of this side's half, and flushes."""
        self._sent = True
        if not self.stopped:
            self._flow.add(0, self.exchange.send_end, trailers)
            self.flush()

    def flush(self, *, stays: bool = False) -> None:
        """Sends what is queued: on this thread, or by the loop if it is long.

        Args:
            stays: whether this thread sends also what is long, and stays until it has left.

        Raises:
            ConnectionClosed: the loop has ended.
        """
        self._flow.flush(stays=stays)

    # --- ending -------------------------------------------------------------------------------

    def release(self) -> None:
        """Forgets the rest of the peer's half: all that matters of it has come.

        With this side's half complete too, the stream ends by itself; else it is reset.
        """
        self.received = True
        self._flow.leave()
        self.close()

    def close(self, code: ResetCode = ResetCode.CANCEL, reason: str = "") -> None:
        """Ends the exchange; resets its stream unless both halves are complete. Never raises.

        May be called twice, from any thread, from a finalizer, and after the loop has ended.
        """
        if self._closed:
            return
        self._closed = True
        complete = self.received and (self._sent or self.stopped)
        # After a fork the loop's lock may be held by a thread that does not exist here.
        if complete or self.error is not None or os.getpid() != self._event_queue.pid:
            return
        # Another thread may be waiting in here; a reset from this side brings no event.
        event_queue = self._event_queue
        event_queue.put(Failed(StreamReset("closed here", code=code, by_peer=False)))
        try:
            event_queue.post(guarded, event_queue, self.exchange, self.exchange.reset, code, reason)
        except RestsockError:
            pass  # the loop has ended, and with it the stream

    # --- inside -------------------------------------------------------------------------------

    def _ask_back(self) -> None:
        """Has the loop take the request back, unless it has started by then."""
        self._event_queue.post(withdraw, self.exchange, self._event_queue)

    @property
    def _asked_back(self) -> bool:
        """Whether the answer to that is still to come."""
        started = self._event_queue.started_at is not None
        return not started and self._withdrawn is None and self.error is None

    def _taken_back(self, message: str) -> None:
        """Raises why the request did not start; returns when it did after all."""
        if self._event_queue.started_at is not None:
            return
        answer = self._withdrawn
        self._closed = answer is not None
        self._raise_error()  # a requester that gave up at the same moment has more exact words
        if answer is not None and answer.why is not None:
            raise answer.why
        raise RequestTimeout(message, phase="connect", may_have_run=answer is None)

    def _absorb(self, event: ExchangeEvent | Withdrawn) -> None:
        """Takes in an event, and all that have come after it."""
        events = self._event_queue.queue
        while True:
            if isinstance(event, DataReceived):
                with self._event_queue.lock:
                    data = self._event_queue.pieces.popleft()
                joined(self._inbound, data)
                self.unread += len(data)
            elif isinstance(event, EndReceived):
                self.trailers = event.trailers
                self.received = True
            elif isinstance(event, ResponseReceived):
                self.response = event.head
            elif isinstance(event, Failed):
                self.error = event.error
            elif isinstance(event, StopSending):
                self.stopped = True
            elif isinstance(event, Requeued):
                self._requeued = True
            elif isinstance(event, Withdrawn):
                self._withdrawn = event
            if events.empty():
                return
            event = events.get_nowait()

    def _raise_error(self) -> None:
        if self.error is not None:
            raise self.error.with_traceback(None)
