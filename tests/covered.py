"""Which flags of the command, and which keys of files, tests show the effect of.

The files are that of a hub, and those of inputs and outputs: their keys are `connector.mode` where
both have them, else `input.channel` or `output.port`.

A test claims some: `@pytest.mark.covers("forward --only", "ingress.rate")`. If it has not used one
of them in the end, it fails; and a flag or key that no test claims fails the test that goes through
all of them. So a new flag needs a test, and a test that loses its flag does not go unnoticed.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
from msgspec import inspect

from restsock.cli._main import command
from restsock.connectors._config import load_tables
from restsock.connectors._tables import InputTables, OutputTables
from restsock.hub import Config, ConfigError, load
from restsock.hub._tables import Tables

TESTS = Path(__file__).parent

# The verbs whose files are those of connectors.
CONNECTORS: dict[str, type[msgspec.Struct]] = {"input": InputTables, "output": OutputTables}

# Options that all verbs have from the same code: to be claimed once, without a verb.
SHARED = frozenset(
    (
        *("--quiet", "--verbose", "--log-format", "--no-color"),
        *("--token", "--token-file", "--ca", "--hub", "--admin"),
    )
)

# Those that have such a name, and mean something else.
OWN = frozenset(("hub --admin", "doctor --admin"))

_used: set[str] = set()  # by the test that runs


# --- what there is --------------------------------------------------------------------------------


def root_context() -> click.Context:
    """That of the command itself. Each verb keeps the help option of the first one it is in."""
    return click.Context(command, info_name="restsock", **command.context_settings)


def verbs() -> Iterator[tuple[str, click.Command]]:
    """All verbs; those of a group as `token new`."""
    ctx = root_context()
    for verb in command.list_commands(ctx):
        found = command.get_command(ctx, verb)
        assert found is not None
        yield verb, found
        if isinstance(found, click.Group):
            for name, inner in found.commands.items():
                yield f"{verb} {name}", inner


def options_of(found: click.Command) -> Iterator[click.Option]:
    """The options of a verb, without the one for help."""
    for param in found.params:
        if isinstance(param, click.Option) and "--help" not in param.opts:
            yield param


def flags() -> set[str]:
    """All flags of all verbs, as they are claimed."""
    return {_flag(verb, option) for verb, found in verbs() for option in options_of(found)}


def _flag(verb: str, option: click.Option) -> str:
    name = max(option.opts, key=len)
    return name if name in SHARED and f"{verb} {name}" not in OWN else f"{verb} {name}"


def keys(kind: Any = Tables, path: str = "") -> set[str]:
    """All keys that a file can have, that of a hub by default, as `route.host`."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        kind = inspect.type_info(kind)
    if isinstance(kind, inspect.Metadata):
        kind = kind.type
    if isinstance(kind, inspect.UnionType):
        kinds = [each for each in kind.types if not isinstance(each, inspect.NoneType)]
        return keys(kinds[0], path)
    if isinstance(kind, inspect.VarTupleType):
        return keys(kind.item_type, path)
    if isinstance(kind, inspect.DictType):
        return keys(kind.value_type, path)
    if not isinstance(kind, inspect.StructType):
        return {path.removesuffix(".")}
    return set().union(*(keys(field.type, f"{path}{field.encode_name}.") for field in kind.fields))


def connector_keys() -> set[str]:
    """All keys that the files of inputs and outputs can have, as they are claimed."""
    return {_shared(key) for verb, kind in CONNECTORS.items() for key in keys(kind, f"{verb}.")}


def _shared(key: str) -> str:
    """A key of both as `connector.…`."""
    table = key.split(".")[1]
    both = all(table in kind.__struct_fields__ for kind in CONNECTORS.values())
    return f"connector.{key.partition('.')[2]}" if both and table != "ports" else key


# --- what is used ---------------------------------------------------------------------------------


def note_command(args: Sequence[str], folder: Path | None = None) -> set[str]:
    """Notes the flags of a command line, and the keys of the file that it names."""
    found = set(_flags_in(args))
    for flag, value in pairwise(args):
        if flag in ("-c", "--config"):
            path = (folder or Path()) / value
            try:
                if args[0] in CONNECTORS:
                    tables = load_tables(CONNECTORS[args[0]], path)
                    found |= {_shared(key) for key in _differences(tables, f"{args[0]}.")}
                else:
                    found |= set(_keys_in(load(path)))
            except (ConfigError, OSError):
                pass  # it is a wrong one, on purpose
    _used.update(found)
    return found


def note(name: str) -> None:
    """Notes something else that tests claim."""
    _used.add(name)


def note_config(config: Config) -> None:
    """Notes the keys of a configuration whose values are other than the defaults."""
    _used.update(_keys_in(config))


def _flags_in(args: Sequence[str]) -> Iterator[str]:
    known = dict(verbs())
    verb = next((name for name in (" ".join(args[:2]), *args[:1]) if name in known), None)
    if verb is None:
        return
    for option in options_of(known[verb]):
        for arg in args:
            name = arg.partition("=")[0] if arg.startswith("--") else arg[:2]
            if name in option.opts:
                yield _flag(verb, option)


def _keys_in(config: Config) -> Iterator[str]:
    tables = Tables(**{name: getattr(config, name) for name in Tables.__struct_fields__})
    yield from _differences(tables, "")


def _differences(table: msgspec.Struct, path: str) -> Iterator[str]:
    for field in msgspec.structs.fields(table):
        key, value = f"{path}{field.encode_name}", getattr(table, field.name)
        inner = value.values() if isinstance(value, dict) else value
        inner = inner if isinstance(value, (tuple, dict)) else [value]
        tables = [each for each in inner if isinstance(each, msgspec.Struct)]
        for each in tables:
            yield from _differences(each, f"{key}.")
        factory = field.default_factory
        default = field.default if factory is msgspec.NODEFAULT else factory()
        if not tables and value is not msgspec.UNSET and value != default:
            yield key


# --- what is claimed ------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _claims_are_true(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test has used what it says that it covers; with what a fixture of it has used before."""
    _used.clear()
    yield
    used = _used.union(*(getattr(value, "used", ()) for value in request.node.funcargs.values()))
    claimed = {name for mark in request.node.iter_markers("covers") for name in mark.args}
    assert claimed <= used, f"not used: {sorted(claimed - used)}"


def claims(*folders: str) -> set[str]:
    """All that is claimed by the tests in some folders; by default, of the command and of hubs."""
    found: set[str] = set()
    for path in (path for folder in folders or ("cli", "hub") for path in _tests_in(folder)):
        module = importlib.import_module(f"tests.{path.parent.name}.{path.stem}")
        for name, test in vars(module).items():
            if name.startswith("test_"):
                found |= _claimed(getattr(test, "pytestmark", ()))
    return found


def _tests_in(folder: str) -> Iterator[Path]:
    return (TESTS / folder).glob("test_*.py")


def _claimed(marks: Sequence[Any]) -> set[str]:
    found: set[str] = set()
    for mark in marks:
        if mark.name == "covers":
            found.update(mark.args)
        elif mark.name == "parametrize":
            for each in mark.args[1]:
                found |= _claimed(getattr(each, "marks", ()))
    return found
