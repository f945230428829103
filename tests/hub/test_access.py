"""Access tables: each way, several together, and for which hosts they count."""

from __future__ import annotations

import base64
import json
import ssl
import time
from pathlib import Path

import httpx
import pytest
import trustme

import restsock
import restsock.tls
from restsock import _watch
from restsock.hub import ConfigError, Hub, Tokens, check
from tests.auth.servers import serving
from tests.hub.helpers import config_for, peer_of


async def status_with(hub: Hub, **fields: str) -> int:
    async with httpx.AsyncClient(headers={"Restsock-Peer": "edge-1", **fields}) as web:
        return (await web.get(hub.ingress_url)).status_code


@pytest.mark.parametrize(
    ("table", "with_nothing", "with_token"),
    [
        pytest.param('bearer = "t.json"', 401, 200, marks=pytest.mark.covers("access.bearer")),
        pytest.param('cidr = ["127.0.0.0/8"]', 200, 200, marks=pytest.mark.covers("access.cidr")),
        pytest.param(
            *('cidr = ["127.0.0.0/8"]\ndeny = ["127.0.0.1"]', 403, 403),
            marks=pytest.mark.covers("access.deny"),
        ),
        ('cidr = ["10.0.0.0/8"]\nbearer = "t.json"', 403, 403),
        ('cidr = ["127.0.0.0/8"]\nbearer = "t.json"', 401, 200),
        pytest.param(
            *('cidr = ["10.0.0.0/8"]\nbearer = "t.json"\nany = true', 401, 200),
            marks=pytest.mark.covers("access.any"),
        ),
        ('bearer = "t.json"\nbasic = "u.json"\nany = true', 401, 200),
    ],
)
async def test_ways_and_several_of_them(
    tmp_path: Path, table: str, with_nothing: int, with_token: int
) -> None:
    _, value = Tokens(tmp_path / "t.json").new("acme")
    (tmp_path / "u.json").write_text(json.dumps({"ann": "secret"}))
    toml = f'[ingress]\naccess = "a"\n[access.a]\n{table}'
    async with Hub(config_for(tmp_path, toml)) as hub, peer_of(hub):
        assert await status_with(hub) == with_nothing
        assert await status_with(hub, Authorization=f"Bearer {value}") == with_token
        assert await status_with(hub, Authorization="Bearer wrong") in (with_nothing, 401)


@pytest.mark.covers("access.basic")
async def test_users_and_passwords(tmp_path: Path) -> None:
    (tmp_path / "u.json").write_text(json.dumps({"ann": "secret"}))
    toml = '[ingress]\naccess = "a"\n[access.a]\nbasic = "u.json"'
    async with Hub(config_for(tmp_path, toml)) as hub, peer_of(hub):
        for password, status in (("secret", 200), ("other", 401)):
            value = base64.b64encode(f"ann:{password}".encode()).decode()
            assert await status_with(hub, Authorization=f"Basic {value}") == status


@pytest.mark.covers("access.certificate")
async def test_client_certificates(tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "hub.pem")
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = restsock.tls.client(ca=tmp_path / "ca.pem")
    toml = (
        '[ingress]\naccess = "a"\n[access.a]\ncertificate = "commonName"\n'
        '[tls]\ncertificate = "hub.pem"\nclient_ca = "ca.pem"\nclient_certificate = "optional"\n'
    )
    async with Hub(config_for(tmp_path, toml)) as hub, peer_of(hub, tls=tls):
        for certificate, status in (
            (ca.issue_cert("x.example", common_name="acme"), 200),
            (ca.issue_cert("x.example"), 403),  # it has no such field
            (None, 403),
        ):
            context = ssl.create_default_context()
            ca.configure_trust(context)
            if certificate is not None:
                certificate.configure_cert(context)
            async with httpx.AsyncClient(verify=context) as web:
                url = hub.ingress_url.replace("localhost", "127.0.0.1")
                answer = await web.get(url, headers={"Restsock-Peer": "edge-1"})
                assert answer.status_code == status


@pytest.mark.covers("access.jwt.jwks", "access.jwt.audience", "access.jwt.issuer")
async def test_tokens_of_an_identity_provider(tmp_path: Path) -> None:
    jwk, jwt = pytest.importorskip("joserfc.jwk"), pytest.importorskip("joserfc.jwt")
    key = jwk.ECKey.generate_key("P-256", {"kid": "1"}, private=True)
    jwks = {"keys": [key.as_dict(private=False, alg="ES256", use="sig")]}
    (tmp_path / "jwks.json").write_text(json.dumps(jwks))
    toml = (
        '[ingress]\naccess = "a"\n[access.a]\n'
        'jwt = { jwks = "jwks.json", audience = "hub", issuer = "https://login.example" }'
    )
    right = {"sub": "ann", "aud": "hub", "iss": "https://login.example"}
    async with Hub(config_for(tmp_path, toml)) as hub, peer_of(hub):
        for claims, status in (
            (right, 200),
            ({**right, "aud": "other"}, 401),
            ({**right, "iss": "https://evil.example"}, 401),
        ):
            head = {"alg": "ES256", "kid": "1"}
            token = jwt.encode(head, {**claims, "exp": int(time.time()) + 60}, key)
            assert await status_with(hub, Authorization=f"Bearer {token}") == status


@pytest.mark.covers("access.forward_auth")
async def test_another_server_says_who_is_let_in(tmp_path: Path) -> None:
    async def door(request: restsock.Request) -> restsock.Response:
        fields = dict(request.headers)
        return restsock.Response(200 if fields.get(b"cookie") == b"known=1" else 403)

    async with restsock.listen("127.0.0.1", 0, endpoints={"/": door}) as other:
        url = other.url.replace("ws:", "http:")
        toml = f'[ingress]\naccess = "a"\n[access.a]\nforward_auth = "{url}"'
        async with Hub(config_for(tmp_path, toml)) as hub, peer_of(hub):
            assert await status_with(hub, Cookie="known=1") == 200
            assert await status_with(hub) == 403


@pytest.mark.covers("route.access")
async def test_a_route_may_have_a_table_of_its_own(tmp_path: Path) -> None:
    _, value = Tokens(tmp_path / "t.json").new("acme")
    toml = (
        '[[route]]\nhost = "api.example"\npeer = "edge-1"\naccess = "a"\n'
        '[access.a]\nbearer = "t.json"'
    )
    async with Hub(config_for(tmp_path, toml)) as hub, peer_of(hub):
        assert await status_with(hub) == 200
        assert await status_with(hub, Host="api.example") == 401
        assert await status_with(hub, Host="api.example", Authorization=f"Bearer {value}") == 200


async def test_keys_of_an_identity_provider_survive_a_reload(tmp_path: Path) -> None:
    """Else all its users would be refused if it happened to be down."""
    jwk = pytest.importorskip("joserfc.jwk")
    from joserfc import jwt

    key = jwk.ECKey.generate_key("P-256", {"kid": "ec"})
    keys = json.dumps({"keys": [key.as_dict(private=False)]}).encode()
    claims = {"sub": "anna", "aud": "hub", "exp": 4_000_000_000}
    token = jwt.encode({"alg": "ES256", "kid": "ec"}, claims, key, algorithms=["ES256"])
    with serving(lambda target, fields: (200, {}, keys)) as provider:
        toml = (
            '[ingress]\naccess = "a"\n'
            f'[access.a]\njwt = {{ jwks = "{provider.url}", audience = "hub" }}\n'
        )
        async with Hub(config_for(tmp_path, toml)) as hub, peer_of(hub):
            assert await status_with(hub, Authorization=f"Bearer {token}") == 200
            provider.reply = lambda target, fields: (500, {}, b"")
            (tmp_path / "hub.toml").write_text(f"{toml}[log]\naccess = true\n")
            assert await hub.reload() == []
            assert await status_with(hub, Authorization=f"Bearer {token}") == 200
            # Of another table nothing is known.
            (tmp_path / "hub.toml").write_text(toml.replace('"hub" }', '["hub", "x"] }'))
            assert await hub.reload() == []
            assert await status_with(hub, Authorization=f"Bearer {token}") == 503


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ('cidr = ["nonsense"]', "cidr"),
        ('forward_auth = "ftp://x/"', "forward_auth"),
        ('jwt = { jwks = "missing.json", audience = "hub" }', "jwt"),
        ('basic = "missing.json"', "basic"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, table: str, key: str) -> None:
    config = config_for(tmp_path, f"[access.a]\n{table}")
    with pytest.raises(ConfigError) as caught:
        check(config)
    assert caught.value.key == f"access.a.{key}"


async def test_a_token_that_is_revoked_counts_no_more_on_open_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_watch, "_INTERVAL", 0.0)
    tokens = Tokens(tmp_path / "t.json")
    tokens.new("stays")
    token, value = tokens.new("acme", may_call=["edge-*"])
    toml = '[ingress]\naccess = "a"\n[access.a]\nbearer = "t.json"'
    async with Hub(config_for(tmp_path, toml)) as hub, peer_of(hub), peer_of(hub, "other"):
        fields = {"Restsock-Peer": "edge-1", "Authorization": f"Bearer {value}"}
        async with httpx.AsyncClient(headers=fields) as web:
            assert (await web.get(hub.ingress_url)).status_code == 200
            # What it may not call looks as if it were not there.
            forbidden = await web.get(hub.ingress_url, headers={"Restsock-Peer": "other"})
            unknown = await web.get(hub.ingress_url, headers={"Restsock-Peer": "nobody"})
            assert forbidden.status_code == unknown.status_code == 404
            assert forbidden.content == unknown.content
            tokens.revoke(token.id)
            assert (await web.get(hub.ingress_url)).status_code == 401
