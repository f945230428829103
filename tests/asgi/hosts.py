"""Web servers that host an ASGI application, each a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from tests.ports import free_port

__all__ = ["ALONE", "FRAMEWORKS", "HOSTS", "Host", "hosted"]

ROOT = Path(__file__).parents[2]
APP = "tests.asgi.headquarters:app"

HOSTS = {
    "uvicorn": ["uvicorn", APP, "--host", "127.0.0.1", "--port", "{port}", "--loop", "asyncio"],
    "uvicorn, wsproto": [
        *("uvicorn", APP, "--host", "127.0.0.1", "--port", "{port}"),
        *("--ws", "wsproto", "--loop", "uvloop"),
    ],
    "hypercorn": ["hypercorn", APP, "--bind", "127.0.0.1:{port}"],
    "hypercorn, trio": ["hypercorn", APP, "--bind", "127.0.0.1:{port}", "--worker-class", "trio"],
    "granian": [
        *("granian", APP, "--interface", "asgi", "--host", "127.0.0.1", "--port", "{port}"),
    ],
    "daphne": ["daphne", APP, "-b", "127.0.0.1", "-p", "{port}"],
}

# Those whose process is the one that gets the signals.
ALONE = {
    **{name: HOSTS[name] for name in ("uvicorn", "uvicorn, wsproto")},
    "hypercorn, alone": [*HOSTS["hypercorn"], "--workers", "0"],
    "hypercorn, uvloop, alone": [*HOSTS["hypercorn"], "--workers", "0", "-k", "uvloop"],
}


def _serving(app: str, command: list[str]) -> list[str]:
    return [app if part == APP else part for part in command]


DJANGO, QUART = "tests.asgi.in_django:application", "tests.asgi.in_quart:app"

# Other frameworks, each in what people run it in.
FRAMEWORKS = {
    "Django, uvicorn": _serving(DJANGO, HOSTS["uvicorn"]),
    "Django, daphne": _serving(DJANGO, HOSTS["daphne"]),
    "Quart, hypercorn": _serving(QUART, ALONE["hypercorn, alone"]),
    "Quart, uvicorn": _serving(QUART, HOSTS["uvicorn"]),
}

# Seconds until a server answers, on a busy machine.
_START = 30


class Host:
    """A server that runs.

    Attributes:
        port: On loopback.
        process: Its process.
    """

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.port = port
        self.process = process

    def url(self, path: str = "/", scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    def get(self, path: str) -> requests.Response:
        return requests.get(self.url(path), timeout=15)


@contextmanager
def hosted(name: str, log: Path, *, port: int | None = None) -> Iterator[Host]:
    """Runs a server for a while. What it says is in the log."""
    port = free_port() if port is None else port
    command = [part.format(port=port) for part in (HOSTS | ALONE | FRAMEWORKS)[name]]
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=out,
            stderr=out,
            start_new_session=True,  # some have workers of their own
        )
    try:
        _wait_until_ready(port, process, log)
        yield Host(port, process)
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(15)
        # Some leave their workers.
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def _wait_until_ready(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            if requests.get(f"http://127.0.0.1:{port}/peers", timeout=2).ok:
                return
        except (requests.ConnectionError, requests.Timeout):  # it may listen before it serves
            time.sleep(0.05)
    raise AssertionError(f"the server did not start:\n{log.read_text()}")
