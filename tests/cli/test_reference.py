"""docs/cli.md shows what the command says of itself."""

from __future__ import annotations

from .reference import PAGE, page


def test_the_reference_is_current() -> None:
    assert PAGE.read_text("utf-8") == page(), "run: python -m tests.cli.reference"
