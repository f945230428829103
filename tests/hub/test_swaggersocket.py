"""Peers of swaggersocket at a hub: by name, beside others, and under its rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

import restsock
from restsock import swaggersocket
from restsock.auth import Bearer
from restsock.hub import ConfigError, Hub, Tokens, check
from tests.hub.helpers import admin_of, config_for, peer_of
from tests.swaggersocket.go_peer import UPGRADE, GoPeer, dialed
from tests.waiting import until


async def _answer(go: GoPeer, times: int) -> None:
    for _ in range(times):
        _, target, fields, _ = await go.next_request()
        await go.respond(b"go " + target.encode(), id=fields["X-Correlation-Id"])


@pytest.mark.covers("peers.swaggersocket")
@pytest.mark.parametrize("meta", ["go-1", {"name": "go-1", "more": [1]}])
async def test_one_is_found_by_the_name_in_its_metadata(tmp_path: Path, meta: Any) -> None:
    config = config_for(tmp_path, peers__swaggersocket="/go")
    async with (
        Hub(config) as hub,
        peer_of(hub),
        dialed(hub.server.address, meta, "/go") as go,
        httpx.AsyncClient() as web,
        admin_of(hub) as admin,
        trio.open_nursery() as nursery,
    ):
        await until(lambda: hub.server.connections.by_name("go-1"))
        nursery.start_soon(_answer, go, 2)
        for host, text in (("go-1", "go /a?b"), ("edge-1", "GET /a?b"), ("go-1", "go /a?b")):
            headers = {"host": f"{host}.localhost"}
            assert (await web.get(hub.ingress_url + "a?b", headers=headers)).text == text
        shown = (await admin.get("/api/v1/names/go-1")).json()
        assert shown["name"] == "go-1"


@pytest.mark.parametrize("meta", [None, 7, ["go-1"], {"name": 7}, {}])
async def test_one_without_a_name_is_a_peer_all_the_same(tmp_path: Path, meta: Any) -> None:
    config = config_for(tmp_path, peers__swaggersocket="/go")
    async with Hub(config) as hub, dialed(hub.server.address, meta, "/go") as go:
        await until(lambda: hub.server.connections.by_id(go.id))
        connection = hub.server.connections.by_id(go.id)
        assert connection is not None
        assert connection.name is None
        assert connection.metadata == meta


async def test_tokens_say_who_may_dial_in_and_under_which_name(tmp_path: Path) -> None:
    _, token = Tokens(tmp_path / "tokens.json").new("edge-1")
    config = config_for(
        tmp_path, peers__swaggersocket="/go", peers__tokens=str(tmp_path / "tokens.json")
    )
    async with Hub(config) as hub:
        async with await trio.open_tcp_stream(*hub.server.address) as stream:
            await stream.send_all(UPGRADE.format(path="/go").encode())
            assert bytes(await stream.receive_some()).startswith(b"HTTP/1.1 401 ")
        url, auth = hub.peers_url + "go", Bearer(token)
        async with swaggersocket.connect(url, metadata="edge-1", auth=auth, proxy=False):
            await until(lambda: hub.server.connections.by_name("edge-1"))
        with pytest.raises(restsock.HandshakeError, match="may not have this name"):
            async with swaggersocket.connect(url, metadata="edge-2", auth=auth, proxy=False):
                pass
        assert not hub.server.connections.by_name("edge-2")


async def test_a_path_of_its_own_unless_the_ingress_has_a_port(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"peers\.swaggersocket: the ingress is at this path"):
        check(config_for(tmp_path, peers__swaggersocket="/"))
    for wrong in ("go", "", "/go/", "/../x", "/a b", "//"):
        with pytest.raises(ConfigError, match=r"peers\.swaggersocket"):
            config_for(tmp_path, peers__swaggersocket=wrong)
    config = config_for(tmp_path, peers__swaggersocket="/", ingress__listen="127.0.0.1:0")
    async with Hub(config) as hub, dialed(hub.server.address, "go-1") as go, peer_of(hub):
        await until(lambda: hub.server.connections.by_id(go.id))


@pytest.mark.parametrize(
    ("path", "channel", "taken"),
    [
        ("/go", "/go", True),
        ("/go", "/go/chat", True),
        ("/go", "/gone", False),
        ("/a/b", "/a", False),
    ],
)
async def test_a_channel_is_elsewhere_on_the_same_port(
    tmp_path: Path, path: str, channel: str, taken: bool
) -> None:
    more = f"[[channel]]\npath = '{channel}'\npublic = true\nroutes.x.peer = 'edge-1'"
    config = config_for(tmp_path, more, peers__swaggersocket=path)
    if taken:
        with pytest.raises(ConfigError, match=r"channel\[0\]\.path: peers\.swaggersocket is at"):
            check(config)
    else:
        check(config)
    check(config_for(tmp_path, more, peers__swaggersocket=path, ingress__listen="127.0.0.1:0"))
