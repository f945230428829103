"""The layer chart in the docstring of ``restsock`` is true.

Every import is read from the source and held to it, wherever in a module it stands.
"""

from __future__ import annotations

import ast
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
    "h11": {"protocol"},
    "requests": {"adapters"},
    "urllib3": {"adapters"},
    "httpx": {"adapters"},
    "httpx2": {"adapters"},
    "openapi_core": {"openapi"},
    "re2": {"openapi"},
    "prometheus_client": {"instruments"},
    "opentelemetry": {"instruments"},
    "click": {"cli"},
    "python_socks": {"client"},
}
# A sans-IO core is handed its clock, its randomness and its bytes.
NOT_IN_PROTOCOL = {
    *("trio", "asyncio", "socket", "select", "selectors"),
    *("threading", "queue", "multiprocessing", "subprocess"),
    *("time", "random", "secrets", "os"),
}
HEAVY = (
    *("requests", "urllib3", "httpx", "httpx2"),
    *("openapi_core", "python_socks", "click", "flask", "fastapi", "starlette"),
    *("prometheus_client", "opentelemetry"),
)

_ROW = re.compile(r"^ +L(?P<level>\d) +(?P<parts>\w+(?:, \w+)*)(?: {2,}.*)?$")


def read_chart(docstring: str) -> dict[str, int]:
    """Part of the package -> its level, from rows like ``L3  apps, adapters   why``."""
    chart: dict[str, int] = {}
    for row in filter(None, map(_ROW.match, docstring.splitlines())):
        for part in row["parts"].split(", "):
            assert part not in chart, f"{part} stands twice in the layer chart"
            chart[part] = int(row["level"])
    return chart


CHART = read_chart(restsock.__doc__ or "")


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
    found = []
    for line, target, for_types in imports_of(
        ast.parse(source), module if is_package else module[:-1]
    ):
        top = target[0]
        if top != "restsock":
            if part not in HOMES.get(top, {part}) and not for_types:
                found.append(f"{line}: {top} may be imported by {', '.join(HOMES[top])} only")
            if part == "protocol" and top in NOT_IN_PROTOCOL:
                found.append(f"{line}: protocol may not import {top}")
            if part == "protocol" and top == "ssl" and module[2] != "_tls":  # between two buffers
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
        ("restsock.server._listen", "import openapi_core"),
        ("restsock._options", "from restsock.protocol import Multiplexer"),
        ("restsock.sync._portal", "from ..testing import connected_pair"),
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
        ("restsock.client._dial", "import trio\nfrom ..connection import Connection"),
        (
            "restsock.client._dial",
            "def f():\n    from restsock.adapters import TunnelAdapter",
        ),
        ("restsock.adapters._tunnel", "import requests, urllib3.response"),
        ("restsock._exceptions", "from ._options import Limits"),
        ("restsock.client._client", "if TYPE_CHECKING:\n    from requests import Session"),
    ],
)
def test_a_right_import_is_let_through(module: str, source: str) -> None:
    assert violations(source, tuple(module.split(".")), CHART) == []


def test_import_restsock_loads_nothing_heavy() -> None:
    program = "import sys, restsock; print(*sorted(m for m in sys.modules if '.' not in m))"
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=30
    )
    assert not set(done.stdout.split()) & set(HEAVY)


def test_every_public_name_can_be_had() -> None:
    missing = [name for name in restsock.__all__ if not hasattr(restsock, name)]
    assert missing == []
    assert set(restsock.__all__) <= set(dir(restsock))
