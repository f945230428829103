"""Which rows of a listing are shown: `--filter 'name:edge-* in_flight:>0'`."""

from __future__ import annotations

import operator
import re
import shlex
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import wraps
from json import dumps
from typing import Any

import click

from restsock._patterns import like

__all__ = ["Filter", "filter_option"]

_TERM = re.compile(r"(!?)([a-z_]+):(?:(>=|<=|>|<)(.*)|(.*))", re.DOTALL)
_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


@dataclass(frozen=True)
class _Term:
    """One condition.

    Attributes:
        key: In a row.
        holds: Whether a value satisfies it.
        wanted: Whether it is to, or is not to.
    """

    key: str
    holds: Callable[[Any], bool]
    wanted: bool


class Filter:
    """Conditions that a row has to satisfy, all of them.

    A condition is `key:pattern`, in which `*` is any text, or `key:>1.5` with `>`, `>=`, `<` or
    `<=`; a `!` before it turns it round. What is not there is `null`. Blanks divide conditions;
    quotes hold together what has some.

    Args:
        texts: Each with one condition or several.
        keys: That rows have.

    Raises:
        UsageError: One is none.
    """

    def __init__(self, texts: Collection[str], keys: Collection[str]) -> None:
        self._terms: list[_Term] = []
        for text in texts:
            try:
                words = shlex.split(text)
            except ValueError as exc:
                raise click.UsageError(f"--filter: {text!r}: {exc}") from None
            self._terms += [_term(word, keys) for word in words]

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._terms)

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether a row is to be shown."""
        return all(term.holds(row.get(term.key)) is term.wanted for term in self._terms)


def _term(word: str, keys: Collection[str]) -> _Term:
    found = _TERM.fullmatch(word)
    if found is None:
        raise click.UsageError(f"--filter: {word!r} is neither key:pattern nor key:>number")
    key = found[2]
    if key not in keys:
        close = get_close_matches(key, keys, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(keys)}"
        raise click.UsageError(f"--filter: there is no {key!r}; {hint}")
    return _Term(key, _condition(found[3], found[4], found[5], word), not found[1])


def _condition(
    comparison: str | None, number: str | None, pattern: str | None, word: str
) -> Callable[[Any], bool]:
    if comparison is None:
        assert pattern is not None
        return lambda value: like(pattern, value if isinstance(value, str) else dumps(value))
    assert number is not None
    try:
        bound = float(number)
    except ValueError:
        raise click.UsageError(f"--filter: {word!r}: {number!r} is not a number") from None
    compare = _COMPARISONS[comparison]
    return lambda value: isinstance(value, (int, float)) and compare(value, bound)


def filter_option(keys: Collection[str]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds `--filter`, for rows with these keys. The verb gets `chosen`, a `Filter`."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @click.option(
            "--filter",
            "texts",
            multiple=True,
            metavar="KEY:TEST",
            help="Show only lines with this value: a pattern with * for any text, or a bound"
            f" such as >3; ! turns it round. Keys: {', '.join(keys)}.",
        )
        @wraps(function)
        def with_filter(*args: Any, texts: tuple[str, ...], **others: Any) -> Any:
            return function(*args, chosen=Filter(texts, keys), **others)

        return with_filter

    return decorate
