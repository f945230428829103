"""`Faults`: what may go wrong on all connections between two places, those to come included."""

from __future__ import annotations

import trio

from restsock.testing._stream import FaultyStream
from restsock.testing._wire import CutKind, Wire

__all__ = ["Faults"]


class Faults:
    """Wires that break together: those of `FaultyProxy` and `Network`.

    The methods act on every present connection; those that change a lasting state (`stall`, `drop`,
    `slow`) act on later ones too. For the trio loop that the connections are on.
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
        """End a `stall`, and a `drop` for later connections; the present ones stay lost."""
        self._stalled = self._dropping = False
        for stream in self._streams:
            stream.resume()

    def drop(self) -> None:
        """Lose every byte on every connection, old or new, without a word to either end.

        Heartbeats notice it. `resume` lets the client's next attempt through.
        """
        self._dropping = True
        for stream in self._streams:
            stream.drop()

    def slow(self, delay: float = 0.0, *, rate: float | None = None) -> None:
        """Slow every connection down, old or new; without arguments, no longer.

        Args:
            delay: Seconds that each round trip takes longer; bytes to the client wait for them.
            rate: Bytes a second, in each direction; `None` is no limit.

        Raises:
            ValueError: Less than 0 seconds, or not more than 0 bytes a second.
        """
        self._slowness = Wire(delay=delay, rate=rate)
        for stream in self._streams:
            self._slow(stream)

    async def cut(self, kind: CutKind = "reset") -> None:
        """End every present connection. A client dials again, and gets through.

        Args:
            kind: "reset" or "eof"; see `FaultyStream.cut`, which raises nothing.
        """
        await trio.lowlevel.checkpoint()
        for stream in list(self._streams):
            await stream.cut(kind)

    def _join(self, stream: FaultyStream) -> None:
        """Begins a connection, in the present state."""
        self._streams.append(stream)
        self._slow(stream)
        if self._stalled:
            stream.stall()
        if self._dropping:
            stream.drop()

    def _slow(self, stream: FaultyStream) -> None:
        # Not on the way out, where each piece would wait for the one before it.
        stream.receiving.delay = self._slowness.delay
        stream.receiving.rate = stream.sending.rate = self._slowness.rate
