"""Converts the text of parameters and forms to values, according to their schema."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from restsock._strict_json import NotJSON, read_json
from restsock.openapi.document import Document, spend

from ._messages import Unreadable

__all__ = ["Shape"]

_INTEGER = re.compile(r"-?[0-9]{1,1000}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_TRUE = ("true", "1", "yes", "y", "on", "t")
_FALSE = ("false", "0", "no", "n", "off", "f")
_MAX_DEPTH = 20
_MAX_SCHEMAS = 200  # that one schema is made of


class Shape:
    """How the values of a schema are written as text. Threads may share it.

    Args:
        document: The document, for references.
        schema: The schema.
        form: Whether it is the schema of a form, where objects are written as JSON.

    Attributes:
        kind: `array`, `object` or `text`.
        properties: The properties of an object, by name, from all parts of its schema.
        lists: The names of the properties that are arrays.
    """

    def __init__(self, document: Document, schema: Any, *, form: bool = False) -> None:
        self._resolve = document.resolve
        self._schema = schema = document.resolve(schema)
        self._form = form
        self.kind = self._kind_of(schema)
        self.properties = self._properties_of(schema, set())
        self.lists = {
            name for name, each in self.properties.items() if self._kind_of(each) == "array"
        }
        if form and isinstance(schema, Mapping):
            self._schema = {**schema, "type": "object", "properties": self.properties}

    def cast(self, value: Any) -> Any:
        """Converts the texts in a value to numbers and other types, as the schema says.

        Raises:
            Unreadable: The value itself is text that cannot be converted. Texts inside it are left
                unchanged: the schema then reports them, with a pointer.
        """
        return self._cast(value, self._schema, 0)

    def one_or_all(self, name: str, values: list[str]) -> str | list[str]:
        """A list for a property that is one, else its value; `Unreadable` if it has several."""
        if name in self.lists:
            return values
        if len(values) > 1:
            raise Unreadable("has a name more than once, which is no list")
        return values[0]

    def _cast(self, value: Any, schema: Any, depth: int) -> Any:
        spend()
        schema = self._resolve(schema)
        if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
            return value
        kinds = schema.get("type")
        if isinstance(kinds, str):
            return self._cast_to(kinds, value, schema, depth)
        choices: list[Callable[[], Any]]
        if isinstance(kinds, list):
            # Every text can be a string; it is tried as everything else first.
            named = sorted((kind for kind in kinds if kind != "null"), key="string".__eq__)
            choices = [partial(self._cast_to, kind, value, schema, depth) for kind in named]
        else:
            part = next((schema[key] for key in ("allOf", "anyOf", "oneOf") if key in schema), ())
            choices = [partial(self._cast, value, inner, depth + 1) for inner in part]
        for choice in choices:
            try:
                return choice()
            except Unreadable:
                continue
        return value  # and the schema says what is wrong with it

    def _cast_to(self, kind: str, value: Any, schema: Mapping[str, Any], depth: int) -> Any:
        if kind == "array" and isinstance(value, list):
            items = schema.get("items", {})
            return [self._cast_item(item, items, depth) for item in value]
        if kind == "object" and isinstance(value, dict):
            properties = schema.get("properties", {})
            others = schema.get("additionalProperties", {})
            return {
                name: self._cast_item(item, properties.get(name, others), depth)
                for name, item in value.items()
            }
        if kind == "null":
            raise Unreadable("has to be of type null")
        if not isinstance(value, str):
            return value
        if kind == "object" and self._form:
            return _json(value)
        return _SCALARS[kind](value) if kind in _SCALARS else value

    def _cast_item(self, item: Any, schema: Any, depth: int) -> Any:
        try:
            return self._cast(item, schema, depth + 1)
        except Unreadable:
            return item  # the schema says so, with a pointer to it

    def _kind_of(self, schema: Any, depth: int = 0) -> str:
        schema = self._resolve(schema)
        if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
            return "text"
        kinds = schema.get("type")
        for kind in [kinds] if isinstance(kinds, str) else kinds or ():
            if kind != "null":
                return kind if kind in ("array", "object") else "text"
        for key in ("allOf", "anyOf", "oneOf"):
            for inner in schema.get(key, ()):
                inner = self._resolve(inner)
                if isinstance(inner, Mapping) and inner.get("type") != "null":
                    return self._kind_of(inner, depth + 1)
        return "object" if "properties" in schema else "text"

    def _properties_of(self, schema: Any, seen: set[int]) -> dict[str, Any]:
        schema = self._resolve(schema)
        found: dict[str, Any] = {}
        # Each schema once: they may refer to each other, and to the same ones many times.
        if isinstance(schema, Mapping) and id(schema) not in seen and len(seen) < _MAX_SCHEMAS:
            seen.add(id(schema))
            for key in ("allOf", "anyOf", "oneOf"):
                for inner in schema.get(key, ()):
                    found.update(self._properties_of(inner, seen))
            found.update(schema.get("properties", {}))
        return found


def _json(text: str) -> Any:
    try:
        return read_json(text)
    except NotJSON as exc:
        raise Unreadable(str(exc)) from None


def _integer(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise Unreadable("has to be of type integer")
    return int(text)


def _number(text: str) -> float | int:
    if _INTEGER.fullmatch(text):
        return int(text)
    number = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(number):
        raise Unreadable("has to be of type number")
    return number


def _boolean(text: str) -> bool:
    word = text.lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise Unreadable("has to be of type boolean")


_SCALARS: dict[str, Callable[[str], Any]] = {
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
}
