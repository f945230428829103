"""Messages that come in pieces: in one long frame, or in several frames."""

from __future__ import annotations

from restsock._exceptions import RemoteProtocolError

from ._events import BinaryMessage, CloseCode, TextMessage

__all__ = ["Fragments", "LongMessage", "check_size"]

# Parts of a message that are kept one by one. Of more, which a peer sends that dribbles, one is
# made: objects of a few bytes each would take many times the size of the message.
_MAX_PARTS = 64


class LongMessage:
    """A long message on its way, in one frame. Its bytes are copied once: when all have come.

    Args:
        head: how it begins, masked or not, as it came.
        part: what has come after that.
        lacking: bytes that have not come.
        key: of the mask; empty without one.
    """

    __slots__ = ("head", "key", "lacking", "parts")

    def __init__(self, head: bytes, part: bytes, lacking: int, key: bytes) -> None:
        self.head = head
        self.key = key
        self.lacking = lacking
        self.parts: list[bytes | memoryview] = [part]

    def add(self, data: bytes) -> int:
        """Takes in what has come; returns how many bytes of that belong to this message."""
        taken = min(len(data), self.lacking)
        self.parts.append(data if taken == len(data) else memoryview(data)[:taken])
        self.lacking -= taken
        if len(self.parts) > _MAX_PARTS:
            self.parts = [b"".join(self.parts)]
        return taken


class Fragments:
    """A message in several frames, or in pieces of one. It is put together when all have come.

    Args:
        max_message: the size of the largest message, in bytes.

    Attributes:
        size: bytes that have come.
    """

    __slots__ = ("_joined", "_max_message", "_parts", "size")

    def __init__(self, max_message: int) -> None:
        self.size = 0
        self._max_message = max_message
        self._parts: list[bytes | bytearray | str] = []
        self._joined = 0  # how many of these, from the first on, were made of others

    def add(self, part: bytes | bytearray | str) -> None:
        """Takes in what has come.

        Raises:
            RemoteProtocolError: the message is too large.
        """
        if part:
            self.size += len(part.encode()) if isinstance(part, str) else len(part)
            check_size(self.size, self._max_message)
            self._parts.append(part)
            if len(self._parts) - self._joined > _MAX_PARTS:
                self._join()
        elif not self._parts:
            # Remembers the kind of a message whose first fragment is empty.
            self._parts.append(part if isinstance(part, str) else b"")

    def message(self) -> TextMessage | BinaryMessage:
        """All of it."""
        parts = self._parts
        if isinstance(parts[0], str):
            return TextMessage("".join(parts))  # type: ignore[arg-type]  # one kind
        return BinaryMessage(b"".join(parts))  # type: ignore[arg-type]  # likewise

    def _join(self) -> None:
        parts = self._parts[self._joined :]
        empty = parts[0][:0]
        self._parts[self._joined :] = [empty.join(parts)]  # type: ignore[arg-type]  # one kind
        self._joined += 1


def check_size(size: int, most: int) -> None:
    """Raises `RemoteProtocolError` for a message that is too large."""
    if size > most:
        raise RemoteProtocolError(
            f"a message of more than {most} bytes",
            close_code=CloseCode.TOO_BIG,
            limit="max_message",
        )
