"""A queue that has a bound, a policy for when it is full, and a word for when it gets so."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Generic, TypeVar

__all__ = ["Queue", "Watermark"]

T = TypeVar("T")


class Watermark:
    """Tells once when a level passes a mark, and again after it has been below a lower one.

    Args:
        above: the mark, as a part of 1.
        below: the lower one.
    """

    __slots__ = ("_above", "_below", "_over")

    def __init__(self, above: float, below: float) -> None:
        self._above = above
        self._below = below
        self._over = False

    def passed(self, level: float) -> bool:
        """Whether the mark is passed by this level, for the first time."""
        if level < self._below:
            self._over = False
        elif level >= self._above and not self._over:
            self._over = True
            return True
        return False


class Queue(Generic[T]):
    """Items in order, bounded in number and in bytes.

    Args:
        messages: how many there may be.
        bytes: of how many bytes together.
        policy: `"drop_oldest"`, `"drop_newest"`, `"block"` or `"disconnect"`.

    Attributes:
        bytes: of the items in it.
    """

    def __init__(self, *, messages: int, bytes: int, policy: str) -> None:
        self.capacity = messages
        self.policy = policy
        self.bytes = 0
        self._most_bytes = bytes
        self._items: OrderedDict[int, tuple[T, int]] = OrderedDict()
        self._tickets = 0

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        return (item for item, _ in self._items.values())

    @property
    def level(self) -> float:
        """How full it is, 0 to 1."""
        return max(len(self._items) / self.capacity, self.bytes / self._most_bytes)

    @property
    def full(self) -> bool:
        """Whether there is no room for another item. One of many bytes may not fit before."""
        return len(self._items) >= self.capacity or self.bytes >= self._most_bytes

    def fits(self, size: int) -> bool:
        """Whether an item has room as it is. Who waits for room may be a little above the bytes."""
        if self.policy == "block":
            return not self.full
        return len(self._items) < self.capacity and self.bytes + size <= self._most_bytes

    def put(self, item: T, size: int) -> tuple[int, list[T]]:
        """Puts an item in.

        Returns:
            Its ticket, and what was dropped for it; 0, and the item itself, if it was not put in.
        """
        dropped: list[T] = []
        if not self.fits(size):
            if self.policy != "drop_oldest" or size > self._most_bytes:
                return 0, [item]
            while not self.fits(size):
                dropped.append(self.pop()[0])
        self._tickets += 1
        self._items[self._tickets] = item, size
        self.bytes += size
        return self._tickets, dropped

    def first(self) -> tuple[T, int]:
        """The oldest item and its size. There has to be one."""
        return next(iter(self._items.values()))

    def pop(self) -> tuple[T, int]:
        """Takes the oldest item. There has to be one."""
        _, (item, size) = self._items.popitem(last=False)
        self.bytes -= size
        return item, size

    def remove(self, ticket: int) -> None:
        """Takes an item out of the middle, if it is still there."""
        found = self._items.pop(ticket, None)
        if found is not None:
            self.bytes -= found[1]

    def clear(self) -> list[T]:
        """Takes all items."""
        items = [item for item, _ in self._items.values()]
        self._items.clear()
        self.bytes = 0
        return items
