"""Messages with a length prefix."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from restsock._exceptions import CodecError

from ._bounds import MAX_LENGTH, check_length, max_length_of
from ._framing import Framing, Piece
from ._transforms import PerMessage

__all__ = [
    "length_prefix_decoder",
    "length_prefix_encoder",
    "textual_length_prefix_decoder",
    "textual_length_prefix_encoder",
]

# Parses the bytes after a message; returns the size of the prefix, and the length that it contains;
# `None` if it is not complete. Raises `CodecError` for an invalid prefix.
_ReadPrefix = Callable[[bytes], tuple[int, int] | None]


def length_prefix_decoder(*, width: int = 8, max_length: int = MAX_LENGTH) -> Framing:
    """Decodes messages with a length prefix, an unsigned integer in network byte order.

    Args:
        width: The size of the prefix in bytes: 8 or 4.
        max_length: The maximum length of a message, in bytes. A longer message ends the stream.
    """
    _check_width(width)

    def read(head: bytes) -> tuple[int, int] | None:
        return (width, int.from_bytes(head, "big")) if len(head) == width else None

    return _PrefixDecoder(read, width, max_length_of(max_length))


def textual_length_prefix_decoder(*, max_length: int = MAX_LENGTH) -> Framing:
    """Decodes messages after their decimal length and a space (RFC 6587, 3.4.1; RFC 5425).

    Args:
        max_length: The maximum length of a message, in bytes. A longer message ends the stream.
    """
    most = len(str(max_length_of(max_length)))

    def read(head: bytes) -> tuple[int, int] | None:
        # Each byte is checked as soon as it arrives, so the result does not depend on the pieces.
        digits, space, _ = head.partition(b" ")
        if (digits and not digits.isdigit()) or (space and not digits):
            raise CodecError("a length that is not a number", kind="malformed")
        if digits.startswith(b"0") and len(digits) > 1:
            raise CodecError("a length that begins with 0", kind="malformed")
        if len(digits) > most:
            check_length(10**most, max_length)
        return (len(digits) + 1, int(digits)) if space else None

    return _PrefixDecoder(read, most + 1, max_length)


def length_prefix_encoder(*, width: int = 8, max_length: int = MAX_LENGTH) -> Framing:
    """Adds a length prefix to each message, an unsigned integer in network byte order.

    Args:
        width: The size of the prefix in bytes: 8 or 4.
        max_length: The maximum length of a message, in bytes.
    """
    _check_width(width)
    return PerMessage(
        lambda data: len(data).to_bytes(width, "big") + data, max_length_of(max_length)
    )


def textual_length_prefix_encoder(*, max_length: int = MAX_LENGTH) -> Framing:
    """Adds to each message its length in decimal digits and a space (RFC 6587, 3.4.1).

    Args:
        max_length: The maximum length of a message, in bytes.
    """
    return PerMessage(lambda data: b"%d %b" % (len(data), data), max_length_of(max_length))


class _PrefixDecoder:
    """Decodes messages from a stream. A wrong prefix is fatal: the next one cannot be found."""

    def __init__(self, read_prefix: _ReadPrefix, longest: int, max_length: int) -> None:
        self._read_prefix = read_prefix
        self._longest = longest  # the maximum size of a prefix in bytes
        self._max_length = max_length
        self._buffer = bytearray()
        self._length: int | None = None  # of the current message, once its prefix is complete
        self._lost = False

    def feed(self, piece: Piece) -> Iterator[Piece | CodecError]:
        if self._lost:
            return
        buffer = self._buffer
        buffer += piece.data
        at = 0
        try:
            while True:
                if self._length is None:
                    prefix = self._read_prefix(bytes(buffer[at : at + self._longest]))
                    if prefix is None:
                        return
                    check_length(prefix[1], self._max_length)
                    at += prefix[0]
                    self._length = prefix[1]
                end = at + self._length
                if end > len(buffer):
                    return
                message = bytes(memoryview(buffer)[at:end])
                at, self._length = end, None
                yield Piece(message, piece.time)
        except CodecError as exc:
            self._lost = True
            yield CodecError(str(exc), kind=exc.kind, fatal=True)
        finally:
            del buffer[: len(buffer) if self._lost else at]

    def finish(self, now: int) -> Iterator[Piece | CodecError]:
        if self._buffer or self._length is not None:
            yield CodecError("a stream that ends within a message", kind="truncated", fatal=True)
        self._buffer.clear()
        self._length = None


def _check_width(width: int) -> None:
    if width not in (4, 8) or isinstance(width, bool):
        raise ValueError(f"width must be 8 or 4, not {width!r}")
