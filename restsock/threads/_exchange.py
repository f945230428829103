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
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import trio

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

from ._event_queue import EventQueue, Withdrawn, guarded
from ._flow import ThreadCredit, ThreadSender
from ._loop_access import LoopAccess, check_thread
from ._withdrawal import withdraw

if TYPE_CHECKING:
    from restsock._options import Limits
    from restsock.connection import Requester

__all__ = ["ThreadExchange"]

# A thread that waits without a time limit looks this often, in seconds, whether the loop still
# runs. Every orderly end of a loop fails its exchanges; this is for one that crashed, and for a
# Ctrl-C that comes in the instant before the wait, which Python notices behind it.
_LOOK_AFTER = 5.0


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
        "_credit",
        "_event_queue",
        "_inbound",
        "_loop",
        "_opened_at",
        "_requeued",
        "_sender",
        "_sent",
        "error",
        "exchange",
        "received",
        "response",
        "stopped",
        "trailers",
        "unread",
    )

    def __init__(
        self,
        exchange: Exchange,
        event_queue: EventQueue,
        token: trio.lowlevel.TrioToken,
        limits: Limits,
    ) -> None:
        self.exchange = exchange
        self.response: ResponseHead | None = None
        self.unread = 0
        self.received = False
        self.trailers: Headers = ()
        self.stopped = False
        self.error: RestsockError | None = None
        self._event_queue = event_queue
        loop = self._loop = LoopAccess(token, event_queue)
        self._sender = ThreadSender(exchange, event_queue, loop, limits.send_buffer)
        self._credit = ThreadCredit(exchange, event_queue, loop, max(1, limits.initial_window // 4))
        self._opened_at = 0.0
        self._connect: float | None = None  # as it was told to `wait_started`
        self._closed = False
        self._sent = False  # this side's half is complete
        self._inbound: deque[bytes] = deque()
        self._requeued = False  # without a stream again, after it had one

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
        event_queue = EventQueue()
        event_queue.announce = announce
        exchange = Exchange(request, event_queue, body=body, end=end)
        exchange.any_thread = True
        exchange.resubmit = requester.submit
        self = cls(exchange, event_queue, requester.token, requester.limits)
        # The request half of an upgrade stays open: it is the way for the raw bytes.
        self._sent = end and request.upgrade is None
        self._opened_at = time.monotonic()
        connection = requester.pick()
        if connection is not None:
            self._loop.pid = connection.pid
            self._loop.check_process()
        if connection is None or not connection.exchange_table.start_here(
            exchange, partial(guarded, event_queue, exchange)
        ):
            self._loop.post(guarded, event_queue, exchange, requester.submit, exchange)
        return self

    @classmethod
    def accept(
        cls, exchange: Exchange, *, token: trio.lowlevel.TrioToken, limits: Limits
    ) -> ThreadExchange:
        """Takes over an exchange that the peer has opened. Called on the loop, by a handler."""
        event_queue = EventQueue()
        exchange.observer = event_queue
        exchange.any_thread = True
        return cls(exchange, event_queue, token, limits)

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
        self._wait_for_head(timeout, None, None, lambda: self._event_queue.started_at is not None)

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
        self._wait_for_head(connect, read, total, lambda: self.response is not None)
        assert self.response is not None
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
            self._credit.note_taken(len(data))
        return data

    def poll(self) -> None:
        """Takes in all events that have come, without waiting."""
        events = self._event_queue.queue
        while not events.empty():
            self._absorb(events.get_nowait())

    def wait(self, timeout: float | None = None) -> bool:
        """Waits for one event and takes it in; the attributes tell what it changed.

        Args:
            timeout: seconds, or `None`.

        Returns:
            Whether one came in time.

        Raises:
            ConnectionClosed: the loop has ended without a word.
            RestsockError: this is another process than the one that opened the exchange.
        """
        self._loop.check_process()
        self.flush()
        deadline = None if timeout is None else time.monotonic() + timeout
        events = self._event_queue.queue
        slice_: float = _LOOK_AFTER if timeout is None else timeout
        while True:
            seconds = max(0.0, min(slice_, _LOOK_AFTER))
            try:
                event = events.get_nowait() if self._lead(seconds) else events.get(timeout=seconds)
                break
            except queue.Empty:
                if deadline is not None:
                    slice_ = deadline - time.monotonic()
                    if slice_ <= 0:
                        return False
                self._loop.post(_nothing)
        self._absorb(event)
        return True

    def _lead(self, seconds: float, *, send: bool = False) -> bool:
        """Has this thread lead for a while; tells whether it did, and there may be an event."""
        connection = self.exchange.connection
        event_queue = self._event_queue
        return (
            connection is not None
            and seconds > 0
            and event_queue.queue.empty()
            and connection.reader.read_until(event_queue, min(seconds, _LOOK_AFTER), send=send)
        )

    # --- sending ------------------------------------------------------------------------------

    @property
    def writable(self) -> bool:
        """Whether more can be sent without holding too much in memory."""
        return self._sender.outstanding <= self._sender.limit

    def send_head(self, head: ResponseHead, *, flush: bool = False) -> None:
        """Queues the response head; without `flush` it leaves with what is sent next.

        An error of the peer's or of the connection's shows when waiting, not here.
        """
        self._sender.step(self.exchange.send_head, head)
        if flush:
            self.flush()

    def send_data(self, data: bytes, *, flush: bool = True) -> None:
        """Queues body bytes. Does not wait: call `drain` behind it."""
        if self.stopped or not data:
            return
        self._sender.send_data(data)
        if flush and self._sender.short:
            self.flush()  # what is long leaves by `drain`, on this thread

    def send_end(self, trailers: Headers = ()) -> None:
        """Queues the end of this side's half, and flushes."""
        self._sent = True
        if not self.stopped:
            self._sender.step(self.exchange.send_end, trailers)
            self.flush()

    def flush(self, *, stays: bool = False) -> None:
        """Sends what is queued: on this thread, or by the loop if it is long.

        Args:
            stays: whether this thread sends also what is long, and stays until it has left.

        Raises:
            ConnectionClosed: the loop has ended.
        """
        self._sender.flush(stays=stays)

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
            self._sender.blocked = True  # before the first look: from here on the pump reports room
            self.poll()
            before = self._sender.outstanding
            deadline = None if timeout is None else time.monotonic() + timeout
            while not self.stopped:
                self._raise_error()
                if self._requeued:
                    if connection is not None:
                        connection.writer.hand_over()  # others have left to this thread their own
                        connection = None
                    self.wait_started(self._connect)
                    self._requeued = False
                    before = self._sender.outstanding
                    deadline = None if timeout is None else time.monotonic() + timeout
                now = self._sender.outstanding
                sends = (
                    connection is not None
                    and connection is self.exchange.connection
                    and connection.writer.sends_due
                )
                if now <= self._sender.limit and not sends:
                    connection = None  # nothing is left to hand over
                    return True
                if unread is not None and self.unread >= unread:
                    return False
                left = None if deadline is None else deadline - time.monotonic()
                if left is None or left > 0:
                    if sends and self._lead(_LOOK_AFTER if left is None else left, send=True):
                        self.poll()
                        continue
                    if sends and connection is not None:  # another thread leads, or none can
                        connection.writer.hand_over()
                        connection = None
                        continue
                    if self.wait(left):
                        continue
                # A slow peer is not a silent one: whatever it took gives it the time again.
                if (now := self._sender.outstanding) >= before:
                    raise RequestTimeout(f"no body bytes taken within {timeout} s", phase="write")
                assert timeout is not None
                before, deadline = now, time.monotonic() + timeout
            return False
        finally:
            self._sender.blocked = False
            if connection is not None:
                connection.writer.hand_over()

    def wait_either(self, timeout: float | None) -> bool:
        """Like `wait`, and room to send counts as an event."""
        self._sender.blocked = True
        try:
            self.flush()
            return (not self.stopped and self.writable) or self.wait(timeout)
        finally:
            self._sender.blocked = False

    # --- ending -------------------------------------------------------------------------------

    def release(self) -> None:
        """Forgets the rest of the peer's half: all that matters of it has come.

        With this side's half complete too, the stream ends by itself; else it is reset.
        """
        self.received = True
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
        if complete or self.error is not None or os.getpid() != self._loop.pid:
            return
        # Another thread may be waiting in here; a reset from this side brings no event.
        self._event_queue.put(Failed(StreamReset("closed here", code=code, by_peer=False)))
        try:
            self._loop.post(
                guarded, self._event_queue, self.exchange, self.exchange.reset, code, reason
            )
        except RestsockError:
            pass  # the loop has ended, and with it the stream

    # --- inside -------------------------------------------------------------------------------

    def _wait_for_head(
        self,
        connect: float | None,
        read: float | None,
        total: float | None,
        done: Callable[[], bool],
    ) -> None:
        called_at = time.monotonic()
        while not done():
            self._raise_error()
            now = time.monotonic()
            started_at = self._event_queue.started_at
            limits = []
            if started_at is None:
                if connect is not None:
                    limits.append(self._opened_at + connect - now)
                # It may start at any moment, and the time to read begins to run then.
                if read is not None:
                    limits.append(read)
            elif read is not None:
                limits.append(max(started_at, called_at) + read - now)
            if total is not None:
                limits.append(self._opened_at + total - now)
            left = min(limits) if limits else None
            if left is None or left > 0:
                self.wait(left)
                continue  # behind an event, or to look again at which time counts
            if self._event_queue.started_at is not None:
                raise RequestTimeout(
                    f"no response head within {read if read is not None else total} s", phase="head"
                )
            self._withdraw(connect if connect is not None else total)

    def _withdraw(self, timeout: float | None) -> None:
        """Takes back a request that did not start in time; returns when it did after all."""
        answer = withdraw(self.exchange, self._event_queue, self._loop, self._absorb)
        if self._event_queue.started_at is not None:
            return
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
        if type(event) is DataReceived:
            with self._event_queue.lock:
                data = self._event_queue.pieces.popleft()
            joined(self._inbound, data)
            self.unread += len(data)
        elif isinstance(event, ResponseReceived):
            self.response = event.head
        elif isinstance(event, EndReceived):
            self.trailers = event.trailers
            self.received = True
        elif isinstance(event, Failed):
            self.error = event.error
        elif isinstance(event, StopSending):
            self.stopped = True
        elif isinstance(event, Requeued):
            self._requeued = True

    def _raise_error(self) -> None:
        if self.error is not None:
            raise self.error.with_traceback(None)


def _nothing() -> None:
    """Posted to learn whether the loop still runs."""
