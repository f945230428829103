"""A hub as a whole: its listeners, what it refuses, its folder, and what it remembers."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import httpx
import pytest
import trio

import restsock
from restsock.auth import Bearer
from restsock.hub import ADMIN_TOKEN, ConfigError, Hub, Tokens
from tests.hub.helpers import admin_token_of, config_for, peer_of

posix = pytest.mark.skipif(sys.platform == "win32", reason="modes of files, Unix sockets")


async def test_peers_and_ingress_share_a_port(tmp_path: Path) -> None:
    async with Hub(config_for(tmp_path)) as hub, peer_of(hub) as client, httpx.AsyncClient() as web:
        assert hub.ingress_url == hub.peers_url.replace("ws:", "http:")
        host = {"host": "edge-1.localhost"}
        assert (await web.get(hub.ingress_url + "a?b", headers=host)).text == "GET /a?b"
        assert hub.url_for("edge-1") == f"http://edge-1.localhost:{hub.server.address[1]}/"
        assert client.urls == hub.ingress.urls_of("edge-1")
        assert client.urls[0] == hub.url_for("edge-1")
        assert hub.url_for("Not a label") is None
        assert [each.value.target for each in hub.passed] == ["/a"]
        assert hub.passed.of("edge-1").requests == 1
        assert hub.status()["healthy"]


@pytest.mark.covers("hub.domain", "ingress.url")
async def test_peers_are_told_where_a_proxy_is_found(tmp_path: Path) -> None:
    toml = '[hub]\ndomain = ["hub.example"]\n[ingress]\nurl = "https://hub.example"\n'
    toml += '[[route]]\nhost = "api.example.com"\npath = "/v1"\npeer = "edge-1"\n'
    async with Hub(config_for(tmp_path, toml)) as hub, peer_of(hub) as client:
        assert client.urls == (
            "https://api.example.com/v1",
            "https://edge-1.hub.example/",
            "https://hub.example/_/edge-1/",
        )
        assert hub.url_for("edge-2") == "https://edge-2.hub.example/"


async def test_localhost_is_both_loopbacks(tmp_path: Path) -> None:
    with trio.socket.socket(trio.socket.AF_INET6) as probe:
        try:
            await probe.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
    if len(await trio.socket.getaddrinfo("localhost", 1, type=trio.socket.SOCK_STREAM)) < 2:
        pytest.skip("its localhost has no IPv6")
    async with Hub(config_for(tmp_path)) as hub, httpx.AsyncClient() as web:
        port = hub.server.address[1]
        for host in ("127.0.0.1", "[::1]"):
            assert (await web.get(f"http://{host}:{port}/")).status_code == 404


@pytest.mark.covers("ingress.listen")
async def test_the_ingress_may_have_a_listener_of_its_own(tmp_path: Path) -> None:
    config = config_for(tmp_path, ingress__listen="127.0.0.1:0")
    async with Hub(config) as hub, peer_of(hub) as client, httpx.AsyncClient() as web:
        port = hub.ingress_url.rpartition(":")[2]
        assert client.urls[0] == f"http://edge-1.localhost:{port}"
        to_peer = {"Restsock-Peer": "edge-1"}
        assert (await web.get(hub.ingress_url, headers=to_peer)).status_code == 200
        found = hub.status()["statistics"]
        assert (found["http_clients"], found["http_clients_total"]) == (1, 1)
        assert found["http_traffic"]["requests_received"] == 1
        # On the port of the peers there is nothing else, and on that of the ingress there are none.
        at_peers = hub.peers_url.replace("ws:", "http:")
        assert (await web.get(at_peers, headers=to_peer)).status_code == 426
        with pytest.raises(restsock.HandshakeError, match="404"):
            async with restsock.connect(hub.ingress_url.replace("http:", "ws:")) as client:
                await client.wait_connected()


async def test_names_that_are_one_label_are_not_both_taken(tmp_path: Path) -> None:
    async with Hub(config_for(tmp_path, '[peers]\nnames = "share"')) as hub:
        async with hub.server.events() as events:
            async with peer_of(hub, "Edge-1"), peer_of(hub, "Edge-1"):
                with pytest.raises(restsock.HandshakeError, match="another spelling"):
                    async with peer_of(hub, "edge-1", backoff=restsock.Backoff(tries=1)):
                        pass
            for _ in range(4):  # two have come, and two have gone
                await events.receive()
        async with peer_of(hub, "edge-1"):
            pass


@pytest.mark.covers("peers.tokens")
async def test_peers_show_tokens_of_the_file(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "tokens.json")
    token, value = tokens.new("edge-1", may_register=["edge-*"])
    async with Hub(config_for(tmp_path, '[peers]\ntokens = "tokens.json"')) as hub:
        for wrong in (None, Bearer("wrong")):
            with pytest.raises(restsock.HandshakeError, match="401"):
                async with peer_of(hub, auth=wrong):
                    pass
        with pytest.raises(restsock.RestsockError, match="may not have this name"):
            async with peer_of(hub, "other", auth=Bearer(value)):
                pass
        async with peer_of(hub, "edge-7", auth=Bearer(value)) as client:
            (connection,) = hub.server.connections
            assert connection.principal is not None
            assert connection.principal.name == "edge-1"
            assert tokens.revoke(token.id)
            closed = await client.wait_closed()
            assert "401" in closed.reason


@pytest.mark.covers("hub.state", "hub.dev")
@posix
async def test_the_folder_and_the_token_are_its_own(tmp_path: Path) -> None:
    config = config_for(tmp_path)
    folder = tmp_path / "state"
    async with Hub(config) as hub:
        first = admin_token_of(hub)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / ADMIN_TOKEN).stat().st_mode) == 0o600
        assert len(first) >= 40
    async with Hub(config) as hub:
        assert admin_token_of(hub) == first  # it outlives a restart
    async with Hub(config_for(tmp_path, hub__dev=True)) as hub:
        assert admin_token_of(hub) != first  # and is new each time for development
    (folder / ADMIN_TOKEN).chmod(0o644)
    with pytest.raises(ConfigError, match="others may read"):
        async with Hub(config):
            pass
    folder.chmod(0o777)
    with pytest.raises(ConfigError, match="others may write"):
        async with Hub(config):
            pass


@pytest.mark.covers("admin.listen")
@posix
async def test_the_admin_api_on_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    async with Hub(config_for(tmp_path, admin__listen=f"unix:{path}")) as hub:
        assert hub.admin_url == f"unix:{path}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        transport = httpx.AsyncHTTPTransport(uds=str(path))
        fields = {"Authorization": f"Bearer {admin_token_of(hub)}"}
        async with httpx.AsyncClient(transport=transport) as web:
            url = "http://localhost/api/v1/status"
            assert (await web.get(url)).status_code == 401
            assert (await web.get(url, headers=fields)).status_code == 200


async def test_a_port_that_is_taken_is_an_error(tmp_path: Path) -> None:
    async with Hub(config_for(tmp_path)) as hub:
        address = f"127.0.0.1:{hub.server.address[1]}"
        with pytest.raises(OSError, match="cannot listen"):
            async with Hub(config_for(tmp_path, admin__listen=address)):
                pass


async def test_an_error_in_the_block_comes_out_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with Hub(config_for(tmp_path)) as hub, peer_of(hub):
            raise ZeroDivisionError
