"""`RawExchange`: an upgraded exchange of plain HTTP, whose raw bytes take the short way.

On a connection of HTTP/1.1 there is one exchange at a time, and after its 101 nothing else is sent
or read. So the bytes need neither frames nor credit, and need not go through the multiplexer: they
go from the layer of HTTP/1.1 to who reads, and back. The head before them and the end after them
are frames, as of any exchange.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from restsock.connection import AsyncExchange, Exchange

from ._connection import HTTPConnection

if TYPE_CHECKING:
    from restsock.http1 import Downstream

__all__ = ["RawExchange", "accept_raw"]


def accept_raw(exchange: Exchange, *, limit: int) -> AsyncExchange:
    """Takes over a request of the peer that may be upgraded; see `AsyncExchange.accept`.

    Args:
        exchange: the request.
        limit: bytes that may wait to be sent, and to be received.
    """
    if isinstance(exchange.connection, HTTPConnection):
        return RawExchange.accept(exchange, limit=limit)
    return AsyncExchange.accept(exchange, limit=limit)


class RawExchange(AsyncExchange):
    """One exchange on an `HTTPConnection`. Made by `accept_raw`; `begin_raw()` after its 101."""

    _layer: Downstream | None = None  # from `begin_raw` on
    _take: Callable[[bytes], bool] | None = None  # of `feed`, while it waits for bytes
    _short = False  # whether all that was sent before is out of the multiplexer
    _due = 0  # raw bytes that wait to be sent

    def begin_raw(self) -> None:
        """The 101 has been sent. On the loop, in the same step."""
        connection = self.exchange.connection
        assert isinstance(connection, HTTPConnection)
        self._layer = connection.layer
        connection.reader.on_read = self._hand_on
        with connection.lock:
            self._layer.raw = self

    # --- in: called with the lock, on any thread -----------------------------------------------

    @property
    def full(self) -> bool:
        """Whether no more should be read for now."""
        return self.unread > self._limit

    def receive(self, data: bytes) -> None:
        """Takes in bytes of the client."""
        self.add(data)
        connection = self.exchange.connection
        if connection is None or not connection.writer.runs_on_loop:
            self._tell()  # else `_hand_on` is called next

    def taken(self) -> None:
        """All that was due is on its way."""
        paused, self._due = self._due > self._limit, 0
        if paused:
            self._tell()

    def _tell(self) -> None:
        connection = self.exchange.connection
        if connection is not None:
            connection.writer.call_on_loop(self.wake)

    # --- on the loop ----------------------------------------------------------------------------

    async def feed(self, take: Callable[[bytes], bool]) -> bool:
        """See `RawBytes`. What comes is handed on by who reads it, and this task is not woken."""
        while True:
            while (data := self.receive_nowait()) is not None:
                if not data:
                    return False
                if not take(data):
                    return True
            self._take = take
            try:
                await self._wait()
            finally:
                fed_up, self._take = self._take is None, None
            if fed_up:
                return True

    def _hand_on(self) -> None:
        """Hands on what has come, or wakes who waits for it."""
        while self.unread:
            take = self._take
            data = self.receive_nowait() if take is not None else None
            if take is None or not data or not take(data):
                self._take = None
                self.wake()
                break

    def receive_nowait(self) -> bytes | None:
        """See `AsyncExchange`."""
        if self._layer is None:
            return super().receive_nowait()
        full = self.full
        data = self.take()
        if full and not self.full:
            connection = self.exchange.connection
            if isinstance(connection, HTTPConnection):
                connection.read_more()
        return data

    @property
    def unsent(self) -> int:
        """Bytes that wait to be sent."""
        return self._due + self.exchange.buffered

    @property
    def write_paused(self) -> bool:
        """Whether more waits to be sent than should."""
        if not self._short:
            return super().write_paused
        return self._due > self._limit and self.error is None and not self.stopped

    def send_nowait(self, data: bytes) -> None:
        """See `AsyncExchange`."""
        layer, connection = self._layer, self.exchange.connection
        if layer is None or connection is None:
            super().send_nowait(data)
            return
        with connection.lock:
            if not self._short:
                # What is in there has to be first: the 101, if a response before it is not written.
                if connection.multiplexer.has_output:
                    super().send_nowait(data)
                    return
                self._short = True
            if not (self.stopped or self.exchange.closed or layer.over):
                self._due += len(data)
                layer.out.append(data)
                connection.writer.flush_soon()
