"""CBOR (RFC 8949), by cbor2."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

from restsock._exceptions import CodecError

from ._bounds import Bounds
from ._registry import library
from ._shape import Shape, malformed, truncated

__all__ = ["CBOR"]

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _LIST, _MAPPING, _TAG, _SIMPLE = range(8)
_INDEFINITE = 31

# Tags, and the types that may follow them. Other tags make objects that a message does not need:
# regular expressions, values that refer to each other, powers of two of any size.
_TAGS = {
    0: (_TEXT,),  # a time as text
    1: (_UNSIGNED, _NEGATIVE, _SIMPLE),  # seconds since 1970; of the simple values floats are left
    2: (_BYTES,),  # a large integer
    3: (_BYTES,),  # a large negative integer
}
_SELF_DESCRIBED = b"\xd9\xd9\xf7"  # tag 55799: says that this is CBOR, and nothing else
_LARGE = 416  # bytes of an integer; about 1,000 digits


class CBOR:
    """The types of JSON, and `bytes`, times as `datetime`, large integers, integers as keys."""

    def __init__(self, *, bounds: Bounds) -> None:
        self._bounds = bounds
        cbor2 = library("cbor2", "cbor2")
        self._decode = partial(
            cbor2.loads, max_depth=bounds.max_depth + 2, allow_duplicate_keys=False
        )
        self._encode = cbor2.dumps

    def decode(self, data: bytes, now: int | None) -> list[Any]:
        data = data.removeprefix(_SELF_DESCRIBED)
        self._check(data)
        return [self._decode(data)]

    def encode(self, value: Any) -> bytes:
        encoded: bytes = self._encode(value)
        self._check(encoded)
        return encoded

    def _check(self, data: bytes) -> None:
        """Reads the heads of all values, and none of the values."""
        shape = Shape(self._bounds, len(data))
        at = 0
        tag: int | None = None
        while not shape.done:
            major, info, number, at = _head(data, at)
            if tag is not None:
                _check_tagged(tag, major, info, number)
                tag = None
            if major == _TAG:
                if info == _INDEFINITE or number not in _TAGS:
                    raise CodecError("an unsupported tag", kind="unsupported")
                shape.no_key()
                tag = number
            elif major in (_LIST, _MAPPING):
                length = None if info == _INDEFINITE else number
                shape.begin(at, length, keyed=major == _MAPPING)
            elif major in (_BYTES, _TEXT):
                if info == _INDEFINITE:
                    at = _pieces(data, at, major, self._bounds)
                else:
                    at += number
                shape.scalar(at, may_be_key=major == _TEXT)
            elif major == _SIMPLE and info == _INDEFINITE:
                shape.end()
            elif major == _SIMPLE:
                if info not in (20, 21, 22, 25, 26, 27):  # false, true, null, floats
                    raise CodecError("an unsupported simple value", kind="unsupported")
                shape.scalar(at)
            elif info == _INDEFINITE:
                raise malformed("an integer without a value")
            else:
                shape.scalar(at, may_be_key=True)
        shape.finish(at)


def _head(data: bytes, at: int) -> tuple[int, int, int, int]:
    """The major type, the five bits after it, the number that they encode, and the end."""
    if at >= len(data):
        raise truncated()
    major, info = data[at] >> 5, data[at] & 0x1F
    at += 1
    if info < 24 or info == _INDEFINITE:
        return major, info, info, at
    if info > 27:
        raise malformed("an invalid kind of length")
    after = at + (1 << (info - 24))
    if after > len(data):
        raise truncated()
    return major, info, int.from_bytes(data[at:after], "big"), after


def _pieces(data: bytes, at: int, major: int, bounds: Bounds) -> int:
    """The end of bytes or text in chunks of indefinite length."""
    for count in itertools.count():
        bounds.count(count)
        piece, info, number, at = _head(data, at)
        if piece == _SIMPLE and info == _INDEFINITE:
            return at
        if piece != major or info == _INDEFINITE:
            raise malformed("a chunk of another type")
        at += number
        if at > len(data):
            raise truncated()
    raise AssertionError("it counts without end")


def _check_tagged(tag: int, major: int, info: int, number: int) -> None:
    if major not in _TAGS[tag] or (major == _SIMPLE and info not in (25, 26, 27)):
        raise malformed("a tag on a value of another type")
    if major == _BYTES and (info == _INDEFINITE or number > _LARGE):
        raise CodecError(f"an integer of more than {_LARGE} bytes", kind="too_large")
