"""Pieces of a body that have come, and wait to be taken."""

from __future__ import annotations

from collections import deque

__all__ = ["joined"]

# Pieces of a body that wait are joined up to this size, in bytes.
_SMALL = 4096


def joined(pieces: deque[bytes], data: bytes) -> bool:
    """Adds a piece of a body; tells whether it was joined to the one before, which is small.

    So a peer cannot fill memory with objects of one byte.
    """
    if pieces and len(pieces[-1]) + len(data) <= _SMALL:
        pieces[-1] += data
        return True
    pieces.append(data)
    return False
