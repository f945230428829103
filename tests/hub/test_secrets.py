"""Mistakes with secrets: those that count for nothing, and those that are shown.

The table in docs/hub.md names them; the docstring of each test begins with the mistake.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import trustme

import restsock
from restsock.auth import Basic, Bearer
from restsock.hub import Config, ConfigError, Hub, check, parse
from tests.e2e import raw_peer
from tests.hub.helpers import admin_of, admin_token_of, config_for, peer_of, said_to
from tests.plain_client import statuses

RIGHT = "canary-right-" + "r" * 20
WRONG = "canary-wrong-" + "w" * 20


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with files that hold the secret, and variables that hold it or name them."""
    (tmp_path / "tokens.json").write_text(json.dumps({RIGHT: "edge-1"}))
    (tmp_path / "users.json").write_text(json.dumps({"edge-1": RIGHT}))
    (tmp_path / "secret").write_text(f"{RIGHT}\n")
    monkeypatch.setenv("SECRET", RIGHT)
    monkeypatch.setenv("TOKENS", str(tmp_path / "tokens.json"))
    return tmp_path


TABLE = "[access.a]\n{}"
BEARER = TABLE.format('bearer = "tokens.json"')
BASIC = TABLE.format('basic = "users.json"')


# --- secrets that count for nothing ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("toml", "more", "make"),
    [
        ('[peers]\ntokens = "tokens.json"', {}, Bearer),
        ('[peers]\ntokens = "${TOKENS}"', {}, Bearer),
        ("", {"peers__tokens": "tokens.json"}, Bearer),
        ('[peers]\npublic = true\ntokens = "tokens.json"', {}, Bearer),
        (f'[peers]\naccess = "a"\n{BEARER}', {}, Bearer),
        (f'[peers]\naccess = "a"\n{BASIC}', {}, lambda secret: Basic("edge-1", secret)),
    ],
)
async def test_secrets_of_peers_that_do_not_count(
    files: Path, toml: str, more: dict[str, str], make: Callable[[str], Bearer]
) -> None:
    """A secret for peers that is configured and not read: whoever has none, or another, is in."""
    more = {key: str(files / value) for key, value in more.items()}
    async with Hub(config_for(files, toml, **more)) as hub:
        for wrong in (None, make(WRONG), make(RIGHT[:-1]), make(RIGHT.upper())):
            with pytest.raises(restsock.HandshakeError, match="401"):
                async with peer_of(hub, auth=wrong):
                    pass
        async with peer_of(hub, auth=make(RIGHT)):
            pass


def _bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def _basic(secret: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'edge-1:{secret}'.encode()).decode()}"}


def _signed(secret: str) -> dict[str, str]:
    signature = hmac.new(secret.encode(), b"{}", hashlib.sha256).hexdigest()
    return {"X-Hub-Signature-256": f"sha256={signature}"}


ROUTE = '[[route]]\nhost = "api.example"\npeer = "edge-1"\n'


@pytest.mark.parametrize(
    ("toml", "make"),
    [
        (f'[ingress]\naccess = "a"\n{BEARER}', _bearer),
        (f'[ingress]\naccess = "a"\npublic = true\n{BASIC}', _basic),
        (f'{ROUTE}access = "a"\n{BEARER}', _bearer),
        (
            f'[ingress]\naccess = "b"\n{ROUTE}access = "a"\n{BEARER}\n[access.b]\ncidr = "::2"',
            _bearer,
        ),
        (f'{ROUTE}webhook = {{ scheme = "github", secret_file = "secret" }}', _signed),
        (f'{ROUTE}webhook = {{ scheme = "github", secret = "${{SECRET}}" }}', _signed),
    ],
)
async def test_secrets_of_callers_that_do_not_count(
    files: Path, toml: str, make: Callable[[str], dict[str, str]]
) -> None:
    """A secret for the ingress that is configured and not read: whoever has none is in."""
    async with Hub(config_for(files, toml)) as hub, peer_of(hub), httpx.AsyncClient() as web:

        async def ask(fields: dict[str, str]) -> int:
            host = "api.example" if "[[route]]" in toml else "edge-1.localhost"
            fields = {"Host": host, **fields}
            return (await web.post(hub.ingress_url, headers=fields, content=b"{}")).status_code

        for wrong in (WRONG, RIGHT[:-1], RIGHT.upper()):
            assert await ask(make(wrong)) in (401, 403)
        assert await ask({}) in (401, 403)
        assert await ask(make(RIGHT)) == 200


@pytest.mark.parametrize("how", ["own", "file", "variable", "override"])
async def test_secrets_of_administrators_that_do_not_count(
    files: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """A token for the admin API that is configured and not read; and scopes that are none."""
    file = files / "admin.json"
    claims = {"scopes": ["read"]}
    file.write_text(json.dumps({RIGHT: {"name": "ann", "claims": claims}, WRONG: "no-scopes"}))
    toml = {"file": '[admin]\ntokens = "admin.json"', "variable": '[admin]\ntokens = "${TOKENS}"'}
    monkeypatch.setenv("TOKENS", str(file))
    more = {"admin__tokens": str(file)} if how == "override" else {}
    async with Hub(config_for(files, toml.get(how, ""), **more)) as hub:
        right = admin_token_of(hub) if how == "own" else RIGHT
        for secret, status in (
            *((right, 200), (right[:-1], 401), (right.upper(), 401)),
            (WRONG, 401 if how == "own" else 403),
        ):
            async with admin_of(hub, secret) as admin:
                assert (await admin.get("/api/v1/status")).status_code == status


@pytest.mark.parametrize("key", ['password = "${PASSWORD}"', 'password_file = "password"'])
def test_passwords_of_keys_that_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """A password of a key that is configured and not read, or asked for at a terminal."""
    leaf = trustme.CA().issue_cert("hub.example")
    leaf.cert_chain_pems[0].write_to_path(tmp_path / "hub.pem")
    _encrypt(leaf.private_key_pem.bytes(), RIGHT, tmp_path / "hub.key")

    def config() -> Config:
        toml = f'[tls]\ncertificate = "hub.pem"\nkey = "hub.key"\n{key}'
        return parse(toml, path=tmp_path / "hub.toml")

    for secret in (RIGHT, WRONG, ""):
        monkeypatch.setenv("PASSWORD", secret)
        (tmp_path / "password").write_text(f"{secret}\n")
        if secret == RIGHT:
            check(config())
        else:
            with pytest.raises(ConfigError) as caught:
                check(config())
            assert not secret or secret not in str(caught.value)


def _encrypt(key: bytes, password: str, file: Path) -> None:
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    loaded = serialization.load_pem_private_key(key, None)
    file.write_bytes(
        loaded.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(password.encode()),
        )
    )


@pytest.mark.parametrize(
    ("toml", "key"),
    [
        ('[peers]\ntoken = "tokens.json"', "peers.token"),
        ('[ingress]\nauth = "a"', "ingress.auth"),
        ('[access.a]\nbearer = "tokens.json"', "access.a"),
        ('[ingress]\naccess = "b"\n[access.a]\nbearer = "tokens.json"', "ingress.access"),
        ('[peers]\ntokens = "${TOKENZ}"', "peers.tokens"),
        ('[peers]\ntokens = "missing.json"', "peers.tokens"),
        ('[peers]\ntokens = "empty.json"', "peers.tokens"),
        ('[peers]\ntokens = ""', "peers.tokens"),
        (f'[peers]\ntokens = "tokens.json"\naccess = "a"\n{BEARER}', "peers.access"),
        ('[ingress]\naccess = "a"\n[access.a]\nany = true', "access.a"),
        ('[ingress]\naccess = "a"\n[access.a]\nbearer = "empty.json"', "access.a.bearer"),
        (f'{ROUTE}webhook = {{ scheme = "github" }}', "route[0]"),
        (f'{ROUTE}webhook = {{ scheme = "github", secret = "${{EMPTY}}" }}', "route[0]"),
        (f'{ROUTE}webhook = {{ scheme = "github", secret_file = "empty.json" }}', "route[0]"),
        ('[admin]\ntokens = "empty.json"', "admin.tokens"),
    ],
)
def test_secrets_that_are_misspelt(
    files: Path, monkeypatch: pytest.MonkeyPatch, toml: str, key: str
) -> None:
    """A key or a file that is misspelt or empty: the secret is not there, and all goes on."""
    monkeypatch.setenv("EMPTY", "")
    (files / "empty.json").write_text("")
    with pytest.raises(ConfigError) as caught:
        check(parse(toml, path=files / "hub.toml"))
    assert caught.value.key == key


# --- secrets that are shown -----------------------------------------------------------------------


async def test_secrets_in_what_is_told(files: Path) -> None:
    """Secrets in a dump of the configuration, or in the error about it."""
    toml = f'{ROUTE}webhook = {{ scheme = "github", secret = "${{SECRET}}" }}'
    async with Hub(config_for(files, toml)) as hub, admin_of(hub) as admin:
        shown = (await admin.get("/api/v1/config")).json()
        assert shown["path"] == str(files / "hub.toml")
        assert shown["config"]["route"][0]["webhook"]["secret"] == "${SECRET}"
        told = repr([hub.config, hub.config.route, list(hub.config.route[0].__rich_repr__())])
        for path in ("config", "routes", "status", "tokens", "peers", "events", "requests"):
            told += (await admin.get(f"/api/v1/{path}")).text
        told += (await admin.get("/metrics")).text
        for text in (
            '[tls]\ncertificate = "secret"',
            '[peers]\ntokens = "secret"',
            '[ingress]\npages = "secret"',
            '[ingress]\nrate = "${SECRET}"',
            '[ingress]\nwait = "${SECRET}"',
            '[peers]\nlisten = "${SECRET}"',
            '[log]\nlevel = "${SECRET}"',
        ):
            told += (await admin.post("/api/v1/config/check", json={"text": text})).text
    assert "canary" not in told


@pytest.mark.covers("log.access")
async def test_secrets_in_logs_and_records(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Secrets in access logs, events and lists of requests: of fields, queries and bodies."""
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    config = config_for(tmp_path, "[log]\naccess = true\nlevel = 'debug'")
    async with Hub(config) as hub, peer_of(hub), admin_of(hub) as admin:
        async with httpx.AsyncClient() as web:
            fields = {
                "Restsock-Peer": "edge-1",
                "Authorization": "Bearer canary-1",
                "Cookie": "session=canary-2",
                "Referer": "http://127.0.0.1/?token=canary-3",
            }
            await web.post(f"{hub.ingress_url}x?token=canary-4", headers=fields, json="canary-5")
        shown = ""
        for path in ("requests", "events", "status", "peers", "config", "tokens"):
            shown += (await admin.get(f"/api/v1/{path}?x=canary-6")).text
        token = admin_token_of(hub)
    (line,) = [r for r in caplog.records if r.name == "restsock.hub.access"]
    assert "edge-1 POST /x -> 200" in line.getMessage()
    assert "canary" not in caplog.text
    assert "canary" not in shown
    assert token not in caplog.text + shown


async def test_tokens_in_urls(files: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A token in the URL, from where it gets into logs and Referer: it counts at no listener."""
    caplog.set_level(logging.DEBUG, "restsock")
    toml = (
        f'[peers]\ntokens = "tokens.json"\n[ingress]\naccess = "a"\n{BEARER}\n'
        "[log]\naccess = true\nlevel = 'debug'"
    )
    async with Hub(config_for(files, toml)) as hub, peer_of(hub, auth=Bearer(RIGHT)):
        query = "&".join(
            f"{key}={RIGHT}"
            for key in ("token", "access_token", "auth", "authorization", "x-token")
        )
        url = hub.peers_url.replace("ws:", "http:")
        upgrade = raw_peer.UPGRADE.replace(b"GET /", f"GET /?{query}".encode())
        assert statuses(await said_to(url, upgrade)) == [401]
        async with httpx.AsyncClient() as web:
            for host, path in (("edge-1.localhost", ""), ("127.0.0.1", "_/edge-1/")):
                target = f"{hub.ingress_url}{path}?{query}"
                answer = await web.get(target, headers={"Host": host})
                assert answer.status_code == 401
                assert "location" not in answer.headers
                assert RIGHT not in answer.text
    assert RIGHT not in caplog.text
