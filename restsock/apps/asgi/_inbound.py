"""What comes in on an exchange that is served on the loop: the observer, and a place to wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

from restsock.apps._errors import Disconnected
from restsock.connection import Inbox

if TYPE_CHECKING:
    from restsock.apps._exchange import ServedExchange

    from ._call import AppCall

__all__ = ["Inbound"]


class Inbound(Inbox):
    """The inbox of an exchange, for any number of tasks of an app that wait for what comes.

    Args:
        exchange: Whose events these are; its observer hands them to this object.
        call: Of the app that waits for them.
    """

    __slots__ = ("_call", "_exchange", "_send_buffer", "wait")

    def __init__(self, exchange: ServedExchange, call: AppCall) -> None:
        super().__init__()
        connection = exchange.connection
        assert connection is not None
        self._exchange = exchange
        # The connection's own limit, since it is the connection that tells when there is room.
        self._send_buffer = connection.limits.send_buffer
        self._call = call
        self.wait = call.wait  # for the next event

    def wake(self) -> None:
        """See `Inbox`. On the app's loop."""
        self._call.wake()

    @property
    def write_paused(self) -> bool:
        """Whether more waits to be sent than should."""
        return self._exchange.buffered > self._send_buffer

    @property
    def has_all(self) -> bool:
        """Whether no more of a body comes. A request for an upgrade, declined here, has none."""
        return self.received or self._exchange.request.upgrade is not None

    def take_all(self) -> bytes:
        """See `Inbox`; gives the credit back."""
        data = super().take_all()
        self._exchange.consume(len(data))
        return data

    async def receive_data(self) -> bytes:
        """Waits for body bytes and takes them; `b""` at the end.

        Raises:
            RestsockError: What the exchange has failed with, after what had come before.
        """
        while not self.pieces:
            if self.has_all:
                await self._call.checkpoint()
                return b""
            self.check()
            await self.wait()
        return self.take_all()

    async def drain(self) -> None:
        """Waits while too much of the response waits to be sent. Always a checkpoint.

        Raises:
            Disconnected: The peer has left.
        """
        # The checkpoint is what lets a chunk leave before an app goes on computing the next one.
        await self._call.checkpoint()
        while self.error is None and self.write_paused:
            await self.wait()
        self.check_connected()

    def check_connected(self) -> None:
        """Raises `Disconnected` when the peer has left."""
        if self.error is not None:
            raise Disconnected from self.error
