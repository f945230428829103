"""Arguments that both ends have, checked."""

from __future__ import annotations

import math
from collections.abc import Sequence

from restsock.protocol import TOKEN

__all__ = ["checked_subprotocols", "positive", "whole"]


def checked_subprotocols(subprotocols: Sequence[str]) -> tuple[str, ...]:
    """Names of subprotocols.

    Raises:
        TypeError: this is one name, or none.
        ValueError: one cannot be sent, or is there twice.
    """
    if isinstance(subprotocols, str):
        raise TypeError("subprotocols are a list of names, not one name")
    for name in subprotocols:
        if not isinstance(name, str):
            raise TypeError(f"a subprotocol is a str, not {type(name).__name__}")
        if not name.isascii() or not TOKEN.fullmatch(name.encode()):
            raise ValueError(f"not the name of a subprotocol: {name!r}")
    if len(set(subprotocols)) < len(subprotocols):
        raise ValueError("a subprotocol is there twice")
    return tuple(subprotocols)


def whole(name: str, value: int) -> int:
    """A whole number above 0.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be a whole number above 0, not {value!r}")
    return value


def positive(name: str, value: float | None) -> float | None:
    """A number of seconds above 0, or `None`.

    Raises:
        ValueError: it is neither.
    """
    if value is None:
        return None
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value <= 0:
        raise ValueError(f"{name} must be a number of seconds above 0, not {value!r}")
    return value
