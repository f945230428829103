"""Reads parameters and headers by their `style` and `explode`, and validates what was read.

In front of openapi-core, which takes a quarter of a millisecond for each parameter, and reads some
of them wrongly: `label` and `matrix` are looked for under a name that no document uses, `type:
[integer, "null"]` is never an integer, an empty string is no string. What is not known here goes
there: see `make_reader`.

The rules are those of "Style Examples" in OpenAPI 3.1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from restsock.openapi.document import (
    Document,
    NotJSON,
    Problem,
    problem,
    read_json,
    schema_problems,
    spend,
)

from ._divergence import Declared, ambiguity
from ._messages import Parameters, decoded

__all__ = ["Reader", "declared_names", "make_form", "make_reader"]

_INTEGER = re.compile(r"-?[0-9]{1,1000}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_ENCODED = "has to be percent-encoded UTF-8"
_TRUE = ("true", "1", "yes", "y", "on", "t")
_FALSE = ("false", "0", "no", "n", "off", "f")

_STYLES = {
    "path": ("simple", "label", "matrix"),
    "query": ("form", "spaceDelimited", "pipeDelimited", "deepObject"),
    "header": ("simple",),
    "cookie": ("form",),
}
_MAX_DEPTH = 20
_MAX_SCHEMAS = 200  # that one schema is made of


class _Missing(Exception):  # a result
    """The parameter is not there."""


class _Unreadable(ValueError):  # a result, whose words are the detail of a problem
    """It is there, and not what its style says."""


def make_reader(
    document: Document, parameter: Mapping[str, Any], schema: Callable[[str], Any]
) -> Reader | None:
    """Makes the reader of a parameter, or of a header with `in` and `name` added.

    Args:
        document: where its schemas are looked up.
        parameter: resolved.
        schema: gives the validator for what is below the parameter at this place.

    Returns:
        `None` when it takes more than is known here.
    """
    where = parameter["in"]
    content = parameter.get("content")
    if content is not None:
        media_type = next(iter(content), "")
        if media_type.partition(";")[0].strip().lower() != "application/json":
            return None
        described = "schema" in document.resolve(content[media_type])
        validator = schema(f"content#{media_type}#schema") if described else None
        return Reader(document, parameter, {}, "json", validator)
    style = parameter.get("style") or _STYLES[where][0]
    node = document.resolve(parameter.get("schema", {}))
    if style not in _STYLES[where] or not isinstance(node, Mapping):
        return None
    return Reader(document, parameter, node, style, schema("schema"))


def make_form(document: Document, content: Mapping[str, Any], validator: Any) -> Reader | None:
    """Makes the reader of a urlencoded form.

    Returns:
        `None` when it takes more than is known here.
    """
    schema = document.resolve(content.get("schema", {}))
    if content.get("encoding") or not isinstance(schema, Mapping):
        return None
    return Reader(document, {"in": "body", "name": ""}, schema, "form", validator)


def declared_names(
    document: Document, parameter: Mapping[str, Any], content: Mapping[str, Any] | None = None
) -> Iterator[Declared]:
    """The names by which a parameter, or what is in a form, is given.

    Args:
        document: where schemas are looked up.
        parameter: resolved; of a form only `in` and `name` mean anything.
        content: the media type of the form.
    """
    where, name = parameter["in"], parameter["name"]
    if where == "path":
        return
    encoding = (content or {}).get("encoding") or {}
    schema = document.resolve((parameter if content is None else content).get("schema", {}))
    schema = schema if isinstance(schema, Mapping) else {}
    style = parameter.get("style") or _STYLES.get(where, ("form",))[0]
    reader = Reader(document, parameter, schema, style, None)
    if content is not None or (reader.shape == "object" and reader.explode and style == "form"):
        for inner in reader.properties:
            says = document.resolve(encoding.get(inner)) or {}
            deep = says.get("style") == "deepObject"
            many = reader.property_shape(inner) == "array" and says.get("explode", True) is True
            yield Declared(where, inner, many, deep)
        return
    many = reader.shape == "array" and (reader.explode or where == "header")
    yield Declared(where, name, many and "content" not in parameter, style == "deepObject")


def ambiguities(names: Sequence[Declared], parameters: Parameters) -> Iterator[Problem]:
    """What of these names an app may read in another way than it is read here."""
    everything: dict[str, set[str]] = {}
    for each in names:
        everything.setdefault(each.where, set()).add(each.name)
    for each in names:
        detail = ambiguity(each, everything, parameters)
        if detail is not None:
            if each.where == "body":
                yield problem("body", detail, path=[each.name])
            else:
                yield problem(each.where, detail, name=each.name)


class Reader:
    """Reads and validates one parameter, or a form. Threads may share it."""

    def __init__(
        self,
        document: Document,
        parameter: Mapping[str, Any],
        schema: Mapping[str, Any],
        style: str,
        validator: Any,
    ) -> None:
        self.name: str = parameter["name"]
        self.where: str = parameter["in"]
        self.required = parameter.get("required") is True
        self._document = document
        self._may_be_empty = parameter.get("allowEmptyValue") is True
        self._style = style
        self.explode = bool(parameter.get("explode", style in ("form", "deepObject")))
        self._schema = schema
        self.shape = self._shape_of(schema)
        self.properties = self._properties_of(schema, set())
        self._validator = validator

    def check(self, parameters: Parameters) -> Iterator[Problem]:
        """What is wrong with it."""
        try:
            value = self._read(parameters)
        except _Missing:
            if self.required:
                yield problem(self.where, "is required", name=self.name)
            return
        except _Unreadable as exc:
            yield problem(self.where, str(exc), name=self.name)
            return
        except ValueError:
            yield problem(self.where, _ENCODED, name=self.name)
            return
        if self._validator is not None and not (value == "" and self._may_be_empty):
            errors = self._validator.iter_errors(value)
            yield from schema_problems(errors, self.where, name=self.name)

    def check_form(self, text: str) -> Iterator[Problem]:
        """What is wrong with a form.

        Args:
            text: the form, as sent.
        """
        form: dict[str, Any] = {}
        try:
            for name, texts in Parameters({}, text, ()).query.items():
                form[name] = self._one_or_all(name, [decoded(value) for value in texts])
        except _Unreadable as exc:
            yield problem("body", str(exc))
            return
        except ValueError:
            yield problem("body", _ENCODED)
            return
        value = self._cast_to("object", form, {**self._schema, "properties": self.properties}, 0)
        yield from schema_problems(self._validator.iter_errors(value), "body")

    # --- reading --------------------------------------------------------------------------------

    def _read(self, parameters: Parameters) -> Any:
        if self._style == "json":
            return self._read_json(parameters)
        if self.where in ("query", "cookie"):
            value = self._read_query(parameters)
        else:
            text = parameters.value(self.where, self.name)
            if text is None:
                raise _Missing
            value = _READERS[self._style](self.name, text, self.shape, self.explode)
        if value == "" and self._may_be_empty:
            return value
        return self._cast(value, self._schema, 0)

    def _read_json(self, parameters: Parameters) -> Any:
        text = parameters.value(self.where, self.name)
        if text is None:
            raise _Missing
        try:
            return read_json(text)
        except NotJSON as exc:
            raise _Unreadable(str(exc)) from None

    def _read_query(self, parameters: Parameters) -> Any:
        pairs = parameters.query if self.where == "query" else parameters.cookies
        if self._style == "deepObject":
            return self._read_deep(pairs)
        if self.shape == "object" and self.explode:
            found = {
                name: [decoded(text) for text in pairs[name]]
                for name in self.properties
                if name in pairs
            }
            if not found:
                raise _Missing
            return {name: self._one_or_all(name, texts) for name, texts in found.items()}
        texts = pairs.get(self.name)
        if texts is None:
            raise _Missing
        if self.shape == "array":
            if self.explode:
                return [decoded(text) for text in texts]
            return self._split(texts[0])
        if self.shape == "object":
            return _pairs_of(self._split(texts[0]))
        return decoded(texts[0])

    def _split(self, text: str) -> list[str]:
        # Split before it is decoded: an encoded separator is part of an item.
        if self._style == "spaceDelimited":
            parts = re.split(r"%20|\+", text)
        elif self._style == "pipeDelimited":
            parts = re.split(r"%7[Cc]|\|", text)
        else:
            parts = text.split(",")
        return [decoded(part) for part in parts]

    def _read_deep(self, pairs: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, texts in pairs.items():
            if name.startswith(self.name + "[") and name.endswith("]"):
                inner = name[len(self.name) + 1 : -1]
                values = [decoded(text) for text in texts]
                found[inner] = self._one_or_all(inner, values)
        if not found:
            raise _Missing
        return found

    # --- text to what the schema speaks of --------------------------------------------------------

    def _cast(self, value: Any, schema: Any, depth: int) -> Any:
        """The value with its texts turned into numbers and such, where the schema has them.

        Raises:
            _Unreadable: a text is none of them.
        """
        spend()
        schema = self._document.resolve(schema)
        if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
            return value
        kinds = schema.get("type")
        if isinstance(kinds, str):
            return self._cast_to(kinds, value, schema, depth)
        choices: list[Callable[[], Any]]
        if isinstance(kinds, list):
            named = sorted((kind for kind in kinds if kind != "null"), key=_is_string)
            choices = [partial(self._cast_to, kind, value, schema, depth) for kind in named]
        else:
            part = next((schema[key] for key in ("allOf", "anyOf", "oneOf") if key in schema), ())
            choices = [partial(self._cast, value, inner, depth + 1) for inner in part]
        for choice in choices:
            try:
                return choice()
            except _Unreadable:
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
        if not isinstance(value, str) or kind in ("string", "array", "object", "null"):
            if kind == "null":
                raise _Unreadable("has to be of type null")
            return value
        return _SCALARS[kind](value) if kind in _SCALARS else value

    def _cast_item(self, item: Any, schema: Any, depth: int) -> Any:
        try:
            return self._cast(item, schema, depth + 1)
        except _Unreadable:
            return item  # the schema says so, with a pointer to it

    def _shape_of(self, schema: Any, depth: int = 0) -> str:
        """`array`, `object` or `text`: how it is spelled."""
        schema = self._document.resolve(schema)
        if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
            return "text"
        kinds = schema.get("type")
        for kind in [kinds] if isinstance(kinds, str) else kinds or ():
            if kind != "null":
                return kind if kind in ("array", "object") else "text"
        for key in ("allOf", "anyOf", "oneOf"):
            for inner in schema.get(key, ()):
                inner = self._document.resolve(inner)
                if isinstance(inner, Mapping) and inner.get("type") != "null":
                    return self._shape_of(inner, depth + 1)
        return "object" if "properties" in schema else "text"

    def _one_or_all(self, name: str, values: list[str]) -> str | list[str]:
        """What a property has: a list if it is one."""
        if self.property_shape(name) == "array":
            return values
        if len(values) > 1:
            raise _Unreadable("has a name more than once, which is no list")
        return values[0]

    def _properties_of(self, schema: Any, seen: set[int]) -> dict[str, Any]:
        schema = self._document.resolve(schema)
        found: dict[str, Any] = {}
        # Each schema once: they may refer to each other, and to the same ones many times.
        if isinstance(schema, Mapping) and id(schema) not in seen and len(seen) < _MAX_SCHEMAS:
            seen.add(id(schema))
            for key in ("allOf", "anyOf", "oneOf"):
                for inner in schema.get(key, ()):
                    found.update(self._properties_of(inner, seen))
            found.update(schema.get("properties", {}))
        return found

    def property_shape(self, name: str) -> str:
        """`array`, `object` or `text`: how a property is spelled."""
        return self._shape_of(self.properties.get(name, {}))


def _simple(name: str, text: str, shape: str, explode: bool) -> Any:
    if shape == "array":
        return [part.strip() for part in text.split(",")]
    if shape == "object":
        parts = [part.strip() for part in text.split(",")]
        return _assigned(parts) if explode else _pairs_of(parts)
    return text


def _label(name: str, text: str, shape: str, explode: bool) -> Any:
    if not text.startswith("."):
        raise _Unreadable("has to begin with a dot")
    text = text[1:]
    if shape == "array":
        return text.split("." if explode else ",")
    if shape == "object":
        return _assigned(text.split(".")) if explode else _pairs_of(text.split(","))
    return text


def _matrix(name: str, text: str, shape: str, explode: bool) -> Any:
    if not text.startswith(";"):
        raise _Unreadable("has to begin with a semicolon")
    parts = text[1:].split(";")
    if shape == "object" and explode:
        return _assigned(parts)
    prefix = f"{name}="
    values = [part[len(prefix) :] for part in parts if part.startswith(prefix)]
    if len(values) != len(parts):
        raise _Unreadable(f"has to be given as ;{name}=")
    if shape == "array":
        return values if explode else values[0].split(",")
    if shape == "object":
        return _pairs_of(values[0].split(","))
    return values[0]


_READERS = {"simple": _simple, "label": _label, "matrix": _matrix}


def _pairs_of(parts: Sequence[str]) -> dict[str, str]:
    if len(parts) % 2:
        raise _Unreadable("has to be names and values in turn")
    return dict(zip(parts[::2], parts[1::2], strict=True))


def _assigned(parts: Sequence[str]) -> dict[str, str]:
    pairs = [part.partition("=") for part in parts]
    if not all(equals for _, equals, _ in pairs):
        raise _Unreadable("has to be pairs of name=value")
    return {name: value for name, _, value in pairs}


def _integer(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise _Unreadable("has to be of type integer")
    return int(text)


def _number(text: str) -> float | int:
    if _INTEGER.fullmatch(text):
        return int(text)
    try:
        number = float(text) if _NUMBER.fullmatch(text) else math.nan
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise _Unreadable("has to be of type number")
    return number


def _boolean(text: str) -> bool:
    word = text.lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise _Unreadable("has to be of type boolean")


_SCALARS: dict[str, Callable[[str], Any]] = {
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
}


def _is_string(kind: str) -> bool:
    """A text can always be a string; first it is tried as everything else."""
    return kind == "string"
