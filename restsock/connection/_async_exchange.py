"""AsyncExchange: one exchange, driven by trio tasks. One task may receive while another sends."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

import trio

from restsock._exceptions import RequestTimeout
from restsock.protocol import Headers, RequestHead, ResetCode, ResponseHead, ResponseReceived

from ._exchange import Exchange
from ._exchange_events import ExchangeEvent, unobserved
from ._inbox import Inbox
from ._instruments import with_fields
from ._raw_feed import RawFeed

if TYPE_CHECKING:
    from ._interfaces import Submitter

__all__ = ["AsyncExchange"]

# Response heads that wait. Of more, the oldest informational ones are dropped.
_HEADS = 16


class AsyncExchange(Inbox, RawFeed):
    """The awaitable face of an `Exchange`. Made by `open()` or `accept()`.

    Every method that waits can be cancelled; nothing is lost by it, and the exchange goes on. To
    end it, call `close()`.

    Attributes:
        exchange: What is driven.
    """

    def __init__(self, exchange: Exchange, *, limit: int) -> None:
        super().__init__()
        self.exchange = exchange
        self._limit = limit
        self._heads: deque[ResponseHead] = deque()
        self._changed = trio.Event()
        self._sent = False
        self._start_by = math.inf  # on the loop's clock

    @property
    def started(self) -> bool:
        """Whether it has a stream."""
        return self.started_at is not None

    @classmethod
    def open(
        cls, requester: Submitter, head: RequestHead, *, body: bytes = b"", end: bool = True
    ) -> AsyncExchange:
        """Sends a request. Does not wait."""
        if requester.instrument is not None:
            head = with_fields(requester.instrument, head)
        exchange = Exchange(head, unobserved, body=body, end=end)
        self = cls(exchange, limit=requester.limits.send_buffer)
        # The request half of an upgrade stays open: it is the way for the raw bytes.
        self._sent = end and head.upgrade is None
        exchange.observer = self
        exchange.resubmit = requester.submit
        requester.submit(exchange)
        return self

    @classmethod
    def accept(cls, exchange: Exchange, *, limit: int) -> AsyncExchange:
        """Takes over a request of the peer. `limit` is the size of the send buffer, in bytes."""
        self = cls(exchange, limit=limit)
        exchange.observer = self
        return self

    def __call__(self, event: ExchangeEvent) -> None:
        """Takes an event in. On the loop."""
        if isinstance(event, ResponseReceived):
            self._heads.append(event.head)
            if len(self._heads) > _HEADS:
                self._heads.popleft()  # a 1xx: nothing comes after the final one
            self.wake()
        else:
            super().__call__(event)

    def wake(self) -> None:
        """See `Inbox`. On the loop."""
        self._changed.set()

    async def _wait(self) -> None:
        # Two tasks may wait on one exchange: each event wakes both, and both look again.
        changed = self._changed
        if changed.is_set():
            changed = self._changed = trio.Event()
        await changed.wait()

    async def wait_started(self, timeout: float | None) -> None:
        """Waits for a stream.

        Args:
            timeout: Seconds.

        Raises:
            RequestTimeout: There was none in time; the request was taken back, and has not run.
            PeerNotFound: The same, and the peer was never there.
            PeerUnavailable: The same, and the peer is away.
            RestsockError: What the exchange failed with.
        """
        self._start_by = math.inf if timeout is None else trio.current_time() + timeout
        await self._wait_for_stream(f"no connection with a free stream within {timeout} s")

    async def _wait_for_stream(self, message: str) -> None:
        with trio.CancelScope(deadline=self._start_by):
            while not self.started and self.error is None:
                await self._wait()
        if not self.started:
            self.check()
            explain = self.exchange.explain
            self.close()
            if explain is not None:
                raise explain()
            raise RequestTimeout(message, phase="connect", may_have_run=False)

    async def receive_head(self, *, interim: bool = False) -> ResponseHead:
        """Waits for the final response head, or the 101.

        Args:
            interim: Whether to give informational heads too, one by one.

        Raises:
            RequestTimeout: The peer did not start on it, and there was no other stream within the
                time that `wait_started` was given; phase "connect".
            RestsockError: What the exchange failed with.
        """
        while True:
            while self._heads:
                head = self._heads.popleft()
                if interim or head.status >= 200 or head.status == 101:
                    return head
            self.check()
            if self.started:
                await self._wait()
            else:
                await self._wait_for_stream("refused, and no other stream in time")

    async def receive_data(self) -> bytes:
        """Waits for body bytes and takes them, as they came; `b""` at the end.

        Raises:
            RestsockError: What the exchange failed with, after what had come before.
        """
        while (data := self.receive_nowait()) is None:
            await self._wait()
        if not data:
            await trio.lowlevel.checkpoint()
        return data

    def receive_nowait(self) -> bytes | None:
        """Takes body bytes that are there; `b""` at the end, `None` when there are none now.

        Raises:
            RestsockError: What the exchange failed with, after what had come before.
        """
        data = self.take()
        if data:
            self.exchange.consume(len(data))
        return data

    @property
    def unsent(self) -> int:
        """Bytes that wait to be sent."""
        return self.exchange.buffered

    @property
    def write_paused(self) -> bool:
        """Whether more waits to be sent than should."""
        return self.exchange.buffered > self._limit and self.error is None and not self.stopped

    def send_nowait(self, data: bytes) -> None:
        """Sends body bytes. Look at `write_paused` before sending more.

        Raises:
            LocalProtocolError: A body is not due here, or is longer than announced.
        """
        if not self.stopped:
            with self.exchange.batch():
                self.exchange.send_data(data)

    async def send_data(self, data: bytes) -> bool:
        """Sends body bytes, and waits while too many wait to leave.

        Returns:
            Whether the peer may still want more: no when it said so, or when the exchange failed.

        Raises:
            LocalProtocolError: A body is not due here, or is longer than announced.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self.send_nowait(data)
        while self.write_paused:
            await self._wait()
        return not (self.stopped or self.exchange.closed)

    def send_head(self, head: ResponseHead) -> None:
        """Sends a response head. See `Exchange.send_head`."""
        self.exchange.send_head(head)

    def send_end(self, trailers: Headers = ()) -> None:
        """Completes this side's half. See `Exchange.send_end`."""
        self._sent = True
        if not self.stopped:
            self.exchange.send_end(trailers)

    def release(self) -> None:
        """Forgets the rest of the peer's half: all that matters of it has come."""
        self.received = True
        self.close()

    def close(self, code: int = ResetCode.CANCEL, reason: str = "") -> None:
        """Resets the stream, unless both halves are complete. Harmless when repeated."""
        if self.received and (self._sent or self.stopped):
            return  # what is queued still leaves
        self.exchange.reset(code, reason)

    def close_soon(self) -> None:
        """As `close`, for any thread and for the garbage collector."""
        connection = self.exchange.connection  # once: the loop may take it away meanwhile
        if connection is not None and not self.exchange.closed:
            try:
                connection.token.run_sync_soon(self.close)
            except trio.RunFinishedError:
                pass  # and with the loop its streams
