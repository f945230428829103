"""What a dialer shows, wherever it comes from; and what it says when it has nothing to show."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from restsock.auth import Basic, Bearer

SECRET = "s3cr3t-and-long"


def test_a_token_by_hand() -> None:
    bearer = Bearer(SECRET)
    assert bearer() == [(b"Authorization", b"Bearer " + SECRET.encode())]
    assert not bearer.renewable
    assert SECRET not in repr(bearer)


def test_a_token_from_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_TOKEN", f" {SECRET}\n")
    bearer = Bearer(env="HUB_TOKEN")
    assert bearer() == [(b"Authorization", b"Bearer " + SECRET.encode())]
    assert repr(bearer) == "Bearer(env='HUB_TOKEN')"
    assert not bearer.renewable


def test_a_token_from_a_file_that_changes(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{SECRET}\n")
    bearer = Bearer(file=file)
    assert bearer() == [(b"Authorization", b"Bearer " + SECRET.encode())]
    file.write_text("another")
    assert bearer() == [(b"Authorization", b"Bearer another")]
    assert bearer.renewable
    assert "another" not in repr(bearer)
    file.unlink()
    with pytest.raises(OSError, match="token"):
        bearer()


def test_passwords(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"{SECRET} \n")  # a space may well be part of it
    monkeypatch.setenv("HUB_PASSWORD", SECRET)
    for basic, password in (
        (Basic("edge", SECRET), SECRET),
        (Basic("edge", env="HUB_PASSWORD"), SECRET),
        (Basic("edge", file=file), f"{SECRET} "),
    ):
        ((name, value),) = basic()
        assert name == b"Authorization"
        assert base64.b64decode(value.removeprefix(b"Basic ")) == f"edge:{password}".encode()
        assert SECRET not in repr(basic)
        assert base64.b64encode(SECRET.encode()).decode() not in repr(basic)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda p: Bearer(), ValueError),
        (lambda p: Bearer(SECRET, env="X"), ValueError),
        (lambda p: Bearer(env="HUB_NOT_SET"), ValueError),
        (lambda p: Bearer(file=p / "missing"), OSError),
        (lambda p: Bearer(""), ValueError),
        (lambda p: Bearer(f"{SECRET} {SECRET}"), ValueError),
        (lambda p: Bearer(f"{SECRET}\r\nX-Evil: 1"), ValueError),
        (lambda p: Bearer(f"{SECRET}ü"), ValueError),
        (lambda p: Bearer(f"{SECRET}\ud800"), ValueError),
        (lambda p: Bearer(file=p / "latin"), ValueError),
        (lambda p: Bearer(SECRET.encode()), TypeError),  # type: ignore[arg-type]
        (lambda p: Basic("a:b", SECRET), ValueError),
        (lambda p: Basic("a", f"{SECRET}\n"), ValueError),
        (lambda p: Basic("a", f"{SECRET}\ud800"), ValueError),
        (lambda p: Basic("a\x00", SECRET), ValueError),
        (lambda p: Basic("a"), ValueError),
        (lambda p: Basic("a", SECRET, file="x"), ValueError),
        (lambda p: Basic(None, SECRET), TypeError),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_sent(make: Any, error: type[Exception], tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(SECRET.encode() + b"\xe4")
    with pytest.raises(error) as caught:
        make(tmp_path)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert SECRET not in repr(getattr(caught.value, "object", ""))
