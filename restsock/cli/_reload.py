"""Runs the command again whenever a file of the app changes. For development."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import click

from ._exit_codes import ExitCode

__all__ = ["changes", "run_with_reload", "stamps"]

_PAUSE = 0.5  # seconds between two looks
_SKIPPED = {"__pycache__", "node_modules"}


class _Ended(BaseException):
    """A signal has come; raised wherever the main thread is."""


def run_with_reload(folder: Path, args: Sequence[str]) -> int:
    """Runs the command with these arguments as a child, and again after each change.

    A child that ends by itself is started again at the next change. A signal ends the child, in
    good order, and then this process.

    Args:
        folder: Whose files are watched: those of Python, with those below.
        args: Without `--reload`.
    """
    child: subprocess.Popen[bytes] | None = None
    came: list[int] = []

    def end(number: int, frame: object) -> None:
        came.append(number)
        raise _Ended

    def pass_on(number: int, frame: object) -> None:
        # From the keyboard a signal reaches the child by itself.
        if number != signal.SIGINT and child is not None:
            child.send_signal(number)

    names = [name for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)]
    numbers = [getattr(signal, name) for name in names]
    for number in numbers:
        signal.signal(number, end)
    try:
        for changed in changes(folder):
            if changed is not None:
                click.echo(f"restsock: {changed} has changed; starting again", err=True)
            _stop(child)
            command = [sys.executable, "-m", "restsock", *args]
            child = subprocess.Popen(command)  # noqa: S603  # ourselves
    except (_Ended, KeyboardInterrupt):  # watchfiles raises the latter, whatever the signal was
        for number in numbers:
            signal.signal(number, pass_on)
        _stop(child)
        return ExitCode.INTERRUPTED if signal.SIGINT in came else ExitCode.OK
    return ExitCode.OK


def _stop(child: subprocess.Popen[bytes] | None) -> None:
    if child is not None:
        child.terminate()
        child.wait()


def changes(folder: Path) -> Iterator[str | None]:
    """Gives `None` at once, then the name of a file each time that one has changed, without end."""
    if find_spec("watchfiles") is not None:
        from watchfiles import PythonFilter, watch

        yield None
        for found in watch(folder, watch_filter=PythonFilter()):
            yield min(path for _, path in found)
        return
    known = stamps(folder)
    yield None
    while True:
        time.sleep(_PAUSE)
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
