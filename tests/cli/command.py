"""The command as the tests run it: here, or as a process."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from tests.covered import note_command

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0  # seconds until something that does not come is a failure


class Result(Protocol):
    code: int
    out: str
    err: str


@dataclass
class Ended:
    code: int
    out: str
    err: str


class Run(Protocol):
    """Runs a verb in this process."""

    def __call__(self, *args: str) -> Ended: ...


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("RESTSOCK_")}
    return {**env, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **(more or {})}


class Process:
    """A verb in a process of its own; its lines are read as they come.

    Attributes:
        used: The flags and keys that it was started with.
    """

    def __init__(
        self,
        *args: str,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
    ) -> None:
        self.used = note_command(args, cwd)
        with tempfile.TemporaryFile("w+") as given:
            given.write(stdin or "")
            given.seek(0)
            self._process = subprocess.Popen(
                [sys.executable, "-m", "restsock", *args],
                stdin=subprocess.DEVNULL if stdin is None else given,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=cwd,
                env=environment(env),
                text=True,
                start_new_session=True,
            )
        self.out = _Lines(self._process.stdout)
        self.err = _Lines(self._process.stderr)

    @property
    def pid(self) -> int:
        return self._process.pid

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def wait(self) -> int:
        return self._process.wait(PATIENCE)

    def close(self) -> None:
        try:
            os.killpg(self._process.pid, signal.SIGKILL)  # with the child of `--reload`
        except ProcessLookupError:
            pass
        self._process.wait()
        self.out.close()
        self.err.close()


class _Lines:
    """The lines of a pipe."""

    def __init__(self, file: IO[str] | None) -> None:
        assert file is not None
        self._file = file
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.seen: list[str] = []  # those that were asked for
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        for line in self._file:
            self._queue.put(line.rstrip("\n"))
        self._queue.put(None)

    def next(self) -> str:
        """The next line; raises once there is none."""
        line = self._queue.get(timeout=PATIENCE)
        if line is None:
            self._queue.put(None)
            raise AssertionError(f"no further line after {self.seen}")
        self.seen.append(line)
        return line

    def until(self, words: str) -> str:
        """The next line that has these words."""
        while words not in (line := self.next()):
            pass
        return line

    def rest(self) -> list[str]:
        """All further lines, to the end."""
        found: list[str] = []
        while (line := self._queue.get(timeout=PATIENCE)) is not None:
            found.append(line)
        self._queue.put(None)
        return found

    def close(self) -> None:
        self._thread.join()
        self._file.close()
