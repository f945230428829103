"""Joins messages to larger ones, to send fewer of them."""

from __future__ import annotations

from collections.abc import Iterator

from restsock._exceptions import CodecError

from ._bounds import MAX_LENGTH, max_length_of, whole
from ._framing import Piece

__all__ = ["Chunk", "Collect"]


class Chunk:
    """Joins messages up to a maximum number of bytes. It does not split messages.

    Args:
        max_bytes: The maximum size of the result; a single longer message is an error.
        max_length: The upper limit for `max_bytes`.
    """

    def __init__(self, *, max_bytes: int, max_length: int = MAX_LENGTH) -> None:
        self._most = whole("max_bytes", max_bytes, 1, max_length_of(max_length))
        self._waiting = _Waiting()

    def feed(self, piece: Piece) -> Iterator[Piece | CodecError]:
        """The waiting messages, if there is no room for this one."""
        if len(piece.data) > self._most:
            yield CodecError(f"a message of more than {self._most} bytes", kind="too_large")
            return
        if self._waiting.size + len(piece.data) > self._most:
            yield from self._waiting.take(piece.time)
        self._waiting.add(piece.data)

    def finish(self, now: int) -> Iterator[Piece | CodecError]:
        """The waiting messages."""
        return self._waiting.take(now)


class Collect:
    """Joins messages until a number of bytes is reached. Larger messages pass unchanged.

    Args:
        max_bytes: The size of the result; 0 waits until the end, or until `max_length`.
        max_length: The maximum size of a message, and of all waiting messages, in bytes.
    """

    def __init__(self, *, max_bytes: int = 0, max_length: int = MAX_LENGTH) -> None:
        self._max_length = max_length_of(max_length)
        self._most = whole("max_bytes", max_bytes, 0, max_length) or max_length
        self._waiting = _Waiting()

    def feed(self, piece: Piece) -> Iterator[Piece | CodecError]:
        """The waiting messages, if there is no room for this one; and this one, if it is larger."""
        if len(piece.data) > self._max_length:
            yield CodecError(f"a message of more than {self._max_length} bytes", kind="too_large")
            return
        if self._waiting.size + len(piece.data) > self._most:
            yield from self._waiting.take(piece.time)
        if len(piece.data) > self._most:
            yield piece
        else:
            self._waiting.add(piece.data)

    def finish(self, now: int) -> Iterator[Piece | CodecError]:
        """The waiting messages."""
        return self._waiting.take(now)


class _Waiting:
    """Messages that wait for others."""

    def __init__(self) -> None:
        self._data = bytearray()

    @property
    def size(self) -> int:
        return len(self._data)

    def add(self, data: bytes) -> None:
        self._data += data

    def take(self, now: int) -> Iterator[Piece | CodecError]:
        if self._data:
            data = bytes(self._data)
            self._data.clear()
            yield Piece(data, now)
