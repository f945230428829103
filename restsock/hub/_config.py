"""`load`: a hub's configuration, from a TOML file and from overrides."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, inspect

from restsock._options import Options

from ._errors import ConfigError, unquoted
from ._reading import Reader
from ._tables import Tables

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Config", "json_schema", "load", "parse", "parse_toml", "read_tables"]

T = TypeVar("T")

_WHERE = re.compile(r"(.*?)(?: - at `\$\.?(.*)`)?", re.DOTALL)
# Parts that a gateway alone has only where the file has their tables.
_SWITCHED = ("peers", "ingress", "admin")
_OPTIONS = ("limits", "timeouts", "heartbeat", "sockets")


class Config(Tables, frozen=True, kw_only=True):
    """A configuration that was read and checked. Made by `load`.

    Attributes:
        path: its file; `None` without one.
        overrides: values that replace those of the file, also after a reload.
        variables: the keys whose values come from environment variables, with their names.
        options: limits, timeouts, heartbeat and sockets.
        alone: as of `load`.
    """

    alone: bool = False
    path: Path | None = None
    overrides: Mapping[str, Any] = {}
    variables: Mapping[str, str] = {}
    options: Options = Options()

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """As `shown`."""
        return list(self.shown().items())

    def read_again(self) -> Config:
        """The configuration that its file has now. Raises the errors of `load`."""
        return load(self.path, self.overrides, alone=self.alone)

    def shown(self) -> dict[str, Any]:
        """The tables as builtins, ready for JSON. It shows only the names of variables."""
        tables = Tables(**{name: getattr(self, name) for name in Tables.__struct_fields__})
        shown: dict[str, Any] = _with_variables(msgspec.to_builtins(tables), "", self.variables)
        return shown


def load(
    path: Path | str | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    alone: bool = False,
) -> Config:
    """Reads a TOML file, and checks each of its keys.

    `check` also opens the files that it names.

    Args:
        path: the file; `None` is an empty one.
        overrides: values by key that replace those of the file: `{"peers.listen": "0.0.0.0:8443"}`.
            `None` is ignored.
        alone: whether it is only for a gateway: peers, ingress and admin API are off unless the
            file has their tables.

    Raises:
        ConfigError: something in it is wrong; it says which key, and the nearest one.
        OSError: the file cannot be read.
    """
    text = ""
    if path is not None:
        path = Path(path).absolute()
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            raise ConfigError("", f"{path} is not UTF-8") from None
    return parse(text, path=path, overrides=overrides, alone=alone)


def parse(
    text: str,
    *,
    path: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    alone: bool = False,
) -> Config:
    """The same from the text of such a file.

    Args:
        text: TOML.
        path: where it stands, or would; names of files start from its folder.
        overrides: as of `load`.
        alone: as of `load`.

    Raises:
        ConfigError: as of `load`.
    """
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    found = parse_toml(text)
    for name in _SWITCHED if alone else ():
        found.setdefault(name, {"enabled": False})
    both = [found[name] for name in ("hub", "peers") if isinstance(found.get(name), dict)]
    if len(both) == 2 and all("listen" in table for table in both):
        raise ConfigError("hub.listen", "peers.listen says the same: give one of them")
    for key, value in given.items():
        _put(found, key, value)
    folder = Path.cwd() if path is None else path.parent
    reader = Reader(folder)
    with unquoted(reader.variables):
        tables = _read(reader, Tables, found)
        if tables.hub.listen is not None and "peers.listen" not in given:
            peers = msgspec.structs.replace(tables.peers, listen=tables.hub.listen)
            tables = msgspec.structs.replace(tables, peers=peers)
        options = _options_of(tables)
    return Config(
        **{name: getattr(tables, name) for name in Tables.__struct_fields__},
        alone=alone,
        path=path,
        overrides=given,
        variables=reader.variables,
        options=options,
    )


def parse_toml(text: str) -> dict[str, Any]:
    """What a text in TOML holds.

    Raises:
        ConfigError: it is not TOML.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError("", f"not TOML: {exc}") from None
    except RecursionError:
        raise ConfigError("", "not TOML: it is nested too deeply") from None


def read_tables(kind: type[T], found: Mapping[str, Any], folder: Path) -> T:
    """Reads a file of another kind than that of a hub, by the same rules.

    Args:
        kind: a msgspec struct, with all tables of the file.
        found: what the file holds.
        folder: where names of files in it start from.

    Raises:
        ConfigError: something in it is wrong; it says which key, and the nearest one.
    """
    reader = Reader(folder)
    with unquoted(reader.variables):
        return _read(reader, kind, found)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the file, for editors."""
    schema = _with_texts(msgspec.json.schema(Tables))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The configuration of a restsock hub",
        **schema,
    }


def _read(reader: Reader, kind: type[T], found: Mapping[str, Any]) -> T:
    read = reader.read(inspect.type_info(kind), found)
    try:
        return msgspec.convert(read, kind)
    except msgspec.ValidationError as exc:
        match = _WHERE.fullmatch(str(exc))
        assert match is not None
        raise ConfigError(match[2] or "", match[1]) from None


def _put(tables: dict[str, Any], key: str, value: Any) -> None:
    """Sets the value of a key with dots."""
    *parents, last = key.split(".")
    for name in parents:
        tables = tables.setdefault(name, {})
        if not isinstance(tables, dict):
            raise ConfigError(key, f"{name} is not a table")
    tables[last] = [*value] if isinstance(value, tuple) else value


def _options_of(tables: Tables) -> Options:
    given = {}
    for name in _OPTIONS:
        table = getattr(tables, name)
        values = {key: getattr(table, key) for key in table.__struct_fields__}
        given[name] = {key: value for key, value in values.items() if value is not UNSET}
        try:
            Options.from_mapping({name: given[name]})
        except ValueError as exc:
            raise ConfigError(name, str(exc)) from None
    if tables.hub.grace is not None:
        given["timeouts"].setdefault("grace", tables.hub.grace)
    try:
        return Options.from_mapping(given)
    except ValueError as exc:  # all else has passed above
        raise ConfigError("hub.grace", str(exc)) from None


def _with_variables(value: Any, key: str, variables: Mapping[str, str]) -> Any:
    """A value with `${NAME}` in the place of what these variables hold."""
    if key in variables:
        return f"${{{variables[key]}}}"
    if isinstance(value, dict):
        return {
            name: _with_variables(item, f"{key}.{name}" if key else name, variables)
            for name, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [
            _with_variables(item, f"{key}[{number}]", variables)
            for number, item in enumerate(value)
        ]
    return value


def _with_texts(node: Any) -> Any:
    """The schema with texts where a number may be given with its unit."""
    if isinstance(node, dict):
        node = {name: _with_texts(value) for name, value in node.items()}
        example = node.pop("x-text", None)
        if example is not None:
            node["type"] = [node["type"], "string"]
            node["examples"] = [example]
    elif isinstance(node, (list, tuple)):
        return [_with_texts(value) for value in node]
    return node
