"""`restsock service print`, `completion` and `demo-app`: small verbs that write text."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from restsock.cli import demo

from .command import Process, Run, environment
from .units import FOLDER, units

Start = Callable[..., Process]


def test_a_unit(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a%b").mkdir()
    monkeypatch.chdir(tmp_path / "a%b")
    done = run("service", "print", "forward", "5000", "--name", "50% off", "--meta", "a=$b")
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # as its documentation says
    unit.read_string(done.out)
    words = shlex.split(unit["Service"]["ExecStart"])
    expected = [sys.executable, "-m", "restsock", "forward", "5000", "--name", "50%% off"]
    assert words == [*expected, "--meta", "a=$$b"]
    assert unit["Unit"]["Description"].endswith("--name 50%% off --meta a=$b")
    assert unit["Service"]["Type"] == "exec"
    assert unit["Service"]["WorkingDirectory"] == f"{tmp_path}/a%%b"
    assert "MemoryDenyWriteExecute" in unit["Service"]
    assert "MemoryDenyWriteExecute" not in run("service", "print", "serve", "main:app").out
    for verb in ("hub", "gateway"):
        assert "notify-reload" in run("service", "print", verb).out


def test_a_unit_that_would_not_start_is_warned_of(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", "/opt/restsock/bin/python")
    assert run("service", "print", "hub").err == ""
    monkeypatch.setattr(sys, "executable", "/home/ann/.venv/bin/python")
    at_home = run("service", "print", "hub")
    assert "no files in /home, where this Python is" in at_home.err
    assert "ExecStart=/home/ann" in at_home.out


def test_a_socket(run: Run) -> None:
    assert "\nListenStream=[::]:8080\n" in run("service", "socket").out
    unit = run("service", "socket", "127.0.0.1:1", "/run/x.sock").out
    assert re.findall("^ListenStream=(.*)$", unit, re.MULTILINE) == ["127.0.0.1:1", "/run/x.sock"]


def test_the_units_that_are_packaged_are_those_that_are_printed() -> None:
    found = {path.name: path.read_text("utf-8") for path in FOLDER.iterdir()}
    assert found == units(), "run: python -m tests.cli.units"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
@pytest.mark.parametrize(
    "args", [("hub",), ("gateway",), ("forward", "5000"), ("serve", "main:app"), None]
)
def test_systemd_understands_them(run: Run, tmp_path: Path, args: tuple[str, ...] | None) -> None:
    kind, printed = ("socket", ("socket",)) if args is None else ("service", ("print", *args))
    path = tmp_path / f"restsock-x.{kind}"
    path.write_text(run("service", *printed).out)
    if args is None:
        (tmp_path / "restsock-x.service").write_text(run("service", "print", "hub").out)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    problems = [line for line in done.stderr.splitlines() if str(tmp_path) in line]
    # Which is there since systemd 253.
    assert [line for line in problems if "notify-reload" not in line] == []


def test_what_is_not_for_a_unit(run: Run) -> None:
    assert run("service", "print").code == 2
    assert run("service", "print", "forward", "5000", "--name", "a\nExecStartPre=x").code == 2
    for token in (["--token", "s3cr3t"], ["--token=s3cr3t"]):
        done = run("service", "print", "forward", "5000", *token)
        assert (done.code, done.out) == (2, "")
        assert "RESTSOCK_TOKEN" in done.err
    assert run("service", "print", "forward", "5000", "--token-file", "/run/t").code == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(run: Run, shell: str) -> None:
    done = run("completion", shell)
    assert done.code == 0
    assert "_RESTSOCK_COMPLETE" in done.out


def test_completion_of_verbs() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "restsock"],
        env=environment(
            {"_RESTSOCK_COMPLETE": "bash_complete", "COMP_WORDS": "restsock fo", "COMP_CWORD": "1"}
        ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "plain,forward\n"


@pytest.mark.covers("demo-app --listen", "demo-app --json")
def test_the_demo_app_runs(start: Start) -> None:
    served = start("demo-app", "--listen", "0", "--json")
    url = json.loads(served.out.next())["url"]
    assert "It works" in requests.get(url).text


def answer(method: str, path: str, body: bytes = b"") -> tuple[str, bytes]:
    import io

    said: list[Any] = []
    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "wsgi.input": io.BytesIO(body)}
    content = b"".join(demo.app(environ, lambda *args: said.append(args)))
    return said[0][0], content


def test_the_demo_app(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_pets", ["Rex"])
    assert answer("GET", "/")[0] == "200 OK"
    for body in (b'"Ada"', b'{"name": "Ada"}', b"Ada"):
        status, pets = answer("POST", "/pets", body)
        assert (status, json.loads(pets)[-1]) == ("201 Created", "Ada")
    for _ in range(30):
        answer("POST", "/pets", b"x" * 1000)
    assert len(answer("GET", "/pets")[1]) < 2000
    assert answer("GET", "/nothing")[0] == "404 Not Found"
