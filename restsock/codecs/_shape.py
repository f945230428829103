"""Checks the limits of a binary message before it is decoded.

A few bytes can announce a list of four thousand million values, and a library allocates memory for
them at once. So the heads of all values are parsed here first: none may announce more than can
follow, the values are counted, and the depth is checked.

Keys of mappings must be text or integers of 64 bits. Other keys can be chosen so that they all have
the same hash, and then a `dict` of 100,000 takes minutes.
"""

from __future__ import annotations

from restsock._exceptions import CodecError

from ._bounds import Bounds

__all__ = ["Shape", "malformed", "truncated"]

# The length of a list or mapping of indefinite length; even, as for a mapping.
_ENDLESS = 2**62


class Shape:
    """Counts values as their heads are parsed, in order, until it is `done`.

    Args:
        bounds: The limits of the message.
        size: The size of the message in bytes.
    """

    def __init__(self, bounds: Bounds, size: int) -> None:
        self._bounds = bounds
        self._size = size
        self._items = 0
        self._left: list[int] = []  # of each open list or mapping: values and keys to come
        self._keyed: list[bool] = []
        self.done = False

    def scalar(self, after: int, *, may_be_key: bool = False) -> None:
        """Counts a value that contains no others.

        Args:
            after: Where in the message it ends.
            may_be_key: Whether it is text or an integer.

        Raises:
            CodecError: The message ends before that, there are too many values, or this type must
                not be a key.
        """
        if after > self._size:
            raise truncated()
        if not may_be_key:
            self.no_key()
        self._items += 1
        self._bounds.count(self._items)
        self._close()

    def begin(self, after: int, length: int | None, *, keyed: bool) -> None:
        """Begins a list or a mapping.

        Args:
            after: Where in the message its head ends.
            length: The number of values or pairs; `None` for an indefinite length.
            keyed: Whether it is a mapping.

        Raises:
            CodecError: As for `scalar`; or it is nested too deeply.
        """
        self.no_key()
        values = _ENDLESS if length is None else 2 * length if keyed else length
        if after > self._size or (length is not None and values > self._size - after):
            raise truncated()  # each value has at least one byte
        self._items += 1
        self._bounds.nest(len(self._left) + 1)
        self._bounds.count(self._items + (length or 0))
        if values:
            self._left.append(values)
            self._keyed.append(keyed)
        else:
            self._close()

    def end(self) -> None:
        """Ends a list or mapping of indefinite length.

        Raises:
            CodecError: There is none, or a key has no value.
        """
        left = self._left
        if not left or left[-1] <= _ENDLESS // 2 or (self._keyed[-1] and left[-1] % 2):
            raise malformed("an end without a beginning")
        left.pop()
        self._keyed.pop()
        self._close()

    def no_key(self) -> None:
        """Raises `CodecError` if a key is expected here."""
        if self._left and self._keyed[-1] and self._left[-1] % 2 == 0:
            raise CodecError("a key that is neither text nor an integer", kind="unsupported")

    def finish(self, at: int) -> None:
        """Raises `CodecError` if the message continues after its value."""
        if at != self._size:
            raise malformed("more bytes after the value")

    def _close(self) -> None:
        left = self._left
        while left:
            left[-1] -= 1
            if left[-1]:
                return
            left.pop()
            self._keyed.pop()
        self.done = True


def truncated() -> CodecError:
    """The error for a message that ends within a value."""
    return CodecError("ends too early", kind="truncated")


def malformed(what: str) -> CodecError:
    """The error for a malformed message."""
    return CodecError(what, kind="malformed")
