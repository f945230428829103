"""One exchange, driven by a thread that is not the loop's.

Rules:

- What the thread may do itself, it does: it sends and reads under the lock of its connection (the
  rules are in `restsock.connection._writer`). What it leaves to the loop goes through
  `run_sync_soon`, and what comes for it through a `queue.SimpleQueue`. There is no polling.
- Waking the other side is what costs. Steps that are queued together wake the loop once, if at all,
  credit goes back in batches (`_flow`), and an event that nobody waits for (`Started`,
  mostly) does not wake the thread.
- Nothing posted here can raise on the loop: an error becomes the exchange's `Failed`.
- One thread at a time. What another thread may do is `close`.

Calling side, in order: `open`, `send_data` ..., `send_end`, `receive_head`, `receive_data` ...,
`close`. Serving side: `accept` (on the loop), `receive_data` ..., `send_head`, `send_data` ...,
`send_end`, `close`.
"""

from __future__ import annotations

import os
import queue
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

import trio

from restsock._exceptions import RequestTimeout, RestsockError, StreamReset, fork_error
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
    from restsock._options import Limits
    from restsock.connection import Requester

__all__ = ["ThreadExchange"]

# A thread that waits without a time limit looks this often, in seconds, whether the loop still
# runs. Every orderly end of a loop fails its exchanges; this is for one that crashed, and for a
# Ctrl-C that comes in the instant before the wait, which Python notices behind it.
_LOOK_AFTER = 5.0

# How long a request whose connect time is over waits for the loop to say that it was not started.
_WITHDRAWAL = 1.0


class ThreadExchange:
    """A blocking driver of one `Exchange`. Made by `open` or `accept`.

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
    ) -> ThreadExchange:
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

    @classmethod
    def accept(
        cls, exchange: Exchange, *, token: trio.lowlevel.TrioToken, limits: Limits
    ) -> ThreadExchange:
        """Takes over an exchange that the peer has opened. Called on the loop, by a handler."""
        event_queue = EventQueue(token)
        exchange.observer = event_queue.put
        exchange.any_thread = True
        return cls(exchange, event_queue, limits)

    # --- receiving ----------------------------------------------------------------------------

    def wait_started(self, timeout: float | None) -> None:
        """Waits until the exchange has a stream. Needs `announce`.

        Args:
            timeout: seconds from `open`, or `None` to wait as long as it takes.

        Raises:
            RequestTimeout: it has none in time; phase "connect".
            RestsockError: what the exchange failed with.
        """
        self._connect = timeout
        called_at = time.monotonic()
        while self._event_queue.started_at is None:
            self._wait_for_head(called_at, timeout, None, None)

    def receive_head(
        self, connect: float | None, read: float | None, total: float | None = None
    ) -> ResponseHead:
        """Waits for the final response head; informational ones are passed over.

        Args:
            connect: seconds from `open` to the start of the exchange.
            read: seconds from the call, or from the start when that is later, to the head.
            total: seconds from `open` to the head.

        Raises:
            RequestTimeout: of phase "connect" or "head"; the stream is then to be closed.
            RestsockError: what the exchange failed with.
        """
        called_at = time.monotonic()
        while self.response is None:
            self._wait_for_head(called_at, connect, read, total)
        return self.response

    def receive_data(self, timeout: float | None = None) -> bytes:
        """Waits for body bytes and takes what came in one piece; `b""` at the end.

        Args:
            timeout: seconds without anything coming, or `None`.

        Raises:
            RequestTimeout: nothing came in time; phase "body". It may be called again.
            RestsockError: what the exchange failed with, once all that came before is taken.
        """
        while not self._inbound:
            if self.received:
                return b""
            self._raise_error()
            if not self.wait(timeout):
                raise RequestTimeout(f"no body bytes within {timeout} s", phase="body")
        data = self._inbound.popleft()
        self.unread -= len(data)
        # Credit for what is already complete would be a wake-up for nothing.
        if not self.received:
            self._flow.note_taken(len(data))
        return data

    def poll(self) -> None:
        """Takes in all events that have come, without waiting."""
        events = self._event_queue.queue
        if not events.empty():
            self._absorb(events.get_nowait())

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until something comes, and takes in all that has; the attributes tell what it was.

        Args:
            timeout: seconds, or `None`.

        Returns:
            Whether anything came in time.

        Raises:
            ConnectionClosed: the loop has ended without a word.
            RestsockError: this is another process than the one that opened the exchange.
        """
        event_queue = self._event_queue
        events = event_queue.queue
        if os.getpid() != event_queue.pid:
            raise fork_error("exchange", event_queue.pid)
        self._flow.flush()
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = _LOOK_AFTER if deadline is None else deadline - time.monotonic()
            seconds = max(0.0, min(left, _LOOK_AFTER))
            connection = self.exchange.connection
            try:
                led = (
                    connection is not None
                    and seconds > 0
                    and events.empty()
                    and connection.reader.read_until(event_queue, seconds)
                )
                self._absorb(events.get_nowait() if led else events.get(timeout=seconds))
                return True
            except queue.Empty:
                if left <= 0:
                    return False
                event_queue.check_loop()

    # --- sending ------------------------------------------------------------------------------

    @property
    def writable(self) -> bool:
        """Whether more can be sent without holding too much in memory."""
        return self._flow.outstanding <= self._flow.limit

    def send_head(self, head: ResponseHead, *, flush: bool = False) -> None:
        """Queues the response head; without `flush` it leaves with what is sent next.

        An error of the peer's or of the connection's shows when waiting, not here.
        """
        self._flow.add(0, self.exchange.send_head, head)
        if flush:
            self.flush()

    def send_data(self, data: bytes, *, flush: bool = True) -> None:
        """Queues body bytes. Does not wait: call `drain` behind it."""
        if self.stopped or not data:
            return
        self._flow.add(len(data), self.exchange.send_data, data)
        if flush and self._flow.short:
            self.flush()  # what is long leaves by `drain`, on this thread

    def send_end(self, trailers: Headers = ()) -> None:
        """Queues the end of this side's half, and flushes."""
        self._sent = True
        if not self.stopped:
            self._flow.add(0, self.exchange.send_end, trailers)
            self.flush()

    def respond(self, head: ResponseHead, body: bytes) -> None:
        """Queues a whole response, and flushes."""
        self._sent = True
        if not self.stopped:
            self._flow.add(len(body), self.exchange.respond, head, body)
            self._flow.flush()

    def flush(self, *, stays: bool = False) -> None:
        """Sends what is queued: on this thread, or by the loop if it is long.

        Args:
            stays: whether this thread sends also what is long, and stays until it has left.

        Raises:
            ConnectionClosed: the loop has ended.
        """
        self._flow.flush(stays=stays)

    def drain(self, timeout: float | None = None, *, unread: int | None = None) -> bool:
        """Waits until more can be sent.

        Args:
            timeout: seconds in which the peer takes nothing at all, or `None`.
            unread: give up once so many bytes wait unread: the peer may be waiting for us.

        Returns:
            Whether there is room now. `False` also once `stopped`.

        Raises:
            RequestTimeout: phase "write".
            RestsockError: what the exchange failed with.
        """
        connection = self.exchange.connection
        try:
            self.flush(stays=True)
            self._flow.blocked = True  # before the first look: from here on the pump reports room
            self.poll()
            before = self._flow.outstanding
            deadline = None if timeout is None else time.monotonic() + timeout
            while not self.stopped:
                self._raise_error()
                if self._requeued:
                    if connection is not None:
                        connection.writer.hand_over()  # others have left to this thread their own
                        connection = None
                    self.wait_started(self._connect)
                    self._requeued = False
                    return self.drain(timeout, unread=unread)
                now = self._flow.outstanding
                sends = (
                    connection is not None
                    and connection is self.exchange.connection
                    and connection.writer.sends_due
                )
                if now <= self._flow.limit and not sends:
                    connection = None  # nothing is left to hand over
                    return True
                if unread is not None and self.unread >= unread:
                    return False
                left = None if deadline is None else deadline - time.monotonic()
                if left is None or left > 0:
                    if sends and connection is not None:
                        seconds = _LOOK_AFTER if left is None else min(left, _LOOK_AFTER)
                        if connection.reader.read_until(self._event_queue, seconds, send=True):
                            self.poll()
                        else:  # another thread leads, or none can
                            connection.writer.hand_over()
                            connection = None
                        continue
                    if self.wait(left):
                        continue
                # A slow peer is not a silent one: whatever it took gives it the time again.
                if (now := self._flow.outstanding) >= before:
                    raise RequestTimeout(f"no body bytes taken within {timeout} s", phase="write")
                assert timeout is not None
                before, deadline = now, time.monotonic() + timeout
            return False
        finally:
            self._flow.blocked = False
            if connection is not None:
                connection.writer.hand_over()

    def wait_either(self, timeout: float | None) -> bool:
        """Like `wait`, and room to send counts as an event."""
        self._flow.blocked = True
        try:
            self.flush()
            return (not self.stopped and self.writable) or self.wait(timeout)
        finally:
            self._flow.blocked = False

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

    def _wait_for_head(
        self, called_at: float, connect: float | None, read: float | None, total: float | None
    ) -> None:
        """Waits for an event, or until another time counts; raises once the time is over."""
        self._raise_error()
        now = time.monotonic()
        started_at = self._event_queue.started_at
        ends = []
        if started_at is None and connect is not None:
            ends.append(self._opened_at + connect)
        if read is not None:
            # It may start at any moment, and the time to read begins to run then.
            ends.append(read + (now if started_at is None else max(started_at, called_at)))
        if total is not None:
            ends.append(self._opened_at + total)
        left = min(ends) - now if ends else None
        if left is None or left > 0:
            self.wait(left)
        elif started_at is None:
            self._withdraw(connect if connect is not None else total)
        else:
            raise RequestTimeout(
                f"no response head within {read if read is not None else total} s", phase="head"
            )

    def _withdraw(self, timeout: float | None) -> None:
        """Takes back a request that did not start in time; returns when it did after all."""
        event_queue = self._event_queue
        event_queue.post(withdraw, self.exchange, event_queue)
        deadline = time.monotonic() + _WITHDRAWAL
        while event_queue.started_at is None and self._withdrawn is None and self.error is None:
            try:
                left = max(0.0, deadline - time.monotonic())
                self._absorb(event_queue.queue.get(timeout=left))
            except queue.Empty:
                break  # the loop does not even answer, and may still start it
        if event_queue.started_at is not None:
            return
        answer = self._withdrawn
        self._closed = answer is not None
        self._raise_error()  # a requester that gave up at the same moment has more exact words
        if answer is not None and answer.why is not None:
            raise answer.why
        raise RequestTimeout(
            f"no connection with a free stream within {timeout} s",
            phase="connect",
            may_have_run=answer is None,
        )

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
