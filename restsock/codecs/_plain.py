"""Codecs that leave bytes as they are: text, bytes, nothing."""

from __future__ import annotations

from typing import Any

from restsock._exceptions import CodecError

from ._bounds import Bounds, text_of

__all__ = ["Binary", "Null", "String"]


class String:
    """UTF-8 as `str`."""

    def __init__(self, *, bounds: Bounds) -> None:
        pass

    def decode(self, data: bytes, now: int | None) -> list[Any]:
        return [text_of(data)]

    def encode(self, value: Any) -> bytes:
        if not isinstance(value, str):
            raise CodecError("takes only text", kind="value")
        return value.encode()


class Binary:
    """Bytes as `bytes`."""

    def __init__(self, *, bounds: Bounds) -> None:
        pass

    def decode(self, data: bytes, now: int | None) -> list[Any]:
        return [bytes(data)]

    def encode(self, value: Any) -> bytes:
        if not isinstance(value, (bytes, bytearray, memoryview)):
            raise CodecError("takes only bytes", kind="value")
        return bytes(value)


class Null:
    """Decodes every message to `None`, and encodes every value as no bytes: to count messages."""

    def __init__(self, *, bounds: Bounds) -> None:
        pass

    def decode(self, data: bytes, now: int | None) -> list[Any]:
        return [None]

    def encode(self, value: Any) -> bytes:
        return b""
