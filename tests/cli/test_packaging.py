"""What packaging/ holds: each command line and file in it is one that the command takes."""

from __future__ import annotations

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
import yaml

from restsock.cli._main import command
from tests.covered import root_context

from .command import ROOT, Process, Run

Start = Callable[..., Process]

CONTAINER = ROOT / "packaging" / "container"
UNITS = ROOT / "packaging" / "systemd"
COMPOSE: dict[str, Any] = yaml.safe_load((CONTAINER / "compose.yaml").read_text("utf-8"))


def instructions() -> list[tuple[str, str]]:
    """Those of the Dockerfile, with their arguments."""
    text = (CONTAINER / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.partition(" ")[0], line.partition(" ")[2].strip()) for line in lines]


def last(instruction: str) -> str:
    return [argument for name, argument in instructions() if name == instruction][-1]


def parse(words: list[str]) -> None:
    """Reads a command line as the command does.

    Raises:
        click.ClickException: it is none.
    """
    verb, *args = words
    verbs = root_context()
    chosen = command.get_command(verbs, verb)
    assert chosen is not None, verb
    with chosen.make_context(verb, args, parent=verbs):
        pass


def command_of(service: str) -> list[str]:
    """The words behind `restsock` that a service of the compose file runs."""
    words = COMPOSE["services"][service].get("command") or json.loads(last("CMD"))
    return list(words)


# --- containers ---------------------------------------------------------------------------------


def test_the_command_lines_of_the_image() -> None:
    assert json.loads(last("ENTRYPOINT")) == ["restsock"]
    parse(json.loads(last("CMD")))
    check = json.loads(last("HEALTHCHECK").partition("CMD ")[2])
    assert check[0] == "restsock"
    parse(check[1:])


def test_the_image_runs_as_a_user_with_a_folder_of_its_own() -> None:
    state = last("VOLUME")
    assert f"XDG_STATE_HOME={Path(state).parent}" in last("ENV").split()
    assert Path(state).name == "restsock"  # which the hub adds to it
    made = " ".join(argument for name, argument in instructions() if name == "RUN")
    assert f"-o {last('USER')} -g {last('USER')} {state}" in made
    assert last("USER") not in ("root", "0")


@pytest.mark.parametrize("service", ["hub", "peer"])
def test_services(service: str, run: Run) -> None:
    parse(command_of(service))
    told = COMPOSE["services"][service]
    context = CONTAINER / told["build"]["context"]
    assert (context / told["build"]["dockerfile"]).is_file()
    assert (context / "pyproject.toml").is_file()
    assert told["read_only"] is True
    assert told["cap_drop"] == ["ALL"]
    for volume in told.get("volumes", ()):
        source, target, *_ = volume.split(":")
        if not source.startswith("."):
            assert source in COMPOSE["volumes"]
            assert target == last("VOLUME")
            continue
        # The file that the command names; a hub starts with it.
        assert target in command_of(service)
        assert run("check-config", str(CONTAINER / source)).code == 0


def test_ports_are_for_this_machine_and_those_of_the_hub() -> None:
    config = (CONTAINER / "hub.toml").read_text("utf-8")
    (port,) = COMPOSE["services"]["hub"]["ports"]
    address, _, inside = port.rpartition(":")
    assert address.startswith("127.0.0.1:")
    assert f'listen = ":{inside}"' in config
    assert inside == last("EXPOSE")
    assert f"ws://hub:{inside}" in command_of("peer")


def test_the_services_work_together(start: Start, tmp_path: Path) -> None:
    """As processes of this machine, with addresses of loopback."""
    serve = COMPOSE["services"]["web"]["command"][1:-1]
    web = subprocess.Popen(
        [sys.executable, "-u", *serve, "0", "--bind", "127.0.0.1"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert web.stdout is not None
        found = re.search(r"port (\d+)", web.stdout.readline())
        assert found is not None
        words = command_of("hub")
        words[words.index("/etc/restsock/hub.toml")] = str(CONTAINER / "hub.toml")
        here = ("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--json")
        hub = start(*words, *here, XDG_STATE_HOME=str(tmp_path))
        told = json.loads(hub.out.next())
        (tmp_path / "page.txt").write_text("hello")
        at_web = {"http://web:8000": f"http://127.0.0.1:{found[1]}", "ws://hub:8080": told["peers"]}
        peer = start(*(at_web.get(word, word) for word in command_of("peer")))
        peer.out.next()
        answer = requests.get(
            f"{told['ingress']}page.txt", headers={"Restsock-Peer": "web"}, timeout=20
        )
        assert answer.text == "hello"
        # What it writes is JSON, as its file says.
        assert json.loads(hub.err.next())["level"] == "INFO"
    finally:
        web.terminate()
        web.wait(10)
        web.stdout.close()  # type: ignore[union-attr]


# --- systemd ------------------------------------------------------------------------------------


def test_the_command_lines_of_the_units() -> None:
    text = "\n".join(path.read_text("utf-8") for path in UNITS.iterdir())
    found = re.findall(r"^ExecStart=\S+/restsock (.+)$", text, re.MULTILINE)
    assert len(found) == 2
    for line in found:
        parse(shlex.split(line))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_takes_the_units(run: Run, tmp_path: Path) -> None:
    """With a program that is there; and what `service print` writes."""
    units = {path.name: path.read_text("utf-8") for path in UNITS.iterdir()}
    units["printed-hub.service"] = run("service", "print", "hub").out
    units["printed.service"] = run("service", "print", "forward", "5000", "--name", "50% off").out
    version = subprocess.check_output(["systemd-analyze", "--version"], text=True)
    number = re.search(r"systemd (\d+)", version)
    assert number is not None
    for name, text in units.items():
        text = re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", text, flags=re.MULTILINE)
        if int(number[1]) < 253:  # as the unit says
            text = text.replace("Type=notify-reload", "Type=notify")
        (tmp_path / name).write_text(text)
    names = [str(tmp_path / name).replace("@.", "@edge-1.") for name in units]
    (tmp_path / "restsock-forward@edge-1.service").symlink_to("restsock-forward@.service")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *names],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    complaints = [
        line for line in done.stderr.splitlines() if "restsock" in line or "printed" in line
    ]
    assert (done.returncode, complaints) == (0, [])
