"""Arguments that both ends have, checked."""

from __future__ import annotations

import math
from collections.abc import Sequence

from restsock.protocol import TOKEN, Deflate

__all__ = ["checked_deflate", "checked_subprotocols", "positive", "whole"]


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


def checked_deflate(compression: bool | Deflate) -> Deflate | None:
    """How to compress; `None` where nothing is to be.

    Raises:
        TypeError: this says neither.
    """
    if isinstance(compression, Deflate):
        return compression
    if not isinstance(compression, bool):
        raise TypeError(f"compression is a bool or a Deflate, not {type(compression).__name__}")
    return Deflate() if compression else None


def whole(name: str, value: object) -> int:
    """A whole number above 0.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be a whole number above 0, not {value!r}")
    return value


def positive(name: str, value: object) -> float | None:
    """A number of seconds above 0, or `None`.

    Raises:
        ValueError: it is neither.
    """
    if value is None:
        return None
    if not isinstance(value, bool) and isinstance(value, (int, float)) and 0 < value < math.inf:
        return value
    raise ValueError(f"{name} must be a number of seconds above 0, not {value!r}")
