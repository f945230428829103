"""`ReceiveQueue`: messages that have come, and wait to be received."""

from __future__ import annotations

from collections import deque

from ._send_queue import OVERHEAD

__all__ = ["ReceiveQueue"]


class ReceiveQueue:
    """Messages in order, and what they weigh.

    Args:
        size: Bytes that may wait before no more should be read.
    """

    def __init__(self, size: int) -> None:
        self._messages: deque[str | bytes] = deque()
        self._size = size
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def full(self) -> bool:
        """Whether no more should be read for now."""
        return self._bytes > self._size

    def put(self, message: str | bytes) -> None:
        """Adds the latest one."""
        self._messages.append(message)
        self._bytes += len(message) + OVERHEAD

    def put_back(self, message: str | bytes) -> None:
        """Adds one that was taken: it is the next one again."""
        self._messages.appendleft(message)
        self._bytes += len(message) + OVERHEAD

    def pop(self) -> str | bytes:
        """Takes the next one.

        Raises:
            IndexError: There is none.
        """
        message = self._messages.popleft()
        self._bytes -= len(message) + OVERHEAD
        return message

    def clear(self) -> None:
        """Drops them all."""
        self._messages.clear()
        self._bytes = 0
