"""`Source` and `Template`: parts of a message, as they stand in paths, subjects and names.

A source is a name, and keys in brackets: `body[pet][id]`, `header[x-tenant]`, `principal`. A
template is text with sources in braces: `/pets/{body[pet][id]}`. A client writes most of these
values, so each template says which of them can stand in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from restsock.gateway._errors import CallFailed

if TYPE_CHECKING:
    from restsock.gateway._message import Message

__all__ = ["Source", "Template", "text_of"]

_SOURCE = re.compile(r"([a-z]+)((?:\[[^\[\]{}]+\])*)")
_KEY = re.compile(r"\[([^\[\]]+)\]")
_HOLE = re.compile(r"\{\{|\}\}|\{(\+?)([^{}]*)\}|[{}]")

# What there is of a message, and whether keys follow: none, one, or any number.
_ROOTS: dict[str, tuple[Callable[[Message], Any], int, int]] = {
    "body": (lambda message: message.body, 0, 100),
    "key": (lambda message: message.key, 0, 0),
    "id": (lambda message: message.id, 0, 0),
    "method": (lambda message: message.method, 0, 0),
    "header": (lambda message: message.headers, 1, 1),
    "session": (lambda message: message.session.id, 0, 0),
    "metadata": (lambda message: message.session.metadata, 1, 100),
    "principal": (lambda message: getattr(message.session.principal, "name", None), 0, 0),
    "claim": (lambda message: getattr(message.session.principal, "claims", None), 1, 100),
}


class Source:
    """A part of a message.

    Args:
        text: `body`, `key`, `id`, `method`, `header[name]`, `session` (its id), `metadata[name]`,
            `principal` (its name) or `claim[name]`. Of `body`, `metadata` and `claim` further keys
            and numbers lead to what is inside: `body[pets][0][id]`.

    Raises:
        ValueError: this is none of them.
    """

    def __init__(self, text: str) -> None:
        found = _SOURCE.fullmatch(text)
        if found is None or found[1] not in _ROOTS:
            raise ValueError(
                f"{text!r} is no part of a message: body, body[name], {', '.join(_ROOTS)}"
            )
        self._text = text
        self._read, least, most = _ROOTS[found[1]]
        self._root = found[1]
        self._keys = _KEY.findall(found[2])
        if not least <= len(self._keys) <= most:
            raise ValueError(f"{text!r} has {'too many' if most < len(self._keys) else 'no'} keys")
        if self._root == "header":
            self._keys = [self._keys[0].lower()]

    def find(self, message: Message) -> Any:
        """What it is of this message; `None` where that has none."""
        value = self._read(message)
        for key in self._keys:
            if isinstance(value, Mapping):
                value = value.get(key)
            elif isinstance(value, list) and key.isascii() and key.isdigit() and len(key) < 10:
                value = value[int(key)] if int(key) < len(value) else None
            else:
                return None
        return value

    def refuse(self, why: str) -> CallFailed:
        """The error for a message whose value cannot be used; it shows no value."""
        pointer = "".join("/" + key.replace("~", "~0").replace("/", "~1") for key in self._keys)
        if self._root == "body":
            where = {"in": "body", "pointer": "#" + quote(pointer)}
        else:
            where = {"in": self._text, "pointer": "#"}
        return CallFailed(
            422, f"{self._text} {why}", members={"errors": [{**where, "detail": why}]}
        )

    def __repr__(self) -> str:
        return f"Source({self._text!r})"


class Template:
    """Text with sources in braces, `{body[id]}`. `{{` and `}}` are braces.

    Args:
        text: the template. `{+body[path]}` is a value that may have slashes in it, where the
            encoding has such a thing.
        encode: makes of a value's text what stands in its place; raises `ValueError`, whose text
            goes on from the name of the value, if it cannot. Gets whether there was a `+`.

    Raises:
        ValueError: a brace has no partner, or a source is none.
        TypeError: this is no text.
    """

    def __init__(self, text: str, encode: Callable[[str, bool], str]) -> None:
        if not isinstance(text, str):
            raise TypeError(f"a template is text, not {type(text).__name__}")
        self.text = text
        self._encode = encode
        self._parts = [*_read(text)]

    @property
    def constant(self) -> bool:
        """Whether it is the same for every message."""
        return all(isinstance(part, str) for part in self._parts)

    @property
    def literals(self) -> str:
        """What is not of the message."""
        return "".join(part for part in self._parts if isinstance(part, str))

    def fill(self, message: Message) -> str:
        """The text for a message.

        Raises:
            CallFailed: the message does not have a value, or one that cannot stand there: 422.
        """
        return "".join(
            part if isinstance(part, str) else self._value(message, *part) for part in self._parts
        )

    def _value(self, message: Message, source: Source, wide: bool) -> str:
        text = text_of(source.find(message))
        if text is None:
            raise source.refuse("has to be a text or a number")
        try:
            return self._encode(text, wide)
        except ValueError as exc:
            raise source.refuse(str(exc)) from None

    def __repr__(self) -> str:
        return f"Template({self.text!r})"


def _read(text: str) -> Iterator[str | tuple[Source, bool]]:
    at = 0
    for hole in _HOLE.finditer(text):
        if hole.start() > at:
            yield text[at : hole.start()]
        at = hole.end()
        if hole[2] is not None:
            yield Source(hole[2]), bool(hole[1])
        elif len(hole[0]) == 2:
            yield hole[0][0]
        else:
            raise ValueError(f"a brace without its partner: {text!r}")
    if at < len(text):
        yield text[at:]


def text_of(value: Any) -> str | None:
    """The text of a value of JSON that is no list, no object and not `null`; else `None`."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return None  # a lone surrogate
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    return None
