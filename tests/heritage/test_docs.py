"""The tables of promises in the documentation name every test of this folder, and no other."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import NamedTuple

import pytest

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"
# Of each promise: its words, where to read of it, and the test.
ROW = re.compile(r"^\| [^|]+ \| [^|]+ \| ([^|]+) \|$", re.MULTILINE)
LINK = re.compile(r"\[([\w ]+)\]\(\.\./tests/heritage/test_(\w+)\.py\)")


class Page(NamedTuple):
    """A section of a page, the files of tests that it names, and how many lines it has."""

    name: str
    section: str
    systems: tuple[str, ...]
    lines: int


PAGES = [
    # 11, 4 and 5 promises, of which two take two lines each.
    Page(
        "messaging.md",
        "Promises of other systems",
        ("streamkit", "tremor", "wasmcloud"),
        22,
    ),
    # What Wasabi promises, and each fault that was found in it or in other gateways.
    Page(
        "gateway.md",
        "Promises of Wasabi",
        ("wasabi_core", "wasabi_backends", "wasabi_middleware"),
        72,
    ),
]


def last_cells(page: Page) -> list[str]:
    text = (DOCS / page.name).read_text(encoding="utf-8")
    section = text.partition(f"\n## {page.section}\n")[2]
    cells: list[str] = ROW.findall(section.partition("\n## ")[0])
    return [cell for cell in cells if cell not in ("Kept by", "---")]


def names_in(system: str) -> list[str]:
    tree = ast.parse((HERE / f"test_{system}.py").read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    names = [node.name for node in tree.body if isinstance(node, functions)]
    return [name for name in names if name.startswith("test_")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_promise_has_its_test(page: Page) -> None:
    cells = last_cells(page)
    kept = [LINK.fullmatch(cell) for cell in cells]
    assert [cell for cell, link in zip(cells, kept, strict=True) if link is None] == []
    linked = [(link[2], "test_" + link[1].replace(" ", "_")) for link in kept if link]
    assert linked == [(system, name) for system in page.systems for name in names_in(system)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_there_is_a_line_for_each_promise(page: Page) -> None:
    assert len(last_cells(page)) == page.lines


def test_all_files_of_promises_are_in_a_page() -> None:
    found = {path.stem.removeprefix("test_") for path in HERE.glob("test_*.py")} - {"docs"}
    assert found == {system for page in PAGES for system in page.systems}
