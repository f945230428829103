"""JWT: which tokens are accepted, and how keys come and go."""

from __future__ import annotations

import base64
import functools
import json
import logging
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import restsock.auth._jwt as module
from restsock import Principal
from restsock.auth import JWT, Refused, Upgrade

from .servers import Reply, Server, serving

if find_spec("joserfc") is None:
    pytest.skip("joserfc is not installed", allow_module_level=True)

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, OKPKey, RSAKey

NOW = 1_800_000_000.0
RSA = RSAKey.generate_key(2048, {"kid": "rsa", "use": "sig"})
EC = ECKey.generate_key("P-256", {"kid": "ec"})
ED = OKPKey.generate_key("Ed25519", {"kid": "ed"})
OTHER = ECKey.generate_key("P-256", {"kid": "ec"})
SIGNS = RSAKey.generate_key(2048, {"kid": "enc"})
ENC = RSAKey.import_key({**SIGNS.as_dict(private=True), "use": "enc"})
CLAIMS = {"sub": "anna", "aud": "hub", "exp": NOW + 60, "iss": "https://login.example"}


def key_set(*keys: Any) -> bytes:
    return json.dumps(KeySet(list(keys)).as_dict(private=False)).encode()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "jwks.json"
    path.write_bytes(key_set(RSA, EC, ED, ENC))
    return path


def token(key: Any = EC, alg: str = "ES256", **claims: Any) -> str:
    merged = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of EdDSA, which is called Ed25519 now
        text: str = jwt.encode({"alg": alg, "kid": key.kid}, merged, key, algorithms=[alg])
    return text


def shown(text: str) -> Upgrade:
    return Upgrade("/", [(b"authorization", b"Bearer " + text.encode())], "203.0.113.7", 1)


def make(jwks: Any, **arguments: Any) -> JWT:
    return JWT(jwks, **{"audience": "hub", "clock": lambda: NOW, **arguments})


def status(auth: JWT, text: str) -> int:
    with pytest.raises(Refused) as refused:
        auth(shown(text))
    assert text not in str(refused.value)
    assert text not in repr(refused.value.headers)
    return refused.value.status


# --- tokens -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("key", "alg"), [(RSA, "RS256"), (EC, "ES256"), (ED, "EdDSA")])
def test_tokens_that_are_accepted(file: Path, key: Any, alg: str) -> None:
    principal = make(file)(shown(token(key, alg)))
    assert principal == Principal("anna", claims=CLAIMS)


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": NOW - 31},
        {"exp": None},
        {"exp": "soon"},
        {"exp": True},
        {"nbf": NOW + 31},
        {"iat": NOW + 31},
        {"nbf": "x"},
        {"aud": None},
        {"aud": "other"},
        {"aud": ["other", "another"]},
        {"aud": "hubs"},
        {"aud": {"hub": 1}},
        {"sub": None},
        {"sub": ""},
        {"sub": 1},
        {"sub": "anna "},
        {"sub": "an\nna"},
    ],
)
def test_claims_that_are_not(file: Path, claims: dict[str, Any]) -> None:
    assert status(make(file), token(**claims)) == 401


@pytest.mark.parametrize(
    "claims",
    [{"exp": NOW - 29}, {"nbf": NOW + 29}, {"aud": ["x", "hub"]}, {"iss": None}, {"nbf": NOW}],
)
def test_claims_that_are(file: Path, claims: dict[str, Any]) -> None:
    assert make(file)(shown(token(**claims))) is not None


def test_the_issuer_and_several_audiences(file: Path) -> None:
    auth = make(file, issuer="https://login.example", audience=["a", "hub"])
    assert auth(shown(token())) is not None
    assert status(auth, token(iss="https://evil.example")) == 401
    assert status(auth, token(iss=None)) == 401


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def test_signatures_that_are_not_accepted(file: Path) -> None:
    auth = make(file)
    good = token()
    head, body, signature = good.split(".")
    forged = b64(json.dumps({**CLAIMS, "sub": "root"}).encode())
    none = b64(json.dumps({"alg": "none", "kid": "ec"}).encode())
    public = OctKey.import_key(json.dumps(EC.as_dict(private=False)).encode())
    hs256 = jwt.encode({"alg": "HS256", "kid": "ec"}, CLAIMS, public, algorithms=["HS256"])
    for wrong in (
        f"{head}.{forged}.{signature}",
        f"{head}.{body}.",
        f"{none}.{body}.",
        f"{none}.{body}.{signature}",
        hs256,
        token(OTHER),  # the same kid, another key
        token(SIGNS, "RS256"),  # a key that is not for signatures
        good[:-4] + "AAAA",
        "a.b.c",
        "a.b",
        "x" * 20_000,
        f"{b64(b'[]')}.{body}.{signature}",
        b64(b'["alg"]') + f".{body}.{signature}",
        b64(b'"alg"') + f".{body}.{signature}",
        f"{b64(b'{')}.{body}.{signature}",
    ):
        assert status(auth, wrong) == 401


def test_without_a_token_there_is_no_answer(file: Path) -> None:
    auth = make(file)
    assert auth(Upgrade("/", [], "h", 1)) is None
    assert auth(Upgrade("/", [(b"authorization", b"Basic YTpi")], "h", 1)) is None


def test_a_function_makes_the_principal(file: Path) -> None:
    def principal(claims: Any) -> Principal | None:
        return (
            Principal(claims["sub"], may_call=["edge-*"]) if claims.get("role") == "ops" else None
        )

    auth = make(file, principal=principal)
    found = auth(shown(token(role="ops")))
    assert found is not None
    assert found.may_call == ("edge-*",)
    assert status(auth, token(role="dev")) == 401


def test_without_a_kid_the_only_key_counts(tmp_path: Path, file: Path) -> None:
    text = jwt.encode({"alg": "ES256"}, CLAIMS, EC, algorithms=["ES256"])
    assert status(make(file), text) == 401
    one = tmp_path / "one.json"
    one.write_bytes(key_set(EC))
    assert make(one)(shown(text)) is not None


# --- keys ---------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(lambda target, fields: (200, {}, key_set(EC))) as found:
        yield found


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock of the authenticator, to be moved."""
    now = [1000.0]

    class Time:
        time = staticmethod(lambda: NOW)
        monotonic = staticmethod(lambda: now[0])

    monkeypatch.setattr(module, "time", Time)
    return now


def test_keys_are_asked_for_once(server: Server, clock: list[float]) -> None:
    auth = make(f"{server.url}/keys")
    assert auth.waits is True
    for _ in range(3):
        assert auth(shown(token())) is not None
    assert [target for target, _ in server.seen] == ["/keys"]


def test_a_key_that_is_not_known_is_asked_for_once_a_minute(
    server: Server, clock: list[float]
) -> None:
    auth = make(server.url)
    assert auth(shown(token())) is not None
    server.reply = lambda target, fields: (200, {}, key_set(EC, RSA))
    for _ in range(3):
        assert status(auth, token(RSA, "RS256")) == 401
    assert len(server.seen) == 1
    clock[0] += 61
    assert auth(shown(token(RSA, "RS256"))) is not None
    for _ in range(3):
        assert status(auth, token(ED, "EdDSA")) == 401
    assert len(server.seen) == 2


def test_a_key_that_was_withdrawn_ends(server: Server, clock: list[float]) -> None:
    auth = make(server.url)
    assert auth(shown(token())) is not None
    server.reply = lambda target, fields: (200, {}, key_set(RSA))
    clock[0] += 599
    assert auth(shown(token())) is not None
    clock[0] += 2
    assert status(auth, token()) == 401


def fixed(status: int, body: bytes, target: str, fields: dict[str, str]) -> Reply:
    return status, {}, body


def test_old_keys_stay_while_there_are_no_new_ones(
    server: Server, clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    auth = make(server.url)
    assert auth(shown(token())) is not None
    replies: list[tuple[int, bytes]] = [(500, b""), (200, b"nonsense"), (200, b'{"keys": []}')]
    for status, body in replies:
        server.reply = functools.partial(fixed, status, body)
        clock[0] += 700
        with caplog.at_level(logging.INFO):
            assert auth(shown(token())) is not None
    assert len(server.seen) == 4
    assert "no keys" in caplog.text


def test_without_keys_no_client_is_admitted(server: Server, clock: list[float]) -> None:
    server.reply = lambda target, fields: (404, {}, b"")
    auth = make(server.url)
    assert status(auth, token()) == 503
    assert status(auth, token()) == 503
    assert len(server.seen) == 1
    server.reply = lambda target, fields: (200, {}, key_set(EC))
    clock[0] += 2
    assert auth(shown(token())) is not None


def test_who_has_waited_for_keys_in_vain_does_not_ask_again(
    server: Server, clock: list[float]
) -> None:
    """One after the other, each for as long as the first: threads would be held for hours."""

    def late(target: str, fields: dict[str, str]) -> Reply:
        clock[0] += 5
        return 500, {}, b""

    server.reply = late
    auth = make(server.url)
    assert status(auth, token()) == 503
    assert status(auth, token()) == 503
    assert len(server.seen) == 1


def test_a_redirect_is_not_followed(server: Server, clock: list[float]) -> None:
    server.reply = lambda target, fields: (302, {"Location": "/other"}, b"")
    assert status(make(server.url), token()) == 503
    assert len(server.seen) == 1


# --- what is not valid --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        {"audience": ""},
        {"audience": []},
        {"audience": ["hub", ""]},
        {"leeway": 61},
        {"leeway": -1},
        {"jwks": "http://login.example/keys"},
        {"jwks": "https://u:p@login.example/keys"},
    ],
)
def test_arguments_that_are_not_valid(file: Path, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"audience|leeway|URL of the keys"):
        JWT(**{"jwks": file, "audience": "hub", **arguments})


@pytest.mark.parametrize(
    "text", [b"", b"{}", b'{"keys": 1}', b'{"keys": []}', b"[" * 5000, b'{"keys": [1]}']
)
def test_files_without_keys(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=r"set|Set"):
        make(path)


def test_symmetric_keys_are_none(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [{"kty": "oct", "k": b64(b"s3cr3t" * 8), "kid": "x"}]}))
    with pytest.raises(ValueError, match="no key") as error:
        make(path)
    assert b64(b"s3cr3t") not in str(error.value)


def test_it_says_what_is_missing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'restsock\[jwt\]'"):
        make(file)


def test_its_repr(file: Path) -> None:
    assert repr(make("https://login.example/keys?k=s3cr3t")) == (
        "JWT('login.example', audience=['hub'])"
    )
    assert make(file).challenge == 'Bearer realm="restsock"'
