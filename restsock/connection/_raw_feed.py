"""`RawFeed`: how raw bytes are handed on as they come, where a task has to wait for them."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["RawFeed"]


class RawFeed:
    """See `RawBytes.feed`."""

    __slots__ = ()

    async def receive_data(self) -> bytes:
        """See `RawBytes`."""
        raise NotImplementedError

    async def feed(self, take: Callable[[bytes], bool]) -> bool:
        """See `RawBytes`."""
        while data := await self.receive_data():
            if not take(data):
                return True
        return False
