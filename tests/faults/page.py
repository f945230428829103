"""Figures in docs/reliability.md: between a mark that names them and the next end."""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path

import trio

__all__ = ["put"]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"


def put(name: str, text: str) -> None:
    """Puts figures in the place of those that are there; with the day and the machine."""
    mark, end = f"<!-- figures: {name} -->", "<!-- end -->"
    page = PAGE.read_text()
    before, found, rest = page.partition(mark)
    if not found:
        raise SystemExit(f"{PAGE} has no place for {name!r}")
    _, _, behind = rest.partition(end)
    where = (
        f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}, "
        f"Python {platform.python_version()}, trio {trio.__version__}, "
        f"{platform.system()} {platform.release()}, {os.cpu_count()} CPUs"
    )
    PAGE.write_text(f"{before}{mark}\n\n{where}\n\n{text}\n\n{end}{behind}")
