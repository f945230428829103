"""`SendQueue`: messages that wait because a peer does not take them, bounded by count and bytes."""

from __future__ import annotations

from collections import deque

import anyio

__all__ = ["OVERHEAD", "SendQueue", "Waiting", "as_bytes"]

# What a message that waits weighs besides its bytes: there is no end to empty ones otherwise.
OVERHEAD = 64


class Waiting:
    """A message that waits.

    Attributes:
        message: the same, as it was given.
        weight: what it counts for.
        settled: is set when it has left or was dropped, for somebody who waits for that.
        dropped: whether it will never leave.
        droppable: whether it may be dropped so that others have room.
    """

    __slots__ = ("droppable", "dropped", "message", "settled", "weight")

    def __init__(
        self, message: str | bytes, weight: int, settled: anyio.Event | None, droppable: bool
    ) -> None:
        self.message = message
        self.weight = weight
        self.settled = settled
        self.dropped = False
        self.droppable = droppable

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

    Attributes:
        dropped: how many were dropped so that others have room.
    """

    __slots__ = (
        *("_bytes", "_droppable", "_droppable_bytes", "_lacked_room", "_max_bytes"),
        *("_max_messages", "_waiting", "dropped"),
    )

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self._waiting: deque[Waiting] = deque()
        self._bytes = 0
        self._droppable = self._droppable_bytes = 0  # those of them that may be dropped
        self.dropped = 0
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

    def put(
        self,
        message: str | bytes,
        *,
        settled: anyio.Event | None = None,
        droppable: bool = False,
    ) -> Waiting | None:
        """Adds a message, if it fits; whatever its size if it is the first, or is waited for.

        Args:
            message: Text or bytes.
            settled: For somebody who waits for it.
            droppable: Whether it may be dropped so that a later one has room: the oldest is first.

        Raises:
            ValueError: a text that UTF-8 cannot have.
        """
        size = len(message)
        if isinstance(message, str) and not message.isascii():
            size = len(message.encode("utf-8"))
        if settled is None and self._waiting and not self._make_room(size + OVERHEAD):
            self._lacked_room = True
            return None
        waiting = Waiting(message, size + OVERHEAD, settled, droppable)
        self._waiting.append(waiting)
        self._count(waiting, 1)
        return waiting

    def _make_room(self, weight: int) -> bool:
        """Drops the oldest of those that may be dropped, as far as one more needs their room."""
        kept = len(self._waiting) - self._droppable
        kept_bytes = self._bytes - self._droppable_bytes
        if kept >= self._max_messages or kept_bytes + weight > self._max_bytes:
            return False  # it would not fit, whatever is dropped
        while len(self._waiting) >= self._max_messages or self._bytes + weight > self._max_bytes:
            oldest = next(each for each in self._waiting if each.droppable)
            self.remove(oldest)
            oldest.settle(dropped=True)
            self.dropped += 1
        return True

    def _count(self, waiting: Waiting, sign: int) -> None:
        self._bytes += sign * waiting.weight
        if waiting.droppable:
            self._droppable += sign
            self._droppable_bytes += sign * waiting.weight

    def pop(self) -> Waiting:
        """Takes the first message."""
        waiting = self._waiting.popleft()
        self._count(waiting, -1)
        return waiting

    def remove(self, waiting: Waiting) -> None:
        """Takes one back that has not been settled."""
        self._waiting.remove(waiting)
        self._count(waiting, -1)

    def drop(self) -> None:
        """None of them will leave."""
        dropped, self._waiting = self._waiting, deque()
        self._bytes = self._droppable = self._droppable_bytes = 0
        for waiting in dropped:
            waiting.settle(dropped=True)

    def regained(self) -> bool:
        """Whether there is room again, half of all, after somebody was told that there is none."""
        few = len(self._waiting) <= self._max_messages // 2
        if self._lacked_room and few and self._bytes <= self._max_bytes // 2:
            self._lacked_room = False
            return True
        return False


def as_bytes(message: object) -> bytes:
    """A message that is bytes of another kind.

    Raises:
        TypeError: It is neither text nor bytes.
    """
    if isinstance(message, (bytearray, memoryview)):
        return bytes(message)
    raise TypeError(f"a message is str or bytes, not {type(message).__name__}")
