"""What is measured against that comes from npm: its packages, and programs in Node.js."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from tests.bench.processes import ROOT

FOLDER = ROOT / "tests" / "bench" / "npm"
MODULES = FOLDER / "node_modules"

_INSTALL = ("install", "--ignore-scripts", "--no-package-lock", "--no-audit", "--no-fund")
_PATIENCE = 180  # seconds


def program() -> str:
    """Node.js itself."""
    return shutil.which("node") or "node"


def missing(*packages: str) -> str | None:
    """Why a program that needs these packages cannot run here, and what helps; or `None`."""
    if shutil.which("node") is None:
        return "no node: apt-get install nodejs npm"
    for package in packages:
        if not (MODULES / package).is_dir():
            folder = FOLDER.relative_to(ROOT)
            options = "--ignore-scripts --no-package-lock"
            return f"no {package}: npm install {options} --prefix {folder}"
    return None


def install() -> str | None:
    """Has npm install what package.json names, unless all of it is there.

    Returns:
        Why that did not go, in a line; `None` if it did, or there is no npm to do it.
    """
    wanted = json.loads((FOLDER / "package.json").read_text())["dependencies"]
    npm = shutil.which("npm")
    if npm is None or all(_version(MODULES / name) == wanted[name] for name in wanted):
        return None
    command = [npm, *_INSTALL, "--prefix", str(FOLDER)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        return f"npm install took more than {_PATIENCE} s"
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines()
        return f"npm install failed: {lines[0] if lines else f'status {error.returncode}'}"
    return None


def _version(package: Path) -> str | None:
    try:
        version: str = json.loads((package / "package.json").read_text())["version"]
    except (OSError, ValueError, KeyError):
        return None
    return version


def versions() -> dict[str, str]:
    """Of the packages that package.json names and that are here."""
    wanted = json.loads((FOLDER / "package.json").read_text())["dependencies"]
    found = {name: _version(MODULES / name) for name in wanted}
    return {name: version for name, version in found.items() if version is not None}
