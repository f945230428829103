"""A fair queue: each owner has its own line, and the lines take turns."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["FairQueue"]

T = TypeVar("T")

_NOBODY = object()


class FairQueue(Generic[T]):
    """Waiting items, in one line for each owner. Not thread-safe.

    With one line for all, a peer that sends a hundred requests would make all others wait.
    """

    def __init__(self) -> None:
        self._lines: OrderedDict[Hashable, deque[T]] = OrderedDict()  # the next in turn first

    def __bool__(self) -> bool:
        return bool(self._lines)

    def __len__(self) -> int:
        """How many items wait in all lines."""
        return sum(map(len, self._lines.values()))

    def put(self, owner: Hashable, item: T) -> None:
        """Adds to the end of the owner's line."""
        line = self._lines.get(owner)
        if line is None:
            line = self._lines[owner] = deque()
        line.append(item)

    def take(self, may: Callable[[Hashable], bool]) -> tuple[Hashable, T] | None:
        """Takes the first item of the line whose turn it is; the turn passes to the next line.

        Args:
            may: Returns whether an owner may have a turn now.

        Returns:
            The owner and the item; `None` if nothing waits, or no owner may have a turn.
        """
        owner = next(filter(may, self._lines), _NOBODY)
        if owner is _NOBODY:
            return None
        line = self._lines[owner]
        item = line.popleft()
        if line:
            self._lines.move_to_end(owner)
        else:
            del self._lines[owner]
        return owner, item

    def length(self, owner: Hashable) -> int:
        """How many items wait in the owner's line."""
        line = self._lines.get(owner)
        return 0 if line is None else len(line)

    def longest(self) -> Hashable:
        """The owner of the longest line. There must be one."""
        return max(self._lines, key=self.length)

    def items(self, owner: Hashable) -> list[T]:
        """The items in the owner's line, in order."""
        return list(self._lines.get(owner, ()))

    def remove(self, owner: Hashable, item: T) -> None:
        """Removes an item from the owner's line."""
        line = self._lines[owner]
        line.remove(item)
        if not line:
            del self._lines[owner]

    def clear(self) -> list[T]:
        """Removes and returns all items."""
        left = [item for line in self._lines.values() for item in line]
        self._lines.clear()
        return left
