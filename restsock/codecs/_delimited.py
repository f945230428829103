"""Messages that are separated or terminated by a separator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from restsock._exceptions import CodecError

from ._bounds import MAX_LENGTH, check_length, flag, max_length_of
from ._framing import Piece

__all__ = ["Split", "Terminate"]

_MAX_SEPARATOR = 16


class Split:
    """Splits a stream into messages at a separator.

    A message that is too long is skipped; there is an error in its place.

    Args:
        separator: A text of 1 to 16 bytes.
        max_length: The maximum length of a message, in bytes.
        buffered: Whether a message may consist of several pieces. If not, each piece ends a
            message, as if a separator followed.
    """

    def __init__(
        self, *, separator: str = "\n", max_length: int = MAX_LENGTH, buffered: bool = True
    ) -> None:
        self._separator = _separator(separator)
        self._max_length = max_length_of(max_length)
        self._buffered = flag("buffered", buffered)
        self._buffer = bytearray()
        self._searched = 0  # how much of the buffer contains no beginning of a separator
        self._skipping = False  # whether to skip the rest of a message that is too long

    def feed(self, piece: Piece) -> Iterator[Piece | CodecError]:
        buffer, separator = self._buffer, self._separator
        buffer += piece.data
        start = 0
        try:
            while (found := buffer.find(separator, max(start, self._searched))) >= 0:
                message = bytes(memoryview(buffer)[start:found])
                start = found + len(separator)
                yield from self._checked(message, piece.time)
        finally:
            del buffer[:start]
            self._searched = 0
        self._searched = max(0, len(buffer) - len(separator) + 1)
        if not self._buffered:
            yield from self.finish(piece.time)
        elif len(buffer) > self._max_length + len(separator):
            # Wherever it ends, it is too long.
            if not self._skipping:
                self._skipping = True
                yield self._too_long()
            del buffer[: self._searched]
            self._searched = 0

    def finish(self, now: int) -> Iterator[Piece | CodecError]:
        rest = bytes(self._buffer)
        self._buffer.clear()
        self._searched = 0
        if rest:
            yield from self._checked(rest, now)
        self._skipping = False

    def _checked(self, message: bytes, time: int) -> Iterator[Piece | CodecError]:
        if self._skipping:
            self._skipping = False
        elif len(message) > self._max_length:
            yield self._too_long()
        else:
            yield Piece(message, time)

    def _too_long(self) -> CodecError:
        return CodecError(f"a message of more than {self._max_length} bytes", kind="too_large")


class Terminate:
    """Adds a separator after each message.

    Args:
        separator: A text of 1 to 16 bytes.
        max_length: The maximum length of a message without the separator, in bytes.
    """

    def __init__(self, *, separator: str = "\n", max_length: int = MAX_LENGTH) -> None:
        self._separator = _separator(separator)
        self._max_length = max_length_of(max_length)

    def feed(self, piece: Piece) -> Iterator[Piece | CodecError]:
        try:
            check_length(len(piece.data), self._max_length)
        except CodecError as exc:
            yield exc
            return
        ended = piece.data + self._separator
        # Also if the end of the message and the separator together contain an earlier one.
        if ended.find(self._separator) < len(piece.data):
            yield CodecError("a message with a separator in it", kind="value")
        else:
            yield Piece(ended, piece.time)

    def finish(self, now: int) -> Iterator[Piece | CodecError]:
        return iter(())


def _separator(value: Any) -> bytes:
    if not isinstance(value, str) or not 1 <= len(value.encode()) <= _MAX_SEPARATOR:
        raise ValueError(f"separator must be text of 1 to {_MAX_SEPARATOR} bytes, not {value!r}")
    return value.encode()
