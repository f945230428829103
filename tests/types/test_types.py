"""mypy --strict on programs as users write them, against the package as it is installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.mark.timeout(400)  # mypy reads the whole package and all that it needs
def test_programs_have_no_errors_and_mistakes_are_found(tmp_path: Path) -> None:
    """One run for both, since most of its time is for the package."""
    pytest.importorskip("mypy")
    # The package alone, as in site-packages: beside it there is neither tests nor configuration.
    shutil.copytree(ROOT / "restsock", tmp_path / "site" / "restsock")
    programs = tmp_path / "programs"
    shutil.copytree(HERE / "programs", programs)
    shutil.copy(HERE / "mistakes.txt", programs / "mistakes.py")
    options = ["--strict", "--config-file", os.devnull, "--no-error-summary"]
    options += ["--cache-dir", str(tmp_path / "cache")]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, "."],
        cwd=programs,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site"), "MYPYPATH": ""},
        capture_output=True,
        text=True,
        timeout=390,
        check=False,
    )
    found = set(re.findall(r"^([^:\n]+):(\d+): error: .*\[([a-z-]+)\]$", done.stdout, re.MULTILINE))
    text = (HERE / "mistakes.txt").read_text("utf-8")
    marks = enumerate((re.search(r"# \[([a-z-]+)\]$", line) for line in text.splitlines()), 1)
    expected = {("mistakes.py", str(number), mark[1]) for number, mark in marks if mark}
    assert found == expected, done.stdout + done.stderr
    assert len(expected) > 10
