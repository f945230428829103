"""Files of tokens: made, listed and revoked; no value is kept."""

from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path

import pytest

from restsock.auth import BearerTokens, Principal, Upgrade
from restsock.hub import Tokens, scopes_of


def upgrade_with(value: str) -> Upgrade:
    return Upgrade("/", [(b"authorization", f"Bearer {value}".encode())], "127.0.0.1", 1)


def test_a_token_is_one_of_the_listener(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    tokens = Tokens(file)
    assert tokens.ls() == []
    token, value = tokens.new("edge-1", may_register=["edge-*"], may_call=["hub"], scopes=["read"])
    assert tokens.ls() == [token]
    assert value not in file.read_text()
    principal = BearerTokens(file=file)(upgrade_with(value))
    assert principal is not None
    assert principal.name == "edge-1"
    assert principal.registers("edge-7")
    assert not principal.registers("other")
    assert not principal.calls("edge-2")
    assert scopes_of(principal) == {"read"}
    other, _ = tokens.new("edge-2")
    assert token.id != other.id
    assert len(token.id) == 32  # 128 random bits
    assert tokens.revoke(token.id)
    assert not tokens.revoke(token.id)
    assert tokens.ls() == [other]


def test_a_file_that_was_written_by_hand(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    file.write_text(json.dumps({"plain-token": "edge-1", "other": {"name": "edge-2"}}))
    first, second = Tokens(file).ls()
    assert (first.name, first.created, first.may_register) == ("edge-1", None, None)
    assert "plain" not in first.id
    assert Tokens(file).revoke(second.id)
    assert Tokens(file).ls() == [first]


@pytest.mark.skipif(os.name != "posix", reason="modes of files")
def test_the_mode_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    Tokens(file).new("a")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o640)
    Tokens(file).new("b")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["tokens.json"]


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away"
)
def test_a_hub_can_read_what_root_has_changed(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    Tokens(file).new("a")
    file.chmod(0o640)
    os.chown(file, 4711, 4712)
    Tokens(file).new("b")
    found = file.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (4711, 4712, 0o640)


def test_nothing_is_written_where_nothing_changes(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    assert not Tokens(file).revoke("none")
    assert not file.exists()
    Tokens(file).new("a")
    before = file.stat()
    assert not Tokens(file).revoke("none")
    assert file.stat() == before


@pytest.mark.parametrize("text", ["", "[]", "{", '{"t": 3}', '{"t": {"name": ""}}'])
def test_a_broken_file_is_left_as_it_is(tmp_path: Path, text: str) -> None:
    file = tmp_path / "tokens.json"
    file.write_text(text)
    with pytest.raises(ValueError):  # noqa: PT011  # each has words of its own
        Tokens(file).new("a")
    assert file.read_text() == text


def test_what_is_no_token(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "tokens.json")
    with pytest.raises(ValueError, match="no scope 'admin'"):
        tokens.new("a", scopes=["admin"])
    with pytest.raises(ValueError, match="printable"):
        tokens.new("a\n")
    assert not tokens.file.exists()


@pytest.mark.skipif(os.name != "posix", reason="no lock for files")
def test_several_may_change_it_at_a_time(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    threads = [threading.Thread(target=lambda n=n: Tokens(file).new(f"edge-{n}")) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {token.name for token in Tokens(file).ls()} == {f"edge-{n}" for n in range(8)}


@pytest.mark.parametrize("scopes", [None, "read", 3, {"read": 1}, ["odd"]])
def test_scopes_that_are_none(scopes: object) -> None:
    assert scopes_of(Principal("a", claims={"scopes": scopes})) == frozenset()


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may give a file away"
)
def test_the_file_keeps_its_owner(tmp_path: Path) -> None:
    """Else a hub with a user of its own would go on with what it has read before."""
    tokens = Tokens(tmp_path / "t.json")
    token, _ = tokens.new("edge-1")
    os.chown(tokens.file, 65534, 65533)
    tokens.file.chmod(0o640)
    assert tokens.revoke(token.id)
    found = tokens.file.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (65534, 65533, 0o640)
