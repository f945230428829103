"""The layer chart in ``restsock/__init__.py`` is true, and its modules are small and apart.

Every import is read from the source and held to the chart, wherever in a module it stands. No
modules import each other in a circle, no package reaches for what is private to another one, and no
file is long. What does not keep to this yet stands in a list here, and the lists only get shorter.
"""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import restsock

PACKAGE = Path(restsock.__file__).parent

# Third-party modules, and the only parts of restsock that may import them.
HOMES = {
    "wsproto": {"protocol"},
    "h11": {"protocol", "http1"},
    "anyio": {"connection", "adapters", "endpoint", "asgi"},
    "requests": {"adapters", "cli"},
    "urllib3": {"adapters"},
    "httpx": {"adapters"},
    "httpx2": {"adapters"},
    "jsonschema": {"openapi"},
    "openapi_schema_validator": {"openapi"},
    "openapi_spec_validator": {"openapi"},
    "re2": {"openapi"},
    "prometheus_client": {"instruments"},
    "opentelemetry": {"instruments"},
    "click": {"cli"},
    "joserfc": {"auth"},
    "rich": {"cli"},
    "msgspec": {"hub", "codecs", "connectors"},
    "yaml": {"openapi", "codecs"},
    "cbor2": {"codecs"},
    "fastavro": {"codecs"},
    "brotli": {"codecs"},
    "cramjam": {"codecs"},
    "lz4": {"codecs"},
    "backports": {"codecs"},
    "tomli": {"hub"},
    "pytest": {"_pytest"},
    "python_socks": {"client"},
    "nats": {"messaging"},
    "aio_pika": {"gateway"},
    "redis": {"gateway"},
}
# A sans-IO core is handed its clock, its randomness and its bytes.
SANS_IO = ("protocol", "http1", "codecs", "messaging.engine", "swaggersocket.engine")
NOT_IN_SANS_IO = {
    *("trio", "asyncio", "socket", "select", "selectors"),
    *("threading", "queue", "multiprocessing", "subprocess"),
    *("time", "random", "secrets", "os"),
}
# What no program should pay for that does not use it.
HEAVY = {
    *("requests", "urllib3", "httpx", "httpx2"),
    *("jsonschema", "openapi_schema_validator", "openapi_spec_validator"),
    *("python_socks", "click", "joserfc", "msgspec", "rich", "flask", "fastapi", "starlette"),
    *("prometheus_client", "opentelemetry"),
    *("nats", "aio_pika", "redis"),
    *("yaml", "cbor2", "fastavro", "brotli", "cramjam", "lz4", "backports"),
}
# What `import restsock` alone, without any use, does not load either.
NOT_YET = {
    *("trio", "asyncio", "h11", "wsproto", "exceptiongroup"),
    *("ssl", "socket", "select", "subprocess", "urllib", "http", "email", "ipaddress"),
    *("dataclasses", "inspect", "json"),
}

MAX_LINES = 500

# ----------------------------------------------------------------------------------------------

_ROW = re.compile(r"^# +L(?P<level>\d+) +(?P<parts>\w+(?:, \w+)*)(?: {2,}.*)?$")


def read_chart(source: str) -> dict[str, int]:
    """Part of the package -> its level, from comments like ``L3  apps, adapters   why``."""
    chart: dict[str, int] = {}
    for row in filter(None, map(_ROW.match, source.splitlines())):
        for part in row["parts"].split(", "):
            assert part not in chart, f"{part} stands twice in the layer chart"
            chart[part] = int(row["level"])
    return chart


CHART = read_chart((PACKAGE / "__init__.py").read_text("utf-8"))


class Import(NamedTuple):
    line: int
    target: tuple[str, ...]  # `from a import b` counts as a.b, as b may be a module
    for_types: bool  # stands under `if TYPE_CHECKING:` and loads nothing


def imports_of(tree: ast.AST, package: tuple[str, ...]) -> Iterator[Import]:
    """All imports in a source whose relative ones start from *package*."""
    type_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        for_types = id(node) in type_only
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(node.lineno, tuple(alias.name.split(".")), for_types)
        elif isinstance(node, ast.ImportFrom):
            origin = tuple(node.module.split(".")) if node.module else ()
            if node.level:
                origin = package[: len(package) - (node.level - 1)] + origin
            for alias in node.names:
                yield Import(node.lineno, (*origin, alias.name), for_types)


def violations(
    source: str, module: tuple[str, ...], chart: dict[str, int], *, is_package: bool = False
) -> list[str]:
    """What *source* imports against the rules, as ``line: reason``."""
    part = module[1]
    sans_io = part in SANS_IO or ".".join(module[1:3]) in SANS_IO
    found = []
    for line, target, for_types in imports_of(
        ast.parse(source), module if is_package else module[:-1]
    ):
        top = target[0]
        if top != "restsock":
            if part not in HOMES.get(top, {part}) and not for_types:
                found.append(f"{line}: {top} may be imported by {', '.join(HOMES[top])} only")
            if sans_io and top in NOT_IN_SANS_IO:
                found.append(f"{line}: {part} may not import {top}")
            if sans_io and top == "ssl" and module[2] != "_tls":  # between two buffers
                found.append(f"{line}: only protocol._tls may import ssl")
            continue
        other = target[1] if len(target) > 1 else None
        if other == part:
            continue
        if other not in chart:
            # `import restsock` or `from restsock import X` would run the whole package from below.
            found.append(f"{line}: imports {'.'.join(target)}: name the module that holds it")
        elif chart[other] == chart[part] and chart[part] > 0:
            found.append(f"{line}: {part} imports its sibling {other}")
        elif chart[other] > chart[part]:
            found.append(f"{line}: {part} (L{chart[part]}) imports {other} (L{chart[other]})")
    return found


def private_imports(
    source: str, module: tuple[str, ...], *, is_package: bool = False
) -> list[tuple[str, str]]:
    """What *source* imports that is private to a package with which it has nothing to do.

    A package uses what is private to the folders in it, and they use what is private to it.
    """
    package = module if is_package else module[:-1]
    found = []
    for _, target, _ in imports_of(ast.parse(source), package):
        private = (at for at, name in enumerate(target) if re.match(r"_[^_]", name))
        at = next(private, None) if target[0] == "restsock" else None
        if at is None or package[:at] == target[:at]:
            continue
        if len(package) == 1 or target[:at][: len(package)] != package:
            found.append((".".join(module), ".".join(target)))
    return found


def graph_of(sources: dict[tuple[str, ...], tuple[str, bool]]) -> dict[str, set[str]]:
    """Which modules each one imports, be it for types only.

    Args:
        sources: module -> its source, whether it is a package.
    """
    graph: dict[str, set[str]] = {}
    for module, (source, is_package) in sources.items():
        targets = graph[".".join(module)] = set()
        for each in imports_of(ast.parse(source), module if is_package else module[:-1]):
            target = each.target if each.target in sources else each.target[:-1]
            if target in sources:
                targets.add(".".join(target))
    return graph


def circles_in(graph: dict[str, set[str]]) -> list[set[str]]:
    """The sets of modules of which each leads to each other one."""
    reach: dict[str, set[str]] = {}
    for start in graph:
        seen: set[str] = set()
        ahead = [start]
        while ahead:
            new = graph[ahead.pop()] - seen
            seen |= new
            ahead += new
        reach[start] = seen
    circles = {
        frozenset(other for other in seen if start in reach[other])
        for start, seen in reach.items()
        if start in seen
    }
    return sorted(map(set, circles), key=sorted)


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def dotted(path: Path) -> tuple[str, ...]:
    parts = ("restsock", *path.relative_to(PACKAGE).with_suffix("").parts)
    return parts[:-1] if parts[-1] == "__init__" else parts


def test_the_chart_names_exactly_what_is_there() -> None:
    parts = {dotted(path)[1] for path in modules()}
    assert set(CHART) == parts


@pytest.mark.parametrize("path", modules(), ids=lambda path: ".".join(dotted(path)))
def test_imports_point_down(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert violations(source, dotted(path), CHART, is_package=path.name == "__init__.py") == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("restsock.protocol._multiplexer", "import trio"),
        ("restsock.protocol._multiplexer", "from time import monotonic"),
        ("restsock.protocol._pipeline", "import ssl"),
        ("restsock.http1._upstream", "import socket"),
        ("restsock.http1._upstream", "import wsproto"),
        ("restsock.messaging.engine._outbox", "from time import monotonic"),
        ("restsock.swaggersocket.engine._layer", "import trio"),
        ("restsock.protocol._multiplexer", "from os import urandom"),
        ("restsock.protocol._multiplexer", "from ..connection import Connection"),
        ("restsock.protocol._multiplexer", "def f():\n    import restsock.client"),
        ("restsock.connection._reader", "import wsproto.events"),
        ("restsock.client._dial", "from h11 import Request"),
        ("restsock.client._dial", "from restsock.server import listen"),
        ("restsock.client._dial", "from .. import sync"),
        ("restsock.client._dial", "from restsock import Client"),
        ("restsock.apps._wsgi", "from restsock import adapters"),
        ("restsock.server._listen", "import requests"),
        ("restsock.server._listen", "import openapi_spec_validator"),
        ("restsock._options", "from restsock.protocol import Multiplexer"),
        ("restsock.sync._endpoint", "from ..testing import connected_pair"),
        ("restsock.apps._wsgi", "if TYPE_CHECKING:\n    from ..server import Server"),
    ],
)
def test_a_wrong_import_is_seen(module: str, source: str) -> None:
    assert len(violations(source, tuple(module.split(".")), CHART)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "restsock.protocol._multiplexer",
            "from ._frames import Frame\nimport wsproto, h11, struct",
        ),
        ("restsock.protocol._tls", "import ssl"),
        ("restsock.http1._upstream", "import h11\nfrom restsock.protocol import Headers"),
        ("restsock.client._dial", "import trio\nfrom ..connection import Connection"),
        (
            "restsock.client._dial",
            "def f():\n    from restsock.adapters import TunnelAdapter",
        ),
        ("restsock.adapters.requests._tunnel", "import requests, urllib3.response"),
        ("restsock._exceptions", "from ._options import Limits"),
        ("restsock.client._client", "if TYPE_CHECKING:\n    from requests import Session"),
    ],
)
def test_a_right_import_is_let_through(module: str, source: str) -> None:
    assert violations(source, tuple(module.split(".")), CHART) == []


def read_sources() -> dict[tuple[str, ...], tuple[str, bool]]:
    return {
        dotted(path): (path.read_text(encoding="utf-8"), path.name == "__init__.py")
        for path in modules()
    }


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles_in(graph_of(read_sources())) == []


def test_what_is_private_to_a_package_is_imported_in_it_alone() -> None:
    found: set[tuple[str, str]] = set()
    for module, (source, is_package) in read_sources().items():
        found.update(private_imports(source, module, is_package=is_package))
    assert found == set()


def test_no_file_is_long() -> None:
    assert [path for path in modules() if path.read_text("utf-8").count("\n") > MAX_LINES] == []


def test_a_circle_is_seen() -> None:
    sources = {
        ("restsock", "a"): ("from ._x import X\nfrom restsock import b", True),
        ("restsock", "a", "_x"): ("from . import _y", False),
        ("restsock", "a", "_y"): ("def f():\n    from ._x import X", False),
        ("restsock", "b"): ("if TYPE_CHECKING:\n    from .a import A", True),
    }
    inner = {"restsock.a._x", "restsock.a._y"}
    assert circles_in(graph_of(sources)) == [inner]  # `restsock.b` names `restsock.b.a`
    sources["restsock", "b"] = ("if TYPE_CHECKING:\n    from restsock.a import A", True)
    assert circles_in(graph_of(sources)) == [{"restsock.a", "restsock.b"}, inner]


@pytest.mark.parametrize(
    ("module", "source", "wrong"),
    [
        ("restsock.client._dial", "from restsock.protocol._heads import decode_request", True),
        ("restsock.client._dial", "from restsock.protocol import _heads", True),
        ("restsock.client._dial", "from ..protocol import _heads", True),
        ("restsock.client._dial", "import restsock.protocol._heads", True),
        ("restsock.apps.wsgi._app", "from ..asgi._app import App", True),
        ("restsock.apps.wsgi._app", "from .._errors import AppError", False),
        ("restsock.apps._detect", "from .wsgi._app import App", False),
        ("restsock._options", "from restsock.tls import _context", True),
        ("restsock.client._dial", "from ._redial import Redial", False),
        ("restsock.client._dial", "from restsock._options import Limits, __doc__", False),
        ("restsock.client._dial", "from other._private import _thing", False),
    ],
)
def test_a_private_import_is_seen(module: str, source: str, wrong: bool) -> None:
    assert bool(private_imports(source, tuple(module.split(".")))) is wrong


@pytest.mark.parametrize(
    ("program", "unwanted"),
    [
        ("import restsock", HEAVY | NOT_YET),
        ("from restsock import connect, listen, tls, auth", HEAVY | {"asyncio"}),
        ("import restsock.sync", HEAVY | {"asyncio"}),
        ("import restsock.messaging.bridge", HEAVY | {"asyncio"}),
        ("import restsock.gateway", HEAVY | {"asyncio"}),
        ("import restsock.hub", HEAVY | {"asyncio", "trio", "msgspec"}),
        ("from restsock.codecs import Format; Format('json', before=['separate'])", HEAVY),
    ],
)
def test_what_an_import_does_not_load(program: str, unwanted: set[str]) -> None:
    program += "; import sys; print(*(m for m in sys.modules if '.' not in m))"
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=30
    )
    assert set(done.stdout.split()) & unwanted == set()


def test_every_public_name_can_be_had() -> None:
    assert [name for name in dir(restsock) if not hasattr(restsock, name)] == []
    everything: dict[str, object] = {}
    exec("from restsock import *", everything)
    assert sorted(everything.keys() - {"__builtins__"}) == dir(restsock)


def test_the_gateway_gives_all_its_names_that_need_no_extra() -> None:
    program = """
import sys
for extra in ("nats", "aio_pika", "redis", "jsonschema", "openapi_schema_validator"):
    sys.modules[extra] = None  # is not installed
from restsock.gateway import *
from restsock.gateway.backends import *
import restsock.gateway
print(Gateway, HTTP, *dir(restsock.gateway))
try:
    from restsock.gateway import RabbitMQ
except ImportError as exc:
    print(exc)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=30
    )
    assert {"Gateway", "NATS", "Operations", "RabbitMQ", "RedisStreams"} <= {*done.stdout.split()}
    assert "pip install 'restsock[rabbitmq]'" in done.stdout


def test_names_are_where_type_checkers_look_for_them() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text("utf-8"))
    found = {}
    for each in imports_of(tree, ("restsock",)):
        if each.target[0] == "restsock":
            *home, name = each.target
            module = importlib.import_module(".".join(home))
            for public in module.__all__ if name == "*" else [name]:
                found[public] = getattr(module, public)
    assert set(dir(restsock)) <= set(found)
    assert {name for name in found if getattr(restsock, name) is not found[name]} == set()


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    assert not hasattr(restsock, "Conection")
    assert not hasattr(restsock, "_nothing")
    with pytest.raises(ImportError, match="cannot import name 'Conection'"):
        exec("from restsock import Conection", {})
