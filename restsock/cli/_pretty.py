"""JSON as people read it: in lines, and in colours. No value is changed, and no key is moved."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ._output import Output

__all__ = ["STYLES", "Style", "is_json", "prettied", "pretty"]

_TOKEN = re.compile(r'(\s*)("(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+)', re.DOTALL)
# What a terminal would take for a command, and JSON lets stand in a text as it is.
_CONTROL = re.compile("[\x7f-\x9f]")
_OPEN, _CLOSE, _EMPTY = ("{", "["), ("}", "]"), ("{}", "[]")
_MARKS = (*_OPEN, *_CLOSE, ",", ":")
_LONGEST = 1024 * 1024  # bytes of a body that is held for this
_INDENT = 2
_DEEPEST = 40  # levels that are indented further: what is deeper must not make lines endless
_COLORS = {"key": "blue", "text": "green", "number": "cyan", "word": "magenta"}


@dataclass(frozen=True)
class Style:
    """What is done to JSON for people to read it.

    Attributes:
        lines: Whether each member has a line of its own, indented.
        colors: Whether keys and values have colours.
    """

    lines: bool = False
    colors: bool = False

    @classmethod
    def of(cls, choice: str | None, output: Output) -> Style:
        """What was asked for; by default all of it on a terminal, and nothing elsewhere."""
        if choice is None and not sys.stdout.isatty():
            return cls()
        lines, colors = STYLES["all" if choice is None else choice]
        return cls(lines, colors and output.color)


STYLES = {
    "all": (True, True),
    "colors": (False, True),
    "format": (True, False),
    "none": (False, False),
}
"""What the values of `--pretty` mean: lines, and colours."""


def is_json(content_type: str) -> bool:
    """Whether a body of this type is JSON."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def pretty(text: str, style: Style) -> str | None:
    """A JSON text for people; `None` if it is none."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return None
    tokens = [(found[1], found[2]) for found in _TOKEN.finditer(text)]
    return "".join(_parts(tokens, style))


def prettied(parts: Iterator[bytes], encoding: str, style: Style) -> Iterator[bytes]:
    """A body of JSON for people. One that is none, or is long, stays as it comes."""
    body = b""
    for part in parts:
        body += part
        if len(body) > _LONGEST:
            yield body
            yield from parts
            return
    try:
        shown = pretty(body.decode(encoding), style)
    except (UnicodeDecodeError, LookupError):
        shown = None
    yield body if shown is None else f"{shown}\n".encode()


def _parts(tokens: list[tuple[str, str]], style: Style) -> Iterator[str]:
    depth = 0
    before = ""
    following = [token for _, token in tokens[1:]] + [""]
    for (space, token), after in zip(tokens, following, strict=True):
        closes, empty = token in _CLOSE, before + token in _EMPTY
        depth -= closes
        if not style.lines:
            yield space
        elif before == ":":
            yield " "
        elif (closes or before in _OPEN or before == ",") and not empty:
            yield "\n" + " " * (_INDENT * min(depth, _DEEPEST))
        yield _painted(token, key=after == ":") if style.colors else _shown(token)
        depth += token in _OPEN
        before = token


def _painted(token: str, *, key: bool) -> str:
    if token.startswith('"'):
        kind = "key" if key else "text"
    elif token in _MARKS:
        return token
    else:
        kind = "word" if token in ("true", "false", "null") else "number"
    return click.style(_shown(token), fg=_COLORS[kind])


def _shown(token: str) -> str:
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", token)
