"""`.ci/packages`: it installs what it can, and never fails."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

_SCRIPT = Path(__file__).parents[1] / ".ci" / "packages"
_NEEDED = ("bash", "sh", "env", "timeout")

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, _NEEDED)), reason="bash and coreutils are not installed"
)


def run(folder: Path, *, user: int = 0, **programs: int) -> str:
    """What it says where these programs are, that end with these codes and note their calls."""
    for name in _NEEDED:
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    scripts = {"id": f"echo {user}"}
    for name, code in programs.items():
        scripts[name.replace("_", "-")] = f'echo "$@" >> {folder}/calls; exit {code}'
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    done = subprocess.run(
        [_SCRIPT], env={"PATH": str(folder)}, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr == ""
    return done.stdout


def test_it_installs_chromium(tmp_path: Path) -> None:
    assert run(tmp_path, apt_get=0).endswith("(once) ...\n")
    update, fetch, install = (tmp_path / "calls").read_text().splitlines()
    assert update.endswith(" update")
    assert fetch.endswith(" install --no-install-recommends --download-only chromium")
    assert install.endswith(" install --no-install-recommends --no-download chromium")


def test_it_does_nothing_where_chromium_is(tmp_path: Path) -> None:
    assert run(tmp_path, chromium_browser=0, apt_get=0) == ""
    assert not (tmp_path / "calls").exists()


def test_it_says_so_where_it_cannot(tmp_path: Path) -> None:
    skipped = "the test of a page is skipped.\n"
    for number, (user, programs) in enumerate(
        [(1000, {"apt_get": 0}), (0, {}), (0, {"apt_get": 1})]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert run(folder, user=user, **programs).endswith(skipped)
