"""Who has the raw bytes of an upgraded exchange, where they do not go through the multiplexer."""

from __future__ import annotations

from typing import Protocol

__all__ = ["RawBytesReader"]


class RawBytesReader(Protocol):
    """Whom raw bytes go to, and who puts those that are to leave where they are due."""

    @property
    def full(self) -> bool:
        """Whether no more should be read for now."""

    def receive(self, data: bytes) -> None:
        """Takes in bytes. With the lock of the connection; does not block."""

    def taken(self) -> None:
        """All that was due is on its way. Likewise."""
