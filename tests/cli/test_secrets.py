"""Mistakes with secrets of the command: those that count for nothing, and those that are shown.

The table in docs/hub.md names them; the docstring of each test begins with the mistake.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .command import Process, Run

Start = Callable[..., Process]

RIGHT = "canary-right-" + "r" * 20
WRONG = "canary-wrong-" + "w" * 20


class Guarded:
    """A hub in a process of its own that wants tokens for everything."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "tokens.json").write_text(json.dumps({RIGHT: "demo"}))
        scopes = {"name": "ann", "claims": {"scopes": ["read", "write"]}}
        (folder / "admin.json").write_text(json.dumps({RIGHT: scopes}))
        (folder / "hub.toml").write_text(
            f'[hub]\nstate = "{folder}/state"\n[peers]\ntokens = "tokens.json"\n'
            '[ingress]\naccess = "a"\nwait = "50ms"\n[access.a]\nbearer = "tokens.json"\n'
            '[admin]\ntokens = "admin.json"\n'
        )
        self.file = folder / "right"
        self.file.write_text(RIGHT)
        (folder / "wrong").write_text(WRONG)
        args = ("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--json")
        self.process = Process("hub", "-c", str(folder / "hub.toml"), *args)
        told = json.loads(self.process.out.next())
        self.peers, self.admin = told["peers"], told["admin"]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    found = Guarded(tmp_path_factory.mktemp("guarded"))
    try:
        yield found
    finally:
        found.process.close()


@pytest.mark.parametrize("verb", ["ls", "call", "doctor"])
def test_tokens_of_the_command_that_do_not_count(
    guarded: Guarded, run: Run, verb: str, tmp_path: Path
) -> None:
    """A token that is given to the command and not read, in each way to give it one."""
    args = {"ls": ["ls"], "call": ["call", "nobody", "/"], "doctor": ["doctor"]}[verb]
    args += ["--admin", guarded.admin] if verb == "ls" else ["--hub", guarded.peers]
    # There is no such peer, which is told to those who may know.
    accepted = 3 if verb == "call" else 0
    missing = str(guarded.folder / "missing")
    wrong = str(guarded.folder / "wrong")
    for more, variables, code in (
        ([], {}, 4),
        ([], {"RESTSOCK_TOKEN": ""}, 4),
        ([], {"RESTSOCK_TOKEN": WRONG}, 4),
        ([], {"RESTSOCK_TOKEN": RIGHT}, accepted),
        (["--token-file", wrong], {"RESTSOCK_TOKEN": RIGHT}, 4),
        (["--token-file", str(guarded.file)], {"RESTSOCK_TOKEN": WRONG}, accepted),
        (["--token-file", missing], {"RESTSOCK_TOKEN": RIGHT}, 1),
        (["--token", WRONG], {"RESTSOCK_TOKEN": RIGHT}, 4),
        (["--token", RIGHT], {}, accepted),
        (["--token", ""], {"RESTSOCK_TOKEN": RIGHT}, 2),
        ([], {"RESTSOCK_TOKN": RIGHT}, 2),
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_STATE_HOME", str(tmp_path))  # without a token of its own
            for name, value in variables.items():
                patch.setenv(name, value)
            done = run(*args, *more)
        assert done.code == code, (more, variables, done)
        assert "canary" not in done.out + done.err
        warned = "other users can see --token" in done.err
        assert warned is ("--token" in more and code != 2)


def test_variables_that_are_misspelt(
    guarded: Guarded, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable that is misspelt, or that nothing reads: its secret does not count."""
    file = tmp_path / "hub.toml"
    file.write_text("")
    with monkeypatch.context() as patch:
        patch.setenv("RESTSOCK_TOKEN_FILE", str(guarded.file))
        for args in (
            ("ls", "--admin", guarded.admin),
            ("forward", "5000", "--hub", guarded.peers),
            ("check-config", str(file)),
            ("hub", "-c", str(file)),
        ):
            done = run(*args)
            assert done.code == 2, args
            assert "RESTSOCK_TOKEN_FILE; did you mean RESTSOCK_TOKEN?" in done.err
    # What the file names, others have set, or other verbs read.
    tokens = str(guarded.folder / "tokens.json")
    monkeypatch.setenv("RESTSOCK_TOKENS", tokens)
    assert run("check-config", str(file)).code == 2
    file.write_text('[peers]\ntokens = "${RESTSOCK_TOKENS}"')
    monkeypatch.setenv("RESTSOCK_TOKEN", RIGHT)
    monkeypatch.setenv("RESTSOCK_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("RESTSOCK_PORT", "tcp://10.0.0.1:8080")
    monkeypatch.setenv("RESTSOCK_HUB_PORT_8080_TCP_ADDR", "10.0.0.1")
    assert run("check-config", str(file)).code == 0


@pytest.mark.skipif(shutil.which("ps") is None, reason="there is no ps here")
def test_secrets_in_the_list_of_processes(
    guarded: Guarded, run: Run, start: Start, tmp_path: Path
) -> None:
    """Secrets in the arguments of processes, which all users of the machine can read."""
    (tmp_path / "main.py").write_text("from restsock.cli.demo import app\n")
    peer = ("--hub", guarded.peers, "--name", "demo")
    started = [
        start("forward", "--null", *peer, RESTSOCK_TOKEN=RIGHT),
        start(
            *("serve", "main:app", "--app-dir", str(tmp_path), "--reload"),
            *(*peer, "--token-file", str(guarded.file)),
        ),
    ]
    for process in started:
        process.out.next()  # its URL: it is connected
    shown = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,args="], capture_output=True, text=True, check=True
    ).stdout
    for process in (*started, guarded.process):
        assert f"{process.pid} " in shown
    assert RIGHT not in shown
    unit = run("service", "print", "forward", "5000", "--token", RIGHT)
    assert unit.code == 2
    assert RIGHT not in unit.out + unit.err
