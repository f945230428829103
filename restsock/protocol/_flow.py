"""Credit: how many body bytes a peer may send before they are read (spec, "Credit").

`ReceiveWindow` is the receiver's view of one stream; its sender only counts. Credit goes back when
bytes are consumed, not when they arrive, so what a stream holds never exceeds its window. A
window grows while its reader keeps up and half of it is used up within two round trips: then it is
the window that slows the stream. All that windows grow by comes out of one `Budget` of the
connection, and the first `initial_window` bytes of a stream never do; so streams that are not read
cannot starve the others. What the windows hold is counted for all connections together, too.
"""

from __future__ import annotations

from restsock._buffered import Buffered

__all__ = ["Budget", "ReceiveWindow"]

# A window is grown when half of it is consumed within this many round trips.
_ROUND_TRIPS = 2.0


class Budget:
    """What all windows of a connection may grow by, and what they hold, together.

    Args:
        size: What they may grow by, in bytes.
        common: Counts what the windows of all connections hold, if that is wanted.

    Attributes:
        left: Bytes that they still may grow by.
        held: Bytes that have come and are not consumed; counted only for `common`.
    """

    __slots__ = ("_common", "held", "left")

    def __init__(self, size: int, common: Buffered | None = None) -> None:
        self.left = size
        self.held = 0
        self._common = common

    def hold(self, nbytes: int) -> None:
        """Notes bytes that came or, with a negative number, that went."""
        common = self._common
        if common is not None and nbytes:
            before = self.held
            held = self.held = before + nbytes
            with common.lock:  # here and not in a method of it: every body comes through here twice
                common.total += nbytes
                if (held > 0) is not (before > 0):
                    common.holders += 1 if held > 0 else -1

    @property
    def may_grow(self) -> bool:
        """Whether any window should grow now."""
        return self._common is None or not self._common.full

    @property
    def overdrawn(self) -> bool:
        """Whether there is too much in all, and at least an even share of it here.

        Then this connection gets nothing more to do. The others do, so that those who let all lie
        do not stop those who take what they get.
        """
        common = self._common
        if common is None or not common.full:
            return False
        return self.held > 0 and self.held * common.holders >= common.size

    def close(self) -> None:
        """Gives back all that is held; after it nothing counts. Harmless when repeated."""
        self.hold(-self.held)
        self._common = None


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
        self._budget.hold(nbytes)
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
        self._budget.hold(-nbytes)
        self._consumed += nbytes
        if self._consumed * 2 < self.size:
            return 0
        credit = self._consumed
        quick = (
            self._last is not None
            and round_trip is not None
            and now - self._last < _ROUND_TRIPS * round_trip
        )
        if quick and self._budget.may_grow:
            growth = min(self.size, self._max - self.size, self._budget.left)
            self._budget.left -= growth
            self.size += growth
            credit += growth
        self._last = now
        self._consumed = 0
        self._credit += credit
        return credit

    def close(self) -> None:
        """Gives back what the window has grown by, and what it holds. Harmless when repeated."""
        self._budget.left += self.size - self._initial
        self.size = self._initial
        if self.held:
            self._budget.hold(-self.held)
            self.held = 0
