"""The admin API: each operation of its document, and what each route refuses."""

from __future__ import annotations

import logging
from pathlib import Path

import httpx
import pytest
import trio

from restsock.hub import Hub, Tokens
from restsock.hub.admin import DOCUMENT, OPERATIONS
from tests.hub.helpers import (
    OPEN,
    SPEC,
    admin_of,
    admin_token_of,
    config_for,
    events_of,
    peer_of,
    request_of,
)


def test_the_document_is_right_and_each_operation_has_a_function() -> None:
    assert {operation.id for operation in SPEC.operations} == {*OPERATIONS, "getDocument"}
    published = Path(__file__).parents[2] / "spec" / "hub.yaml"
    assert published.read_bytes() == DOCUMENT.read_bytes()


@pytest.mark.covers("admin.tokens")
async def test_scopes(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "admin.json")
    _, reader = tokens.new("reader", scopes=["read"])
    _, nobody = tokens.new("nobody")
    _, writer = tokens.new("writer", scopes=["read", "write"])
    config = config_for(tmp_path, '[admin]\ntokens = "admin.json"')
    async with Hub(config) as hub, httpx.AsyncClient(base_url=hub.admin_url) as web:
        assert not (tmp_path / "state").exists()  # no other token is made
        for operation in SPEC.operations:
            if operation.id in OPEN or operation.id == "streamRequests":
                continue
            security = operation.mapping.get("security", [{"bearer": ["read"]}])
            for token, scopes in ((reader, ["read"]), (nobody, []), (writer, ["read", "write"])):
                answer = await web.request(**request_of(operation, authorization=f"Bearer {token}"))
                allowed = security[0]["bearer"][0] in scopes
                assert (answer.status_code != 403) is allowed, (operation, scopes)
                assert answer.status_code != 401


async def test_writes_are_logged_with_who_made_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "restsock")
    async with Hub(config_for(tmp_path)) as hub, admin_of(hub) as admin:
        await admin.get("/api/v1/status")
        await admin.post("/api/v1/config/reload", json={})
        async with httpx.AsyncClient(base_url=hub.admin_url) as stranger:
            await stranger.post("/api/v1/config/reload", json={})
        token = admin_token_of(hub)
    audit = [r.getMessage() for r in caplog.records if r.name == "restsock.hub.audit"]
    assert audit == ["'admin': POST /api/v1/config/reload"]
    refused = [r.getMessage() for r in caplog.records if r.name == "restsock.hub.admin"]
    assert any("refused with 401: 127.0.0.1" in line for line in refused)
    assert token not in caplog.text


async def test_peers(tmp_path: Path) -> None:
    async with Hub(config_for(tmp_path)) as hub, admin_of(hub) as admin:
        async with peer_of(hub, "edge-1", metadata={"a": 1}), peer_of(hub, "other"):
            found = (await admin.get("/api/v1/peers?name=edge-*")).json()
            assert found["next"] is None
            (peer,) = found["items"]
            assert (peer["name"], peer["state"], peer["in_flight"]) == ("edge-1", "open", 0)
            assert peer["url"] == hub.url_for("edge-1")
            assert peer["age"] >= 0
            detail = (await admin.get(f"/api/v1/peers/{peer['id']}")).json()
            assert detail["metadata"] == {"a": 1}
            assert (await admin.get("/api/v1/peers/none")).status_code == 404
            first = (await admin.get("/api/v1/peers?limit=1")).json()
            second = (await admin.get(f"/api/v1/peers?limit=1&cursor={first['next']}")).json()
            assert second["next"] is None
            names = {page["items"][0]["name"] for page in (first, second)}
            assert names == {"edge-1", "other"}
            for wrong in ("limit=201", "limit=0", "limit=x", "state=odd"):
                assert (await admin.get(f"/api/v1/peers?{wrong}")).status_code == 400


async def test_a_peer_is_closed_for_good_or_until_it_dials_again(tmp_path: Path) -> None:
    async with Hub(config_for(tmp_path)) as hub, admin_of(hub) as admin:
        async with peer_of(hub) as client, hub.server.events() as events:

            async def next_id() -> str:
                async for event in events:
                    if event.type == "ConnectionReceived":
                        return event.connection_id
                raise AssertionError

            async def id_of() -> str:
                items = (await admin.get("/api/v1/peers?state=open")).json()["items"]
                return str(items[0]["id"])

            answer = await admin.delete(f"/api/v1/peers/{await id_of()}?reconnect=true")
            assert answer.status_code == 204
            again = await next_id()
            answer = await admin.post(f"/api/v1/peers/{again}/drain", json={})
            assert answer.status_code == 202
            third = await next_id()
            assert (await admin.delete(f"/api/v1/peers/{third}")).status_code == 204
            await client.wait_closed()


async def test_names_and_requests(tmp_path: Path) -> None:
    async with Hub(config_for(tmp_path)) as hub, admin_of(hub) as admin, peer_of(hub):
        async with httpx.AsyncClient() as web:
            to_peer = {"Restsock-Peer": "edge-1"}
            for number in range(3):
                url = f"{hub.ingress_url}{number}?secret=1"
                assert (await web.get(url, headers=to_peer)).status_code == 200
            nobody = {"Restsock-Peer": "<img/onerror=1>"}
            await web.get(hub.ingress_url, headers=nobody)
        name = (await admin.get("/api/v1/names/edge-1")).json()
        assert name["connected"]
        assert name["ingress"]["requests"] == 3
        assert name["ingress"]["by_class"] == {"2xx": 3}
        assert (await admin.get("/api/v1/names/edge-7")).status_code == 404
        assert set(hub.passed.by_name) == {"edge-1"}  # not what strangers make up
        found = (await admin.get("/api/v1/requests?name=edge-1&limit=2")).json()
        assert [each["target"] for each in found["items"]] == ["/2", "/1"]
        rest = (await admin.get(f"/api/v1/requests?name=edge-1&cursor={found['next']}")).json()
        assert [each["target"] for each in rest["items"]] == ["/0"]
        failed = (await admin.get("/api/v1/requests?status=4xx")).json()["items"]
        assert [each["status"] for each in failed] == [404]
        assert "secret" not in (await admin.get("/api/v1/requests")).text
        for cursor in ("x", "9" * 100, "-1", "-" + "9" * 120, "a-٣"):
            answer = await admin.get("/api/v1/requests", params={"cursor": cursor})
            assert answer.status_code == 200


async def test_no_request_is_remembered_at_length(tmp_path: Path) -> None:
    async with Hub(config_for(tmp_path)) as hub, peer_of(hub), httpx.AsyncClient() as web:
        to_peer = {"Restsock-Peer": "edge-1"}
        await web.get(f"{hub.ingress_url}{'a' * 50_000}", headers=to_peer)
        await web.request("M" * 50_000, hub.ingress_url, headers=to_peer)
        for record in hub.passed:
            assert record.value.status == 200
            assert len(record.value.target) + len(record.value.method) <= 2000


async def test_events_are_listed_and_streamed(tmp_path: Path) -> None:
    async with Hub(config_for(tmp_path)) as hub, admin_of(hub) as admin:
        async with peer_of(hub):
            listed = (await admin.get("/api/v1/events")).json()
            assert [each["type"] for each in listed["items"]] == ["ConnectionReceived"]
        async with events_of(hub, "/api/v1/events", listed["latest"]) as events:
            event = await anext(events)
        assert (event["type"], event["name"]) == ("ConnectionClosed", "edge-1")
        later = (await admin.get(f"/api/v1/events?after={listed['latest']}")).json()
        assert [each["type"] for each in later["items"]] == ["ConnectionClosed"]


async def test_requests_are_streamed_as_they_end(tmp_path: Path) -> None:
    async with Hub(config_for(tmp_path)) as hub, peer_of(hub), httpx.AsyncClient() as web:
        async with events_of(hub, "/api/v1/requests/stream") as events:
            await web.get(hub.ingress_url + "x", headers={"Restsock-Peer": "edge-1"})
            assert (await anext(events))["target"] == "/x"


async def test_a_stream_ends_when_its_token_is_revoked(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "admin.json")
    gone, value = tokens.new("gone", scopes=["read"])
    async with Hub(config_for(tmp_path, '[admin]\ntokens = "admin.json"')) as hub, peer_of(hub):
        async with (
            events_of(hub, "/api/v1/requests/stream", token=value) as events,
            admin_of(hub, value) as admin,
            httpx.AsyncClient(headers={"Restsock-Peer": "edge-1"}) as web,
        ):
            await web.get(hub.ingress_url)
            assert (await anext(events))["status"] == 200
            assert tokens.revoke(gone.id)
            while (await admin.get("/api/v1/status")).status_code == 200:
                pass  # within a second
            await web.get(hub.ingress_url)
            assert [event async for event in events] == []


async def test_streams_end_when_the_hub_closes(tmp_path: Path) -> None:
    async with Hub(config_for(tmp_path)) as hub, trio.open_nursery() as nursery:
        async with events_of(hub, "/api/v1/requests/stream") as events:
            nursery.start_soon(hub.aclose)
            assert [event async for event in events] == []


async def test_routes_and_what_becomes_of_a_request(tmp_path: Path) -> None:
    toml = """
    [[route]]
    host = "api.example"
    path = "/v1"
    peer = "edge-1"
    strip = true
    [[route]]
    host = "hooks.example"
    peer = "edge-1"
    webhook = { scheme = "github", secret_file = "secret" }
    [ingress]
    access = "lan"
    [access.lan]
    cidr = "127.0.0.0/8"
    """
    (tmp_path / "secret").write_text("s3cr3t")
    async with Hub(config_for(tmp_path, toml)) as hub, admin_of(hub) as admin, peer_of(hub):
        routes = (await admin.get("/api/v1/routes")).json()
        assert routes["domains"] == ["localhost"]
        assert [(each["host"], each["access"]) for each in routes["routes"]] == [
            ("api.example", "lan"),
            ("hooks.example", None),
        ]
        explain = "/api/v1/routes/explain"
        found = (await admin.post(explain, json={"url": "http://api.example/v1/x?y"})).json()
        assert (found["name"], found["target"], found["connected"]) == ("edge-1", "/x?y", True)
        found = (await admin.post(explain, json={"url": "http://evil.example/"})).json()
        assert found["name"] is None
        for wrong in ("http://[::1/", "http://a\u2028b/", "http://é.example/"):
            answer = await admin.post(explain, json={"url": wrong})
            assert answer.status_code in (200, 400)


async def test_tokens(tmp_path: Path) -> None:
    Tokens(tmp_path / "peers.json").new("first")
    config = config_for(tmp_path, '[peers]\ntokens = "peers.json"')
    async with Hub(config) as hub, admin_of(hub) as admin:
        made = await admin.post(
            "/api/v1/tokens", json={"kind": "peer", "name": "edge-1", "may_register": ["edge-*"]}
        )
        assert made.status_code == 201
        token = made.json()
        listed = await admin.get("/api/v1/tokens?kind=peer")
        assert token["token"] not in listed.text
        assert token["token"] not in (tmp_path / "peers.json").read_text()
        assert {each["name"] for each in listed.json()["items"]} == {"first", "edge-1"}
        none = await admin.post("/api/v1/tokens", json={"kind": "admin", "name": "x"})
        assert none.status_code == 409
        wrong = {"kind": "peer", "name": "x", "scopes": ["read"]}
        assert (await admin.post("/api/v1/tokens", json=wrong)).status_code == 400
        assert (await admin.delete(f"/api/v1/tokens/{token['id']}")).status_code == 204
        assert (await admin.delete(f"/api/v1/tokens/{token['id']}")).status_code == 404


@pytest.mark.covers("admin.metrics")
async def test_metrics_and_readiness(tmp_path: Path) -> None:
    config = config_for(tmp_path, '[admin]\nmetrics = "open"')
    async with Hub(config) as hub, httpx.AsyncClient(base_url=hub.admin_url) as web:
        metrics = (await web.get("/metrics")).text
        assert "restsock_connections 0" in metrics
        prometheus = pytest.importorskip("prometheus_client.parser")
        names = {each.name for each in prometheus.text_string_to_metric_families(metrics)}
        assert "restsock_hub_uptime_seconds" in names
        assert "restsock_http_clients 0" in metrics  # those of the ingress, not of this API
        for _ in range(2):
            await web.get(hub.ingress_url)
        metrics = (await web.get("/metrics")).text
        assert "restsock_http_clients 1" in metrics
        assert "restsock_http_clients_opened_total 1" in metrics
        assert 'restsock_http_requests_total{outcome="answered"} 2' in metrics
        assert (await web.get("/readyz")).status_code == 200
        assert (await web.get("/api/v1/status")).status_code == 401


async def test_head_and_unknown_paths(tmp_path: Path) -> None:
    async with Hub(config_for(tmp_path)) as hub, admin_of(hub) as admin:
        assert (await admin.head("/api/v1/status")).status_code == 200
        assert (await admin.get("/api/v1/nothing")).status_code == 404
        assert (await admin.put("/api/v1/status", json={})).status_code == 405
        json_type = {"content-type": "application/json"}
        options = await admin.options("/api/v1/status", headers=json_type)
        assert options.status_code == 405
        upgrade = {"connection": "upgrade", "upgrade": "websocket"}
        assert (await admin.get("/api/v1/status", headers=upgrade)).status_code == 400
        document = (await admin.get("/openapi.json")).json()
        assert document["info"]["title"] == SPEC.title


async def test_an_address_is_no_name_that_could_be_pointed_here(tmp_path: Path) -> None:
    """So health checks and Prometheus need no entry in `admin.hosts`."""
    async with Hub(config_for(tmp_path)) as hub, admin_of(hub) as admin:
        for host in ("192.0.2.1:4480", "[2001:db8::1]:4480", "[::1]", "localhost."):
            answer = await admin.get("/readyz", headers={"host": host})
            assert answer.status_code == 200, host
