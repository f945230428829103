"""The tables of promises in docs name every test of this folder, and no other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"
# Of each page: the section, the systems in it, and how many lines it has.
PAGES = {
    # 11, 4 and 5 promises, of which two take two lines each.
    "messaging.md": ("Promises of other systems", ("streamkit", "tremor", "wasmcloud"), 22),
    # 8 promises on 13 lines, and 15 faults with that of the wire.
    "swaggersocket.md": ("Promises of the original", ("swaggersocket",), 30),
}
# Of each promise: its words, where to read of it, and the test; or what is still to come.
ROW = re.compile(r"^\| [^|]+ \| [^|]+ \| ([^|]+) \|$", re.MULTILINE)
LINK = re.compile(r"\[([\w ]+)\]\(\.\./tests/heritage/test_(\w+)\.py\)")


def last_cells(page: str) -> list[str]:
    title = PAGES[page][0]
    section = (DOCS / page).read_text(encoding="utf-8").partition(f"\n## {title}\n")[2]
    cells: list[str] = ROW.findall(section.partition("\n## ")[0])
    return [cell for cell in cells if cell not in ("Kept by", "Here", "---")]


def names_in(system: str) -> list[str]:
    tree = ast.parse((HERE / f"test_{system}.py").read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    names = [node.name for node in tree.body if isinstance(node, functions)]
    return [name for name in names if name.startswith("test_")]


@pytest.mark.parametrize("page", PAGES)
def test_each_promise_has_its_test(page: str) -> None:
    cells = last_cells(page)
    kept = [LINK.fullmatch(cell) for cell in cells]
    assert [cell for cell, link in zip(cells, kept, strict=True) if link is None] == []
    linked = [(link[2], "test_" + link[1].replace(" ", "_")) for link in kept if link]
    assert linked == [(system, name) for system in PAGES[page][1] for name in names_in(system)]


@pytest.mark.parametrize("page", PAGES)
def test_there_is_a_line_for_each_promise(page: str) -> None:
    assert len(last_cells(page)) == PAGES[page][2]
