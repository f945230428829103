"""The management API: over plain HTTP, and from behind NAT over the connection of a peer."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import pytest
import requests
import schemathesis
import trio
from schemathesis.core.failures import FailureGroup

import restsock
from restsock import Principal
from restsock.auth import Bearer, BearerTokens, Upgrade
from restsock.gateway import Gateway, Session
from restsock.gateway.management import DOCUMENT, OPERATIONS, Management
from restsock.openapi import load
from tests.gateway.site import Client, action, connected, echo, served
from tests.waiting import until

BOTH = {"scopes": ["read", "write"]}
TOKENS = {
    "the-writer": Principal("writer", claims=BOTH),
    "the-reader": Principal("reader", claims={"scopes": ["read"]}),
    "the-nobody": Principal("nobody"),
}
SPEC = load(DOCUMENT)


@pytest.fixture(autouse=True)
def _answers_keep_to_the_document(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    wrong = [r.getMessage() for r in caplog.get_records("call") if r.name == "restsock.openapi"]
    assert wrong == []


@asynccontextmanager
async def managed(
    gateway: Gateway, token: str | None = "the-writer"
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the management API, which has a port of its own."""
    api = Management(gateway, BearerTokens(TOKENS))
    async with restsock.listen("127.0.0.1", 0, endpoints={"/": api}, peers=False) as server:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        url = f"http://127.0.0.1:{server.address[1]}"
        async with httpx.AsyncClient(base_url=url, headers=headers) as web:
            yield web


async def joined(session: Session) -> None:
    session.groups.add("room-7")
    session.metadata["city"] = "Ulm"
    session.metadata["not JSON"] = object()
    name = "anna" if "anna" in session.request.target else "somebody"
    session.principal = Principal(name)


@asynccontextmanager
async def site() -> AsyncIterator[tuple[Gateway, Client, Client, httpx.AsyncClient]]:
    """A gateway with two clients, and its management API."""
    gateway = Gateway([action({"x": echo}, on_connect=joined)])
    async with served(gateway) as server, managed(gateway) as web:
        async with connected(server, "/ws?name=anna") as one, connected(server, "/ws") as two:
            await until(lambda: len(gateway.sessions) == 2)
            yield gateway, one, two, web


def test_the_document_is_right_and_each_operation_has_a_function() -> None:
    assert {operation.id for operation in SPEC.operations} == {*OPERATIONS, "getDocument"}
    published = Path(__file__).parents[3] / "spec" / "gateway.yaml"
    assert published.read_bytes() == DOCUMENT.read_bytes()


async def test_who_is_connected() -> None:
    async with site() as (gateway, _, _, web):
        found = (await web.get("/connections?principal=anna")).json()
        assert found["next"] is None
        (anna,) = found["items"]
        assert anna["channel"] == "/ws"
        assert anna["groups"] == ["room-7"]
        detail = (await web.get(f"/connections/{anna['id']}")).json()
        assert detail["metadata"] == {"city": "Ulm"}
        page = (await web.get("/connections?limit=1&channel=/ws&group=room-7")).json()
        rest = (await web.get(f"/connections?cursor={page['next']}")).json()
        assert {page["items"][0]["id"], rest["items"][0]["id"]} == {s.id for s in gateway.sessions}
        assert (await web.get("/connections?channel=/other")).json()["items"] == []
        assert (await web.get("/groups")).json()["items"] == [{"name": "room-7", "sessions": 2}]
        assert len((await web.get("/groups/room-7")).json()["items"]) == 2
        assert (await web.get("/groups/none")).json()["items"] == []
        numbers = (await web.get("/statistics")).json()
        assert numbers["healthy"]
        assert numbers["channels"]["/ws"]["sessions_active"] == 2


async def test_sending_tells_what_has_become_of_it() -> None:
    async with site() as (gateway, one, two, web):
        first, second = gateway.sessions
        sent = await web.post(f"/connections/{first.id}", json={"message": {"action": "tick"}})
        assert sent.json() == {"delivery": "sent"}
        assert await one.hear() == {"action": "tick"}
        data = base64.b64encode(b'{"action": "bytes"}').decode()
        await web.post(f"/connections/{first.id}", json={"base64": data})
        assert await one.hear() == {"action": "bytes"}
        group = await web.post("/groups/room-7", json={"message": 1, "except": [first.id]})
        assert group.json()["deliveries"] == {second.id: "sent"}
        assert group.json()["counts"] == {"sent": 1, "queued": 0, "dropped": 0, "gone": 0}
        assert await two.hear() == 1
        everybody = await web.post("/broadcast?channel=/ws", json={"message": 2})
        assert everybody.json()["counts"]["sent"] == 2
        assert await one.hear() == await two.hear() == 2
        nobody = await web.post("/broadcast?channel=/other", json={"message": 3})
        assert nobody.json()["deliveries"] == {}


async def test_a_client_that_reads_nothing_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = Gateway([action({"x": echo}, max_queue=1000)])
    async with served(gateway) as server, managed(gateway) as web:
        async with connected(server):
            await until(lambda: len(gateway.sessions) == 1)
            (session,) = gateway.sessions
            seen = set()
            for _ in range(100):
                answer = await web.post(f"/connections/{session.id}", json={"message": "x" * 2000})
                seen.add(answer.json()["delivery"])
                if "dropped" in seen:
                    break
    assert "sent" in seen or "dropped" in seen


async def test_whoever_is_gone_is_a_410() -> None:
    async with site() as (gateway, one, _, web):
        first, second = gateway.sessions
        assert (
            await web.delete(f"/connections/{first.id}?code=4001&reason=bye")
        ).status_code == 204
        ended = await one.end()
        assert (ended.code, ended.reason) == (4001, "bye")
        await until(lambda: len(gateway.sessions) == 1)
        for id in (first.id, "never"):
            path = f"/connections/{id}"
            assert (await web.get(path)).status_code == 410
            assert (await web.delete(path)).status_code == 410
            assert (await web.post(path, json={"message": 1})).status_code == 410
            assert (await web.put(f"/groups/a/connections/{id}", json={})).status_code == 410
        assert (await web.delete(f"/connections/{second.id}?code=1005")).status_code == 400


async def test_groups_change() -> None:
    async with site() as (gateway, _, _, web):
        first, _ = gateway.sessions
        assert (await web.put(f"/groups/b/connections/{first.id}")).status_code == 204
        assert "b" in first.groups
        assert (await web.delete(f"/groups/b/connections/{first.id}")).status_code == 204
        assert "b" not in first.groups
        assert (await web.delete(f"/groups/b/connections/{first.id}")).status_code == 204


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"message": 1, "base64": ""}, 400),
        ({"base64": "?"}, 400),
        ({"message": 1, "other": 2}, 400),
        ({"message": 1, "except": "x"}, 400),
    ],
)
async def test_what_is_no_message_is_refused(body: Any, status: int) -> None:
    async with site() as (_, _, _, web):
        assert (await web.post("/broadcast", json=body)).status_code == status


async def test_what_a_dialect_cannot_say_is_a_422() -> None:
    from restsock.gateway import Channel, Pipe, RawDialect

    gateway = Gateway([Channel("/ws", RawDialect(), Pipe(echo))])
    async with served(gateway) as server, managed(gateway) as web, connected(server):
        await until(lambda: len(gateway.sessions) == 1)
        answer = await web.post("/broadcast", json={"message": {"a": 1}})
        assert answer.status_code in (200, 422)


async def test_each_operation_needs_its_scope() -> None:
    gateway = Gateway([action({"x": echo})])
    async with managed(gateway, None) as web:
        for operation in SPEC.operations:
            security = operation.mapping.get("security", [{"bearer": ["read"]}])
            path = operation.path.replace("{id}", "none").replace("{group}", "g")
            request = {"method": operation.method, "url": path}
            if operation.method in ("POST", "PUT"):
                request["json"] = {}  # type: ignore[assignment]
            answer = await web.request(**request)  # type: ignore[arg-type]
            assert answer.status_code == 401, operation
            assert answer.headers["www-authenticate"].startswith("Bearer ")
            for token, scopes in (("the-reader", ["read"]), ("the-nobody", []), ("wrong", None)):
                headers = {"Authorization": f"Bearer {token}"}
                answer = await web.request(**request, headers=headers)  # type: ignore[arg-type]
                if scopes is None:
                    assert answer.status_code == 401, operation
                else:
                    allowed = security[0]["bearer"][0] in scopes
                    assert (answer.status_code != 403) is allowed, operation


async def test_pages_and_forms_are_refused() -> None:
    gateway = Gateway([action({"x": echo})])
    async with managed(gateway) as web:
        headers = {"Origin": str(web.base_url)}
        assert (await web.get("/connections", headers=headers)).status_code == 403
        assert (await web.post("/broadcast", data={"message": "x"})).status_code == 415
        json_ = {"Content-Type": "application/json"}
        assert (await web.options("/broadcast", headers=json_)).status_code == 405


async def test_who_has_changed_something_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "restsock")
    async with site() as (_, _, _, web):
        await web.post("/broadcast", json={"message": 1})
        await web.post("/broadcast", json={"message": 1}, headers={"Authorization": "Bearer no"})
    audit = [r.getMessage() for r in caplog.records if r.name == "restsock.gateway.audit"]
    assert audit == ["'writer': POST /broadcast"]
    refused = [r.getMessage() for r in caplog.records if r.name == "restsock.gateway.management"]
    assert any("refused with 401" in line for line in refused)
    assert "the-writer" not in caplog.text


async def test_beside_the_channels_on_their_port() -> None:
    gateway = Gateway([action({"x": echo})])
    api = Management(gateway, BearerTokens(TOKENS), path="/manage/")
    endpoints = {**gateway, "/manage": api}
    async with restsock.listen("127.0.0.1", 0, endpoints=endpoints) as server:
        async with connected(server), httpx.AsyncClient() as web:
            await until(lambda: len(gateway.sessions) == 1)
            base = f"http://127.0.0.1:{server.address[1]}/manage"
            headers = {"Authorization": "Bearer the-reader"}
            found = await web.get(f"{base}/connections", headers=headers)
            assert len(found.json()["items"]) == 1
            document = await web.get(f"{base}/openapi.json", headers=headers)
            assert document.json()["servers"] == [{"url": "/manage"}]


async def test_a_program_behind_nat_sends_to_browsers(tmp_path: Path) -> None:
    """It has dialed the port of the gateway, and calls with an ordinary `requests.Session`."""
    gateway = Gateway([action({"x": echo})])
    tokens = tmp_path / "tokens.json"
    tokens.write_text(
        json.dumps(
            {
                "the-store": {"name": "store", "claims": BOTH},
                "the-other": {"name": "other", "claims": {"scopes": ["read"]}},
            }
        )
    )

    def push(url: str, token: str, id: str) -> list[tuple[int, Any]]:
        with restsock.sync.connect(url, auth=Bearer(token)) as peer:
            session = requests.Session()
            session.mount("http://gateway/", peer.adapter())
            answers = [
                session.post(f"http://gateway/connections/{id}", json={"message": {"price": 17}}),
                session.post("http://gateway/connections/never", json={"message": 1}),
                session.get("http://gateway/connections"),
            ]
            return [(answer.status_code, answer.json()) for answer in answers]

    async with restsock.listen(
        "127.0.0.1",
        0,
        endpoints=gateway,
        app=Management(gateway),
        auth=BearerTokens(file=tokens),
    ) as server:
        async with connected(server) as browser:
            await until(lambda: len(gateway.sessions) == 1)
            (session,) = gateway.sessions
            answers = await trio.to_thread.run_sync(push, server.url, "the-store", session.id)
            assert answers[0] == (200, {"delivery": "sent"})
            assert answers[1][0] == 410
            assert answers[2][1]["items"][0]["id"] == session.id
            assert await browser.hear() == {"price": 17}
            answers = await trio.to_thread.run_sync(push, server.url, "the-other", session.id)
            assert [status for status, _ in answers] == [403, 403, 200]


def test_wrong_arguments_are_refused() -> None:
    gateway = Gateway([action({"x": echo})])
    with pytest.raises(TypeError, match="function"):
        Management(gateway, "token")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="begins with /"):
        Management(gateway, path="x")


async def test_whoever_has_to_wait_to_know_who_it_is_cannot() -> None:
    async def later(upgrade: Upgrade) -> Principal:
        raise NotImplementedError

    with pytest.raises(TypeError, match="at once"):
        Management(Gateway([action({"x": echo})]), later)  # type: ignore[arg-type]


def test_schemathesis_finds_nothing() -> None:
    gateway = Gateway([action({"x": echo})])
    document = json.loads(json.dumps(SPEC.mapping))
    # What it takes to be let in has tests of its own.
    del document["security"]
    del document["components"]["securitySchemes"]
    for path in document["paths"].values():
        for operation in path.values():
            if isinstance(operation, dict):
                operation.pop("security", None)
    api = Management(gateway, lambda _: Principal("tester", claims=BOTH), wrong_response="refuse")
    with restsock.sync.listen("127.0.0.1", 0, endpoints={"/": api}, peers=False) as server:
        url = f"http://127.0.0.1:{server.address[1]}"
        schema = schemathesis.openapi.from_dict(document)
        schema.config.update(base_url=url)
        results: Any = schema.get_all_operations()
        for operation in [result.ok() for result in results]:
            probe(operation, url)


def probe(operation: Any, url: str) -> None:
    @hypothesis.settings(
        max_examples=15,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy())
    def send(case: Any) -> None:
        response = case.call(base_url=url, timeout=10)
        assert response.status_code < 500, response.text
        try:
            case.validate_response(response)
        except FailureGroup as group:
            # Ids that it makes up are nobody's, and some rules are in words: 410, 400.
            found = [e for e in group.exceptions if type(e).__name__ != "RejectedPositiveData"]
            assert found == []
            assert response.status_code in (400, 410)

    send()
