"""Numbers and times in text formats."""

from __future__ import annotations

import math
import re
from typing import Any

from restsock._exceptions import CodecError

from ._shape import malformed

__all__ = ["number_of", "required", "text_in", "written"]

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(\.[0-9]*)?|(\.[0-9]+))([eE][+-]?[0-9]+)?")
_MAX_DIGITS = 100


def number_of(text: str) -> int | float:
    """Parses a number: an `int` if it has neither a point nor an exponent.

    Raises:
        CodecError: It is not a number, or is infinite.
    """
    match = _NUMBER.fullmatch(text) if len(text) <= _MAX_DIGITS else None
    if match is None:
        raise malformed("text where a number is expected")
    if not any(match.groups()):
        return int(text)
    number = float(text)
    if math.isinf(number):
        raise malformed("a number that is out of range")
    return number


def written(value: Any) -> str:
    """The number as text; `number_of` parses it.

    Raises:
        CodecError: It is not a number, or is not finite.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        text = repr(int(value) if isinstance(value, int) else float(value))
        if len(text) <= _MAX_DIGITS:
            return text
    raise CodecError("a finite number is expected", kind="value")


def required(value: Any, key: str) -> Any:
    """The value of a key; raises `CodecError` if `value` is not a mapping, or lacks the key."""
    if not isinstance(value, dict):
        raise CodecError("takes only a mapping", kind="value")
    found = value.get(key)
    if found is None:
        raise CodecError(f"lacks {key}", kind="value")
    return found


def text_in(value: Any, key: str, forbidden: re.Pattern[str]) -> str:
    """The text of a key in a mapping.

    Raises:
        CodecError: The text is missing or empty, or the format cannot write it.
    """
    found = required(value, key)
    if not isinstance(found, str) or not found or forbidden.search(found):
        raise CodecError(f"{key} cannot be written", kind="value")
    return found
