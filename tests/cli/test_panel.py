"""The panel, on a terminal of its own."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from rich.console import Console

from restsock.cli._panel import MAX_LINES, View, render
from restsock.cli._traffic import Served, Traffic
from tests.covered import note_command

from .command import PATIENCE, environment
from .conftest import Hub

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A terminal of 24 lines with the command in it."""

    def __init__(self, *args: str, **env: str) -> None:
        note_command(args)
        self._fd, child = pty.openpty()
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "restsock", *args],
            stdin=child,
            stdout=child,
            stderr=child,
            env=environment({"TERM": "xterm", **env}),
            start_new_session=True,
        )
        os.close(child)
        self.raw = ""

    def until(self, words: str) -> str:
        """Reads until these words are there; returns all, without escapes."""
        deadline = time.monotonic() + PATIENCE
        while words not in (text := _ESCAPES.sub("", self.raw)):
            assert time.monotonic() < deadline, text
            if select.select([self._fd], [], [], 0.5)[0]:
                try:
                    self.raw += os.read(self._fd, 65536).decode()
                except OSError:  # Linux, once the other end is closed
                    assert words in _ESCAPES.sub("", self.raw), self.raw
        return text

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        deadline = time.monotonic() + PATIENCE
        while self._process.poll() is None and time.monotonic() < deadline:
            if select.select([self._fd], [], [], 0.1)[0]:  # or it would wait for a reader
                try:
                    self.raw += os.read(self._fd, 65536).decode()
                except OSError:
                    break
        return self._process.wait(PATIENCE)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._fd)


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    found: list[Terminal] = []
    yield found
    for terminal in found:
        terminal.close()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_peer_has_a_panel(
    terminals: list[Terminal], hub: Hub, number: signal.Signals, code: int
) -> None:
    terminal = Terminal("serve", "restsock.cli.demo:app", "--name", "seen", "--hub", hub.url)
    terminals.append(terminal)
    text = terminal.until("Round trip")
    port = hub.url.rpartition(":")[2].strip("/")
    assert f"\nhttp://seen.localhost:{port}/\r\n" in text  # alone on its line
    for words in ("Status", "connected", "Name", "seen", "Public URL", "Local", "0 in flight"):
        assert words in terminal.until(words)
    url = hub.url.replace("ws", "http")
    requests.get(f"{url}nothing", headers={"Restsock-Peer": "seen"})
    terminal.until("4xx 1")
    terminal.until("GET     404")
    terminal.signal(number)
    assert terminal.wait() == code
    shown, hidden = "\x1b[?25h", "\x1b[?25l"
    assert terminal.raw.rindex(shown) > terminal.raw.rindex(hidden)  # the cursor is back


def test_a_hub_has_a_panel(terminals: list[Terminal], tmp_path: Path) -> None:
    terminal = Terminal(
        *("hub", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"), XDG_STATE_HOME=str(tmp_path)
    )
    terminals.append(terminal)
    text = terminal.until("in flight")
    found = re.search(r"\nIngress +(http://\S+)", text)
    assert found is not None
    assert f"\n{found[1]}\r\n" in text  # alone on its line, above the panel
    requests.get(f"{found[1]}nothing")
    terminal.until("4xx 1")
    admin = re.search(r"\nAdmin API +(http://\S+)", text)
    assert admin is not None
    token = str(tmp_path / "restsock" / "admin-token")
    where = ("--interval", "0.2", "--admin", admin[1], "--token-file", token)
    for verb in (("top",), ("ls", "--watch")):
        table = Terminal(*verb, *where)
        terminals.append(table)
        table.until("IN FLIGHT")
        table.signal(signal.SIGINT)
        assert table.wait() == 130
        assert "\x1b[?1049l" in table.raw  # the screen is as it was before
    terminal.signal(signal.SIGTERM)
    assert terminal.wait() == 0


def test_a_download_has_a_bar(
    terminals: list[Terminal], hub: Hub, demo: str, tmp_path: Path
) -> None:
    target = str(tmp_path / "pets")
    terminal = Terminal("call", demo, "/pets", "--download", "-o", target, "--hub", hub.url)
    terminals.append(terminal)
    text = terminal.until(f"bytes in {target}")
    assert "━" in text
    assert terminal.wait() == 0
    assert (tmp_path / "pets").read_bytes()


def test_json_is_shown_in_lines_and_colours(terminals: list[Terminal], hub: Hub, demo: str) -> None:
    terminal = Terminal("call", demo, "/pets", "--hub", hub.url)
    terminals.append(terminal)
    terminal.until('[\r\n  "Rex",\r\n  "Tom"\r\n]')
    assert terminal.wait() == 0
    assert '\x1b[32m"Rex"\x1b[0m' in terminal.raw


@pytest.mark.parametrize(
    ("args", "env"),
    [
        ((), {"NO_COLOR": "1"}),
        pytest.param(("--no-color",), {}, marks=pytest.mark.covers("--no-color")),
    ],
)
def test_without_colours(
    terminals: list[Terminal], hub: Hub, args: tuple[str, ...], env: dict[str, str]
) -> None:
    verb = ("serve", "restsock.cli.demo:app", "--name", "plain", "--hub", hub.url)
    terminal = Terminal(*verb, *args, **env)
    terminals.append(terminal)
    terminal.until("Round trip")
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", terminal.raw)
    terminal.signal(signal.SIGTERM)
    assert terminal.wait() == 0


def test_lines_and_no_panel_when_asked_for(terminals: list[Terminal], hub: Hub) -> None:
    terminal = Terminal("serve", "restsock.cli.demo:app", "--name", "v", "--hub", hub.url, "-v")
    terminals.append(terminal)
    assert "Round trip" not in terminal.until("http://v.localhost")
    terminal.signal(signal.SIGTERM)
    assert terminal.wait() == 0


def drawn(view: View) -> list[str]:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(render(view))
    return console.export_text().rstrip("\n").split("\n")


def test_it_has_twelve_lines_at_most() -> None:
    traffic = Traffic()
    traffic.last = deque(
        [Served("GET", f"/{number}", 500 * (number % 2), 0.1) for number in range(100)]
    )
    traffic.classes = {2: 3, 5: 1, 0: 1}
    rows = tuple((f"row {number}", "x" * 200) for number in range(4))
    lines = drawn(View(False, "not connected: why", rows, traffic))
    assert len(lines) == MAX_LINES
    assert all(len(line) <= 80 for line in lines)
    assert lines[0] == "Status      not connected: why".ljust(len(lines[0]))
    assert "/99" in lines[-1]


def test_paths_cannot_write_over_the_panel() -> None:
    traffic = Traffic()
    traffic.last.append(Served("GET", "/\x1b[2J\nx[red]y", 200, 0.1))
    lines = drawn(View(True, "connected", (), traffic))
    assert "/\\x1b[2J\\nx[red]y" in lines[-1]


def test_percentiles() -> None:
    traffic = Traffic()
    assert traffic.percentiles(0.5) == [0.0]
    traffic.latencies.extend(number / 100 for number in range(100))
    assert traffic.percentiles(0.5, 0.95) == [0.5, 0.95]
