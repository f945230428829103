"""Runs the command again whenever a file of the app changes. For development."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import click

from ._exit_codes import ExitCode

__all__ = ["changes", "run_with_reload", "stamps"]

_PAUSE = 0.5  # seconds between two looks
_SKIPPED = {"__pycache__", "node_modules"}


def run_with_reload(folder: Path, args: Sequence[str]) -> int:
    """Runs the command with these arguments as a child, and again after each change.

    A child that ends by itself is started again at the next change. A signal ends the child, then
    this process, with the exit code of the child.

    Args:
        folder: Whose files are watched: those of Python, with those below.
        args: Without `--reload`.
    """
    ended = threading.Event()
    child: subprocess.Popen[bytes] | None = None

    def end(number: int, frame: object) -> None:
        ended.set()
        # From the keyboard it reaches the child by itself.
        if number != signal.SIGINT and child is not None and child.poll() is None:
            child.send_signal(number)

    for name in ("SIGTERM", "SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), end)
    for changed in changes(folder, ended):
        if changed is not None:
            click.echo(f"restsock: {changed} has changed; starting again", err=True)
        _stop(child)
        if ended.is_set():
            break
        child = subprocess.Popen([sys.executable, "-m", "restsock", *args])  # noqa: S603  # ourselves
    return ExitCode.OK if child is None else _wait(child)


def _stop(child: subprocess.Popen[bytes] | None) -> None:
    if child is not None and child.poll() is None:
        child.terminate()
        child.wait()


def _wait(child: subprocess.Popen[bytes]) -> int:
    code = child.wait()
    return code if code >= 0 else 128 - code


def changes(folder: Path, ended: threading.Event) -> Iterator[str | None]:
    """Gives `None` at once, then the name of a file each time that one has changed.

    Args:
        folder: With those below it.
        ended: Ends the iteration, when it is set.
    """
    if find_spec("watchfiles") is not None:
        from watchfiles import PythonFilter, watch

        yield None
        for found in watch(folder, watch_filter=PythonFilter(), stop_event=ended):
            yield min(path for _, path in found)
        return
    known = stamps(folder)
    yield None
    while not ended.wait(_PAUSE):
        now = stamps(folder)
        if now != known:
            changed = dict(set(now.items()) ^ set(known.items()))
            known = now
            yield min(changed)


def stamps(folder: Path) -> dict[str, int]:
    """Path -> time of the last change, of all files of Python below a folder."""
    found: dict[str, int] = {}
    for root, folders, files in os.walk(folder):
        folders[:] = [one for one in folders if one not in _SKIPPED and not one.startswith(".")]
        for name in files:
            if name.endswith(".py"):
                path = Path(root) / name
                try:
                    found[str(path)] = path.stat().st_mtime_ns
                except OSError:
                    continue  # it has just gone
    return found
