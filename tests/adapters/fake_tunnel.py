"""A requester whose peer is a function of the test, on a real trio loop in a thread of its own.

For what has to happen at an exact moment: a failure between two bytes, a start that comes too late,
a peer that stops taking bytes. Everything here runs on the loop; a test runs outside of it.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

import trio

from restsock._exceptions import RestsockError
from restsock._options import Limits, Options, Timeouts
from restsock.connection import Failed, Started, Writable
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


class Loop:
    """A trio loop in a thread. `close` ends it, as the end of a program would."""

    def __init__(self) -> None:
        tokens: queue.SimpleQueue[trio.lowlevel.TrioToken] = queue.SimpleQueue()
        self._scope = trio.CancelScope()

        async def main() -> None:
            with self._scope:
                tokens.put(trio.lowlevel.current_trio_token())
                await trio.sleep_forever()

        self._thread = threading.Thread(target=trio.run, args=(main,))
        self._thread.start()
        self.token = tokens.get()
        self.posts = 0

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Runs a function on the loop and returns what it returns."""
        return trio.from_thread.run_sync(function, *args, trio_token=self.token)

    def close(self) -> None:
        if self._thread.is_alive():
            self.token.run_sync_soon(self._scope.cancel)
            self._thread.join()


class FakeExchange:
    """Stands in for `Exchange`: what the driver does to it is noted, what it observes is scripted.

    Attributes:
        calls: the names of the steps that were asked for, in order; some with their argument.
        sent: the body bytes that were sent.
        hold: while set, bytes stay buffered until `take`.
    """

    def __init__(
        self,
        request: RequestHead,
        observer: Callable[[Any], None],
        *,
        body: bytes = b"",
        end: bool = True,
    ) -> None:
        self.request = request
        self.connection = None
        self.observer = observer
        self.calls: list[Any] = []
        self.sent = bytearray(body)
        self.ended = end
        self.hold = False
        self.buffered = 0
        self.window = 65536
        self.closed = False
        self.inbound = False
        self.explain: Callable[[], RestsockError] | None = None
        self.on_data: Callable[[FakeExchange], None] | None = None
        self.on_end: Callable[[FakeExchange], None] | None = None
        self.on_consume: Callable[[int], None] | None = None
        self._above = False

    # what the driver calls

    def send_head(self, head: ResponseHead) -> None:
        self.calls.append("head")

    def send_data(self, data: bytes) -> None:
        self.calls.append("data")
        self.sent += data
        if self.hold:
            self.buffered += len(data)
            self._above = self._above or self.buffered > 65536
        if self.on_data is not None:
            self.on_data(self)

    def send_end(self, trailers: Headers = ()) -> None:
        self.calls.append("end")
        self.ended = True
        if self.on_end is not None:
            self.on_end(self)

    def consume(self, nbytes: int) -> None:
        self.calls.append(("consume", nbytes))
        if self.on_consume is not None:
            self.on_consume(nbytes)

    def reset(self, code: ResetCode = ResetCode.CANCEL, reason: str = "") -> None:
        self.calls.append(("reset", int(code)))
        self.closed = True

    # what the script calls

    def start(self) -> None:
        self.observer(Started())

    def answer(self, status: int = 200, *fields: tuple[str, str], reason: str = "") -> None:
        headers = [(name.encode(), value.encode()) for name, value in fields]
        head = ResponseHead(status, headers, reason.encode())
        self.observer(ResponseReceived(1, head))

    def data(self, data: bytes) -> None:
        self.observer(DataReceived(1, data))

    def end(self, trailers: Headers = ()) -> None:
        self.observer(EndReceived(1, trailers))

    def stop(self) -> None:
        self.observer(StopSending(1))

    def fail(self, error: RestsockError) -> None:
        self.closed = True
        self.observer(Failed(error))

    def take(self, nbytes: int | None = None) -> None:
        """The wire takes what is buffered, or some of it."""
        self.buffered -= self.buffered if nbytes is None else nbytes
        if self._above and self.buffered <= 32768:
            self._above = False
            self.observer(Writable())

    @property
    def resets(self) -> list[int]:
        return [call[1] for call in self.calls if call[0] == "reset"]

    @property
    def fields(self) -> list[tuple[str, str]]:
        return [(name.decode(), value.decode("latin-1")) for name, value in self.request.headers]


Script = Callable[[FakeExchange], None]


class FakeRequester:
    """Hands each exchange to the next script, or to the last one again."""

    instrument = None

    connection = None

    def __init__(self, loop: Loop, limits: Limits, timeouts: Timeouts) -> None:
        self.loop = loop
        self.token = loop.token
        self.options = Options(limits=limits, timeouts=timeouts)
        self.limits = limits
        self.timeouts = timeouts
        self.exchanges: list[FakeExchange] = []
        self.scripts: list[Script] = []

    def pick(self) -> None:
        """Nothing: all is left to the loop."""

    def submit(self, exchange: Any) -> None:
        self.exchanges.append(exchange)
        script = self.scripts[0] if len(self.scripts) == 1 else self.scripts.pop(0)
        script(exchange)

    def settle(self) -> FakeExchange:
        """Waits until the loop has done all it was asked; returns the last exchange."""
        self.loop.run(lambda: None)
        return self.exchanges[-1]


def ok(exchange: FakeExchange) -> None:
    """The plain script: 200, and what was sent."""

    def answer(exchange: FakeExchange) -> None:
        body = bytes(exchange.sent)
        exchange.answer(200, ("Content-Type", "text/plain"), ("Content-Length", str(len(body))))
        if body:
            exchange.data(body)
        exchange.end()

    exchange.start()
    if exchange.ended:
        answer(exchange)
    else:
        exchange.on_end = answer
