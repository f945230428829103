"""One exchange, driven by tasks of a loop other than its own: asyncio, or another trio run.

It sends on the thread of that loop, like a `ThreadExchange`; only the waiting differs.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import trio

from restsock.connection import AsyncExchange, RawFeed, TaskExchange
from restsock.protocol import Headers, RequestHead, ResponseHead

from ._driver import LOOK_AFTER, WITHDRAWAL, ExchangeDriver
from ._wakeups import TaskSleeper, borrower_here

if TYPE_CHECKING:
    from typing_extensions import Self

    from restsock._exceptions import RestsockError
    from restsock.connection import Requester

__all__ = ["LoopExchange", "open_here"]


def open_here(
    requester: Requester, head: RequestHead, *, body: bytes = b"", end: bool = True
) -> TaskExchange:
    """Sends a request from the current loop, whichever that is. Does not wait.

    Raises:
        ConnectionClosed: The loop of the requester has ended. Nothing was sent.
    """
    if (
        trio.lowlevel.in_trio_task()
        and trio.lowlevel.current_trio_token() is requester.token  # its own
    ):
        return AsyncExchange.open(requester, head, body=body, end=end)
    return LoopExchange.open(requester, head, body=body, end=end, announce=True)


class LoopExchange(ExchangeDriver, RawFeed):
    """A `TaskExchange` for the tasks of one other loop. Made by `open`.

    Every method that waits can be cancelled; then nothing is lost, and the exchange continues.
    """

    __slots__ = ()

    @classmethod
    def open(cls, *args: Any, **kwargs: Any) -> Self:
        """Sends a request. See `ExchangeDriver.open`."""
        self = super().open(*args, **kwargs)
        connection = self.exchange.connection
        borrower = borrower_here()
        if borrower is not None and connection is not None:
            connection.reader.note_request(borrower)
        return self

    @property
    def started(self) -> bool:
        """Whether the exchange has a stream."""
        return self.inbox.started_at is not None

    @property
    def stopped(self) -> bool:
        """Whether the peer wants no more of what this side sends."""
        return self.inbox.stopped

    @property
    def error(self) -> RestsockError | None:
        """The error of the exchange, or `None`."""
        return self.inbox.error

    @property
    def trailers(self) -> Headers:
        """The peer's trailers, once its half is read."""
        return self.inbox.trailers

    def check(self) -> None:
        """Raises the error of the exchange, if it has failed."""
        self.inbox.check()

    # --- receiving ----------------------------------------------------------------------------

    async def wait_started(self, timeout: float | None) -> None:
        """Waits for a stream, at most this many seconds from `open`. See `AsyncExchange`."""
        self._connect = timeout
        await self._wait_for_stream(f"no connection with a free stream within {timeout} s")

    async def _wait_for_stream(self, message: str) -> None:
        until = math.inf if self._connect is None else self._opened_at + self._connect
        while not self.started:
            self.check()
            if time.monotonic() < until:
                await self._wait(until)
            else:
                await self._withdraw(message)

    async def _withdraw(self, message: str) -> None:
        """Withdraws a request that did not start in time; returns if it did after all."""
        self._ask_back()
        until = time.monotonic() + WITHDRAWAL
        while self._asked_back and time.monotonic() < until:
            await self._wait(until)
        self._taken_back(message)

    async def receive_head(self) -> ResponseHead:
        """Waits for the final response head, or the 101. See `AsyncExchange`."""
        inbox = self.inbox
        while inbox.response is None and inbox.error is None:
            if self.started:
                await self._wait()
            else:
                await self._wait_for_stream("refused, and no other stream in time")
        return inbox.head()

    async def receive_data(self) -> bytes:
        """Waits for body bytes and takes them, as they arrived; `b""` at the end.

        Raises:
            RestsockError: The exchange has failed. Bytes that arrived before are returned first.
        """
        while (data := self.receive_nowait()) is None:
            await self._wait()
        return data

    # --- sending ------------------------------------------------------------------------------

    @property
    def write_paused(self) -> bool:
        """Whether the send buffer is full."""
        return not (self.writable or self.stopped or self.error is not None)

    def send_nowait(self, data: bytes) -> None:
        """Sends body bytes. An error in them fails the exchange."""
        if data and not self.stopped:
            self._flow.add(len(data), self.exchange.send_data, data)
            self.flush()

    async def send_data(self, data: bytes) -> bool:
        """Sends body bytes, and waits while the send buffer is full. See `AsyncExchange`."""
        self.send_nowait(data)
        self._flow.blocked = True  # before the first check: from here on room is reported
        try:
            while self.write_paused:
                await self._wait()
        finally:
            self._flow.blocked = False
        return not (self.stopped or self.error is not None or self.exchange.closed)

    def close_soon(self) -> None:
        """Like `close`, which any thread may call."""
        self.close()

    # --- inside -------------------------------------------------------------------------------

    async def _wait(self, until: float = math.inf) -> None:
        """Waits for an event since the last wait, at most until this time."""
        self.flush()
        inbox = self.inbox
        if inbox.queue.empty():
            sleeper = inbox.sleeper
            if not isinstance(sleeper, TaskSleeper):
                sleeper = inbox.sleeper = TaskSleeper()
            sleeper.asleep = True  # before the last check: from here on others wake it
            if inbox.queue.empty():
                left = until - time.monotonic()
                await sleeper.sleep(max(0.0, min(left, LOOK_AFTER)))
                if left > LOOK_AFTER and inbox.queue.empty():
                    inbox.check_loop()
        inbox.look()
