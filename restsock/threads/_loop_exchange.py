"""One exchange, driven by tasks of another loop than its own: of asyncio, or of another trio run.

It sends on the thread of that loop, as a thread does, and differs from one only in how it waits.
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
    """Sends a request from the loop at hand, whichever that is. Does not wait.

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
    """A `TaskExchange` for tasks of another loop, all of the same one. Made by `open`.

    Every method that waits can be cancelled; nothing is lost by it, and the exchange goes on.
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
        """Whether it has a stream."""
        return self.inbox.started_at is not None

    @property
    def stopped(self) -> bool:
        """Whether the peer wants no more of what this side sends."""
        return self.inbox.stopped

    @property
    def error(self) -> RestsockError | None:
        """What it failed with."""
        return self.inbox.error

    @property
    def trailers(self) -> Headers:
        """The peer's, once all of its half is read."""
        return self.inbox.trailers

    def check(self) -> None:
        """Raises what the exchange has failed with, if it has."""
        self.inbox.check()

    # --- receiving ----------------------------------------------------------------------------

    async def wait_started(self, timeout: float | None) -> None:
        """Waits for a stream, so many seconds from `open`. See `AsyncExchange`."""
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
        """Takes back a request that did not start in time; returns when it did after all."""
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
        """Waits for body bytes and takes them, as they came; `b""` at the end.

        Raises:
            RestsockError: What the exchange failed with, after what had come before.
        """
        while (data := self.receive_nowait()) is None:
            await self._wait()
        return data

    # --- sending ------------------------------------------------------------------------------

    @property
    def write_paused(self) -> bool:
        """Whether more waits to be sent than should."""
        return not (self.writable or self.stopped or self.error is not None)

    def send_nowait(self, data: bytes) -> None:
        """Sends body bytes. What is wrong with them, the exchange fails with."""
        if data and not self.stopped:
            self._flow.add(len(data), self.exchange.send_data, data)
            self.flush()

    async def send_data(self, data: bytes) -> bool:
        """Sends body bytes, and waits while too many wait to leave. See `AsyncExchange`."""
        self.send_nowait(data)
        self._flow.blocked = True  # before the first look: from here on it is told of room
        try:
            while self.write_paused:
                await self._wait()
        finally:
            self._flow.blocked = False
        return not (self.stopped or self.error is not None or self.exchange.closed)

    def close_soon(self) -> None:
        """As `close`, which is for any thread anyway."""
        self.close()

    # --- inside -------------------------------------------------------------------------------

    async def _wait(self, until: float = math.inf) -> None:
        """Waits until something has come since the last wait, at most until then."""
        self.flush()
        inbox = self.inbox
        if inbox.queue.empty():
            sleeper = inbox.sleeper
            if not isinstance(sleeper, TaskSleeper):
                sleeper = inbox.sleeper = TaskSleeper()
            sleeper.asleep = True  # before the last look: from here on others wake it
            if inbox.queue.empty():
                left = until - time.monotonic()
                await sleeper.sleep(max(0.0, min(left, LOOK_AFTER)))
                if left > LOOK_AFTER and inbox.queue.empty():
                    inbox.check_loop()
        inbox.look()
