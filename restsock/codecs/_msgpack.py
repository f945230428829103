"""MessagePack, by msgspec."""

from __future__ import annotations

from typing import Any

from ._bounds import Bounds
from ._registry import library
from ._shape import Shape, malformed, truncated

__all__ = ["MessagePack"]

_BAD, _KEY, _OTHER, _LIST, _MAPPING = range(5)


def _heads() -> list[tuple[int, int, int]]:
    """For each first byte: the kind, the size of a number that follows, and an addend for it.

    The number is the length of a list or mapping, or the size of a value after it.
    """
    heads = [(_BAD, 0, 0)] * 256
    for byte in (*range(0x80), *range(0xE0, 0x100)):
        heads[byte] = (_KEY, 0, 0)  # small integers
    for low in range(16):
        heads[0x80 + low] = (_MAPPING, 0, low)
        heads[0x90 + low] = (_LIST, 0, low)
    for low in range(32):
        heads[0xA0 + low] = (_KEY, 0, low)  # short text
    for byte in (0xC0, 0xC2, 0xC3):
        heads[byte] = (_OTHER, 0, 0)  # nil, false, true
    for power in range(3):
        heads[0xC4 + power] = (_OTHER, 1 << power, 0)  # bytes
        heads[0xC7 + power] = (_OTHER, 1 << power, 1)  # extensions, with a byte for the type
        heads[0xD9 + power] = (_KEY, 1 << power, 0)  # text
    heads[0xCA], heads[0xCB] = (_OTHER, 0, 4), (_OTHER, 0, 8)  # floats
    for power in range(4):
        heads[0xCC + power] = (_KEY, 0, 1 << power)  # unsigned
        heads[0xD0 + power] = (_KEY, 0, 1 << power)  # signed
    for power in range(5):
        heads[0xD4 + power] = (_OTHER, 0, 1 + (1 << power))  # extensions of fixed sizes
    heads[0xDC], heads[0xDD] = (_LIST, 2, 0), (_LIST, 4, 0)
    heads[0xDE], heads[0xDF] = (_MAPPING, 2, 0), (_MAPPING, 4, 0)
    return heads


_HEADS = _heads()


class MessagePack:
    """The types of JSON, and `bytes`, times as `datetime`, and integers as keys.

    An extension type other than the timestamp is a `msgspec.msgpack.Ext`.
    """

    def __init__(self, *, bounds: Bounds) -> None:
        self._bounds = bounds
        msgpack = library("msgspec.msgpack", "msgspec")
        self._decode = msgpack.Decoder().decode
        self._encode = msgpack.Encoder().encode

    def decode(self, data: bytes, now: int | None) -> list[Any]:
        self._check(data)
        return [self._decode(data)]

    def encode(self, value: Any) -> bytes:
        encoded: bytes = self._encode(value)
        self._check(encoded)
        return encoded

    def _check(self, data: bytes) -> None:
        """Reads the heads of all values, and none of the values."""
        size = len(data)
        shape = Shape(self._bounds, size)
        at = 0
        while not shape.done:
            if at >= size:
                raise truncated()
            kind, width, number = _HEADS[data[at]]
            at += 1
            if width:
                number += int.from_bytes(data[at : at + width], "big")
                at += width
            if kind in (_LIST, _MAPPING):
                shape.begin(at, number, keyed=kind == _MAPPING)
            elif kind == _BAD:
                raise malformed("an invalid type")
            else:
                at += number
                shape.scalar(at, may_be_key=kind == _KEY)
        shape.finish(at)
