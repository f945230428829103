"""Several authenticators as one, asked through what asks authenticators."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import trio

from restsock import Principal
from restsock.auth import (
    Addresses,
    Answered,
    BasicUsers,
    BearerTokens,
    CertificateSubject,
    Refused,
    Upgrade,
    all_of,
    any_of,
)
from restsock.connection import AccessControl

BEARER = b"Bearer t0k3n"
BASIC = b"Basic YW5uYTpwYXNz"  # anna:pass
TOKENS = BearerTokens({"t0k3n": "bot"})
USERS = BasicUsers({"anna": "pass"})
LAN = Addresses("10.0.0.0/8")


def upgrade(authorization: bytes | None = None, host: str = "10.0.0.1") -> Upgrade:
    fields = [(b"host", b"hub")]
    if authorization is not None:
        fields.append((b"authorization", authorization))
    return Upgrade("/", fields, host, 1)


async def ask(auth: Any, asked: Upgrade) -> Principal:
    return await AccessControl(auth=auth).authenticate(asked)


async def refusal(auth: Any, asked: Upgrade) -> Refused:
    with pytest.raises(Refused) as refused:
        await ask(auth, asked)
    return refused.value


async def test_any_of_them_lets_in() -> None:
    auth = any_of(TOKENS, USERS)
    assert (await ask(auth, upgrade(BEARER))).name == "bot"
    assert (await ask(auth, upgrade(BASIC))).name == "anna"


@pytest.mark.parametrize("shown", [None, b"Bearer wrong", b"Basic YW5uYTp3cm9uZw==", b"Digest x"])
async def test_none_of_them_does_and_all_say_how(shown: bytes | None) -> None:
    refused = await refusal(any_of(TOKENS, USERS), upgrade(shown))
    assert refused.status == 401
    (value,) = (value for name, value in refused.headers if name == b"WWW-Authenticate")
    assert value == b'Bearer realm="restsock", Basic realm="restsock", charset="UTF-8"'


async def test_one_that_cannot_tell_is_not_taken_for_a_no() -> None:
    def down(upgrade: Upgrade) -> Principal:
        raise Refused(503)

    assert (await refusal(any_of(TOKENS, down), upgrade())).status == 503
    assert (await ask(any_of(down, TOKENS), upgrade(BEARER))).name == "bot"


async def test_one_that_fails_admits_no_client() -> None:
    def broken(upgrade: Upgrade) -> Principal:
        raise RuntimeError("secret")

    assert (await refusal(any_of(broken, TOKENS), upgrade(BEARER))).status == 500
    assert (await refusal(all_of(broken, TOKENS), upgrade(BEARER))).status == 500


async def test_all_of_them_have_to_let_in_and_the_last_names() -> None:
    auth = all_of(LAN, TOKENS)
    assert (await ask(auth, upgrade(BEARER))).name == "bot"
    assert (await refusal(auth, upgrade(BEARER, "192.0.2.1"))).status == 403
    assert (await refusal(auth, upgrade())).status == 401
    assert (await ask(all_of(TOKENS, LAN), upgrade(BEARER))).name == "10.0.0.1"


async def test_they_nest_and_may_be_of_any_kind() -> None:
    async def slow(upgrade: Upgrade) -> Principal | None:
        await trio.lowlevel.checkpoint()
        return None

    def threaded(upgrade: Upgrade) -> Principal | None:
        return None

    auth = any_of(slow, threaded, all_of(LAN, any_of(USERS, TOKENS)))
    assert (await ask(auth, upgrade(BEARER))).name == "bot"
    assert (await refusal(auth, upgrade(BEARER, "192.0.2.1"))).status == 401


async def test_an_answer_of_one_is_an_answer() -> None:
    def login(upgrade: Upgrade) -> Principal:
        raise Answered(302, [(b"Location", b"/login"), (b"Content-Length", b"9")], b"x")

    refused = await refusal(all_of(LAN, login), upgrade())
    assert isinstance(refused, Answered)
    assert (refused.status, refused.headers) == (302, [(b"Location", b"/login")])


async def test_people_get_the_login_and_programs_a_challenge() -> None:
    def login(upgrade: Upgrade) -> Principal:
        raise Answered(302, [(b"Location", b"/login")], b"")

    for auth in (any_of(TOKENS, login), any_of(login, TOKENS), any_of(LAN, login, USERS)):
        found = await refusal(auth, upgrade(None, "192.0.2.1"))
        assert isinstance(found, Answered)
        assert found.headers == [(b"Location", b"/login")]
    for auth in (any_of(TOKENS, login), any_of(login, TOKENS)):
        assert (await ask(auth, upgrade(BEARER))).name == "bot"
        found = await refusal(auth, upgrade(b"Bearer wrong"))
        assert (found.status, type(found)) == (401, Refused)


def test_what_it_says_of_itself() -> None:
    assert any_of(TOKENS, LAN).waits is False
    assert any_of(TOKENS, lambda upgrade: None).waits is True
    assert any_of(LAN, all_of(LAN, TOKENS)).takes_authorization is True
    assert all_of(LAN, CertificateSubject()).takes_authorization is False
    assert "t0k3n" not in repr(any_of(TOKENS, USERS))


def test_what_cannot_be_combined() -> None:
    with pytest.raises(ValueError, match="two"):
        any_of(TOKENS)
    for wrong in (BearerTokens, "x", None):
        with pytest.raises(TypeError, match="authenticator"):
            all_of(TOKENS, wrong)  # type: ignore[arg-type]


async def test_a_token_that_is_withdrawn_ends_its_principal_and_no_other(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    file.write_text(json.dumps({"t0k3n": "bot", "0ther": "cat"}))
    store = BearerTokens(file=file)
    control = AccessControl(auth=any_of(store, USERS))
    bot = await control.authenticate(upgrade(BEARER))
    cat = await control.authenticate(upgrade(b"Bearer 0ther"))
    anna = await control.authenticate(upgrade(BASIC))
    assert [control.still_accepts(one) for one in (bot, cat, anna)] == [True] * 3
    file.write_text(json.dumps({"0ther": "cat"}))
    os.utime(file, (1, 1))
    store._load(file.read_text())  # what a look at the file does, a second later
    assert control.refresh() is True
    assert [control.still_accepts(one) for one in (bot, cat, anna)] == [False, True, True]
