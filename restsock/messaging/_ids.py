"""Ids of envelopes and names of runs, made from bytes of chance in blocks."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["IdSource"]

# Ids for one call of the system.
_BLOCK = 64


class IdSource:
    """Makes UUIDs of version 4 (RFC 9562) and epochs.

    Args:
        random: gives so many random bytes, as `os.urandom` does.
    """

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self._random = random
        self._left: list[str] = []

    def uuid(self) -> str:
        """A new UUID."""
        if not self._left:
            digits = self._random(16 * _BLOCK).hex()
            self._left = [digits[at : at + 32] for at in range(0, 32 * _BLOCK, 32)]
        hex = self._left.pop()
        variant = "89ab"[int(hex[16], 16) & 3]
        return f"{hex[:8]}-{hex[8:12]}-4{hex[13:16]}-{variant}{hex[17:20]}-{hex[20:]}"

    def epoch(self) -> str:
        """A name for the numbers of one run, unlike that of any other."""
        return self._random(8).hex()
