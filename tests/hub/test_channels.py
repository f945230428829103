"""`[[channel]]`: a hub that has a gateway beside its peers and its ingress, on one port."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

import restsock
from restsock import WebSocketRefused
from restsock.auth import Bearer
from restsock.hub import ConfigError, Hub, Tokens, check, load
from restsock.hub._access import AccessRules
from restsock.hub._channels import Channels
from restsock.websockets import connect
from tests.gateway.site import Client
from tests.hub.helpers import admin_of, config_for, peer_of

PETS = {
    "openapi": "3.1.0",
    "info": {"title": "Pets", "version": "1"},
    "paths": {
        "/pets/{petId}": {
            "get": {
                "operationId": "getPet",
                "parameters": [
                    {"name": "petId", "in": "path", "required": True, "schema": {"type": "integer"}}
                ],
                "responses": {
                    "200": {
                        "description": "it",
                        "content": {"application/json": {"schema": {"type": "object"}}},
                    }
                },
            }
        }
    },
}


TEXT = [("Content-Type", "text/plain")]


async def tell(request: restsock.Request) -> restsock.Response:
    """An app that says what it was asked."""
    return restsock.Response(200, TEXT, f"{request.method} {request.target}")


def url_at(hub: Hub, path: str = "/ws") -> str:
    return "ws" + hub.ingress_url.removeprefix("http").rstrip("/") + path


@asynccontextmanager
async def client_of(hub: Hub, path: str = "/ws", **options: Any) -> AsyncIterator[Client]:
    async with connect(url_at(hub, path), proxy=False, **options) as websocket:
        yield Client(websocket)


def channel(routes: str, more: str = "") -> str:
    return f'[[channel]]\npath = "/ws"\n{more}\n[channel.routes]\n{routes}\n'


async def ask(client: Client, action: str = "x", **body: Any) -> Any:
    return await client.ask({"action": action, "id": 1, **body})


@pytest.mark.covers("channel.path", "channel.routes.peer", "channel.routes.path")
async def test_peers_ingress_and_channels_share_a_port(tmp_path: Path) -> None:
    toml = channel('"pets.*" = { peer = "edge-1", path = "/pets/{body[pet]}", method = "GET" }')
    async with Hub(config_for(tmp_path, toml)) as hub, peer_of(hub, app=tell):
        async with client_of(hub) as client, httpx.AsyncClient() as web:
            answer = await client.ask({"action": "pets.find", "id": 1})
            assert answer["status"] == 422  # there is no pet in the body
            answer = await client.ask({"action": "pets.find", "id": 2, "pet": 7})
            assert answer["body"] == "GET /pets/7"
            at_ingress = await web.get(hub.ingress_url, headers={"Restsock-Peer": "edge-1"})
            assert at_ingress.text == "GET /"
            assert (await ask(client, "other"))["status"] == 404
        assert hub.url_for("edge-1") is not None


async def test_a_path_of_a_peer_is_the_peers_at_its_own_host(tmp_path: Path) -> None:
    toml = channel('default = { peer = "edge-1" }')
    async with Hub(config_for(tmp_path, toml)) as hub, peer_of(hub):
        async with httpx.AsyncClient() as web:
            port = httpx.URL(hub.ingress_url).port
            host = {"Host": f"edge-1.localhost:{port}"}
            answer = await web.get(f"{hub.ingress_url}ws", headers=host)
            assert (answer.status_code, answer.text) == (200, "GET /ws")
            assert (await web.get(f"{hub.ingress_url}ws")).status_code == 426


async def test_operations_of_a_document_at_a_peer(tmp_path: Path) -> None:
    (tmp_path / "pets.json").write_text(json.dumps(PETS))

    async def app(request: restsock.Request) -> restsock.Response:
        return restsock.Response(
            200, [("Content-Type", "application/json")], json.dumps({"at": request.target})
        )

    toml = channel('"pets.*" = { operations = "pets.json", to = "peer:edge-1", prefix = "pets." }')
    async with Hub(config_for(tmp_path, toml)) as hub, peer_of(hub, app=app):
        async with client_of(hub) as client:
            answer = await client.ask({"action": "pets.getPet", "id": "a", "petId": "x"})
            assert answer["status"] == 422
            answer = await client.ask({"action": "pets.getPet", "id": "b", "petId": 7})
            assert (answer["status"], answer["body"]) == (200, {"at": "/pets/7"})


async def test_routes_change_and_sessions_stay(tmp_path: Path) -> None:
    first = channel('"x" = { peer = "edge-1" }\n"y" = { peer = "edge-1", breaker = {} }')
    async with Hub(config_for(tmp_path, first)) as hub, peer_of(hub, app=tell):
        async with client_of(hub) as client:
            assert (await ask(client))["body"] == "POST /"
            kept = hub.gateway.channels["/ws"].router.routes["y"]  # type: ignore[attr-defined]
            second = channel(
                '"x" = { peer = "edge-1", path = "/second" }\n'
                '"y" = { peer = "edge-1", breaker = {} }'
            )
            (tmp_path / "hub.toml").write_text(second)
            assert await hub.reload() == []
            assert (await ask(client))["body"] == "POST /second"
            # A route that says the same is the same: its circuit and its connections go on.
            assert hub.gateway.channels["/ws"].router.routes["y"] is kept  # type: ignore[attr-defined]
            before = hub.gateway.channels["/ws"]
            await hub.reload()
            assert hub.gateway.channels["/ws"] is before


async def test_a_wrong_file_changes_no_channel(tmp_path: Path) -> None:
    async with Hub(config_for(tmp_path, channel('"x" = { peer = "edge-1" }'))) as hub:
        async with peer_of(hub), client_of(hub) as client:
            (tmp_path / "hub.toml").write_text(channel('"x" = { peeer = "edge-1" }'))
            with pytest.raises(ConfigError, match=r"channel\[0\].routes.x.peeer: .*peer"):
                await hub.reload()
            assert (await ask(client))["status"] == 200


async def test_channels_come_and_go_with_a_reload(tmp_path: Path) -> None:
    async with Hub(config_for(tmp_path)) as hub, peer_of(hub):
        with pytest.raises(WebSocketRefused):
            async with client_of(hub):
                pass
        (tmp_path / "hub.toml").write_text(channel('"x" = { peer = "edge-1" }'))
        assert await hub.reload() == []
        async with client_of(hub) as client:
            assert (await ask(client))["status"] == 200
            (tmp_path / "hub.toml").write_text("")
            assert await hub.reload() == []
            ended = await client.end()
            assert (ended.code, ended.reason) == (1012, "this channel is gone")


async def test_no_socket_is_lost_by_reloads_under_load(tmp_path: Path) -> None:
    answered = 0

    async def load_it(client: Client) -> None:
        nonlocal answered
        for _ in range(40):
            assert (await ask(client))["status"] == 200
            answered += 1

    async with Hub(config_for(tmp_path, channel('"x" = { peer = "edge-1" }'))) as hub:
        async with peer_of(hub), client_of(hub) as one, client_of(hub) as two:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(load_it, one)
                nursery.start_soon(load_it, two)
                for number in range(10):
                    toml = channel(f'"x" = {{ peer = "edge-1", path = "/{number}" }}')
                    (tmp_path / "hub.toml").write_text(toml)
                    await hub.reload()
    assert answered == 80


@pytest.mark.covers("channel.access")
async def test_access_tells_who_may_connect(tmp_path: Path) -> None:
    _, value = Tokens(tmp_path / "partners.json").new("acme")
    toml = channel(
        'default = { peer = "edge-1", tell = { X-User = "principal" } }', 'access = "partners"'
    )
    toml += '[access.partners]\nbearer = "partners.json"'

    async def app(request: restsock.Request) -> restsock.Response:
        return restsock.Response(200, TEXT, dict(request.headers)[b"X-User"])

    async with Hub(config_for(tmp_path, toml)) as hub, peer_of(hub, app=app):
        with pytest.raises(WebSocketRefused, match="401"):
            async with client_of(hub):
                pass
        async with client_of(hub, auth=Bearer(value)) as client:
            assert (await ask(client))["body"] == "acme"
            await hub.reload()
            assert (await ask(client))["body"] == "acme"


@pytest.mark.covers("channel.public")
def test_in_public_somebody_has_to_say_who_may_connect(tmp_path: Path) -> None:
    public = '[peers]\nlisten = "0.0.0.0:0"\npublic = true\n[ingress]\npublic = true\n'
    path = tmp_path / "hub.toml"
    path.write_text(public + channel('default = { peer = "x" }'))
    with pytest.raises(ConfigError, match=r"channel\[0\].access: everybody could connect"):
        check(load(path))
    path.write_text(public + channel('default = { peer = "x" }', "public = true"))
    config = load(path)
    check(config)
    from tests.covered import note_config

    note_config(config)


@pytest.mark.covers("peers.enabled", "ingress.enabled", "admin.enabled", "hub.listen")
async def test_what_is_off_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "here.py").write_text("async def app(request):\n    raise NotImplementedError\n")
    off = "".join(f"[{part}]\nenabled = false\n" for part in ("peers", "ingress", "admin"))
    toml = f'[hub]\nlisten = "127.0.0.1:0"\n{off}' + channel(
        'default = { http = "http://[::1]:1" }'
    )
    path = tmp_path / "hub.toml"
    path.write_text(toml)
    async with Hub(load(path, {"hub.state": str(tmp_path / "state")})) as hub:
        assert hub.admin_url == ""
        assert not (tmp_path / "state").exists()  # it needs no token
        async with httpx.AsyncClient() as web:
            headers = {"Restsock-Peer": "edge-1"}
            assert (await web.get(hub.ingress_url, headers=headers)).status_code == 404
        with pytest.raises(restsock.RestsockError):
            async with restsock.connect(
                url_at(hub, "/"), backoff=restsock.Backoff(tries=1)
            ) as peer:
                await peer.wait_connected()
        async with client_of(hub) as client:
            assert (await ask(client))["status"] == 502


def test_a_gateway_alone_has_what_its_file_names(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(channel('default = { peer = "x" }'))
    alone = load(path, alone=True)
    assert not any(part.enabled for part in (alone.peers, alone.ingress, alone.admin))
    assert not alone.read_again().peers.enabled
    path.write_text(channel('default = { peer = "x" }') + "[peers]\n")
    assert load(path, alone=True).peers.enabled
    path.write_text("")
    with pytest.raises(ConfigError, match="channel: there is nothing to serve"):
        check(load(path, alone=True))
    path.write_text('[hub]\nlisten = ":1"\n[peers]\nlisten = ":2"')
    with pytest.raises(ConfigError, match=r"hub.listen: peers.listen says the same"):
        load(path)


@pytest.mark.covers("channel.routes.app")
async def test_an_app_of_the_folder_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "app_of_the_folder.py").write_text(
        "import restsock\n"
        "async def app(request):\n"
        "    return restsock.Response(200, [('Content-Type', 'text/plain')], request.method)\n"
    )
    toml = channel('default = { app = "app_of_the_folder:app", method = "PUT" }')
    async with Hub(config_for(tmp_path, toml)) as hub, client_of(hub) as client:
        assert (await ask(client))["body"] == "PUT"


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        (
            channel("default = {}"),
            r"channel\[0\].routes.default: a route has one of .* here is none",
        ),
        (channel('x = { peer = "a", http = "b" }'), "here is http and peer"),
        (channel('x = { peer = "a", pool = 3 }'), "routes.x.pool: peer has no such option"),
        (channel('x = { http = "ftp://a" }'), "routes.x.http: "),
        (channel('x = { peer = "a", retry = 0 }'), "routes.x.retry: "),
        (channel('x = { peer = "a", retry = { attempt = 1 } }'), "retry.attempt: .*attempts"),
        (channel('x = { operations = "none.yaml" }'), "to has to say what is called"),
        (channel('x = { operations = "none.yaml", to = "peer:a" }'), "routes.x.operations: "),
        (channel('x = { app = "nothing" }'), "is not MODULE:APP"),
        (channel('x = { app = "no_such_module:app" }'), "no_such_module"),
        (channel('x = { balance = ["a"] }'), "is not .peer:NAME"),
        (channel('x = { balance = ["peer:a"], weights = [1, 2] }'), "1 of these, and 2 weights"),
        (
            channel('x = { grip = "http://h/", secret = "word" }'),
            "secret does not stand in the file",
        ),
        (channel('x = { nats = "a b" }'), "routes.x.nats: "),
        (
            channel('x = { rabbitmq = "a", user = "me" }'),
            r"routes\.x\.user: its password is missing",
        ),
        (
            channel('x = { rabbitmq = "a", secret = "${HOME}" }'),
            r"routes\.x\.secret: user is missing",
        ),
        (
            channel('x = { redis = "a", secret = "${HOME}", secret_file = "y" }'),
            "and not both",
        ),
        (
            channel('x = { redis = "a", secret_file = "nowhere" }'),
            r"routes\.x\.secret_file: .*nowhere: no such file",
        ),
        (
            channel('x = { nats = "a", user = "me", secret_file = "nowhere" }'),
            r"routes\.x\.secret_file: .*nowhere: no such file",
        ),
        (
            channel('x = { nats = "a", secret = "${HOME}" }'),
            r"routes\.x\.secret: user is missing",
        ),
        (
            channel('x = { grip = "http://h/", secret_file = "nowhere" }'),
            r"routes\.x\.secret_file: .*nowhere: no such file",
        ),
        (channel('x = { redis = "a", ca = "none.pem" }'), "none.pem: no such file"),
        (channel('"*x" = { peer = "a" }'), r"channel\[0\].routes: "),
        ('[[channel]]\npath = "/ws"\n[channel.routes]', "there is no route"),
        ('[[channel]]\npath = "ws"\n[channel.routes]\nx = { peer = "a" }', "a path begins with /"),
        (channel('x = { peer = "a" }', 'dialect = "raw"\nfield = "y"'), "field is for the dialect"),
        (channel('x = { peer = "a" }', 'access = "nobody"'), r"channel\[0\].access: there is no"),
        (channel('x = { peer = "a" }') * 2, "there is a channel at /ws already"),
        (channel('x = { peer = "a" }', "limits = { in_flight = 0 }"), "in_flight"),
        (channel('x = { peer = "a" }', "[[channel.middleware]]\nrate = { rate = 0 }"), "rate"),
    ],
)
def test_what_is_wrong_is_said_with_its_key(tmp_path: Path, toml: str, words: str) -> None:
    path = tmp_path / "hub.toml"
    path.write_text(toml)
    with pytest.raises(ConfigError, match=words):
        check(load(path))


@pytest.mark.covers("channel.routes.secret")
async def test_secrets_are_shown_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRIP_KEY", "do-not-show-it")
    toml = channel('default = { grip = "http://[::1]:1/", secret = "${GRIP_KEY}" }')
    async with Hub(config_for(tmp_path, toml)) as hub:
        assert "do-not-show-it" not in repr(hub.config)
        assert "do-not-show-it" not in json.dumps(hub.config.shown())
        assert hub.gateway.channels["/ws"].on_connect is not None


def test_redis_has_a_user_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_PASSWORD", "do-not-show-it")
    path = tmp_path / "hub.toml"
    path.write_text(channel('default = { redis = "a", secret = "${REDIS_PASSWORD}" }'))
    made = Channels.of(load(path), AccessRules(load(path)), loopback=True).channels[0]
    auth = made.router.default.backend._auth  # type: ignore[attr-defined]
    assert auth.user_and_password() == ("default", "do-not-show-it")
    assert "do-not-show-it" not in repr(auth) + repr(made.router)


@pytest.mark.parametrize(
    ("route", "missing"), [('redis = "a"', "aio_pika"), ('rabbitmq = "a"', "redis")]
)
def test_a_broker_needs_its_own_client_alone(tmp_path: Path, route: str, missing: str) -> None:
    (tmp_path / "hub.toml").write_text(channel(f"default = {{ {route} }}"))
    program = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        f"from pathlib import Path; from restsock.hub import check, load\n"
        f"check(load(Path({str(tmp_path / 'hub.toml')!r})))"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


async def test_the_admin_port_has_the_management_api(tmp_path: Path) -> None:
    toml = channel('default = { peer = "edge-1", wait = "50ms" }')
    async with Hub(config_for(tmp_path, toml)) as hub:
        async with client_of(hub) as client, admin_of(hub) as admin:
            answer = await admin.post("/gateway/v1/broadcast", json={"message": {"news": 1}})
            assert answer.json()["counts"]["sent"] == 1
            assert await client.hear() == {"news": 1}
            assert (await ask(client))["status"] == 503
            metrics = (await admin.get("/metrics")).text
            assert 'restsock_gateway_sessions{channel="/ws"} 1\n' in metrics
            assert 'restsock_gateway_calls_total{channel="/ws",outcome="server_error"} 1' in metrics
            async with admin_of(hub, "wrong") as stranger:
                assert (await stranger.get("/gateway/v1/connections")).status_code == 401


@pytest.mark.covers("hub.management")
async def test_peers_manage_channels_as_far_as_their_tokens_go(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "tokens.json")
    _, writer = tokens.new("store", scopes=["write"])
    _, nobody = tokens.new("other")
    toml = "[hub]\nmanagement = true\n" + channel('default = { peer = "store" }')
    toml += '[peers]\ntokens = "tokens.json"'
    async with Hub(config_for(tmp_path, toml)) as hub, client_of(hub) as client:
        for token, status in ((nobody, 403), (writer, 200)):
            async with restsock.connect(hub.peers_url, app=tell, auth=Bearer(token)) as peer:
                await peer.wait_connected()
                answer = await peer.request(
                    "POST",
                    "/broadcast",
                    headers=[("Content-Type", "application/json")],
                    body=b'{"message": {"price": 17}}',
                )
                assert answer.status == status
        assert await client.hear() == {"price": 17}


async def test_the_contract_is_beside_the_channel(tmp_path: Path) -> None:
    toml = channel('"x" = { peer = "edge-1" }', "contract = true")
    async with Hub(config_for(tmp_path, toml)) as hub, httpx.AsyncClient() as web:
        document = (await web.get(f"{hub.ingress_url}ws/asyncapi.json")).json()
        assert document["operations"]["x"]["action"] == "receive"
        (tmp_path / "hub.toml").write_text(channel('"x" = { peer = "edge-1" }'))
        assert await hub.reload() == []
        assert (await web.get(f"{hub.ingress_url}ws/asyncapi.json")).status_code == 404
