"""Processes of the benchmarks: started and ended by id; their CPU time and memory, from /proc."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

# Read by our own processes: masking in Python although the C function is installed.
PYTHON_MASKING = "RESTSOCK_BENCH_PYTHON_MASKING"

_TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


def environment(*, c_masking: bool = False) -> dict[str, str]:
    """The environment of a process of ours: this checkout, no proxy in between, our authority."""
    # requests prefers a bundle of the environment to that of its session.
    foreign = ("_proxy", "_ca_bundle")
    env = {key: value for key, value in os.environ.items() if not key.lower().endswith(foreign)}
    env["PYTHONPATH"] = str(ROOT)
    env["PYTHONUNBUFFERED"] = "1"
    env[PYTHON_MASKING] = "" if c_masking else "1"
    return env


def hide_c_masking() -> None:
    """To be called before `restsock` is imported, in a process of ours."""
    if os.environ.get(PYTHON_MASKING):
        sys.modules["websockets.speedups"] = None  # type: ignore[assignment]  # not importable now


def python(module: str, *args: str) -> list[str]:
    """The command line of a module of this folder."""
    return [sys.executable, "-m", f"tests.bench.{module}", *args]


@contextlib.contextmanager
def running(
    command: Sequence[str],
    *,
    log: Path | None = None,
    c_masking: bool = False,
    pass_fds: Sequence[int] = (),
) -> Iterator[subprocess.Popen[str]]:
    """A process, for as long as the block runs, and none of its children beyond that.

    Args:
        command: its words.
        log: where its stderr goes; by default to ours.
        c_masking: whether it may use the C function, if that is installed.
        pass_fds: files that it inherits.
    """
    with contextlib.ExitStack() as stack:
        stderr = stack.enter_context(log.open("w")) if log is not None else None
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            cwd=ROOT,
            env=environment(c_masking=c_masking),
            pass_fds=pass_fds,
        )
        try:
            yield process
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    family = tree(process.pid)[1:]
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.close()  # the sign to end for those of ours
    try:
        process.wait(0.5)
    except subprocess.TimeoutExpired:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    assert process.stdout is not None
    process.stdout.close()
    for pid in family:
        # Those that are still its children's children; an id that was given to another process in
        # the meantime is not touched, for it has another parent now.
        if _parent(pid) in {1, process.pid, *family}:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGTERM)


def tell(process: subprocess.Popen[str], message: dict[str, Any]) -> None:
    """One line of JSON to a process of ours."""
    assert process.stdin is not None
    process.stdin.write(json.dumps(message) + "\n")
    process.stdin.flush()


def hear(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The next line of JSON from a process of ours.

    Raises:
        RuntimeError: it has ended, or reports an error.
    """
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"ended early, with status {process.wait()}: {process.args!r}")
    message: dict[str, Any] = json.loads(line)
    if "error" in message:
        raise RuntimeError(message["error"])
    return message


# --- what /proc tells -------------------------------------------------------------------------


def tree(pid: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        parent = _parent(int(entry.name))
        if parent is not None:
            children.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/<pid>/stat behind the name of the command."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _parent(pid: int) -> int | None:
    fields = _stat(pid)
    return int(fields[1]) if fields else None


def cpu_seconds(pids: Sequence[int]) -> float | None:
    """CPU time of these processes together so far; `None` where there is no /proc."""
    total = 0.0
    for pid in pids:
        fields = _stat(pid)
        if fields is None:
            return None
        total += (int(fields[11]) + int(fields[12])) / _TICK
    return total


def rss_bytes(pid: int) -> int | None:
    """The resident memory of a process now; `None` where there is no /proc."""
    try:
        resident = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except OSError:
        return None
    return int(resident) * os.sysconf("SC_PAGE_SIZE")
