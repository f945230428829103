"""`Faults`: faults on all connections between two places, including later ones."""

from __future__ import annotations

import trio

from restsock.testing._stream import FaultyStream
from restsock.testing._wire import CutKind, Wire

__all__ = ["Faults"]


class Faults:
    """Faults of several connections at once: the base of `FaultyProxy` and `Network`.

    The methods act on every current connection; those that set a lasting state (`stall`, `drop`,
    `slow`) also act on later ones. Call them on the trio loop of the connections.
    """

    def __init__(self) -> None:
        self._streams: list[FaultyStream] = []
        self._stalled = False
        self._dropping = False
        self._slowness = Wire()

    def stall(self) -> None:
        """Let nothing pass on any connection, old or new, until `resume`."""
        self._stalled = True
        for stream in self._streams:
            stream.stall()

    def resume(self) -> None:
        """End a `stall`, and a `drop` for later connections; the current ones stay lost."""
        self._stalled = self._dropping = False
        for stream in self._streams:
            stream.resume()

    def drop(self) -> None:
        """Silently lose every byte on every connection, old or new.

        Heartbeats detect it. After `resume` the client's next attempt succeeds.
        """
        self._dropping = True
        for stream in self._streams:
            stream.drop()

    def slow(self, delay: float = 0.0, *, rate: float | None = None) -> None:
        """Slow every connection down, old or new. Without arguments, end that.

        Args:
            delay: Seconds to add to each round trip, by delaying the bytes to the client.
            rate: Bytes per second, in each direction; `None` is no limit.

        Raises:
            ValueError: The delay is negative, or the rate is not positive.
        """
        self._slowness = Wire(delay=delay, rate=rate)
        for stream in self._streams:
            self._slow(stream)

    async def cut(self, kind: CutKind = "reset") -> None:
        """End every current connection. A client can dial again at once.

        Args:
            kind: "reset" or "eof"; see `FaultyStream.cut`, which raises nothing.
        """
        await trio.lowlevel.checkpoint()
        for stream in list(self._streams):
            await stream.cut(kind)

    def _join(self, stream: FaultyStream) -> None:
        """Adds a connection, with the current faults."""
        self._streams.append(stream)
        self._slow(stream)
        if self._stalled:
            stream.stall()
        if self._dropping:
            stream.drop()

    def _slow(self, stream: FaultyStream) -> None:
        # Not in the other direction, where each piece would wait for the one before it.
        stream.receiving.delay = self._slowness.delay
        stream.receiving.rate = stream.sending.rate = self._slowness.rate
