"""Credit: how many body bytes a peer may send before somebody reads them (spec, "Credit").

`SendWindow` is the sender's view of one stream, `ReceiveWindow` the receiver's. Credit goes back
when bytes are consumed, not when they arrive, so what a stream holds never exceeds its window. A
window grows while its reader keeps up and half of it is used up within two round trips: then it is
the window that slows the stream. All that windows grow by comes out of one `Budget` of the
connection, and the first `initial_window` bytes of a stream never do; so streams that nobody reads
cannot starve the others.
"""

from __future__ import annotations

from restsock._exceptions import RemoteProtocolError

from ._frames import MAX_CREDIT

__all__ = ["Budget", "ReceiveWindow", "SendWindow"]

# A window is grown when half of it is consumed within this many round trips.
_ROUND_TRIPS = 2.0


class SendWindow:
    """What may still be sent on a stream."""

    __slots__ = ("credit",)

    def __init__(self, initial: int) -> None:
        self.credit = initial

    def add(self, credit: int) -> None:
        """Takes in a WINDOW frame.

        Raises:
            RemoteProtocolError: the credit would pass 2**31-1.
        """
        if self.credit + credit > MAX_CREDIT:
            raise RemoteProtocolError("more credit than a stream can have")
        self.credit += credit


class Budget:
    """What all windows of a connection may grow by, together."""

    __slots__ = ("left",)

    def __init__(self, size: int) -> None:
        self.left = size


class ReceiveWindow:
    """What the peer may still send on a stream, and what it has sent that is not consumed.

    Attributes:
        size: what the window is now.
        held: bytes received and not consumed.
    """

    __slots__ = ("_budget", "_consumed", "_credit", "_initial", "_last", "_max", "held", "size")

    def __init__(self, initial: int, maximum: int, budget: Budget) -> None:
        self.size = self._initial = self._credit = initial
        self.held = 0
        self._max = maximum
        self._budget = budget
        self._consumed = 0  # and not given back yet
        self._last: float | None = None

    def receive(self, nbytes: int) -> bool:
        """Takes in body bytes; returns whether the peer had the credit for them."""
        if nbytes > self._credit:
            return False
        self._credit -= nbytes
        self.held += nbytes
        return True

    def consume(self, nbytes: int, now: float, round_trip: float | None) -> int:
        """Notes that bytes are used up.

        Args:
            nbytes: how many; at most `held`.
            now: any clock's seconds.
            round_trip: of the connection, seconds, when it is known.

        Returns:
            The credit to give to the peer now; 0 when it is not worth a frame yet.
        """
        self.held -= nbytes
        self._consumed += nbytes
        if self._consumed * 2 < self.size:
            return 0
        credit = self._consumed
        quick = (
            self._last is not None
            and round_trip is not None
            and now - self._last < _ROUND_TRIPS * round_trip
        )
        if quick:
            growth = min(self.size, self._max - self.size, self._budget.left)
            self._budget.left -= growth
            self.size += growth
            credit += growth
        self._last = now
        self._consumed = 0
        self._credit += credit
        return credit

    def close(self) -> None:
        """Gives back what the window has grown by. Harmless when repeated."""
        self._budget.left += self.size - self._initial
        self.size = self._initial
