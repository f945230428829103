"""One exchange, driven by a thread that is not the loop's.

Rules:

- What the thread may do itself, it does: it sends and reads under the lock of its connection (the
  rules are in `restsock.connection._writer`). What it leaves to the loop goes through
  `run_sync_soon`, and what comes for it through a `queue.SimpleQueue`. There is no polling.
- Waking the other side is what costs. Steps that are queued together wake the loop once, if at all,
  credit goes back in batches (`_flow`), and an event that is not waited for (`Started`,
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
from typing import TYPE_CHECKING

import trio

from restsock._exceptions import RequestTimeout, fork_error
from restsock.connection import Exchange
from restsock.protocol import ResponseHead

from ._driver import LOOK_AFTER, WITHDRAWAL, ExchangeDriver
from ._inbox import ThreadInbox

if TYPE_CHECKING:
    from restsock._options import Limits

__all__ = ["ThreadExchange"]


class ThreadExchange(ExchangeDriver):
    """A blocking driver of one `Exchange`. Made by `open` or `accept`."""

    __slots__ = ()

    # --- making one ---------------------------------------------------------------------------

    @classmethod
    def accept(
        cls, exchange: Exchange, *, token: trio.lowlevel.TrioToken, limits: Limits
    ) -> ThreadExchange:
        """Takes over an exchange that the peer has opened. Called on the loop, by a handler."""
        inbox = ThreadInbox(token)
        exchange.observer = inbox
        exchange.any_thread = True
        return cls(exchange, inbox, limits)

    # --- receiving ----------------------------------------------------------------------------

    def wait_started(self, timeout: float | None) -> None:
        """Waits until the exchange has a stream. Needs `announce`.

        Args:
            timeout: Seconds from `open`, or `None` to wait as long as it takes.

        Raises:
            RequestTimeout: It has none in time; phase "connect".
            RestsockError: What the exchange failed with.
        """
        self._connect = timeout
        called_at = time.monotonic()
        inbox = self.inbox
        while inbox.started_at is None:
            inbox.check()
            self._wait_for_head(called_at, timeout, None, None)

    def receive_head(
        self, connect: float | None, read: float | None, total: float | None = None
    ) -> ResponseHead:
        """Waits for the final response head; informational ones are passed over.

        Args:
            connect: Seconds from `open` to the start of the exchange.
            read: Seconds from the call, or from the start when that is later, to the head.
            total: Seconds from `open` to the head.

        Raises:
            RequestTimeout: Of phase "connect" or "head"; the stream is then to be closed.
            RestsockError: What the exchange failed with.
        """
        called_at = time.monotonic()
        inbox = self.inbox
        while inbox.response is None and inbox.error is None:
            self._wait_for_head(called_at, connect, read, total)
        return inbox.head()

    def receive_data(self, timeout: float | None = None) -> bytes:
        """Waits for body bytes and takes what came in one piece; `b""` at the end.

        Args:
            timeout: Seconds without anything coming, or `None`.

        Raises:
            RequestTimeout: Nothing came in time; phase "body". It may be called again.
            RestsockError: What the exchange failed with, once all that came before is taken.
        """
        while (data := self.receive_nowait()) is None:
            if not self.wait(timeout):
                raise RequestTimeout(f"no body bytes within {timeout} s", phase="body")
        return data

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until something has come since the last wait; `inbox` tells what it was.

        Args:
            timeout: Seconds, or `None`.

        Returns:
            Whether something came in time.

        Raises:
            ConnectionClosed: The loop has ended without a word.
            RestsockError: This is another process than the one that opened the exchange.
        """
        inbox = self.inbox
        events = inbox.queue
        if os.getpid() != inbox.pid:
            raise fork_error("exchange", inbox.pid)
        if self._flow.steps:
            self._flow.flush()
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = LOOK_AFTER if deadline is None else deadline - time.monotonic()
            seconds = max(0.0, min(left, LOOK_AFTER))
            connection = self.exchange.connection
            try:
                led = (
                    connection is not None
                    and seconds > 0
                    and events.empty()
                    and connection.reader.read_until(inbox, seconds)
                )
                if led:
                    events.get_nowait()
                else:
                    events.get(timeout=seconds)
                return True
            except queue.Empty:
                if left <= 0:
                    return False
                inbox.check_loop()

    # --- sending ------------------------------------------------------------------------------

    def send_head(self, head: ResponseHead, *, flush: bool = False) -> None:
        """Queues the response head; without `flush` it leaves with what is sent next.

        An error of the peer's or of the connection's shows when waiting, not here.
        """
        self._flow.add(0, self.exchange.send_head, head)
        if flush:
            self.flush()

    def send_data(self, data: bytes, *, flush: bool = True) -> None:
        """Queues body bytes. Does not wait: call `drain` after it."""
        if self.inbox.stopped or not data:
            return
        self._flow.add(len(data), self.exchange.send_data, data)
        if flush and self._flow.short:
            self.flush()  # what is long leaves by `drain`, on this thread

    def respond(self, head: ResponseHead, body: bytes) -> None:
        """Queues a whole response, and flushes."""
        self._sent = True
        if not self.inbox.stopped:
            self._flow.add(len(body), self.exchange.respond, head, body)
            self._flow.flush()

    def drain(self, timeout: float | None = None, *, unread: int | None = None) -> bool:
        """Waits until more can be sent.

        Args:
            timeout: Seconds in which the peer takes nothing at all, or `None`.
            unread: Give up once so many bytes wait unread: the peer may be waiting for us.

        Returns:
            Whether there is room now. `False` also once `stopped`.

        Raises:
            RequestTimeout: Phase "write".
            RestsockError: What the exchange failed with.
        """
        inbox = self.inbox
        connection = self.exchange.connection
        try:
            self.flush(stays=True)
            self._flow.blocked = True  # before the first look: from here on the pump reports room
            inbox.look()
            before = self._flow.outstanding
            deadline = None if timeout is None else time.monotonic() + timeout
            while not inbox.stopped:
                inbox.check()
                if inbox.requeued:
                    if connection is not None:
                        connection.writer.hand_over()  # others have left to this thread their own
                        connection = None
                    self.wait_started(self._connect)
                    inbox.requeued = False
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
                if unread is not None and inbox.unread >= unread:
                    return False
                left = None if deadline is None else deadline - time.monotonic()
                if left is None or left > 0:
                    if sends and connection is not None:
                        seconds = LOOK_AFTER if left is None else min(left, LOOK_AFTER)
                        if connection.reader.read_until(inbox, seconds, send=True):
                            inbox.look()
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
            return (not self.inbox.stopped and self.writable) or self.wait(timeout)
        finally:
            self._flow.blocked = False

    # --- inside -------------------------------------------------------------------------------

    def _wait_for_head(
        self, called_at: float, connect: float | None, read: float | None, total: float | None
    ) -> None:
        """Waits for an event, or until another time counts; raises once the time is over."""
        now = time.monotonic()
        started_at = self.inbox.started_at
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
        self._ask_back()
        deadline = time.monotonic() + WITHDRAWAL
        while self._asked_back:
            try:
                self.inbox.queue.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                break  # the loop does not even answer, and may still start it
        self._taken_back(f"no connection with a free stream within {timeout} s")
