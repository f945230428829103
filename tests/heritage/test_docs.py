"""The table of promises in docs/messaging.md names every test of this folder, and no other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "messaging.md"
SYSTEMS = ("streamkit", "tremor", "wasmcloud")
# Of each promise: its words, where to read of it, and the test.
ROW = re.compile(r"^\| [^|]+ \| [^|]+ \| ([^|]+) \|$", re.MULTILINE)
LINK = re.compile(r"\[([\w ]+)\]\(\.\./tests/heritage/test_(\w+)\.py\)")


def last_cells() -> list[str]:
    section = PAGE.read_text(encoding="utf-8").partition("\n## Promises of other systems\n")[2]
    cells: list[str] = ROW.findall(section.partition("\n## ")[0])
    return [cell for cell in cells if cell not in ("Kept by", "---")]


def names_in(system: str) -> list[str]:
    tree = ast.parse((HERE / f"test_{system}.py").read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    names = [node.name for node in tree.body if isinstance(node, functions)]
    return [name for name in names if name.startswith("test_")]


def test_each_promise_has_its_test() -> None:
    cells = last_cells()
    kept = [LINK.fullmatch(cell) for cell in cells]
    assert [cell for cell, link in zip(cells, kept, strict=True) if link is None] == []
    linked = [(link[2], "test_" + link[1].replace(" ", "_")) for link in kept if link]
    assert linked == [(system, name) for system in SYSTEMS for name in names_in(system)]


def test_there_is_a_line_for_each_promise() -> None:
    """11, 4 and 5 promises, of which two take two lines each."""
    assert len(last_cells()) == 22
