"""Public names say what they are for, and those that wait for a peer say which errors come."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import itertools
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import restsock

# What programs import. Of the other public modules, which are for the package itself, only classes
# and functions are held to have a docstring, and not each method and alias.
FOR_PROGRAMS = [
    "restsock",
    *("restsock.adapters", "restsock.aio", "restsock.apps", "restsock.asgi", "restsock.auth"),
    "restsock.codecs",
    *("restsock.gateway", "restsock.gateway.dialects"),
    *("restsock.connectors", "restsock.hub", "restsock.ingress"),
    *("restsock.messaging", "restsock.messaging.aio", "restsock.messaging.sync"),
    *("restsock.messaging.bridge", "restsock.messaging.nats"),
    *("restsock.instruments", "restsock.instruments.opentelemetry"),
    *("restsock.instruments.prometheus", "restsock.openapi", "restsock.sync"),
    *("restsock.swaggersocket", "restsock.swaggersocket.aio", "restsock.swaggersocket.sync"),
    *("restsock.testing", "restsock.tls"),
    *("restsock.websockets", "restsock.websockets.aio", "restsock.websockets.sync"),
]
MODULES = [
    "restsock",
    *(
        module.name
        for module in pkgutil.walk_packages(restsock.__path__, "restsock.")
        if not any(part.startswith("_") for part in module.name.split("."))
    ),
]
# What tells of errors, be it that there are none, or that they are another one's.
ERRORS = re.compile(r"\b(raises?|raised|errors?|exceptions)\b", re.IGNORECASE)
# What waits for a disk, and has names that mean other things elsewhere.
STORES = {"Store", "MemoryStore", "SQLiteStore", "TransactionalStore"}
# Of a connection, for its own reader.
INTERNAL = {"Connection.end"}


def public_names(module: ModuleType) -> Iterator[tuple[str, Any]]:
    later = [name for name in dir(module) if name not in vars(module)]  # loaded at their first use
    for name in dict.fromkeys([*getattr(module, "__all__", ()), *later]):
        value = getattr(module, name)
        ours = getattr(value, "__module__", "restsock").startswith(("restsock", "typing"))
        if ours and not inspect.ismodule(value):
            yield name, value


def members(kind: type) -> Iterator[tuple[str, Any]]:
    """Public methods and properties that are ours."""
    for name in dir(kind):
        value = inspect.getattr_static(kind, name)
        # Of an enumeration, some names are its metaclass's.
        owner = next((base for base in kind.__mro__ if name in base.__dict__), type(kind))
        callable_ = inspect.isfunction(value) or isinstance(value, (property, classmethod))
        if callable_ and not name.startswith("_") and owner.__module__.startswith("restsock"):
            yield name, getattr(kind, name)


@functools.cache
def classes() -> dict[type, str]:
    found: dict[type, str] = {}
    for name in FOR_PROGRAMS:
        for public, value in public_names(importlib.import_module(name)):
            if inspect.isclass(value) and value.__module__.startswith("restsock"):
                found.setdefault(value, f"{name}.{public}")
    return found


@functools.cache
def described_aliases() -> set[str]:
    """Names in the package that are assigned, with a text below that says what they are."""
    found: set[str] = set()
    for path in Path(restsock.__file__).parent.rglob("*.py"):
        body = ast.parse(path.read_text("utf-8")).body
        for statement, following in itertools.pairwise(body):
            text = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
            targets = statement.targets if isinstance(statement, ast.Assign) else []
            targets = [statement.target] if isinstance(statement, ast.AnnAssign) else targets
            found |= {t.id for t in targets if text and isinstance(t, ast.Name)}
    return found


@pytest.mark.parametrize("name", MODULES)
def test_each_public_name_has_a_docstring(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__
    aliases = described_aliases()
    bare = []
    for public, value in public_names(module):
        if inspect.isclass(value) or inspect.isroutine(value):
            described = bool(inspect.getdoc(value))
        else:  # a constant, which has a comment, or an alias
            constant = isinstance(value, (int, str, bytes, tuple, frozenset))
            described = constant or name not in FOR_PROGRAMS or public in aliases
        if not described:
            bare.append(public)
    assert bare == []


def test_each_method_that_programs_call_has_a_docstring() -> None:
    bare = [
        f"{where}.{name}"
        for kind, where in classes().items()
        for name, value in members(kind)
        if not inspect.getdoc(value)
    ]
    assert bare == []


def test_what_waits_for_a_peer_tells_of_errors() -> None:
    """Coroutine functions, and what has the same name where it blocks a thread instead."""
    kinds = {kind: where for kind, where in classes().items() if kind.__name__ not in STORES}
    waiting = {
        name
        for kind in kinds
        for name, value in members(kind)
        if inspect.iscoroutinefunction(value)
    }
    assert {"request", "receive", "wait_closed", "drain"} <= waiting
    waiting |= {"stream", "close"}
    silent = [
        f"{where}.{name}"
        for kind, where in kinds.items()
        for name, value in members(kind)
        if name in waiting
        and f"{kind.__name__}.{name}" not in INTERNAL
        and not ERRORS.search(inspect.getdoc(value) or "")
    ]
    assert silent == []


@pytest.mark.parametrize("api", ["restsock", "restsock.sync", "restsock.aio"])
def test_what_sends_requests_tells_units_retries_and_arguments(api: str) -> None:
    module = importlib.import_module(api)
    for kind in (module.Client, module.Server, module.Route, module.Connection):
        text = inspect.getdoc(kind.request) or ""
        for word in ("timeout: ", "econds", "Raises:", "RequestTimeout:", "may_have_run"):
            assert word in text, f"{api}.{kind.__name__}.request does not tell of {word!r}"
        if api != "restsock.sync":
            assert "ancelled" in text, f"{api}.{kind.__name__}.request"
    for name in ("connect", "listen"):
        assert "Raises:" in (inspect.getdoc(getattr(module, name)) or "")
