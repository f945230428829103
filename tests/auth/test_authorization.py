"""The Authorization field: what is made is read back, and arbitrary bytes are only ever refused."""

from __future__ import annotations

import base64
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from restsock.auth import Basic, Bearer, Refused, Upgrade, parse_authorization
from restsock.protocol import UpgradeRequest

TOKENS = st.from_regex(r"\A[A-Za-z0-9._~+/-]+=*\Z")
# What RFC 7617 allows: no control characters, no colon in the user name.
TEXT = st.text(st.characters(exclude_categories=("Cc", "Cs")))
USERS = st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters=":"))


def upgrade(*values: bytes) -> Upgrade:
    return Upgrade("/", [(b"authorization", value) for value in values], "127.0.0.1", 1)


@given(TOKENS)
def test_a_bearer_token_is_read_back(token: str) -> None:
    ((name, value),) = Bearer(token)()
    assert name == b"Authorization"
    found = upgrade(value).authorization
    assert found is not None
    assert (found.scheme, found.token, found.user) == ("bearer", token.encode(), None)


@given(USERS, TEXT)
@example("", "")
@example("ü", "pässwörd:with:colons ")
def test_user_and_password_are_read_back(user: str, password: str) -> None:
    ((_, value),) = Basic(user, password)()
    found = upgrade(value).authorization
    assert found is not None
    assert (found.scheme, found.token, found.user) == ("basic", None, (user, password))


@given(st.binary() | st.builds(lambda a, b: a + b" " + b, st.binary(max_size=6), st.binary()))
@example(b"Bearer")
@example(b"Bearer ")
@example(b" Bearer x")
@example(b"Bearer\tx")
@example(b"Bearer x\n")
@example(b"Basic \x00")
def test_arbitrary_bytes_are_read_or_refused(value: bytes) -> None:
    parsed = parse_authorization(value)
    try:
        found = upgrade(value).authorization
    except Refused as exc:
        assert (exc.status, parsed) == (400, None)  # noqa: PT017  # it may be refused, or not
        return
    assert found == parsed
    assert found is not None
    # To the letter: nothing was repaired on the way.
    scheme, _, rest = value.partition(b" ")
    assert found.scheme == scheme.decode().lower()
    assert found.credentials == rest.strip(b" ")
    assert all(0x20 <= byte < 0x7F for byte in value)
    if found.token is not None:
        allowed = (string.ascii_letters + string.digits + "-._~+/=").encode()
        assert all(byte in allowed for byte in found.token)
    if found.user is not None:
        user, password = found.user
        assert ":" not in user
        again = base64.b64decode(found.credentials).decode()
        assert again == f"{user}:{password}"
        assert not any(c < " " or "\x7f" <= c <= "\x9f" for c in again)


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "bEaReR"])
def test_the_scheme_has_no_case(scheme: str) -> None:
    found = parse_authorization(f"{scheme}   abc".encode())
    assert found is not None
    assert found.token == b"abc"


@pytest.mark.parametrize(
    "value", [b"Bearer a b", b"Bearer a,b", b"Bearer =", b"Bearer a=b", b"Token abc"]
)
def test_what_is_no_token(value: bytes) -> None:
    found = parse_authorization(value)
    assert found is not None
    assert found.token is None
    assert found.user is None


@pytest.mark.parametrize(
    "inner", [b"no colon", b"a:\x00", b"a\n:b", b"\xff:a", b"a:b\x7f", "a:\u0085".encode()]
)
def test_what_is_no_user(inner: bytes) -> None:
    found = parse_authorization(b"Basic " + base64.b64encode(inner))
    assert found is not None
    assert found.user is None


@pytest.mark.parametrize("credentials", [b"YTpi!", b"YTpi=", b"YTp", b"YTpi YTpi"])
def test_what_is_no_base64(credentials: bytes) -> None:
    found = parse_authorization(b"Basic " + credentials)
    assert found is not None
    assert found.user is None


def test_several_fields_are_refused() -> None:
    with pytest.raises(Refused) as caught:
        _ = upgrade(b"Bearer a", b"Bearer a").authorization
    assert caught.value.status == 400


def test_none_is_none() -> None:
    assert upgrade().authorization is None


def test_nothing_is_shown() -> None:
    request = UpgradeRequest(b"/?s3cr3t", [(b"authorization", b"Bearer s3cr3t")])
    assert "s3cr3t" not in repr(request)
    asked = Upgrade("/?token=s3cr3t", [(b"authorization", b"Bearer s3cr3t")], "10.0.0.1", 7)
    assert repr(asked) == "<Upgrade from 10.0.0.1:7>"
    assert repr(asked.authorization) == "<Authorization: bearer>"
    assert "s3cr3t" not in str(asked.authorization)
    assert asked.path == "/"
    assert asked.header("Authorization") == "Bearer s3cr3t"
    assert asked.header("cookie", "none") == "none"
