"""How much all connections of a client or a server hold together.

Each connection bounds what it holds. That bounds little when there are thousands of them, so all of
them also count in one place.
"""

from __future__ import annotations

import threading

__all__ = ["Buffered"]


class Buffered:
    """Counts the body bytes that have come and were not taken yet. For any thread.

    Args:
        size: How many there should be at most.

    Attributes:
        total: How many there are.
        holders: How many connections have some of them.
        lock: To be held while either of the two changes.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.total = 0
        self.holders = 0
        self.lock = threading.Lock()

    @property
    def full(self) -> bool:
        """Whether there are as many as there should be at most."""
        return self.total >= self.size
