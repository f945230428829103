"""Help is quick and complete, and each option has a test."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import restsock
import restsock.cli
from restsock.cli._main import VERBS, command

from .command import Run, environment
from .reference import root_context

_HEAVY = (
    *("trio", "asyncio", "ssl", "socket", "requests", "urllib3", "rich", "msgspec", "h11"),
    *("restsock.client", "restsock.openapi", "restsock.protocol"),
)


def verbs() -> Iterator[tuple[str, click.Command]]:
    """All verbs; those of a group as `token new`."""
    ctx = root_context()
    for verb in command.list_commands(ctx):
        found = command.get_command(ctx, verb)
        assert found is not None
        yield verb, found
        if isinstance(found, click.Group):
            for name, inner in found.commands.items():
                yield f"{verb} {name}", inner


def test_help_loads_nothing_that_takes_time() -> None:
    source = (
        "import sys; from restsock.cli import main; code = main(['--help']);"
        f"print('LOADED', [m for m in {_HEAVY!r} if m in sys.modules], code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", source],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "LOADED [] 0" in done.stdout


def test_help_of_a_verb_loads_no_network() -> None:
    for verb in ("serve", "forward", "call"):
        source = (
            f"import sys; from restsock.cli import main; code = main([{verb!r}, '--help']);"
            f"print('LOADED', [m for m in {_HEAVY!r} if m in sys.modules], code)"
        )
        done = subprocess.run(
            [sys.executable, "-c", source],
            env=environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        assert "LOADED ['socket'] 0" in done.stdout  # the name of this host


def test_help_names_all_verbs(run: Run) -> None:
    done = run("--help")
    assert done.code == 0
    for section, members in VERBS.items():
        assert f"{section}:" in done.out
        assert all(f"  {verb} " in done.out for verb in members)


def test_the_list_of_verbs_says_what_each_says_of_itself() -> None:
    told = {verb: text for members in VERBS.values() for verb, (_, text) in members.items()}
    assert told == {
        verb: found.get_short_help_str(100) for verb, found in verbs() if " " not in verb
    }


def test_each_verb_has_help(run: Run) -> None:
    for verb, _ in verbs():
        done = run(*verb.split(), "--help")
        assert (done.code, done.err) == (0, "")


def test_version(run: Run) -> None:
    assert run("--version").out == f"restsock {restsock.__version__}\n"


def test_an_unknown_verb_is_wrong_use(run: Run) -> None:
    done = run("sevre")
    assert done.code == 2
    assert "sevre" in done.err


def test_without_the_extra_there_is_a_hint(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restsock.cli, "find_spec", lambda name: None if name == "rich" else name)
    done = run("--help")
    assert (done.code, done.out) == (1, "")
    assert done.err == "restsock: the command needs rich: pip install 'restsock[cli]'\n"


def test_a_reader_that_leaves_is_no_traceback() -> None:
    done = subprocess.run(
        f"{sys.executable} -m restsock completion bash | true",
        shell=True,
        check=False,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr


# --- what the tests cover -------------------------------------------------------------------------

# Options that all verbs have from the same code, which is tested with one of them.
_SHARED = {"--quiet", "--verbose", "--log-format", "--no-color", "--token", "--token-file", "--ca"}
_SHARED |= {"--json", "--hub", "--admin"}


# Functions of tests that run one verb.
_HELPERS = {"echoed": "call", "findings": "doctor"}


def exercised() -> dict[str, set[str]]:
    """Verb -> options that a test runs it with, read from the calls in the tests."""
    found: dict[str, set[str]] = {}
    for path in Path(__file__).parent.glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            helper = node.func.id if isinstance(node.func, ast.Name) else ""
            words = [_HELPERS[helper]] if helper in _HELPERS else []
            words += [
                inner.value
                for arg in node.args
                for inner in ast.walk(arg)
                if isinstance(inner, ast.Constant) and isinstance(inner.value, str)
            ]
            if not words:
                continue
            for verb in (words[0], " ".join(words[:2])):
                found.setdefault(verb, set()).update(w for w in words[1:] if w.startswith("-"))
    return found


def test_each_option_is_exercised_by_a_test() -> None:
    tested = exercised()
    anywhere = set().union(*tested.values())
    missing = []
    for verb, found in verbs():
        for param in found.params:
            if not isinstance(param, click.Option) or "--help" in param.opts:
                continue
            names = {*param.opts, *param.secondary_opts}
            seen = anywhere if names & _SHARED else tested.get(verb, set())
            if not names & seen:
                missing.append(f"{verb} {param.opts[-1]}")
    assert missing == []


def test_each_verb_and_option_says_what_it_is_for() -> None:
    for verb, found in verbs():
        assert found.help, verb
        for param in found.params:
            if isinstance(param, click.Option):
                assert param.help, (verb, param.opts)
                assert param.help.endswith("."), (verb, param.opts)
