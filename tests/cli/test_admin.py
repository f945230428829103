"""`Admin`: whose token it shows to whom."""

from __future__ import annotations

from pathlib import Path

import pytest

from restsock.cli._admin import Admin, names_of_peers
from restsock.hub import ADMIN_TOKEN, state_folder

from .command import Run


@pytest.fixture(autouse=True)
def _own_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub of this user has left its token."""
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    state_folder().mkdir()
    (state_folder() / ADMIN_TOKEN).write_text("s3cr3t")


@pytest.mark.parametrize("host", ["127.0.0.1:4480", "localhost", "[::1]:4480"])
def test_the_token_of_the_own_hub_is_for_this_machine(host: str) -> None:
    assert Admin(f"http://{host}")._authorization == "Bearer s3cr3t"
    assert Admin(f"http://{host}", token="other")._authorization == "Bearer other"


@pytest.mark.parametrize("host", ["hub.example:4480", "192.0.2.1", "localhost.example"])
def test_no_other_machine_gets_it(host: str) -> None:
    for scheme in ("http", "https"):
        assert Admin(f"{scheme}://{host}")._authorization is None
        assert Admin(f"{scheme}://{host}", token="other")._authorization == "Bearer other"


def test_who_has_no_home_has_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setattr(Path, "home", home)
    assert Admin("http://127.0.0.1:4480")._authorization is None


@pytest.mark.parametrize("url", ["hub.example", "ftp://hub.example", "http://[::1", "http://"])
def test_what_is_no_url(url: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run("ls", "--admin", url)
    assert (done.code, "Error: --admin" in done.err) == (2, True)
    monkeypatch.setenv("RESTSOCK_ADMIN", url)
    assert names_of_peers("http://127.0.0.1:4480") == []  # a shell shows nothing of it
