"""One exchange, driven from outside of its loop: all of that but the waiting.

`ThreadExchange` waits as a thread does, `LoopExchange` as a task of another loop.
"""

from __future__ import annotations

import os
import time
from functools import partial
from typing import TYPE_CHECKING

from restsock._exceptions import RequestTimeout, RestsockError, StreamReset
from restsock.connection import Exchange, Failed, with_fields
from restsock.protocol import Headers, RequestHead, ResetCode

from ._flow import ThreadFlow
from ._inbox import ThreadInbox, check_thread, guarded, withdraw

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
        exchange: What is driven.
        inbox: What has come on it.
    """

    __slots__ = ("_closed", "_connect", "_flow", "_opened_at", "_sent", "exchange", "inbox")

    def __init__(self, exchange: Exchange, inbox: ThreadInbox, limits: Limits) -> None:
        self.exchange = exchange
        self.inbox = inbox
        self._flow = ThreadFlow(exchange, inbox, limits)
        self._opened_at = 0.0
        self._connect: float | None = None  # as it was told to `wait_started`
        self._closed = False
        self._sent = False  # this side's half is complete

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
            requester: What carries it.
            request: Its head.
            body: The first bytes of its body.
            end: Whether they are all of it.
            announce: Whether `wait_started` will be called.

        Raises:
            RestsockError: This is the loop's own thread, which would wait for itself.
            ConnectionClosed: The loop has ended. Nothing was sent.
        """
        check_thread(requester.token)
        if requester.instrument is not None:
            request = with_fields(requester.instrument, request)
        inbox = ThreadInbox(requester.token)
        inbox.announce = announce
        exchange = Exchange(request, inbox, body=body, end=end)
        exchange.any_thread = True
        exchange.resubmit = requester.submit
        self = cls(exchange, inbox, requester.options.limits)
        # The request half of an upgrade stays open: it is the way for the raw bytes.
        self._sent = end and request.upgrade is None
        self._opened_at = time.monotonic()
        guard = partial(guarded, inbox, exchange)
        connection = requester.pick()
        if connection is not None:
            inbox.pid = connection.pid
        if connection is None or not connection.exchange_table.start_here(exchange, guard):
            inbox.post(guard, requester.submit, exchange)
        return self

    # --- receiving and sending ----------------------------------------------------------------

    def receive_nowait(self) -> bytes | None:
        """Takes body bytes that are there; `b""` at the end, `None` when there are none now.

        Raises:
            RestsockError: What the exchange failed with, after what had come before.
        """
        data = self.inbox.take()
        # Credit for what is already complete would be a wake-up for nothing.
        if data and not self.inbox.received:
            self._flow.note_taken(len(data))
        return data

    @property
    def writable(self) -> bool:
        """Whether more can be sent without holding too much in memory."""
        return self._flow.outstanding <= self._flow.limit

    def send_end(self, trailers: Headers = ()) -> None:
        """Queues the end of this side's half, and flushes."""
        self._sent = True
        if not self.inbox.stopped:
            self._flow.add(0, self.exchange.send_end, trailers)
            self.flush()

    def flush(self, *, stays: bool = False) -> None:
        """Sends what is queued: on this thread, or by the loop if it is long.

        Args:
            stays: Whether this thread sends also what is long, and stays until it has left.

        Raises:
            ConnectionClosed: The loop has ended.
        """
        self._flow.flush(stays=stays)

    # --- ending -------------------------------------------------------------------------------

    def release(self) -> None:
        """Forgets the rest of the peer's half: all that matters of it has come.

        With this side's half complete too, the stream ends by itself; else it is reset.
        """
        self.inbox.received = True
        if self.inbox.more:
            self._flow.leave()
        self.close()

    def close(self, code: ResetCode = ResetCode.CANCEL, reason: str = "") -> None:
        """Ends the exchange; resets its stream unless both halves are complete. Never raises.

        May be called twice, from any thread, from a finalizer, and after the loop has ended.
        """
        if self._closed:
            return
        self._closed = True
        inbox = self.inbox
        complete = inbox.received and (self._sent or inbox.stopped)
        # After a fork the loop's lock may be held by a thread that does not exist here.
        if complete or inbox.error is not None or os.getpid() != inbox.pid:
            return
        # Another thread may be waiting in here; a reset from this side brings no event.
        inbox(Failed(StreamReset("closed here", code=code, by_peer=False)))
        try:
            inbox.post(guarded, inbox, self.exchange, self.exchange.reset, code, reason)
        except RestsockError:
            pass  # the loop has ended, and with it the stream

    # --- inside -------------------------------------------------------------------------------

    def _ask_back(self) -> None:
        """Has the loop take the request back, unless it has started by then."""
        self.inbox.post(withdraw, self.exchange, self.inbox)

    @property
    def _asked_back(self) -> bool:
        """Whether the answer to that is still to come."""
        inbox = self.inbox
        return inbox.started_at is None and not inbox.withdrawn and inbox.error is None

    def _taken_back(self, message: str) -> None:
        """Raises why the request did not start; returns when it did after all."""
        inbox = self.inbox
        if inbox.started_at is not None:
            return
        self._closed = inbox.withdrawn
        inbox.check()  # a requester that gave up at the same moment has more exact words
        if inbox.why is not None:
            raise inbox.why
        raise RequestTimeout(message, phase="connect", may_have_run=not inbox.withdrawn)
