"""`SendQueue`: messages that wait because a peer does not take them, bounded by count and bytes."""

from __future__ import annotations

from collections import deque

import anyio

__all__ = ["OVERHEAD", "SendQueue", "Waiting"]

# What a message that waits weighs besides its bytes: there is no end to empty ones otherwise.
OVERHEAD = 64


class Waiting:
    """A message that waits.

    Attributes:
        message: the same, as it was given.
        weight: what it counts for.
        settled: is set when it has left or was dropped, for somebody who waits for that.
        dropped: whether it will never leave.
    """

    __slots__ = ("dropped", "message", "settled", "weight")

    def __init__(self, message: str | bytes, weight: int, settled: anyio.Event | None) -> None:
        self.message = message
        self.weight = weight
        self.settled = settled
        self.dropped = False

    def settle(self, *, dropped: bool = False) -> None:
        """It waits no more."""
        self.dropped = dropped
        if self.settled is not None:
            self.settled.set()


class SendQueue:
    """First in, first out. Who waits for room itself may add more than there is room for.

    Args:
        max_messages: that there is room for.
        max_bytes: of these.
    """

    __slots__ = ("_bytes", "_lacked_room", "_max_bytes", "_max_messages", "_waiting")

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self._waiting: deque[Waiting] = deque()
        self._bytes = 0
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._lacked_room = False  # since somebody was told that there is none

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def room(self) -> int:
        """Bytes of one more message that would fit."""
        if len(self._waiting) >= self._max_messages:
            return 0
        return max(0, self._max_bytes - self._bytes - OVERHEAD)

    def put(self, message: str | bytes, *, settled: anyio.Event | None = None) -> Waiting | None:
        """Adds a message, if it fits; whatever its size if it is the first, or is waited for.

        Raises:
            ValueError: a text that UTF-8 cannot have.
        """
        size = len(message)
        if isinstance(message, str) and not message.isascii():
            size = len(message.encode("utf-8"))
        if settled is None and self._waiting and not self._fits(size):
            self._lacked_room = True
            return None
        waiting = Waiting(message, size + OVERHEAD, settled)
        self._waiting.append(waiting)
        self._bytes += waiting.weight
        return waiting

    def _fits(self, size: int) -> bool:
        few = len(self._waiting) < self._max_messages
        return few and self._bytes + size + OVERHEAD <= self._max_bytes

    def pop(self) -> Waiting:
        """Takes the first message."""
        waiting = self._waiting.popleft()
        self._bytes -= waiting.weight
        return waiting

    def remove(self, waiting: Waiting) -> None:
        """Takes one back that has not been settled."""
        self._waiting.remove(waiting)
        self._bytes -= waiting.weight

    def drop(self) -> None:
        """None of them will leave."""
        dropped, self._waiting = self._waiting, deque()
        self._bytes = 0
        for waiting in dropped:
            waiting.settle(dropped=True)

    def regained(self) -> bool:
        """Whether there is room again, half of all, after somebody was told that there is none."""
        few = len(self._waiting) <= self._max_messages // 2
        if self._lacked_room and few and self._bytes <= self._max_bytes // 2:
            self._lacked_room = False
            return True
        return False
