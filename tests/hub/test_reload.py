"""Another configuration: what changes at once, what needs a restart, and what a wrong one does."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from pathlib import Path

import httpx
import pytest
import trio
import trio.testing
import trustme

import restsock
from restsock.auth import Bearer
from restsock.hub import Config, ConfigError, Hub, Tokens, load
from tests.hub.helpers import Load, admin_of, config_for, peer_of
from tests.ports import free_port

TO_PEER = {"Restsock-Peer": "edge-1"}


def rewrite(folder: Path, toml: str) -> None:
    (folder / "hub.toml").write_text(toml, "utf-8")


async def test_no_request_is_lost_by_reloads_under_load(tmp_path: Path) -> None:
    async with Hub(config_for(tmp_path)) as hub, peer_of(hub):
        (connection,) = hub.server.connections
        async with Load(hub.ingress_url).running() as load:
            for number in range(10):
                rewrite(tmp_path, f'[ingress]\nmax_in_flight = {100 + number}\nrate = "9999/s"')
                assert await hub.reload() == []
                await load.more(5)
        assert set(load.statuses) == {200}
        assert hub.config.ingress.max_in_flight == 109
        assert hub.reloads == 10
        assert list(hub.server.connections) == [connection]


@pytest.mark.covers("ingress.access")
async def test_routes_and_access_change_for_connections_that_are_open(tmp_path: Path) -> None:
    _, value = Tokens(tmp_path / "partners.json").new("acme")
    async with Hub(config_for(tmp_path)) as hub, peer_of(hub):
        async with httpx.AsyncClient() as web:
            assert (await web.get(hub.ingress_url, headers=TO_PEER)).status_code == 200
            host = {"host": "api.example"}
            assert (await web.get(hub.ingress_url, headers=host)).status_code == 404
            rewrite(
                tmp_path,
                '[[route]]\nhost = "api.example"\npeer = "edge-1"\n'
                '[ingress]\naccess = "partners"\n[access.partners]\nbearer = "partners.json"',
            )
            assert await hub.reload() == []
            assert (await web.get(hub.ingress_url, headers=TO_PEER)).status_code == 401
            assert (await web.get(hub.ingress_url, headers=host)).status_code == 401
            fields = {**host, "Authorization": f"Bearer {value}"}
            assert (await web.get(hub.ingress_url, headers=fields)).status_code == 200
            rewrite(tmp_path, "")
            await hub.reload()
            assert (await web.get(hub.ingress_url, headers=host)).status_code == 404


@pytest.mark.parametrize(
    ("toml", "key"),
    [
        ("[peers]\nlissten = 'x'", "peers.lissten"),
        ("[ingress]\naccess = 'nobody'", "ingress.access"),
        ("[[route]]\nhost = 'x.example'\npeer = ''", "route[0]"),
        ("[tls]\ncertificate = 'missing.pem'", "tls"),
        ("nonsense", ""),
        ("[peers]\ntokens = '~nobody-of-this-name/x'", "peers.tokens"),
        ("[ingress]\ntimeout = -1", "ingress"),
        ("[[route]]\nhost = 'x'\npeer = 'a'\n[[route]]\nhost = 'X'\npeer = 'b'", "ingress"),
    ],
)
async def test_a_wrong_file_changes_nothing(tmp_path: Path, toml: str, key: str) -> None:
    async with Hub(config_for(tmp_path)) as hub, peer_of(hub), admin_of(hub) as admin:
        before = hub.config
        rewrite(tmp_path, toml)
        with pytest.raises(ConfigError) as caught:
            await hub.reload()
        assert caught.value.key == key
        assert hub.config is before
        assert hub.reloads == 0
        answer = await admin.post("/api/v1/config/reload", json={})
        assert answer.status_code == 409
        checked = (await admin.post("/api/v1/config/check", json={})).json()
        assert (checked["ok"], checked["key"]) == (False, key or None)
        async with httpx.AsyncClient(headers=TO_PEER) as web:
            assert (await web.get(hub.ingress_url)).status_code == 200


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there are no such signals here")
async def test_no_reload_ends_a_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even one that fails in a way that nobody has thought of."""
    failed, done = trio.Event(), trio.Event()
    reload = Hub._reload

    async def failing_once(self: Hub, config: Config | None) -> list[str]:
        if not failed.is_set():
            failed.set()
            raise RuntimeError("a bug")
        needed = await reload(self, config)
        done.set()
        return needed

    monkeypatch.setattr(Hub, "_reload", failing_once)
    async with Hub(config_for(tmp_path)) as hub, trio.open_nursery() as nursery:
        nursery.start_soon(hub.reload_on_signal)
        await trio.testing.wait_all_tasks_blocked()
        for event in (failed, done):
            os.kill(os.getpid(), signal.SIGHUP)
            with trio.fail_after(10):
                await event.wait()
            await trio.testing.wait_all_tasks_blocked()  # nobody would get the next one now
        nursery.cancel_scope.cancel()
    assert "unforeseen" in caplog.text


async def test_what_needs_a_restart_is_named(tmp_path: Path) -> None:
    async with Hub(config_for(tmp_path)) as hub, admin_of(hub) as admin:
        toml = (
            '[hub]\nname = "other"\ngrace = "1s"\n[peers]\nnames = "share"\n'
            "[sockets]\nbacklog = 5\nno_delay = false\n[log]\nlevel = 'error'"
        )
        needed = ["hub.name", "peers.names", "sockets.backlog"]
        checked = (await admin.post("/api/v1/config/check", json={"text": toml})).json()
        assert checked["restart_needed"] == needed
        assert hub.config.hub.name == "hub"
        rewrite(tmp_path, toml)
        answer = (await admin.post("/api/v1/config/reload", json={})).json()
        assert answer == {"restart_needed": needed}
        assert await hub.reload() == needed  # it is still so
        assert hub.config.options.timeouts.grace == 1
        rewrite(tmp_path, "")
        assert await hub.reload() == []


async def test_tokens_of_another_file_end_those_that_it_lacks(tmp_path: Path) -> None:
    """And leave those that both files have."""
    both = Tokens(tmp_path / "old.json")
    _, stays = both.new("stays")
    (tmp_path / "new.json").write_bytes((tmp_path / "old.json").read_bytes())
    _, goes = both.new("goes")
    async with Hub(config_for(tmp_path, '[peers]\ntokens = "old.json"')) as hub:
        async with (
            peer_of(hub, "stays", auth=Bearer(stays)) as first,
            peer_of(hub, "goes", auth=Bearer(goes)) as second,
        ):
            kept = hub.server.connections.by_name("stays")
            rewrite(tmp_path, '[peers]\ntokens = "new.json"')
            assert await hub.reload() == []
            assert "401" in (await second.wait_closed()).reason
            assert hub.server.connections.by_name("stays") is kept
            assert not first.closed


def certificates(folder: Path) -> None:
    """Makes `old.pem` and `new.pem`, each with the CA that has signed it."""
    for name in ("old", "new"):
        ca = trustme.CA()
        leaf = ca.issue_cert("127.0.0.1", "localhost")
        leaf.private_key_and_cert_chain_pem.write_to_path(folder / f"{name}.pem")
        ca.cert_pem.write_to_path(folder / f"{name}-ca.pem")


async def can_dial(hub: Hub, ca: Path) -> bool:
    """Whether the certificate that peers get to see is one of this CA."""
    with contextlib.suppress(restsock.HandshakeError):
        async with peer_of(hub, tls=restsock.tls.client(ca=ca)):
            return True
    return False


async def test_certificates_of_other_files_are_used(tmp_path: Path) -> None:
    certificates(tmp_path)
    toml = '[tls]\ncertificate = "{}.pem"'
    async with Hub(config_for(tmp_path, toml.format("old"))) as hub:
        assert hub.peers_url.startswith("wss:")
        assert hub.ingress_url.startswith("https:")
        assert hub.admin_url.startswith("http:")  # on loopback
        assert await can_dial(hub, tmp_path / "old-ca.pem")
        rewrite(tmp_path, toml.format("new"))
        assert await hub.reload() == []
        assert await can_dial(hub, tmp_path / "new-ca.pem")
        assert not await can_dial(hub, tmp_path / "old-ca.pem")


async def test_a_certificate_for_one_listener_does_not_get_to_another(tmp_path: Path) -> None:
    """Listeners without a table of their own share that of [tls]."""
    certificates(tmp_path)
    toml = '[tls]\ncertificate = "old.pem"\n[ingress]\nlisten = "127.0.0.1:0"\n'
    async with Hub(config_for(tmp_path, toml)) as hub:
        rewrite(tmp_path, toml + '[ingress.tls]\ncertificate = "new.pem"')
        assert await hub.reload() == ["ingress.tls"]
        assert await can_dial(hub, tmp_path / "old-ca.pem")


async def test_a_configuration_of_its_own_takes_the_place_of_the_file(tmp_path: Path) -> None:
    async with Hub(config_for(tmp_path)) as hub:
        other = config_for(tmp_path, ingress__max_in_flight=3)
        assert await hub.reload(other) == []
        assert hub.config is other


# --- limits, and where it listens -------------------------------------------------------------


async def test_limits_are_those_of_the_file_for_connections_to_come(tmp_path: Path) -> None:
    async with Hub(config_for(tmp_path)) as hub, peer_of(hub, "old") as old:
        rewrite(
            tmp_path,
            "[limits]\nmax_streams = 5\nmax_connections = 2\nmax_body = 1000\n"
            "[timeouts]\nhandshake = 3\n[heartbeat]\ninterval = 7\n[sockets]\nno_delay = false",
        )
        assert await hub.reload() == []
        async with peer_of(hub) as new:
            for client, streams in ((old, 128), (new, 5)):
                assert client.connection is not None
                told = client.connection.multiplexer.peer
                assert told.max_streams == streams
            assert told.heartbeat_interval == 7
            with pytest.raises(restsock.HandshakeError, match="503"):
                async with peer_of(hub, "third", backoff=restsock.Backoff(tries=1)):
                    pass
            async with httpx.AsyncClient(headers=TO_PEER) as web:
                answer = await web.post(hub.ingress_url, content=b"x" * 2000)
                assert answer.status_code == 413
        assert not old.closed


LISTEN = '[peers]\nlisten = "127.0.0.1:{}"\n[admin]\nlisten = "127.0.0.1:{}"\n'
INGRESS = '[ingress]\nlisten = "127.0.0.1:{}"\n'


def config_at(folder: Path, toml: str) -> Config:
    """A configuration whose addresses are those of its file."""
    rewrite(folder, toml)
    return load(folder / "hub.toml", {"hub.state": str(folder / "state")})


def free_ports(number: int) -> list[int]:
    """Ports that nobody listens on."""
    return [free_port() for _ in range(number)]


@pytest.mark.covers("peers.listen")
@pytest.mark.parametrize("toml", [LISTEN, LISTEN + INGRESS], ids=["shared", "apart"])
async def test_listeners_move_under_load(tmp_path: Path, toml: str) -> None:
    """New ones are bound before the old ones go, and nothing that is connected notices."""
    *begun, peers, at_admin, own = free_ports(6)
    config = config_at(tmp_path, toml.format(*begun))
    async with Hub(config) as hub, peer_of(hub) as client, admin_of(hub) as admin:
        before = hub.peers_url, hub.ingress_url, hub.admin_url
        ingress = own if toml != LISTEN else peers
        async with Load(hub.ingress_url).running() as load:
            await load.more(10)
            rewrite(tmp_path, toml.format(peers, at_admin, own))
            # By the API whose own listener moves: the answer comes on the connection that is open.
            answer = await admin.post("/api/v1/config/reload", json={})
            assert answer.json() == {"restart_needed": []}
            await load.more(10)
        assert set(load.statuses) == {200}
        assert hub.peers_url == f"ws://127.0.0.1:{peers}/"
        assert hub.admin_url == f"http://127.0.0.1:{at_admin}/"
        assert hub.ingress_url == f"http://127.0.0.1:{ingress}/"
        async with httpx.AsyncClient() as web:
            for url in before:
                with pytest.raises(httpx.ConnectError):
                    await web.get(url.replace("ws:", "http:"))
        async with peer_of(hub, "edge-2") as late, admin_of(hub) as again:
            assert late.urls[0] == f"http://edge-2.localhost:{ingress}/"
            assert (await again.get("/api/v1/status")).json()["peers_url"] == hub.peers_url
        assert not client.closed
        assert await hub.reload() == []  # it is where it is to be


async def test_an_address_that_is_taken_changes_nothing(tmp_path: Path) -> None:
    async with Hub(config_at(tmp_path, LISTEN.format(0, 0))) as hub:
        before = hub.config, hub.peers_url, hub.admin_url
        (free,) = free_ports(1)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            rewrite(tmp_path, LISTEN.format(free, taken.getsockname()[1]))
            with pytest.raises(OSError, match="cannot listen"):
                await hub.reload()
        assert (hub.config, hub.peers_url, hub.admin_url) == before
        socket.create_server(("127.0.0.1", free)).close()  # nor is anything left open


@pytest.mark.parametrize(
    ("key", "listen"),
    [
        ("ingress__listen", "127.0.0.1:{free}"),  # it had none of its own
        ("peers__listen", "127.0.0.2:{peers}"),  # it has that port already
        ("admin__listen", "127.0.0.1:{peers}"),
        ("peers__listen", ":{free}"),  # others could reach it
    ],
)
async def test_listeners_that_stay_until_a_restart(tmp_path: Path, key: str, listen: str) -> None:
    """And the rules stay those of the address that there is."""
    async with Hub(config_for(tmp_path)) as hub, peer_of(hub):
        before = hub.peers_url, hub.admin_url
        address = listen.format(free=free_ports(1)[0], peers=hub.server.address[1])
        toml = "[peers]\npublic = true\n[ingress]\npublic = true"
        other = config_for(tmp_path, toml, **{key: address})
        assert await hub.reload(other) == [key.replace("__", ".")]
        assert (hub.peers_url, hub.admin_url) == before
        async with httpx.AsyncClient(headers=TO_PEER) as web:
            assert (await web.get(hub.ingress_url)).status_code == 200


@pytest.mark.skipif(sys.platform != "linux", reason="others have one address on loopback")
async def test_the_admin_api_knows_the_host_that_it_has_until_then(tmp_path: Path) -> None:
    async with Hub(config_for(tmp_path, admin__listen="127.0.0.2:0")) as hub:
        other = config_for(tmp_path, admin__listen="0.0.0.0:0")
        assert await hub.reload(other) == ["admin.listen"]
        async with admin_of(hub) as admin:
            assert (await admin.get("/api/v1/status")).status_code == 200


async def test_an_address_is_checked_before_anything_changes(tmp_path: Path) -> None:
    async with Hub(config_for(tmp_path)) as hub:
        rewrite(tmp_path, '[ingress]\nlisten = "nonsense"\n')
        with pytest.raises(ConfigError, match="not an address"):
            await hub.reload()


async def test_there_is_no_reload_at_the_end(tmp_path: Path) -> None:
    async with Hub(config_for(tmp_path)) as hub:
        await hub.aclose(grace=0)
        with pytest.raises(ConfigError, match="about to end"):
            await hub.reload()
