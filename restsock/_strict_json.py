"""JSON that everyone reads alike.

RFC 8259 leaves choices open. An app takes the last of two members of one name, a proxy the first;
`NaN` is a number here and an error there; 1e400 is infinite, or exact. A value that was found right
must be the one that is used, so all of that is refused, and so is anything but UTF-8 (section 8.1).
"""

from __future__ import annotations

import json
import math
from typing import Any

__all__ = ["MAX_DIGITS", "NestedTooDeeply", "NoSyntax", "NotJSON", "read_json"]

MAX_DIGITS = 1000
"""Of an integer. Its conversion takes the square of their number."""


class NotJSON(ValueError):
    """It is not JSON, or readers differ about its value. The message is for a problem."""


class NoSyntax(NotJSON):
    """It is something else: no reader takes it for JSON."""


class NestedTooDeeply(NotJSON):
    """It has so many arrays and objects within each other that it cannot be read."""


def read_json(data: bytes | str) -> Any:
    """The value of a JSON text; raises `NotJSON` if it has none that is certain."""
    try:
        text = data if isinstance(data, str) else data.decode()
        return _DECODER.decode(text)
    except NotJSON:
        raise
    except RecursionError:
        raise NestedTooDeeply("is nested too deeply") from None
    except ValueError:
        raise NoSyntax("is not JSON" if data else "is empty") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise NotJSON("has a name twice in one object")
    return made


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise NotJSON(f"has a number of more than {MAX_DIGITS} digits")
    return int(text)


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise NotJSON("has a number that is out of range")
    return number


def _constant(text: str) -> Any:
    raise NotJSON(f"has {text}, which is no JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant
)
