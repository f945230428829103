"""One exchange, driven by a thread other than the loop's.

Rules:

- The thread does everything itself that it may: it sends and reads under the lock of its connection
  (the rules are in `restsock.connection._writer`). Work for the loop goes through `run_sync_soon`,
  and events for the thread through a `queue.SimpleQueue`. There is no polling.
- Waking the other side is expensive. Steps that are queued together wake the loop at most once,
  credit is returned in batches (`_flow`), and an event that nobody waits for (usually `Started`)
  does not wake the thread.
- Nothing posted here can raise on the loop: an error becomes the exchange's `Failed`.
- Only one thread may use it at a time. Another thread may call only `close`.

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
            timeout: Seconds from `open`; `None` waits indefinitely.

        Raises:
            RequestTimeout: It has no stream in time; phase "connect". A retry is safe.
            RestsockError: The exchange has failed.
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
        """Waits for the final response head; informational responses are skipped.

        Args:
            connect: Seconds from `open` to the start of the exchange.
            read: Seconds from the call, or from the start when that is later, to the head.
            total: Seconds from `open` to the head.

        Raises:
            RequestTimeout: In phase "connect" or "head"; then close the stream.
            RestsockError: The exchange has failed.
        """
        called_at = time.monotonic()
        inbox = self.inbox
        while inbox.response is None and inbox.error is None:
            self._wait_for_head(called_at, connect, read, total)
        return inbox.head()

    def receive_data(self, timeout: float | None = None) -> bytes:
        """Waits for body bytes and takes all that have arrived; `b""` at the end.

        Args:
            timeout: Seconds to wait; `None` waits indefinitely.

        Raises:
            RequestTimeout: Nothing arrived in time; phase "body". It may be called again.
            RestsockError: The exchange has failed. Bytes that arrived before are returned first.
        """
        while (data := self.receive_nowait()) is None:
            if not self.wait(timeout):
                raise RequestTimeout(f"no body bytes within {timeout} s", phase="body")
        return data

    def wait(self, timeout: float | None = None) -> bool:
        """Waits for an event since the last wait; the events are in `inbox`.

        Args:
            timeout: Seconds to wait; `None` waits indefinitely.

        Returns:
            Whether there was an event in time.

        Raises:
            ConnectionClosed: The loop has crashed.
            RestsockError: This is the child of a fork.
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
        """Queues the response head; without `flush` it is sent with the next data.

        Errors of the peer or the connection are raised while waiting, not here.
        """
        self._flow.add(0, self.exchange.send_head, head)
        if flush:
            self.flush()

    def send_data(self, data: bytes, *, flush: bool = True) -> None:
        """Queues body bytes. Does not wait: call `drain` afterwards."""
        if self.inbox.stopped or not data:
            return
        self._flow.add(len(data), self.exchange.send_data, data)
        if flush and self._flow.short:
            self.flush()  # long data is sent by `drain`, on this thread

    def respond(self, head: ResponseHead, body: bytes) -> None:
        """Queues a whole response, and flushes."""
        self._sent = True
        if not self.inbox.stopped:
            self._flow.add(len(body), self.exchange.respond, head, body)
            self._flow.flush()

    def drain(self, timeout: float | None = None, *, unread: int | None = None) -> bool:
        """Waits until the send buffer has room.

        Args:
            timeout: Seconds in which the peer reads nothing at all; `None` waits indefinitely.
            unread: Stop once this many received bytes are unread: the peer may be waiting for us.

        Returns:
            Whether there is room now. `False` also once `stopped`.

        Raises:
            RequestTimeout: The peer read nothing in time; phase "write".
            RestsockError: The exchange has failed.
        """
        inbox = self.inbox
        connection = self.exchange.connection
        try:
            self.flush(stays=True)
            self._flow.blocked = True  # before the first check: from here on the pump reports room
            inbox.look()
            before = self._flow.outstanding
            deadline = None if timeout is None else time.monotonic() + timeout
            while not inbox.stopped:
                inbox.check()
                if inbox.requeued:
                    if connection is not None:
                        connection.writer.hand_over()  # other threads have left their data to this
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
                    connection = None  # nothing is left to pass on
                    return True
                if unread is not None and inbox.unread >= unread:
                    return False
                left = None if deadline is None else deadline - time.monotonic()
                if left is None or left > 0:
                    if sends and connection is not None:
                        seconds = LOOK_AFTER if left is None else min(left, LOOK_AFTER)
                        if connection.reader.read_until(inbox, seconds, send=True):
                            inbox.look()
                        else:  # another thread is the leader, or none can be
                            connection.writer.hand_over()
                            connection = None
                        continue
                    if self.wait(left):
                        continue
                # A slow peer is not a silent one: whatever it reads restarts the timeout.
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
        """Like `wait`, but room to send counts as an event, too."""
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
        """Waits for an event, or until another timeout applies; raises once it has passed."""
        now = time.monotonic()
        started_at = self.inbox.started_at
        ends = []
        if started_at is None and connect is not None:
            ends.append(self._opened_at + connect)
        if read is not None:
            # It may start at any time, and the read timeout begins then.
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
        """Withdraws a request that did not start in time; returns if it did after all."""
        self._ask_back()
        deadline = time.monotonic() + WITHDRAWAL
        while self._asked_back:
            try:
                self.inbox.queue.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                break  # the loop does not even answer, and may still start it
        self._taken_back(f"no connection with a free stream within {timeout} s")
