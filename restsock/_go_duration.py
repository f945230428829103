"""Durations as Go writes them."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["go_duration"]

# Of a duration such as "1m30s".
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)(ns|us|\u00b5s|ms|s|m|h)")
# Go counts nanoseconds in 64 bits, which is 292 years.
_MOST = 2**63
_SECONDS = {"ns": 1e-9, "us": 1e-6, "\u00b5s": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def go_duration(value: Any) -> float:
    """Seconds, of text such as `"1m30s"` or of whole nanoseconds.

    Raises:
        ValueError: it is neither, or more than Go has room for.
    """
    if type(value) is int and abs(value) < _MOST:
        return value * 1e-9
    parts = _PART.findall(value) if isinstance(value, str) else []
    if not parts or "".join(number + unit for number, unit in parts) != value:
        raise ValueError(f'a duration is text such as "1s", or whole nanoseconds, not {value!r}')
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if seconds >= _MOST * 1e-9:
        raise ValueError(f"a duration of at most 292 years, not {value!r}")
    return seconds
