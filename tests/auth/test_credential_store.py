"""Tokens and users that a listener knows: from mappings, variables, and files that change."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from restsock import Principal, _watch
from restsock.auth import BasicUsers, BearerTokens, Refused, Upgrade

SECRET = "s3cr3t-and-long"
OTHER = "another-s3cr3t"


def shows(value: str | None) -> Upgrade:
    headers = [] if value is None else [(b"authorization", value.encode())]
    return Upgrade("/", headers, "127.0.0.1", 1)


def bearer(token: str) -> Upgrade:
    return shows(f"Bearer {token}")


def basic(user: str, password: str) -> Upgrade:
    return shows("Basic " + base64.b64encode(f"{user}:{password}".encode()).decode())


def status_of(table: Callable[[Upgrade], Principal | None], upgrade: Upgrade) -> int:
    try:
        return 401 if table(upgrade) is None else 200
    except Refused as exc:
        return exc.status


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are looked at whenever somebody asks."""
    monkeypatch.setattr(_watch, "_INTERVAL", 0)


# --- bearer tokens ------------------------------------------------------------------------


def test_whose_a_token_is() -> None:
    ops = Principal("ops", may_call=("*",), claims={"team": "blue"})
    tokens = BearerTokens({SECRET: "edge-1", OTHER: ops})
    assert tokens(bearer(SECRET)) == Principal("edge-1")
    assert tokens(bearer(OTHER)) == ops
    assert tokens(shows(None)) is None
    assert tokens(basic("edge-1", SECRET)) is None


@pytest.mark.parametrize(
    "wrong", ["wrong", SECRET[:-1], f"{SECRET}x", SECRET.upper(), "a b", "=", f"sha256:{'0' * 64}"]
)
def test_a_wrong_token_is_told_so(wrong: str) -> None:
    tokens = BearerTokens({SECRET: "edge-1"})
    with pytest.raises(Refused) as caught:
        tokens(bearer(wrong))
    assert caught.value.status == 401
    assert caught.value.headers == [
        (b"WWW-Authenticate", b'Bearer realm="restsock", error="invalid_token"')
    ]
    assert wrong not in str(caught.value)


def test_a_hashed_token_is_as_good_and_its_hash_is_none() -> None:
    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    tokens = BearerTokens({f"sha256:{digest}": "edge-1"})
    assert tokens(bearer(SECRET)) == Principal("edge-1")
    assert status_of(tokens, bearer(digest)) == 401
    assert status_of(tokens, bearer(f"sha256:{digest}")) == 401


def test_from_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = {SECRET: "edge-1", OTHER: {"name": "site", "may_register": ["site-*"]}}
    monkeypatch.setenv("HUB_TOKENS", json.dumps(entries))
    tokens = BearerTokens(env="HUB_TOKENS")
    assert tokens(bearer(SECRET)) == Principal("edge-1")
    assert tokens(bearer(OTHER)) == Principal("site", may_register=["site-*"])
    assert repr(tokens) == "BearerTokens(env='HUB_TOKENS')"
    monkeypatch.setenv("HUB_TOKEN", f"{SECRET} {OTHER}\n")
    edge = Principal("edge", may_register="*")
    tokens = BearerTokens(env="HUB_TOKEN", principal=edge)
    assert tokens(bearer(SECRET)) == tokens(bearer(OTHER)) == edge
    assert status_of(tokens, bearer("third")) == 401


def test_a_file_is_read_again(tmp_path: Path, eager: None) -> None:
    file = tmp_path / "tokens.json"
    file.write_text(json.dumps({SECRET: "edge-1", OTHER: "edge-2"}))
    tokens = BearerTokens(file=file)
    one, two = tokens(bearer(SECRET)), tokens(bearer(OTHER))
    assert one is not None
    assert two is not None
    assert tokens.knows(one)
    assert tokens.knows(two)
    # The same contents anew, then one token less, and one more.
    file.write_text(json.dumps({OTHER: "edge-2", SECRET: "edge-1"}))
    assert tokens(bearer(SECRET)) is one
    file.write_text(json.dumps({OTHER: "edge-2", "third": "edge-3"}))
    assert status_of(tokens, bearer(SECRET)) == 401
    assert tokens(bearer(OTHER)) is two
    assert tokens(bearer("third")) == Principal("edge-3")
    assert not tokens.knows(one)
    assert tokens.knows(two)
    # Other rights are another principal.
    file.write_text(json.dumps({OTHER: {"name": "edge-2", "may_call": []}}))
    assert tokens(bearer(OTHER)) == Principal("edge-2", may_call=[])
    assert not tokens.knows(two)


def test_a_leaked_token_is_withdrawn_without_its_successor(tmp_path: Path, eager: None) -> None:
    """Two tokens of one principal: who came with the one that goes does not stay by the other."""
    file = tmp_path / "tokens"
    file.write_text(f"{SECRET}\n{OTHER}\n")
    tokens = BearerTokens(file=file, principal="edge-1")
    by_secret, by_other = tokens(bearer(SECRET)), tokens(bearer(OTHER))
    assert by_secret == by_other == Principal("edge-1")
    assert by_secret is not None
    assert by_other is not None
    file.write_text(f"{OTHER}\n")
    assert tokens.refresh()
    assert not tokens.knows(by_secret)
    assert tokens.knows(by_other)


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"{",
        b"[]",
        b'"s3cr3t-and-long"',
        b"\xff",
        b'{"s3cr3t-and-long": 1}',
        b'{"s3cr3t-and-long": {}}',
        b'{"s3cr3t-and-long": {"name": "x", "s3cr3t-and-long": 1}}',
        b'{"s3cr3t-and-long": {"name": "x", "may_register": 5}}',
        b'{"s3cr3t-and-long with a space": "x"}',
        b'{"s3cr3t-and-long": ""}',
        b"[" * 100_000,
        None,
    ],
)
def test_a_broken_file_changes_nothing_but_the_log(
    broken: bytes | None, tmp_path: Path, eager: None, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "tokens.json"
    file.write_text(json.dumps({SECRET: "edge-1"}))
    tokens = BearerTokens(file=file)
    edge = tokens(bearer(SECRET))
    assert edge is not None
    if broken is None:
        file.unlink()
    else:
        file.write_bytes(broken)
        with pytest.raises(ValueError) as caught:  # noqa: PT011  # whatever it says, no secret
            BearerTokens(file=file)
        assert SECRET not in str(caught.value)
    for _ in range(3):
        assert tokens(bearer(SECRET)) is edge
    assert tokens.knows(edge)
    errors = [record.getMessage() for record in caplog.records]
    assert len(errors) == 1
    assert str(file) in errors[0]
    assert SECRET not in caplog.text
    # And it is taken up again when it is whole.
    file.write_text(json.dumps({OTHER: "edge-1"}))
    assert status_of(tokens, bearer(SECRET)) == 401


def test_an_empty_object_withdraws_all(tmp_path: Path, eager: None) -> None:
    file = tmp_path / "tokens.json"
    file.write_text(json.dumps({SECRET: "edge-1"}))
    tokens = BearerTokens(file=file)
    file.write_text("{}")
    assert status_of(tokens, bearer(SECRET)) == 401
    assert len(tokens) == 0


# --- users --------------------------------------------------------------------------------


def test_users_and_their_passwords() -> None:
    users = BasicUsers(
        {
            "edge-1": SECRET,
            "ops": (OTHER, Principal("operator", may_register=())),
            "ü": {"password": "x:y z", "may_call": ["a"]},
        }
    )
    assert users(basic("edge-1", SECRET)) == Principal("edge-1")
    assert users(basic("ops", OTHER)) == Principal("operator", may_register=())
    assert users(basic("ü", "x:y z")) == Principal("ü", may_call=["a"])
    for user, password in (
        ("edge-1", OTHER),
        ("ops", SECRET),
        ("edge", f"-1{SECRET}"),
        ("edge-1", ""),
        ("", ""),
        ("nobody", SECRET),
    ):
        assert users(basic(user, password)) is None
    assert users(shows(None)) is None
    assert users(bearer(SECRET)) is None
    assert users(shows("Basic !")) is None
    assert users.challenge == 'Basic realm="restsock", charset="UTF-8"'
    assert SECRET not in repr(users)


def test_user_and_password_cannot_be_shifted() -> None:
    """No two pairs are the same text, wherever the border between them is."""
    users = BasicUsers({"ab": "c"})
    assert users(basic("a", "bc")) is None
    assert users(basic("abc", "")) is None
    assert users(basic("ab", "c")) == Principal("ab")


def test_users_from_a_file(tmp_path: Path, eager: None, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "users.json"
    file.write_text(json.dumps({"edge-1": SECRET}))
    users = BasicUsers(file=file)
    assert users(basic("edge-1", SECRET)) == Principal("edge-1")
    file.write_text(json.dumps({"edge-1": {"password": OTHER, "name": "edge"}}))
    assert users(basic("edge-1", SECRET)) is None
    assert users(basic("edge-1", OTHER)) == Principal("edge")
    monkeypatch.setenv("USERS", file.read_text())
    assert BasicUsers(env="USERS")(basic("edge-1", OTHER)) == Principal("edge")


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (BearerTokens, ValueError),
        (lambda: BearerTokens({}, env="X"), ValueError),
        (lambda: BearerTokens(env="HUB_NOT_SET"), ValueError),
        (lambda: BearerTokens(file="/does/not/exist"), OSError),
        (lambda: BearerTokens({SECRET: "a"}, principal="b"), ValueError),
        (lambda: BearerTokens({f"{SECRET} x": "a"}), ValueError),
        (lambda: BearerTokens({SECRET: ""}), ValueError),
        (lambda: BearerTokens({SECRET: None}), ValueError),  # type: ignore[dict-item]
        (lambda: BearerTokens({b"x": "a"}), ValueError),  # type: ignore[dict-item]
        (lambda: BearerTokens({SECRET: "a"}, realm="ü"), ValueError),
        (lambda: BearerTokens({SECRET: "a"}, realm="a\r\nb"), ValueError),
        (lambda: BasicUsers({"a:b": SECRET}), ValueError),
        (lambda: BasicUsers({"a": ""}), ValueError),
        (lambda: BasicUsers({"a": f"{SECRET}\n"}), ValueError),
        (lambda: BasicUsers({"a": (SECRET,)}), ValueError),  # type: ignore[dict-item]
        (lambda: BasicUsers({"a": {"passwort": SECRET}}), ValueError),
        (lambda: BasicUsers({"a": {"password": SECRET, SECRET: 1}}), ValueError),
        (lambda: BasicUsers({"": SECRET}), ValueError),
    ],
)
def test_what_is_no_table(make: Any, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        make()
    assert SECRET not in str(caught.value)


def test_a_realm_is_quoted() -> None:
    assert BearerTokens({}, realm='a "b" \\').challenge == 'Bearer realm="a \\"b\\" \\\\"'


def test_no_secret_is_kept(tmp_path: Path) -> None:
    """Neither the tokens nor their plain hashes: what is kept is of use in this process alone."""
    file = tmp_path / "users.json"
    file.write_text(json.dumps({"edge-1": SECRET}))
    for table in (BearerTokens({SECRET: "a"}), BasicUsers({"u": SECRET}), BasicUsers(file=file)):
        kept = repr(vars(table)) + repr(vars(table._watch) if table._watch else "")
        assert SECRET not in kept
        assert repr(hashlib.sha256(SECRET.encode()).digest())[2:-1] not in kept


def test_the_same_secret_looks_different_in_another_table() -> None:
    one, two = BearerTokens({SECRET: "a"}), BearerTokens({SECRET: "a"})
    assert set(one._by_digest) != set(two._by_digest)


def test_a_reload_is_said(tmp_path: Path, eager: None, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "restsock.auth")
    file = tmp_path / "tokens.json"
    file.write_text("{}")
    tokens = BearerTokens(file=file)
    file.write_text(json.dumps({SECRET: "a"}))
    assert tokens.refresh()
    assert not tokens.refresh()
    (record,) = caplog.records
    assert "new files are in use" in record.getMessage()
    assert SECRET not in caplog.text


def test_another_file_is_followed(tmp_path: Path) -> None:
    """Principals that are in both stay known, so their connections live on."""
    (tmp_path / "a").write_text('{"one": "edge-1", "two": "edge-2"}')
    (tmp_path / "b").write_text('{"one": "edge-1", "three": "edge-3"}')
    store = BearerTokens(file=tmp_path / "a")
    one, two = (store(bearer(value)) for value in ("one", "two"))
    assert one is not None
    assert two is not None
    with pytest.raises(OSError, match="missing"):
        store.follow(tmp_path / "missing")
    assert store.knows(two)
    store.follow(tmp_path / "b")
    assert store.knows(one)
    assert not store.knows(two)
    assert store(bearer("three")) is not None
