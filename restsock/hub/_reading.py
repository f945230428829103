"""From what a TOML file holds to what the tables take: units, variables, names of files.

Unknown keys and wrong kinds of values are found here, and not by msgspec, so that an error can say
which key is meant and what it takes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import inspect

from restsock._nearest import nearest

from ._errors import ConfigError

__all__ = ["Reader"]

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_QUANTITY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?) ?([A-Za-z]*)")
_UNITS: dict[str, dict[str, float]] = {
    "duration": {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400},
    "size": {
        "": 1,
        "B": 1,
        "kB": 1000,
        "KB": 1000,
        "MB": 1000**2,
        "GB": 1000**3,
        "KiB": 1024,
        "MiB": 1024**2,
        "GiB": 1024**3,
    },
}
_LIKE = {"duration": '"30s" or "5m"', "size": '"64KiB" or "100MiB"'}
# What a value has to be; text, lists and tables in TOML are these in Python.
_KINDS: tuple[tuple[type, tuple[type, ...], str], ...] = (
    (inspect.BoolType, (bool,), "true or false"),
    (inspect.IntType, (int,), "a whole number"),
    (inspect.FloatType, (int, float), "a number"),
    (inspect.StrType, (str,), "a text"),
    (inspect.VarTupleType, (list,), "a list"),
    (inspect.DictType, (Mapping,), "a table"),
    (inspect.StructType, (Mapping,), "a table"),
)
# Tables that other versions have.
_NOT_YET = {"inspect"}


class Reader:
    """Reads values by the types of the tables.

    Args:
        folder: where names of files start from.
        environment: what `${NAME}` stands for.

    Attributes:
        variables: the keys whose values were `${NAME}`, and these names.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str] = os.environ) -> None:
        self._folder = folder
        self._environment = environment
        self.variables: dict[str, str] = {}

    def read(self, kind: Any, value: Any, key: str = "") -> Any:
        """What msgspec is to convert.

        Args:
            kind: a type, as `msgspec.inspect` tells it.
            value: as it stands in the file.
            key: where it stands.

        Raises:
            ConfigError: a key is not known, or a text stands for nothing.
        """
        if isinstance(kind, inspect.StructType) and isinstance(value, Mapping):
            return self._table(kind, value, key)
        if isinstance(kind, inspect.UnionType):
            return self._one_of(kind, value, key)
        if isinstance(kind, inspect.VarTupleType):
            if isinstance(kind.item_type, inspect.StrType) and isinstance(value, str):
                value = [value]
            if isinstance(value, list):
                return [
                    self.read(kind.item_type, item, f"{key}[{number}]")
                    for number, item in enumerate(value)
                ]
        if isinstance(kind, inspect.DictType) and isinstance(value, Mapping):
            return {
                name: self.read(kind.value_type, item, f"{key}.{name}")
                for name, item in value.items()
            }
        if isinstance(value, str):
            extra = kind.extra if isinstance(kind, inspect.Metadata) else None
            value = self._text(extra or {}, value, key)
        _check_kind(kind.type if isinstance(kind, inspect.Metadata) else kind, value, key)
        return value

    def _table(self, kind: inspect.StructType, value: Mapping[str, Any], key: str) -> Any:
        known = {field.encode_name: field.type for field in kind.fields}
        found = {}
        for name, item in value.items():
            path = f"{key}.{name}" if key else name
            if name not in known:
                if not key and name in _NOT_YET:
                    raise ConfigError(path, "this version does not have it yet")
                raise ConfigError(path, f"there is no such key{nearest(name, known)}")
            found[name] = self.read(known[name], item, path)
        for field in kind.fields:
            if field.required and field.encode_name not in found:
                raise ConfigError(key, f"{field.encode_name} is missing")
        return found

    def _one_of(self, kind: inspect.UnionType, value: Any, key: str) -> Any:
        kinds = [each for each in kind.types if not isinstance(each, inspect.NoneType)]
        if value == "none" and len(kinds) < len(kind.types):
            return None  # which TOML does not have
        for other in kinds[1:]:
            if _is_of(other, value):
                return value
        return self.read(kinds[0], value, key)

    def _text(self, extra: Mapping[str, Any], value: str, key: str) -> Any:
        found = _VARIABLE.fullmatch(value)
        if found is not None:
            if found[1] not in self._environment:
                raise ConfigError(key, f"the environment variable {found[1]} is not set")
            self.variables[key] = found[1]
            value = self._environment[found[1]]
        elif extra.get("secret"):
            raise ConfigError(
                key, f'a secret does not stand in the file: use {key}_file, or "${{NAME}}"'
            )
        elif "${" in value:
            raise ConfigError(key, 'a variable stands alone, as in "${NAME}"')
        if extra.get("file") and "://" not in value:
            try:
                return str(self._folder / Path(value).expanduser())
            except RuntimeError:
                raise ConfigError(key, f"there is no such home: {value!r}") from None
        unit = extra.get("unit")
        return value if unit is None else _quantity(unit, value, key)


def _is_of(kind: Any, value: Any) -> bool:
    """Whether a value of TOML is of a kind, as far as that can be told by its type."""
    for each, types, _ in _KINDS:
        if isinstance(kind, each):
            return isinstance(value, types) and isinstance(value, bool) is (types == (bool,))
    return True


def _check_kind(kind: Any, value: Any, key: str) -> None:
    if isinstance(kind, inspect.LiteralType):
        names = [str(name) for name in kind.values]
        if value not in kind.values:
            close = nearest(value, names) if isinstance(value, str) else ""
            raise ConfigError(key, f"it is one of {', '.join(names)}, and not {value!r}{close}")
    if _is_of(kind, value):
        return
    what = next(words for each, _, words in _KINDS if isinstance(kind, each))
    of_tables = isinstance(kind, inspect.VarTupleType) and isinstance(
        kind.item_type, inspect.StructType
    )
    if of_tables and isinstance(value, Mapping):
        raise ConfigError(key, f"there may be several of these: write [[{key}]]")
    given = next((words for _, types, words in _KINDS if isinstance(value, types)), "another value")
    raise ConfigError(key, f"it has to be {what}, and not {given}")


def _quantity(unit: str, text: str, key: str) -> float | int:
    """A duration in seconds, or a size in bytes."""
    found = _QUANTITY.fullmatch(text.strip())
    if found is None or found[2] not in _UNITS[unit]:
        raise ConfigError(key, f"not a {unit}: {text!r}; one is {_LIKE[unit]}")
    number = float(found[1]) * _UNITS[unit][found[2]]
    return number if unit == "duration" else int(number)
