"""What comes in on an exchange that is served on the loop: the observer, and a place to wait."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from restsock.apps._errors import Disconnected
from restsock.connection import Failed, joined
from restsock.protocol import DataReceived, EndReceived

if TYPE_CHECKING:
    from restsock._exceptions import RestsockError
    from restsock.apps._exchange import ServedExchange
    from restsock.connection import ExchangeEvent
    from restsock.protocol import Headers

    from ._call import AppCall

__all__ = ["Inbound"]


class Inbound:
    """Takes in the events of one exchange, for any number of tasks that wait for what they bring.

    Args:
        exchange: whose events these are; its observer hands them to this object.
        call: of the app that waits for them.

    Attributes:
        ended: whether the request is complete (`waiting` bytes may still be there).
        trailers: the peer's, once `ended`.
        error: why the exchange has failed; `None` while it goes on.
    """

    __slots__ = (
        "_call",
        "_chunks",
        "_exchange",
        "_send_buffer",
        "ended",
        "error",
        "trailers",
        "wait",
        "wake",
    )

    def __init__(self, exchange: ServedExchange, call: AppCall) -> None:
        connection = exchange.connection
        assert connection is not None
        self.ended = False
        self.trailers: Headers = ()
        self.error: RestsockError | None = None
        self._exchange = exchange
        # The connection's own limit, since it is the connection that tells when there is room.
        self._send_buffer = connection.limits.send_buffer
        self._chunks: deque[bytes] = deque()
        self._call = call
        # Those of the call: to wait for the next event, and to let every waiting task look again.
        self.wait = call.wait
        self.wake = call.wake

    @property
    def waiting(self) -> bool:
        """Whether there are body bytes to `take`."""
        return bool(self._chunks)

    def __call__(self, event: ExchangeEvent) -> None:
        """Takes one event in. On the loop; does not block."""
        if isinstance(event, DataReceived):
            joined(self._chunks, event.data)
        elif isinstance(event, EndReceived):
            self.ended = True
            self.trailers = event.trailers
        elif isinstance(event, Failed):
            self.error = event.error
        # Any other event is for the tasks that wait: a Writable, mostly.
        self.wake()

    @property
    def write_paused(self) -> bool:
        """Whether more waits to be sent than should."""
        return self._exchange.buffered > self._send_buffer

    def take(self) -> bytes:
        """Takes all body bytes that are here, and gives their credit back."""
        chunks = self._chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self._exchange.consume(len(data))
        return data

    async def receive_data(self) -> bytes:
        """Waits for body bytes and takes them; `b""` at the end.

        Raises:
            RestsockError: what the exchange has failed with, after what had come before.
        """
        while not self._chunks:
            if self.ended:
                await self._call.checkpoint()
                return b""
            if self.error is not None:
                raise self.error
            await self.wait()
        return self.take()

    async def drain(self) -> None:
        """Waits while too much of the response waits to be sent. Always a checkpoint.

        Raises:
            Disconnected: the peer has left.
        """
        # The checkpoint is what lets a chunk leave before an app goes on computing the next one.
        await self._call.checkpoint()
        while self.error is None and self.write_paused:
            await self.wait()
        self.check()

    def check(self) -> None:
        """Raises `Disconnected` when the peer has left."""
        if self.error is not None:
            raise Disconnected from self.error
