"""StatsD."""

from __future__ import annotations

import re
from typing import Any

from restsock._exceptions import CodecError

from ._bounds import Bounds, lines_of
from ._numbers import number_of, required, text_in, written
from ._shape import malformed

__all__ = ["StatsD", "read_rate", "written_rate"]

_TYPES = ("c", "ms", "g", "h", "s")
_NO_NAME = re.compile(r"[:|\r\n]|\A\s+\Z")
_NO_MEMBER = re.compile(r"[|\r\n]")


class StatsD:
    """Each line is a value: `type`, `metric`, `value`, and `sample_rate` if it has one.

    `sam:7|c|@0.1` is `{"type": "c", "metric": "sam", "value": 7, "sample_rate": 0.1}`. The types
    are `c` (counter), `ms` (timing), `g` (gauge), `h` (histogram) and `s` (set, whose value is
    text). A gauge with a sign changes the previous value: `action` is `"add"` or `"sub"`, and the
    value has no sign. So StatsD cannot set a gauge below 0.
    """

    def __init__(self, *, bounds: Bounds) -> None:
        self._bounds = bounds

    def decode(self, data: bytes, now: int | None) -> list[Any]:
        return [_read(line) for line in lines_of(data, self._bounds)]

    def encode(self, value: Any) -> bytes:
        metric = text_in(value, "metric", _NO_NAME)
        kind = required(value, "type")
        if kind not in _TYPES:
            raise CodecError("an unknown StatsD type", kind="value")
        if kind == "s":
            text = text_in(value, "value", _NO_MEMBER)
        else:
            text = written(required(value, "value"))
        if kind == "g":
            if text.startswith("-"):
                raise CodecError("a gauge cannot be set below 0", kind="value")
            text = {None: "", "add": "+", "sub": "-"}[value.get("action")] + text
        return f"{metric}:{text}|{kind}{written_rate(value)}".encode()


def _read(line: str) -> dict[str, Any]:
    metric, colon, rest = line.partition(":")
    text, *sections = rest.split("|")
    if not metric or not colon or not sections or sections[0] not in _TYPES:
        raise malformed("a line that is not a metric")
    found: dict[str, Any] = {"type": sections[0], "metric": metric}
    if sections[0] == "s":
        found["value"] = text
        if not text:
            raise malformed("a set without a value")
    elif sections[0] == "g" and text[:1] in ("+", "-"):
        found["action"] = "add" if text[0] == "+" else "sub"
        found["value"] = _unsigned(text[1:])
    else:
        found["value"] = number_of(text)
    for section in sections[1:]:
        if not section.startswith("@") or "sample_rate" in found:
            raise malformed("an unknown section")
        found["sample_rate"] = read_rate(section[1:])
    return found


def _unsigned(text: str) -> int | float:
    if text[:1] in ("+", "-"):
        raise malformed("a number with two signs")
    return number_of(text)


def read_rate(text: str) -> int | float:
    """Parses the sample rate; raises `CodecError` unless it is above 0 and at most 1."""
    rate = number_of(text)
    if not 0 < rate <= 1:
        raise malformed("a sample rate that is not in 0..1")
    return rate


def written_rate(value: Any) -> str:
    """The section with the sample rate, if a metric has one; raises `CodecError` if invalid."""
    rate = value.get("sample_rate")
    if rate is None:
        return ""
    text = written(rate)
    if not 0 < rate <= 1:
        raise CodecError("a sample rate that is not in 0..1", kind="value")
    return f"|@{text}"
