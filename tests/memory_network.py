"""Peers without sockets: a listener that follows a script, and a handler that needs no app.

With `trio.testing.MockClock(autojump_threshold=0)` a minute of waiting takes no time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio
import trio.testing

from restsock import Options
from restsock.client import Address
from restsock.connection import (
    Closed,
    Connection,
    Exchange,
    ExchangeEvent,
    Handler,
    Peer,
    answer,
    open_accepted,
)
from restsock.testing import Network

# Accepts what `open_stream` dials; something to hand to a `Client` and a `Server`.
MemoryListener = Network

Answer = Callable[[trio.abc.Stream], Awaitable[None]]

FOREVER = "forever"


class Echo:
    """Answers each request with its method and target; one for /hang only when it is reset.

    Attributes:
        seen: What was asked for, in order.
        runs: How often it was started.
        running_now: Whether it runs.
        failed: How many requests for /hang have been ended from outside.
    """

    def __init__(self, name: str = "echo") -> None:
        self.name = name
        self.seen: list[str] = []
        self.runs = 0
        self.running_now = False
        self.failed = 0

    def handle(self, exchange: Exchange) -> None:
        assert self.running_now
        target = exchange.request.target.decode()
        self.seen.append(target)
        exchange.observer = self._observe
        if target != "/hang":
            answer(exchange, 200, f"{self.name}: {exchange.request.method.decode()} {target}")

    def _observe(self, event: ExchangeEvent) -> None:
        if type(event).__name__ == "Failed":
            self.failed += 1

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        assert not self.running_now
        self.runs += 1
        self.running_now = True
        try:
            yield
        finally:
            self.running_now = False


class Script:
    """A listener that treats each attempt to dial as the script says, and the rest as usual.

    Args:
        nursery: Runs its side.
        steps: For each attempt: an exception for the dialer, or what to do with the stream.
        handler: Serves the requests of dialers that are let in.
        options: Of this side.

    Attributes:
        times: When each attempt was made.
        connections: Those that came about.
        closed: How they ended.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        *steps: Exception | Answer,
        handler: Handler | None = None,
        options: Options | None = None,
    ) -> None:
        self.steps = list(steps)
        self.times: list[float] = []
        self.connections: list[Connection] = []
        self.closed: list[Closed] = []
        self._nursery = nursery
        self._handler = handler
        self._options = Options() if options is None else options

    @property
    def connection(self) -> Connection:
        """The latest."""
        return self.connections[-1]

    async def open_stream(self, address: Address) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        self.times.append(trio.current_time())
        step: Exception | Answer = self.steps.pop(0) if self.steps else self.accept
        if isinstance(step, Exception):
            raise step
        ours, theirs = trio.testing.memory_stream_pair()
        self._nursery.start_soon(step, theirs)
        return ours

    async def accept(self, stream: trio.abc.Stream) -> None:
        """Lets a dialer in."""
        peer = Peer("memory", 0)
        connection = await open_accepted(stream, peer=peer, options=self._options)
        self.connections.append(connection)
        self.closed.append(await connection.run(self._handler))


async def say_nothing(stream: trio.abc.Stream) -> None:
    """Reads, and never answers."""
    while await stream.receive_some():
        pass


def refuse_with(status: int, *, listener: bool = False) -> Answer:
    """Refuses the upgrade, as a listener does or as whatever stands in its place."""
    mark = b"Sec-WebSocket-Protocol: restsock.v1\r\n" if listener else b""

    async def refuse(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        head = b"HTTP/1.1 %d No\r\n%sContent-Length: 2\r\n\r\n" % (status, mark)
        await stream.send_all(head + b"no")
        await stream.aclose()

    return refuse


def chances(*values: float) -> Callable[[], float]:
    """A source of randomness that is none; the last value repeats."""
    left = list(values)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


def names(items: Sequence[Any]) -> list[str]:
    return [type(item).__name__ for item in items]
