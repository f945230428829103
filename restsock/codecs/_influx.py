"""InfluxDB's line protocol, version 2."""

from __future__ import annotations

import re
from typing import Any

from restsock._exceptions import CodecError

from ._bounds import Bounds, text_of
from ._numbers import number_of, required, text_in, written
from ._shape import malformed

__all__ = ["Influx"]

# In a name, a backslash escapes a character that would end the name. Everywhere else it is literal,
# also before another backslash.
_MEASUREMENT = re.compile(r"[^, \r\n\\]*(?:\\[, ]?[^, \r\n\\]*)*")
_NAME = re.compile(r"[^,= \r\n\\]*(?:\\[,= ]?[^,= \r\n\\]*)*")
_ESCAPED = re.compile(r"\\([,= ])")
_ESCAPED_IN_MEASUREMENT = re.compile(r"\\([, ])")
_STRING = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL)
_ESCAPED_IN_STRING = re.compile(r'\\(["\\])')
_WORD = re.compile(r"[^, \r\n]+")
_INTEGER = re.compile(r"(-?[0-9]{1,20})i|([0-9]{1,20})u")
_TIMESTAMP = re.compile(r"-?[0-9]{1,19}")
_SPACES = re.compile(r" *")
_SKIPPED = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_END = re.compile(r" *(?:\r?\n|\r?\Z)")

_BOOLEANS = {
    **dict.fromkeys(("t", "T", "true", "True", "TRUE"), True),
    **dict.fromkeys(("f", "F", "false", "False", "FALSE"), False),
}
# What no name can contain: a line end, or a backslash at its end.
_NO_NAME = re.compile(r"[\r\n]|\\\Z")
_NO_MEASUREMENT = re.compile(r"[\r\n]|\\\Z|\A[#\t]")


class Influx:
    """Each line is a value: `measurement`, `tags`, `fields`, and `timestamp` if there is one.

    `{"measurement": "weather", "tags": {"location": "us"}, "fields": {"temperature": 82.0},
    "timestamp": 1465839830100400200}`. Tags are text; fields are `float`, `int` (`82i`, `82u`),
    `bool` or `str`; the timestamp is the number in the line, nanoseconds since 1970 unless the
    sender uses another precision. Comments are skipped.
    """

    def __init__(self, *, bounds: Bounds) -> None:
        self._bounds = bounds

    def decode(self, data: bytes, now: int | None) -> list[Any]:
        text = text_of(data)
        points: list[Any] = []
        items = 0
        at = _skip(text, 0)
        while at < len(text):
            point, at = _read_point(text, at)
            points.append(point)
            items += 1 + len(point["tags"]) + len(point["fields"])
            self._bounds.count(items)
            at = _skip(text, at)
        return points

    def encode(self, value: Any) -> bytes:
        name = text_in(value, "measurement", _NO_MEASUREMENT)
        parts = [re.sub(r"([, ])", r"\\\1", name)]
        tags = value.get("tags") or {}
        for key in tags:
            parts += [",", _written_name(tags, key), "=", _written_name(tags, key, value=True)]
        fields = required(value, "fields")
        mark = " "
        for key in fields:
            parts += [mark, _written_name(fields, key), "=", _written_field(fields[key])]
            mark = ","
        if mark == " ":
            raise CodecError("lacks fields", kind="value")
        timestamp = value.get("timestamp")
        if timestamp is not None:
            if type(timestamp) is not int or not -(2**63) <= timestamp < 2**63:
                raise CodecError("timestamp is not an integer of 64 bits", kind="value")
            parts.append(f" {timestamp}")
        return "".join(parts).encode()


def _skip(text: str, at: int) -> int:
    match = _SKIPPED.match(text, at)
    assert match is not None  # it matches nothing at all
    return match.end()


def _read_point(text: str, at: int) -> tuple[dict[str, Any], int]:
    match = _MEASUREMENT.match(text, at)
    if match is None or not match[0]:
        raise malformed("no measurement")
    at = match.end()
    tags: dict[str, str] = {}
    while text.startswith(",", at):
        key, at = _read_key(text, at + 1, tags)
        tags[key], at = _read_name(text, at)
    fields: dict[str, Any] = {}
    at = _after_spaces(text, at)
    while True:
        key, at = _read_key(text, at, fields)
        fields[key], at = _read_field(text, at)
        if not text.startswith(",", at):
            break
        at += 1
    point: dict[str, Any] = {
        "measurement": _ESCAPED_IN_MEASUREMENT.sub(r"\1", match[0]),
        "tags": tags,
        "fields": fields,
    }
    end = _END.match(text, at)
    if end is None:
        at = _after_spaces(text, at)
        timestamp = _TIMESTAMP.match(text, at)
        end = timestamp and _END.match(text, timestamp.end())
        if timestamp is None or end is None or not -(2**63) <= int(timestamp[0]) < 2**63:
            raise malformed("an invalid timestamp at the end of a line")
        point["timestamp"] = int(timestamp[0])
    return point, end.end()


def _after_spaces(text: str, at: int) -> int:
    match = _SPACES.match(text, at)
    assert match is not None  # it matches nothing at all
    if match.end() == at:
        raise malformed("a line without fields")
    return match.end()


def _read_name(text: str, at: int) -> tuple[str, int]:
    match = _NAME.match(text, at)
    if match is None or not match[0]:
        raise malformed("an empty name or tag")
    return _ESCAPED.sub(r"\1", match[0]), match.end()


def _read_key(text: str, at: int, into: dict[str, Any]) -> tuple[str, int]:
    key, at = _read_name(text, at)
    if not text.startswith("=", at):
        raise malformed("a name without a value")
    if key in into:
        raise malformed("a duplicate name")
    return key, at + 1


def _read_field(text: str, at: int) -> tuple[Any, int]:
    if text.startswith('"', at):
        match = _STRING.match(text, at)
        if match is None:
            raise malformed("text without its end")
        return _ESCAPED_IN_STRING.sub(r"\1", match[1]), match.end()
    match = _WORD.match(text, at)
    if match is None:
        raise malformed("a field without a value")
    word = match[0]
    if word in _BOOLEANS:
        return _BOOLEANS[word], match.end()
    if integer := _INTEGER.fullmatch(word):
        number = int(integer[1] or integer[2])
        if not -(2**63) <= number < (2**64 if integer[2] else 2**63):
            raise malformed("an integer of more than 64 bits")
        return number, match.end()
    return float(number_of(word)), match.end()


def _written_name(names: Any, key: Any, *, value: bool = False) -> str:
    name = names[key] if value else key
    if not isinstance(name, str) or not name or _NO_NAME.search(name):
        raise CodecError("a name or tag that cannot be written", kind="value")
    return re.sub(r"([,= ])", r"\\\1", name)


def _written_field(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'
    text = written(value)
    if isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            raise CodecError("an integer of more than 64 bits", kind="value")
        return text + ("i" if value < 2**63 else "u")
    return text
