"""Help is quick and complete, and each option has a test."""

from __future__ import annotations

import subprocess
import sys

import pytest
import trio

import restsock
import restsock.cli
from restsock.cli import _main
from restsock.cli._main import VERBS
from tests.covered import claims, flags, options_of, verbs

from .command import Run, environment

_HEAVY = (
    *("trio", "asyncio", "ssl", "socket", "requests", "urllib3", "rich", "msgspec", "h11"),
    *("restsock.client", "restsock.openapi", "restsock.protocol"),
)


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


def test_each_flag_is_covered_by_a_test() -> None:
    claimed = {name for name in claims() if " " in name or name.startswith("-")}
    assert flags() - claimed == set(), "no test covers them"
    assert claimed - flags() == set(), "there are none of these"


def test_each_verb_and_option_says_what_it_is_for() -> None:
    for verb, found in verbs():
        assert found.help, verb
        for option in options_of(found):
            assert option.help, (verb, option.opts)
            assert option.help.endswith("."), (verb, option.opts)


def test_an_interrupt_in_any_task_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)

    async def fail() -> None:
        raise error

    monkeypatch.setattr(_main.command, "main", lambda *args, **options: trio.run(main))
    error: BaseException = KeyboardInterrupt()
    assert _main.run([]) == 130
    error = ZeroDivisionError()
    with pytest.raises(Exception, match="Trio nursery"):
        _main.run([])
