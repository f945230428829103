"""Arguments that a call does not have: what was meant instead."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from restsock._nearest import nearest
from restsock._options import Backoff, Heartbeat, Limits, SocketOptions, Timeouts

__all__ = ["check_keywords"]

_PARTS: dict[str, Any] = {
    "limits": Limits,
    "timeouts": Timeouts,
    "heartbeat": Heartbeat,
    "sockets": SocketOptions,
}


def check_keywords(
    call: Callable[..., Any], given: Iterable[str], *passed_on: Callable[..., Any]
) -> None:
    """Holds the names of keyword arguments to those that there are.

    Args:
        call: What was called.
        given: The names that it has no parameter for.
        passed_on: What it hands them to.

    Raises:
        TypeError: There is no such argument. The message names the call, and what may be meant.
    """
    given = list(given)
    if not given:
        return
    own = _parameters(call)
    known = set(own).union(*map(_parameters, passed_on))
    for name in given:
        if name not in known:
            hint = _hint(name, known)
            raise TypeError(f"{call.__name__}() has no argument {name!r}{hint}")


def _hint(name: str, known: set[str]) -> str:
    if hint := nearest(name, sorted(known)):
        return hint
    if close := get_close_matches(name, _PARTS, n=1, cutoff=0.8):
        return f"; did you mean options=Options({close[0]}={_PARTS[close[0]].__name__}(...))?"
    for part, kind in _PARTS.items():
        if name in {field.name for field in fields(kind)}:
            return f"; did you mean options=Options({part}={kind.__name__}({name}=...))?"
    if "backoff" in known and name in {field.name for field in fields(Backoff)}:
        return f"; did you mean backoff=Backoff({name}=...)?"
    return ""


def _parameters(function: Callable[..., Any]) -> list[str]:
    return [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
