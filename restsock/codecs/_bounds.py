"""The limits of one message, and checks of options."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from restsock._exceptions import CodecError
from restsock._nearest import nearest

__all__ = [
    "MAX_LENGTH",
    "Bounds",
    "check_length",
    "check_trees",
    "flag",
    "is_panic",
    "lines_of",
    "max_length_of",
    "one_of",
    "text_of",
    "whole",
]

MAX_LENGTH = 1024 * 1024
"""The default of every `max_length`, in bytes."""

_LARGEST = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """The limits of one message. Each codec has these options."""

    max_length: int = MAX_LENGTH
    """The maximum number of bytes of a message, also after decompression."""

    max_depth: int = 64
    """The maximum nesting depth of lists and mappings."""

    max_items: int = 100_000
    """The maximum number of values and keys in a message, at all levels. A value may take 30 times
    as many bytes in memory as in the message, so this limits the memory."""

    def __post_init__(self) -> None:
        max_length_of(self.max_length)
        whole("max_depth", self.max_depth, 1, 256)  # encoders recurse
        whole("max_items", self.max_items, 1, _LARGEST)

    def count(self, items: int) -> None:
        """Raises `CodecError` if there are too many values."""
        if items > self.max_items:
            raise CodecError(f"more than {self.max_items} values", kind="too_many")

    def nest(self, depth: int) -> None:
        """Raises `CodecError` if values are nested too deeply."""
        if depth > self.max_depth:
            raise CodecError(f"nested more than {self.max_depth} deep", kind="too_deep")


def check_length(length: int, most: int) -> None:
    """Raises `CodecError` if there are too many bytes."""
    if length > most:
        raise CodecError(f"more than {most} bytes", kind="too_large")


def check_trees(values: Sequence[object], bounds: Bounds) -> None:
    """Raises `CodecError` if values contain too many others, or are nested too deeply."""
    level: list[object] = list(values)
    items = len(level)
    depth = 0
    while level:
        below: list[object] = []
        nested = False
        for item in level:
            if isinstance(item, dict):
                nested = True
                items += len(item)  # its keys
                below += item.values()
            elif isinstance(item, (list, tuple)):
                nested = True
                below += item
        depth += nested
        items += len(below)
        bounds.nest(depth)
        bounds.count(items)
        level = below


def text_of(data: bytes) -> str:
    """Decodes text; raises `CodecError` if it is not UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise CodecError(f"not UTF-8 at byte {exc.start}", kind="malformed") from None


_LINE = re.compile(r"[^\n]+")


def lines_of(data: bytes, bounds: Bounds) -> list[str]:
    """The lines that are not blank, without their line ends (LF or CR LF)."""
    found: list[str] = []
    for match in _LINE.finditer(text_of(data)):
        line = match[0].removesuffix("\r")
        if line and not line.isspace():
            found.append(line)
            bounds.count(len(found))
    return found


def is_panic(error: BaseException) -> bool:
    """Whether this is a panic of a Rust library, which is not an `Exception` in Python."""
    return type(error).__name__ == "PanicException"


# --- options ----------------------------------------------------------------------------------


def whole(option: str, value: Any, low: int, high: int) -> int:
    """The value of an option; raises `ValueError` unless it is a whole number in this range."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{option} must be a whole number in {low}..{high}, not {value!r}")
    return value


def max_length_of(value: Any) -> int:
    """The value of the option `max_length`; raises `ValueError` unless it is in its range."""
    return whole("max_length", value, 1, _LARGEST)


def flag(option: str, value: Any) -> bool:
    """The value of an option; raises `ValueError` unless it is true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{option} must be true or false, not {value!r}")
    return value


def one_of(
    option: str, value: Any, choices: Collection[str], aliases: Mapping[str, str] | None = None
) -> str:
    """The value of an option; raises `ValueError` unless it is one of these.

    Args:
        option: The name of the option, for the error.
        value: Its value.
        choices: The valid values.
        aliases: Other names for some of them.
    """
    if isinstance(value, str) and aliases:
        value = aliases.get(value, value)
    if not isinstance(value, str) or value not in choices:
        hint = nearest(value, choices) if isinstance(value, str) else ""
        raise ValueError(f"{option} must be one of {', '.join(choices)}, not {value!r}{hint}")
    return value
