"""Graphite's plaintext protocol."""

from __future__ import annotations

import re
from typing import Any

from restsock._exceptions import CodecError

from ._bounds import Bounds, lines_of
from ._numbers import number_of, required, text_in, written
from ._shape import malformed

__all__ = ["Graphite"]

_NO_NAME = re.compile(r"\s")


class Graphite:
    """Each line is a value: `metric`, `value`, and `timestamp` in seconds since 1970.

    `my.path 7 1620649445` is `{"metric": "my.path", "value": 7, "timestamp": 1620649445}`. A time
    of -1 means the time of the receiver, which is `now`, if given.
    """

    def __init__(self, *, bounds: Bounds) -> None:
        self._bounds = bounds

    def decode(self, data: bytes, now: int | None) -> list[Any]:
        return [_read(line, now) for line in lines_of(data, self._bounds)]

    def encode(self, value: Any) -> bytes:
        metric = text_in(value, "metric", _NO_NAME)
        number = written(required(value, "value"))
        timestamp = value.get("timestamp", -1)
        if timestamp != -1 and (timestamp is None or timestamp < 0):
            raise CodecError("a timestamp before 1970", kind="value")
        return f"{metric} {number} {written(timestamp)}".encode()


def _read(line: str, now: int | None) -> dict[str, Any]:
    parts = line.split()
    if len(parts) != 3:
        raise malformed("a line that is not path, value and time")
    found: dict[str, Any] = {"metric": parts[0], "value": number_of(parts[1])}
    timestamp = number_of(parts[2])
    if timestamp >= 0:
        found["timestamp"] = timestamp
    elif timestamp != -1:
        raise malformed("a time before 1970")
    elif now is not None:
        found["timestamp"] = now // 1_000_000_000
    return found
