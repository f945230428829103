"""Access tables: each way, several together, and for which hosts they count."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from restsock import _watch
from restsock.hub import ConfigError, Hub, Tokens, check
from tests.hub.helpers import config_for, peer_of


async def status_with(hub: Hub, **fields: str) -> int:
    async with httpx.AsyncClient(headers={"Restsock-Peer": "edge-1", **fields}) as web:
        return (await web.get(hub.ingress_url)).status_code


@pytest.mark.parametrize(
    ("table", "with_nothing", "with_token"),
    [
        ('bearer = "t.json"', 401, 200),
        ('cidr = ["127.0.0.0/8"]', 200, 200),
        ('cidr = ["127.0.0.0/8"]\ndeny = ["127.0.0.1"]', 403, 403),
        ('cidr = ["10.0.0.0/8"]\nbearer = "t.json"', 403, 403),
        ('cidr = ["127.0.0.0/8"]\nbearer = "t.json"', 401, 200),
        ('cidr = ["10.0.0.0/8"]\nbearer = "t.json"\nany = true', 401, 200),
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
