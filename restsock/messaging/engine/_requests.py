"""Requests of this side that are open on one session, by id."""

from __future__ import annotations

from typing import Generic, TypeVar

__all__ = ["Requests"]

T = TypeVar("T")


class Requests(Generic[T]):
    """Requests and what waits for their answers.

    Attributes:
        late: answers that nobody waits for any more, or that nobody has asked for.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: dict[str, T] = {}
        self.late = 0

    def __len__(self) -> int:
        return len(self._open)

    @property
    def full(self) -> bool:
        """Whether the next one has to wait."""
        return len(self._open) >= self._limit

    def add(self, id: str, waiter: T) -> None:
        """Notes a request that leaves. It may not be full."""
        assert not self.full
        self._open[id] = waiter

    def take(self, id: str) -> T | None:
        """An answer has come: who waits for it, if anybody does."""
        waiter = self._open.pop(id, None)
        if waiter is None:
            self.late += 1
        return waiter

    def discard(self, id: str) -> None:
        """Nobody waits for this one any more."""
        self._open.pop(id, None)

    def clear(self) -> list[T]:
        """The session has ended: all who wait."""
        waiters = [*self._open.values()]
        self._open.clear()
        return waiters
