"""Chunked GELF: messages in up to 128 chunks, in any order."""

from __future__ import annotations

from collections.abc import Iterator

from restsock._exceptions import CodecError

from ._bounds import MAX_LENGTH, max_length_of, whole
from ._framing import Piece
from ._shape import malformed

__all__ = ["GELFDecoder", "GELFEncoder"]

_MAGIC = b"\x1e\x0f"
_HEAD = 12  # magic, 8 bytes of message id, number of the chunk, number of chunks
_MOST_CHUNKS = 128
_SECONDS = 5
_MOST_OPEN = 64


class GELFDecoder:
    """Reassembles messages from their chunks. Other messages pass unchanged.

    A message whose chunks do not all arrive within 5 seconds is dropped; there is an error in its
    place. This is checked when the next chunk arrives, and at the end.

    Args:
        max_length: The maximum size of a message, and of all incomplete messages, in bytes. Above
            that the oldest incomplete message is dropped, and also if there are more than 64.
    """

    def __init__(self, *, max_length: int = MAX_LENGTH) -> None:
        self._max_length = max_length_of(max_length)
        self._open: dict[bytes, _Parts] = {}  # the oldest is the first
        self._size = 0

    def feed(self, piece: Piece) -> Iterator[Piece | CodecError]:
        """The message that this chunk completes, and errors for messages that were dropped."""
        data, now = piece
        if not data.startswith(_MAGIC):
            if len(data) > self._max_length:
                yield CodecError(f"more than {self._max_length} bytes", kind="too_large")
            else:
                yield piece
            return
        yield from self._expire(now)
        try:
            message = self._add(data, now)
        except CodecError as exc:
            yield exc
            return
        while self._size > self._max_length or len(self._open) > _MOST_OPEN:
            self._drop(next(iter(self._open)))
            yield CodecError("chunks of too many messages at once", kind="too_large")
        if message is not None:
            yield Piece(message, now)

    def finish(self, now: int) -> Iterator[Piece | CodecError]:
        """An error for each message that is not complete."""
        while self._open:
            self._drop(next(iter(self._open)))
            yield _incomplete()

    def _expire(self, now: int) -> Iterator[CodecError]:
        oldest = now - _SECONDS * 1_000_000_000
        for identity in [name for name, parts in self._open.items() if parts.since < oldest]:
            self._drop(identity)
            yield _incomplete()

    def _add(self, data: bytes, now: int) -> bytes | None:
        if len(data) < _HEAD:
            raise malformed("a chunk without its head")
        identity, number, count = data[2:10], data[10], data[11]
        if not 0 < count <= _MOST_CHUNKS or number >= count:
            raise malformed("a chunk with an invalid number")
        parts = self._open.setdefault(identity, _Parts(count, now))
        if parts.count != count:
            self._drop(identity)
            raise malformed("chunks of one message with different counts")
        if number not in parts.found:
            parts.found[number] = data[_HEAD:]
            self._size += len(data) - _HEAD
        if len(parts.found) < count:
            return None
        message = b"".join(parts.found[each] for each in range(count))
        self._drop(identity)
        if len(message) > self._max_length:
            raise CodecError(f"more than {self._max_length} bytes", kind="too_large")
        return message

    def _drop(self, identity: bytes) -> None:
        parts = self._open.pop(identity)
        self._size -= sum(map(len, parts.found.values()))


class _Parts:
    """The chunks of one message."""

    def __init__(self, count: int, since: int) -> None:
        self.count = count
        self.since = since
        self.found: dict[int, bytes] = {}


def _incomplete() -> CodecError:
    return CodecError("a message with missing chunks", kind="truncated")


class GELFEncoder:
    """Splits messages into chunks. Messages that fit into one chunk pass unchanged.

    Args:
        max_bytes: The maximum size of a chunk, including its header of 12 bytes.
        max_length: The maximum size of a message, in bytes. Since it has at most 128 chunks, 128
            times `max_bytes` is a limit as well.
    """

    def __init__(self, *, max_bytes: int = 8192, max_length: int = MAX_LENGTH) -> None:
        self._room = whole("max_bytes", max_bytes, _HEAD + 1, 2**31 - 1) - _HEAD
        self._max_length = max_length_of(max_length)
        self._last = 0

    def feed(self, piece: Piece) -> Iterator[Piece | CodecError]:
        """The chunks of a message."""
        data, now = piece
        room = self._room
        count = max(1, -(-len(data) // room))
        if len(data) > self._max_length or count > _MOST_CHUNKS:
            yield CodecError("a message that does not fit into 128 chunks", kind="too_large")
            return
        # A message that begins like a chunk is sent in chunks.
        if len(data) <= room + _HEAD and not data.startswith(_MAGIC):
            yield piece
            return
        # Unique for one sender, and practically unique for several.
        self._last = max(self._last + 1, now) % 2**64
        head = _MAGIC + self._last.to_bytes(8, "big")
        for number in range(count):
            part = data[number * room : (number + 1) * room]
            yield Piece(head + bytes([number, count]) + part, now)

    def finish(self, now: int) -> Iterator[Piece | CodecError]:
        """Nothing, since no message waits."""
        return iter(())
