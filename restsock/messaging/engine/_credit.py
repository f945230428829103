"""Credit: how much a peer may send, in messages and in bytes.

A `data` envelope costs one message, and the bytes of its text in UTF-8. Its receiver gives both
back once it is done with it: handled, refused, or known already.
"""

from __future__ import annotations

from ._payloads import MAX_NUMBER

__all__ = ["Credit", "Grants"]


class Credit:
    """What the peer lets this side send.

    Attributes:
        messages: how many more.
        bytes: how many more.
    """

    __slots__ = ("bytes", "messages")

    def __init__(self, messages: int, bytes: int) -> None:
        self.messages = messages
        self.bytes = bytes

    def grant(self, messages: int, bytes: int) -> bool:
        """Adds to it. `False`, and nothing is added, if that would be more than there may be."""
        messages += self.messages
        bytes += self.bytes
        if messages > MAX_NUMBER or bytes > MAX_NUMBER:
            return False
        self.messages, self.bytes = messages, bytes
        return True

    def take(self, size: int) -> None:
        """One message of that size leaves."""
        assert self.messages >= 1
        assert self.bytes >= size
        self.messages -= 1
        self.bytes -= size


class Grants:
    """What this side lets the peer send.

    Args:
        messages: how many to begin with.
        bytes: how many to begin with.
        largest: bytes of the largest message.

    Attributes:
        held: messages that came and are not done with.
        held_bytes: bytes of those.
    """

    __slots__ = (
        "_bytes",
        "_largest",
        "_left",
        "_left_bytes",
        "_messages",
        "_owed",
        "_owed_bytes",
        "held",
        "held_bytes",
    )

    def __init__(self, messages: int, bytes: int, largest: int) -> None:
        self._messages, self._bytes = messages, bytes
        self._largest = largest
        self._left, self._left_bytes = messages, bytes
        self._owed = self._owed_bytes = 0
        self.held = self.held_bytes = 0

    def take(self, size: int) -> bool:
        """A message has come. `False`, and nothing changes, if the peer had no credit for it."""
        if self._left < 1 or self._left_bytes < size:
            return False
        self._left -= 1
        self._left_bytes -= size
        self.held += 1
        self.held_bytes += size
        return True

    @property
    def starved(self) -> bool:
        """Whether the peer could not send one more message, though some credit is owed to it."""
        few = not self._left or self._left_bytes < self._largest
        return few and self._owed > 0

    def release(self, size: int) -> None:
        """A message that came is done with."""
        self.held -= 1
        self.held_bytes -= size
        self._owed += 1
        self._owed_bytes += size

    @property
    def ripe(self) -> bool:
        """Whether to grant now: each grant costs, so not until it is a quarter of the whole.

        At once, though, if the peer could not send one more message: what is held here may wait
        for that one.
        """
        quarter = 4 * self._owed >= self._messages or 4 * self._owed_bytes >= self._bytes
        return quarter or self.starved

    def due(self) -> tuple[int, int] | None:
        """What to grant now: all that is owed, if it is `ripe`."""
        if not self.ripe:
            return None
        grant = self._owed, self._owed_bytes
        self._left += grant[0]
        self._left_bytes += grant[1]
        self._owed = self._owed_bytes = 0
        return grant
