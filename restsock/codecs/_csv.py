"""Comma-separated values (RFC 4180)."""

from __future__ import annotations

import csv
import io
from typing import Any

from restsock._exceptions import CodecError

from ._bounds import Bounds, text_of

__all__ = ["CSV"]


class CSV:
    """Each record is a value: a list of texts. Empty lines are ignored.

    A field has at most 128 KiB (`csv.field_size_limit`), and may contain line breaks in quotes.

    Args:
        bounds: The limits of a message.
        delimiter: The delimiter between the fields; one ASCII character.
    """

    def __init__(self, *, bounds: Bounds, delimiter: str = ",") -> None:
        self._delimiter = _delimiter(delimiter)
        self._bounds = bounds

    def decode(self, data: bytes, now: int | None) -> list[Any]:
        lines = io.StringIO(text_of(data), newline="")
        records: list[Any] = []
        items = 0
        for record in csv.reader(lines, delimiter=self._delimiter, strict=True):
            if record:
                records.append(record)
                items += 1 + len(record)
                self._bounds.count(items)
        return records

    def encode(self, value: Any) -> bytes:
        if not isinstance(value, (list, tuple)) or not value:
            raise CodecError("takes only a list of fields, at least one", kind="value")
        if not all(isinstance(field, (str, int, float, type(None))) for field in value):
            raise CodecError("a field is text, a number or None", kind="value")
        line = io.StringIO(newline="")
        # With its line end, so that a field with one is quoted.
        csv.writer(line, delimiter=self._delimiter, lineterminator="\r\n").writerow(value)
        return line.getvalue().removesuffix("\r\n").encode()


def _delimiter(value: Any) -> str:
    if not isinstance(value, str) or len(value) != 1 or value in '\r\n"\0 ' or value > "~":
        raise ValueError(f"delimiter must be one character of ASCII, not {value!r}")
    return value
