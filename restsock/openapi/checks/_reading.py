"""Parses parameters, header fields and forms according to their `style`, and validates them.

The rules are those of "Style Examples" in OpenAPI 3.1, and of the Encoding Object for forms.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from restsock._strict_json import NotJSON, read_json
from restsock.openapi.document import (
    Document,
    Parameter,
    Problem,
    kind_of,
    problem,
    schema_problems,
)

from ._casting import Shape
from ._divergence import Declared, ambiguities
from ._messages import Parameters, Unreadable, decoded

__all__ = ["FormReader", "Reader"]


class _Missing(Exception):  # a result
    """The parameter is not there."""


class Reader:
    """Parses and validates one parameter or header field. Threads may share it.

    Args:
        document: The document, for references.
        parameter: Its description in the document.
        validator: The validator of its schema; `None` if that forbids nothing.
        where: The `in` of its problems, if that is not its location.

    Attributes:
        name: Its name.
        declared: The names under which it may be sent.
    """

    def __init__(
        self,
        document: Document,
        parameter: Parameter,
        validator: Any,
        *,
        where: str | None = None,
    ) -> None:
        self.name = parameter.name
        self._from = parameter.location
        self._where = where or parameter.location
        self._parameter = parameter
        self._style = parameter.style
        self._media = kind_of(parameter.media_type) if parameter.media_type else None
        self._shape = Shape(document, parameter.schema)
        # An object whose properties are parameters of their own.
        self._spread = (
            self._shape.kind == "object"
            and parameter.explode
            and self._media is None
            and self._from in ("query", "cookie")
            and self._style != "deepObject"
        )
        # The part of a name in which a property's is.
        self._inner = slice(len(self.name) + 1, -1) if self._style == "deepObject" else slice(None)
        self._validator = None if self._media == "other" else validator
        self.declared = tuple(self._declared())

    def _declared(self) -> Iterator[Declared]:
        if self._spread:
            for name in self._shape.properties:
                yield Declared(self._where, name, name in self._shape.lists)
        elif self._from != "path":
            many = self._shape.kind == "array" and self._media is None
            many = many and (self._parameter.explode or self._from == "header")
            yield Declared(self._where, self.name, many, self._style == "deepObject")

    def claims(self, name: str) -> bool:
        """Whether a name in a query or a form belongs to this parameter."""
        if self._style == "deepObject":
            return name.startswith(self.name + "[") and name.endswith("]")
        return name in self._shape.properties if self._spread else name == self.name

    def check(self, parameters: Parameters) -> Iterator[Problem]:
        """Validates it; yields its problems."""
        try:
            value = self.read(parameters)
        except _Missing:
            if self._parameter.required:
                yield problem(self._where, "is required", name=self.name)
        except (Unreadable, NotJSON) as exc:
            yield problem(self._where, str(exc), name=self.name)
        else:
            if self._validator is not None and not (value == "" and self._parameter.allow_empty):
                errors = self._validator.iter_errors(value)
                yield from schema_problems(errors, self._where, name=self.name)

    def read(self, parameters: Parameters) -> Any:
        """Its value.

        Raises:
            _Missing: The parameter is missing.
            Unreadable, NotJSON: It is not in the right format.
        """
        if self._media is None and self._from in ("query", "cookie"):
            value = self._read_pairs(parameters)
        else:
            text = parameters.value(self._from, self.name)
            if text is None:
                raise _Missing
            if self._media is not None:
                return read_json(text) if self._media == "json" else text
            read = _READERS[self._style]
            value = read(self.name, text, self._shape.kind, self._parameter.explode)
        if value == "" and self._parameter.allow_empty:
            return value
        return self._shape.cast(value)

    def _read_pairs(self, parameters: Parameters) -> Any:
        pairs = parameters.query if self._from == "query" else parameters.cookies
        if self._spread or self._style == "deepObject":
            found = {
                name[self._inner]: [decoded(text) for text in texts]
                for name, texts in pairs.items()
                if self.claims(name)
            }
            if not found:
                raise _Missing
            return {name: self._shape.one_or_all(name, texts) for name, texts in found.items()}
        texts = pairs.get(self.name)
        if texts is None:
            raise _Missing
        if self._shape.kind == "text":
            return decoded(texts[0])
        if self._shape.kind == "array" and self._parameter.explode:
            return [decoded(text) for text in texts]
        # Split before it is decoded: an encoded separator is part of an item.
        separator = _SEPARATORS.get(self._style)
        split = texts[0].split(",") if separator is None else separator.split(texts[0])
        parts = [decoded(part) for part in split]
        return parts if self._shape.kind == "array" else _pairs_of(parts)


class FormReader:
    """Parses and validates a urlencoded form. Threads may share it.

    Args:
        document: The document, for references.
        content: The Media Type Object.
        validator: The validator of its schema.
    """

    def __init__(self, document: Document, content: Mapping[str, Any], validator: Any) -> None:
        self._validator = validator
        self._shape = Shape(document, content.get("schema"), form=True)
        # The properties with an encoding of their own.
        self._encoded: dict[str, Reader] = {}
        for name, node in (content.get("encoding") or {}).items():
            encoding = document.resolve(node) or {}
            described = {"in": "query", "name": name, "schema": self._shape.properties.get(name)}
            if encoding.keys() & {"style", "explode", "allowReserved"}:
                described.update(encoding)
            elif kind_of(encoding.get("contentType", "")) == "json":
                described["content"] = {"application/json": {}}
            else:
                continue
            parameter = Parameter.of(described, document.resolve)
            self._encoded[name] = Reader(document, parameter, None, where="body")
        plain = (
            Declared("body", name, name in self._shape.lists)
            for name in self._shape.properties
            if name not in self._encoded
        )
        encoded = (reader.declared for reader in self._encoded.values())
        self._declared = (*plain, *chain.from_iterable(encoded))

    def check(self, text: str) -> Iterator[Problem]:
        """Validates a form; yields its problems.

        Args:
            text: The form, as sent.
        """
        parameters = Parameters({}, text, ())
        ambiguous = list(ambiguities(self._declared, parameters))
        if ambiguous:
            yield from ambiguous
            return
        try:
            value = self._shape.cast(dict(self._read(parameters)))
        except (Unreadable, NotJSON) as exc:
            yield problem("body", str(exc))
        else:
            yield from schema_problems(self._validator.iter_errors(value), "body")

    def _read(self, parameters: Parameters) -> Iterator[tuple[str, Any]]:
        encoded = self._encoded.values()
        for reader in encoded:
            try:
                yield reader.name, reader.read(parameters)
            except _Missing:
                continue
        for name, texts in parameters.query.items():
            if not any(reader.claims(name) for reader in encoded):
                yield name, self._shape.one_or_all(name, [decoded(each) for each in texts])


# --- styles ---------------------------------------------------------------------------------------

# What separates the items of a list in a query that is not exploded, if it is no comma.
_SEPARATORS = {
    "spaceDelimited": re.compile(r"%20|\+"),
    "pipeDelimited": re.compile(r"%7[Cc]|\|"),
}


def _simple(name: str, text: str, shape: str, explode: bool) -> Any:
    if shape == "text":
        return text
    parts = [part.strip() for part in text.split(",")]
    if shape == "array":
        return parts
    return _assigned(parts) if explode else _pairs_of(parts)


def _label(name: str, text: str, shape: str, explode: bool) -> Any:
    if not text.startswith("."):
        raise Unreadable("has to begin with a dot")
    text = text[1:]
    if shape == "array":
        return text.split("." if explode else ",")
    if shape == "object":
        return _assigned(text.split(".")) if explode else _pairs_of(text.split(","))
    return text


def _matrix(name: str, text: str, shape: str, explode: bool) -> Any:
    if not text.startswith(";"):
        raise Unreadable("has to begin with a semicolon")
    parts = text[1:].split(";")
    if shape == "object" and explode:
        return _assigned(parts)
    prefix = f"{name}="
    values = [part[len(prefix) :] for part in parts if part.startswith(prefix)]
    if len(values) != len(parts):
        raise Unreadable(f"has to be given as ;{name}=")
    if shape == "array":
        return values if explode else values[0].split(",")
    if shape == "object":
        return _pairs_of(values[0].split(","))
    return values[0]


_READERS = {"simple": _simple, "label": _label, "matrix": _matrix}


def _pairs_of(parts: Sequence[str]) -> dict[str, str]:
    if len(parts) % 2:
        raise Unreadable("has to be names and values in turn")
    return dict(zip(parts[::2], parts[1::2], strict=True))


def _assigned(parts: Sequence[str]) -> dict[str, str]:
    pairs = [part.partition("=") for part in parts]
    if not all(equals for _, equals, _ in pairs):
        raise Unreadable("has to be pairs of name=value")
    return {name: value for name, _, value in pairs}
