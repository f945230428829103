"""One exchange, driven from outside its loop: everything except the waiting.

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

# A wait without a time limit checks this often, in seconds, whether the loop still runs. A loop
# that ends normally fails its exchanges; this is for a loop that has crashed, and for a Ctrl-C
# right before a thread waits, which Python handles only after the wait.
LOOK_AFTER = 5.0

# How long a request after its connect timeout waits for the loop to confirm that it did not start.
WITHDRAWAL = 1.0


class ExchangeDriver:
    """Drives one `Exchange` from outside its loop. Nothing here waits. Made by `open`.

    Attributes:
        exchange: The exchange.
        inbox: The events of the exchange.
    """

    __slots__ = ("_closed", "_connect", "_flow", "_opened_at", "_sent", "exchange", "inbox")

    def __init__(self, exchange: Exchange, inbox: ThreadInbox, limits: Limits) -> None:
        self.exchange = exchange
        self.inbox = inbox
        self._flow = ThreadFlow(exchange, inbox, limits)
        self._opened_at = 0.0
        self._connect: float | None = None  # the argument of `wait_started`
        self._closed = False
        self._sent = False  # whether this side's half is complete

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
            requester: Sends the request.
            request: The head of the request.
            body: The first bytes of its body.
            end: Whether they are the whole body.
            announce: Whether `wait_started` will be called.

        Raises:
            RestsockError: This is the loop's own thread, which would deadlock.
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
        # The request half of an upgrade stays open, for the raw bytes.
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
        """Takes the body bytes that have arrived; `b""` at the end, `None` if there are none now.

        Raises:
            RestsockError: The exchange has failed. Bytes that arrived before are returned first.
        """
        data = self.inbox.take()
        # If everything has arrived, returning credit would be a useless wake-up.
        if data and not self.inbox.received:
            self._flow.note_taken(len(data))
        return data

    @property
    def writable(self) -> bool:
        """Whether the send buffer has room."""
        return self._flow.outstanding <= self._flow.limit

    def send_end(self, trailers: Headers = ()) -> None:
        """Queues the end of this side's half, and flushes."""
        self._sent = True
        if not self.inbox.stopped:
            self._flow.add(0, self.exchange.send_end, trailers)
            self.flush()

    def flush(self, *, stays: bool = False) -> None:
        """Sends what is queued: on this thread, or on the loop if it is long.

        Args:
            stays: Whether this thread also sends long data itself, until all is sent.

        Raises:
            ConnectionClosed: The loop has ended.
        """
        self._flow.flush(stays=stays)

    # --- ending -------------------------------------------------------------------------------

    def release(self) -> None:
        """Ignores the rest of the peer's half: everything of interest has arrived.

        If this side's half is complete, too, the stream ends normally; otherwise it is reset.
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
        # Another thread may be waiting; a reset from this side causes no event.
        inbox(Failed(StreamReset("closed here", code=code, by_peer=False)))
        try:
            inbox.post(guarded, inbox, self.exchange, self.exchange.reset, code, reason)
        except RestsockError:
            pass  # the loop has ended, and so has the stream

    # --- inside -------------------------------------------------------------------------------

    def _ask_back(self) -> None:
        """Asks the loop to withdraw the request, unless it has started by then."""
        self.inbox.post(withdraw, self.exchange, self.inbox)

    @property
    def _asked_back(self) -> bool:
        """Whether the loop has not answered that yet."""
        inbox = self.inbox
        return inbox.started_at is None and not inbox.withdrawn and inbox.error is None

    def _taken_back(self, message: str) -> None:
        """Raises why the request did not start; returns when it did after all."""
        inbox = self.inbox
        if inbox.started_at is not None:
            return
        self._closed = inbox.withdrawn
        inbox.check()  # a requester that gave up at the same time has a more exact error
        if inbox.why is not None:
            raise inbox.why
        raise RequestTimeout(message, phase="connect", may_have_run=not inbox.withdrawn)
