"""What was published last on a channel, for subscribers who come back."""

from __future__ import annotations

from collections import deque
from itertools import dropwhile

from ._outgoing import Outgoing

__all__ = ["Ring"]


class Ring:
    """The last messages of a channel, bounded in number, bytes and age.

    Args:
        epoch: of the numbers.
        messages: how many are kept.
        bytes: of how many bytes together.
        seconds: for how long.

    Attributes:
        epoch: as above.
        seq: the number of the last message, 0 before the first.
    """

    def __init__(self, epoch: str, *, messages: int, bytes: int, seconds: float) -> None:
        self.epoch = epoch
        self.seq = 0
        self._messages = messages
        self._most_bytes = bytes
        self._seconds = seconds
        self._bytes = 0
        self._items: deque[tuple[int, float, Outgoing]] = deque()

    def __len__(self) -> int:
        return len(self._items)

    def next_seq(self) -> int:
        """The number of the next message, which is then put in."""
        self.seq += 1
        return self.seq

    def put(self, outgoing: Outgoing, now: float) -> None:
        """Keeps the message that got the last number."""
        self._items.append((self.seq, now, outgoing))
        self._bytes += outgoing.size
        self.expire(now)

    def expire(self, now: float) -> None:
        """Lets go of what is too old or too much."""
        items = self._items
        while items and (
            len(items) > self._messages
            or self._bytes > self._most_bytes
            or items[0][1] + self._seconds <= now
        ):
            self._bytes -= items.popleft()[2].size

    def since(self, epoch: str, seq: int, now: float) -> tuple[list[Outgoing], int | None]:
        """What came after a message.

        Args:
            epoch: of that message.
            seq: its number; 0 for all that there is.
            now: the time.

        Returns:
            The messages, in order, and how many more there were; `None` if that is not known,
            because the numbers are of another epoch.
        """
        self.expire(now)
        if epoch != self.epoch or seq > self.seq:
            return [outgoing for _, _, outgoing in self._items], None
        after = dropwhile(lambda item: item[0] <= seq, self._items)
        found = [outgoing for _, _, outgoing in after]
        return found, self.seq - seq - len(found)
