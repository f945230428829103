"""`.ci/packages`: it installs what it can, and never fails."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

_SCRIPT = Path(__file__).parents[1] / ".ci" / "packages"
_NEEDED = ("bash", "sh", "env", "timeout")

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, _NEEDED)), reason="bash and coreutils are not installed"
)


def run(folder: Path, programs: Mapping[str, int], *, user: int = 0, ci: str = "") -> str:
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
    env = {"PATH": str(folder), "CI": ci}
    done = subprocess.run(
        [_SCRIPT], env=env, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr == ""
    return done.stdout


def test_it_installs_chromium(tmp_path: Path) -> None:
    assert run(tmp_path, {"apt_get": 0}) == "Installing for a few tests (once): chromium ...\n"
    update, fetch, install = (tmp_path / "calls").read_text().splitlines()
    assert update.endswith(" update")
    assert fetch.endswith(" install --no-install-recommends --download-only chromium")
    assert install.endswith(" install --no-install-recommends --no-download chromium")


def test_it_does_nothing_where_chromium_is(tmp_path: Path) -> None:
    assert run(tmp_path, {"chromium_browser": 0, "apt_get": 0}) == ""
    assert not (tmp_path / "calls").exists()


def test_it_says_so_where_it_cannot(tmp_path: Path) -> None:
    no_way = "Not installed, so a few tests are skipped: chromium\n"
    failed = "chromium could not be installed: its tests are skipped.\n"
    ways: list[tuple[int, dict[str, int], str]] = [
        (1000, {"apt_get": 0}, no_way),
        (0, {}, no_way),
        (0, {"apt_get": 1}, failed),
    ]
    for number, (user, programs, says) in enumerate(ways):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert run(folder, programs, user=user).endswith(says)


def test_servers_are_for_ci(tmp_path: Path) -> None:
    said = run(tmp_path, {"chromium": 0, "pushpin": 0, "apt_get": 0}, ci="true")
    assert said.startswith("Installing for a few tests (once): redis-server")
    assert " --download-only redis-server\n" in (tmp_path / "calls").read_text()
