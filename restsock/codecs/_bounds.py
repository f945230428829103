"""How much one message may amount to, and checks of options."""

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
    """What one message may amount to. Each codec takes these as options."""

    max_length: int = MAX_LENGTH
    """Bytes of a message, and of what is in it once that is decompressed."""

    max_depth: int = 64
    """Lists and mappings within each other."""

    max_items: int = 100_000
    """Values in a message, however they are nested, and keys. One may take 30 times the bytes that
    it has in the message, so this is what bounds the memory."""

    def __post_init__(self) -> None:
        max_length_of(self.max_length)
        whole("max_depth", self.max_depth, 1, 256)  # encoders recurse
        whole("max_items", self.max_items, 1, _LARGEST)

    def count(self, items: int) -> None:
        """Raises `CodecError` for more values than there may be."""
        if items > self.max_items:
            raise CodecError(f"more than {self.max_items} values", kind="too_many")

    def nest(self, depth: int) -> None:
        """Raises `CodecError` for values that lie deeper than they may."""
        if depth > self.max_depth:
            raise CodecError(f"nested more than {self.max_depth} deep", kind="too_deep")


def check_length(length: int, most: int) -> None:
    """Raises `CodecError` for more bytes than there may be."""
    if length > most:
        raise CodecError(f"more than {most} bytes", kind="too_large")


def check_trees(values: Sequence[object], bounds: Bounds) -> None:
    """Raises `CodecError` for values that have too many others in them, or too deep ones."""
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
    """The text; raises `CodecError` where it is not UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise CodecError(f"not UTF-8 at byte {exc.start}", kind="malformed") from None


_LINE = re.compile(r"[^\n]+")


def lines_of(data: bytes, bounds: Bounds) -> list[str]:
    """The lines that are not blank, without their ends, which are LF or CR LF."""
    found: list[str] = []
    for match in _LINE.finditer(text_of(data)):
        line = match[0].removesuffix("\r")
        if line and not line.isspace():
            found.append(line)
            bounds.count(len(found))
    return found


def is_panic(error: BaseException) -> bool:
    """Whether a library in Rust has met a fault of its own: that is no `Exception` in Python."""
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
        option: Its name, for the error.
        value: What it was set to.
        choices: What it can be.
        aliases: Other names for some of them.
    """
    if isinstance(value, str) and aliases:
        value = aliases.get(value, value)
    if not isinstance(value, str) or value not in choices:
        hint = nearest(value, choices) if isinstance(value, str) else ""
        raise ValueError(f"{option} must be one of {', '.join(choices)}, not {value!r}{hint}")
    return value
