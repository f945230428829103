"""The inbox of an exchange that is served on the loop: observes it, and lets tasks wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

from restsock.apps._errors import Disconnected
from restsock.connection import Inbox

if TYPE_CHECKING:
    from restsock.apps._exchange import ServedExchange

    from ._call import AppCall

__all__ = ["Inbound"]


class Inbound(Inbox):
    """The inbox of an exchange, for any number of tasks of an app that wait for events.

    Args:
        exchange: The exchange; its observer passes the events to this object.
        call: The call of the app that waits for them.
    """

    __slots__ = ("_call", "_exchange", "_send_buffer", "wait")

    def __init__(self, exchange: ServedExchange, call: AppCall) -> None:
        super().__init__()
        connection = exchange.connection
        assert connection is not None
        self._exchange = exchange
        # The limit of the connection, since the connection reports when there is room.
        self._send_buffer = connection.limits.send_buffer
        self._call = call
        self.wait = call.wait  # for the next event

    def wake(self) -> None:
        """See `Inbox`. On the app's loop."""
        self._call.wake()

    @property
    def write_paused(self) -> bool:
        """Whether the send buffer is full."""
        return self._exchange.buffered > self._send_buffer

    @property
    def has_all(self) -> bool:
        """Whether the body is complete. A request for an upgrade, declined here, has no body."""
        return self.received or self._exchange.request.upgrade is not None

    def take_all(self) -> bytes:
        """See `Inbox`; returns the credit."""
        data = super().take_all()
        self._exchange.consume(len(data))
        return data

    async def receive_data(self) -> bytes:
        """Waits for body bytes and takes them; `b""` at the end.

        Raises:
            RestsockError: The exchange has failed. Bytes that arrived before are returned first.
        """
        while not self.pieces:
            if self.has_all:
                await self._call.checkpoint()
                return b""
            self.check()
            await self.wait()
        return self.take_all()

    async def drain(self) -> None:
        """Waits while the send buffer is full. Always a checkpoint.

        Raises:
            Disconnected: The peer has left.
        """
        # The checkpoint sends a chunk before the app computes the next one.
        await self._call.checkpoint()
        while self.error is None and self.write_paused:
            await self.wait()
        self.check_connected()

    def check_connected(self) -> None:
        """Raises `Disconnected` if the peer has left."""
        if self.error is not None:
            raise Disconnected from self.error
