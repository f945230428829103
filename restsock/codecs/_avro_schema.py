"""Checks that an Avro schema is safe for parsing messages of a peer."""

from __future__ import annotations

from typing import Any

from restsock._exceptions import CodecError

__all__ = ["check_schema", "with_bounded_decimals"]

_NOTHING = ("null",)
_DECIMAL = "restsock-decimal"
_MAX_PRECISION = 1000
_PRIMITIVES = ("boolean", "int", "long", "float", "double", "bytes", "string")


def check_schema(schema: Any, most: int) -> None:
    """Checks that a short message of a schema cannot be an endless value.

    Recursive records nest as deep as the peer likes, and the library recurses in C. An array of
    items without bytes has as many values as it announces.

    Args:
        schema: The result of `fastavro.parse_schema`.
        most: How deep it may be nested.

    Raises:
        ValueError: The schema is not safe.
    """
    _Check(most).takes_bytes(schema, 0)


class _Check:
    def __init__(self, most: int) -> None:
        self._most = most
        self._names: dict[str, bool | None] = {}  # whether it takes bytes; None while it is read

    def takes_bytes(self, schema: Any, depth: int) -> bool:
        """Whether a value of this schema always has at least one byte."""
        if depth > self._most:
            raise ValueError(f"a schema that is nested more than {self._most} deep")
        if isinstance(schema, list):  # a union, with a byte for the branch
            for each in schema:
                self.takes_bytes(each, depth)
            return True
        if isinstance(schema, str):
            return self._named(schema)
        kind = schema["type"]
        if kind in ("record", "error"):
            return self._record(schema, depth)
        if kind in ("enum", "fixed"):
            takes = kind == "enum" or schema["size"] > 0
            self._names[schema["name"]] = takes
            return bool(takes)
        if kind == "array":
            if not self.takes_bytes(schema["items"], depth + 1):
                raise ValueError("a schema with an array of items without bytes")
            return True
        if kind == "map":
            self.takes_bytes(schema["values"], depth + 1)
            return True
        return self.takes_bytes(kind, depth)

    def _named(self, name: str) -> bool:
        if name in _NOTHING:
            return False
        if name in _PRIMITIVES:
            return True
        takes = self._names[name]
        if takes is None:
            raise ValueError(f"a schema in which {name!r} contains itself")
        return takes

    def _record(self, schema: Any, depth: int) -> bool:
        self._names[schema["name"]] = None
        takes = [self.takes_bytes(field["type"], depth + 1) for field in schema["fields"]]
        self._names[schema["name"]] = any(takes)
        return any(takes)


def with_bounded_decimals(schema: Any, fastavro: Any) -> Any:
    """The same schema, but decimals may not have more bytes than their precision needs.

    A decimal may have any number of bytes, and its conversion takes quadratic time: minutes for a
    megabyte.

    Args:
        schema: The schema before parsing.
        fastavro: The library; a logical type is registered with it.

    Raises:
        ValueError: The precision is above 1,000.
    """
    readers, writers = fastavro.read.LOGICAL_READERS, fastavro.write.LOGICAL_WRITERS
    convert = readers["bytes-decimal"]

    def read(data: bytes, writer: Any = None, reader: Any = None) -> Any:
        # A digit takes less than half a byte.
        if len(data) > writer["precision"] // 2 + 2:
            raise CodecError("a decimal with more digits than its precision", kind="too_large")
        return convert(data, writer, reader)

    readers.setdefault(f"bytes-{_DECIMAL}", read)
    writers.setdefault(f"bytes-{_DECIMAL}", writers["bytes-decimal"])
    return _renamed(schema)


def _renamed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_renamed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = dict(schema)
    for key in ("type", "items", "values"):
        if key in made:
            made[key] = _renamed(made[key])
    if isinstance(made.get("fields"), list):
        made["fields"] = [_renamed(each) for each in made["fields"]]
    if made.get("logicalType") == "decimal":
        precision = made.get("precision")
        if not isinstance(precision, int) or not 1 <= precision <= _MAX_PRECISION:
            raise ValueError(f"the precision of a decimal is in 1..{_MAX_PRECISION}")
        if made.get("type") == "bytes":
            made["logicalType"] = _DECIMAL
    return made
