"""`Operations`: calls by their ids, checked before anything is sent."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

import restsock
from restsock import Principal
from restsock.connection import Request, Response
from restsock.gateway import (
    HTTP,
    App,
    Balance,
    CallFailed,
    FunctionBackend,
    HTTPBackend,
    HTTPMapping,
    Operations,
    Peer,
    Reply,
    reply_to_failure,
)
from restsock.openapi import allow
from tests.gateway.backends.servers import waitress
from tests.gateway.stand_in import Client, message, running
from tests.openapi.documents import JSON_PET, document, operation, parameter

ID = {"type": "integer", "minimum": 1}
PATHS: dict[str, Any] = {
    "/pets": {
        "get": {
            "operationId": "listPets",
            "summary": "All pets",
            "parameters": [
                parameter("query", "limit", {"type": "integer", "maximum": 50}),
                parameter("header", "X-Request-Id", {"type": "string", "minLength": 3}),
                parameter("cookie", "theme", {"type": "string"}),
            ],
            "responses": {
                "200": {
                    "description": "them",
                    "content": {"application/json": {"schema": {"type": "array"}}},
                }
            },
        },
        "post": {
            "operationId": "addPet",
            "requestBody": {"required": True, "content": JSON_PET},
            "responses": {"201": {"description": "it", "content": JSON_PET}},
        },
    },
    "/pets/{petId}": {
        "put": {
            "operationId": "changePet",
            "parameters": [parameter("path", "petId", ID)],
            "requestBody": {"content": JSON_PET},
            "responses": {"200": {"description": "it", "content": JSON_PET}},
        },
        "delete": {
            "parameters": [parameter("path", "petId", ID)],
            "responses": {"204": {"description": "gone"}},
        },
    },
}
SPEC = document(PATHS)


class Seen:
    """An app that keeps what comes, and answers as a test says."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.bodies: list[bytes] = []
        self.answer = (200, b"[]")

    async def __call__(self, request: Request) -> Response:
        self.requests.append(request)
        self.bodies.append(await request.read())
        status, body = self.answer
        return Response(status, {"Content-Type": "application/json"}, body)


@asynccontextmanager
async def operations(seen: Seen, **options: Any) -> AsyncIterator[Operations]:
    backend = Operations(SPEC, App(seen), **options)
    async with running(backend):
        yield backend


async def call(backend: Operations, key: str, body: Any = None, **rest: Any) -> Reply:
    return await backend.call(message(body, key, **rest))


async def test_arguments_go_where_the_document_has_them() -> None:
    seen = Seen()
    async with operations(seen) as backend:
        body = {"limit": 5, "x_request_id": "abc", "theme": "dark"}
        reply = await call(backend, "listPets", body)
        assert (reply.status, reply.body) == (200, [])
        request = seen.requests[-1]
        assert (request.method, request.target) == ("GET", "/pets?limit=5")
        assert (request.header("x-request-id"), request.header("cookie")) == ("abc", "theme=dark")
        assert request.header("x-forwarded-for") == "192.0.2.7"
        await call(backend, "listPets", {"X-Request-Id": "abcd"})  # as on the wire
        assert seen.requests[-1].header("x-request-id") == "abcd"
        await call(backend, "DELETE /pets/{petId}", {"petId": 7})
        assert seen.requests[-1].target == "/pets/7"
        await call(backend, "listPets")
        assert seen.requests[-1].target == "/pets"


@pytest.mark.parametrize(
    "body", [{"petId": 7, "body": {"name": "Rex"}}, {"petId": 7, "name": "Rex"}]
)
async def test_the_body_is_an_argument_or_all_the_rest(body: Any) -> None:
    seen = Seen()
    async with operations(seen) as backend:
        await call(backend, "changePet", body)
    assert (seen.requests[-1].target, seen.bodies) == ("/pets/7", [b'{"name":"Rex"}'])


@pytest.mark.parametrize(
    ("key", "body", "pointers"),
    [
        ("listPets", {"limit": 51}, ["#/limit"]),
        ("listPets", {"limit": "x"}, ["#/limit"]),
        ("listPets", {"limit": 51, "x_request_id": "a"}, ["#/limit", "#/x_request_id"]),
        ("listPets", {"limits": 5}, ["#/limits"]),
        ("addPet", {"name": ""}, ["#/name"]),
        ("addPet", {"body": {"name": ""}}, ["#/body/name"]),
        ("addPet", {"body": {"name": "a", "age": -1}}, ["#/body/age"]),
        ("addPet", {"body": {}}, ["#/body/name"]),
        ("addPet", None, ["#/body"]),
        ("addPet", [1], ["#"]),
        ("changePet", {"name": "Rex"}, ["#/petId"]),
        ("changePet", {"petId": 0, "name": "Rex"}, ["#/petId"]),
        ("changePet", {"petId": "../x", "name": "Rex"}, ["#/petId"]),
        ("changePet", {"petId": [1, {}], "name": "Rex"}, ["#/petId"]),
    ],
)
async def test_what_is_wrong_with_arguments_is_said_and_not_sent(
    key: str, body: Any, pointers: list[str]
) -> None:
    seen = Seen()
    async with operations(seen) as backend:
        asked = message(body, key)
        with pytest.raises(CallFailed) as caught:
            await backend.call(asked)
    assert seen.requests == []
    reply = reply_to_failure(asked, caught.value)
    assert (reply.status, reply.body["may_have_run"]) == (422, False)
    assert sorted(error["pointer"] for error in reply.body["errors"]) == pointers
    assert all(error["detail"] for error in reply.body["errors"])


async def test_an_operation_that_is_not_there_is_a_404_with_a_hint() -> None:
    async with operations(Seen(), prefix="pets.") as backend:
        with pytest.raises(CallFailed, match="listPets") as caught:
            await call(backend, "pets.listPet")
        assert caught.value.status == 404
        with pytest.raises(CallFailed) as caught:
            await call(backend, "listPets")
        assert caught.value.status == 404
        assert (await call(backend, "pets.listPets")).body == []


async def test_an_object_is_needed_where_there_is_no_body() -> None:
    async with operations(Seen()) as backend:
        with pytest.raises(CallFailed, match="in an object"):
            await call(backend, "listPets", [1])


async def test_answers_are_checked_if_that_is_wished() -> None:
    seen = Seen()
    async with operations(seen) as backend:
        seen.answer = 200, b"{}"
        assert (await call(backend, "listPets")).body == {}
    async with operations(seen, responses=True) as backend:
        asked = message(None, "listPets")
        for status, body in ((200, b"{}"), (201, b"[]"), (200, b"[")):
            seen.answer = status, body
            with pytest.raises(restsock.RestsockError) as caught:
                await backend.call(asked)
            reply = reply_to_failure(asked, caught.value)
            assert (reply.status, reply.body["may_have_run"]) == (502, True)
        seen.answer = 200, b"[1]"
        assert (await backend.call(asked)).body == [1]
        seen.answer = 404, b"{}"  # not in the document, and no success
        assert (await backend.call(asked)).status == 404


async def test_rules_say_who_may_call_what(caplog: pytest.LogCaptureFixture) -> None:
    rules = [allow("ann", "*", "*"), allow("*", "*", "listPets")]
    caplog.set_level(logging.INFO, "restsock.gateway")
    async with operations(Seen(), rules=rules) as backend:
        ann, bob = Client(principal=Principal("ann")), Client(principal=Principal("bob"))
        assert (await call(backend, "addPet", {"name": "a"}, session=ann)).status == 200
        for session in (ann, bob, Client()):
            assert (await call(backend, "listPets", session=session)).status == 200
        for session in (bob, Client()):
            with pytest.raises(CallFailed, match="may not call addPet") as caught:
                await call(backend, "addPet", {"name": "a"}, session=session)
            assert caught.value.status == 403
    assert "bob" in caplog.text
    with pytest.raises(ValueError, match="no operation"):
        Operations(SPEC, Peer("edge-1"), rules=[allow("*", "edge-*", "nothing")])


async def test_the_operations_of_a_peer_over_a_real_listener(tmp_path: Path) -> None:
    seen = Seen()
    path = tmp_path / "petstore.yaml"
    path.write_text(yaml.safe_dump(document(PATHS, servers=[{"url": "/v1"}])))
    async with (
        restsock.listen("127.0.0.1", 0) as server,
        restsock.connect(f"ws://127.0.0.1:{server.address[1]}/", name="edge-1", app=seen),
    ):
        rules = [allow("ann", "edge-*", "listPets")]
        backend = Operations(path, Peer(name_from="{metadata[peer]}"), rules=rules)
        session = Client(principal=Principal("ann"))
        session.metadata["peer"] = "edge-1"
        async with running(backend, server):
            await call(backend, "listPets", session=session)
            assert seen.requests[-1].target == "/v1/pets"
            session.metadata["peer"] = "vault"
            with pytest.raises(CallFailed, match="may not call"):
                await call(backend, "listPets", session=session)


async def test_a_balance_of_servers_is_called_in_the_same_way() -> None:
    with waitress() as url:
        mapping = HTTPMapping(fields={"Authorization": "Bearer of the gateway"})
        balance = Balance([HTTP("http://127.0.0.1:1"), HTTP(url, mapping)], failures=1)
        get = operation(operationId="pet", parameters=[parameter("path", "id", ID)])
        paths = {"/pets/{id}": {"get": get}}
        backend = Operations(document(paths, servers=[{"url": "/x"}]), balance, base_path="")
        async with running(backend):
            for _ in range(4):
                assert (await call(backend, "pet", {"id": 7})).body["id"] == 7
            assert (await call(backend, "pet", {"id": 404})).status == 404


def test_only_what_speaks_http_can_be_called() -> None:
    for to in (FunctionBackend(print), Balance([FunctionBackend(print)]), "http://x"):
        with pytest.raises(TypeError, match="over HTTP"):
            Operations(SPEC, to)  # type: ignore[arg-type]
    assert issubclass(HTTP, HTTPBackend)


def test_a_document_that_cannot_be_used_is_said_at_once() -> None:
    with pytest.raises(restsock.SpecError):
        Operations({"openapi": "3.1.0"}, HTTP("http://127.0.0.1"))


def test_the_contract_of_each_operation_can_be_read() -> None:
    backend = Operations(SPEC, HTTP("http://127.0.0.1"), prefix="pets.")
    contracts = {one.key: one for one in backend.operations}
    assert list(contracts) == [
        "pets.listPets",
        "pets.addPet",
        "pets.changePet",
        "pets.DELETE /pets/{petId}",
    ]
    listing = contracts["pets.listPets"]
    assert (listing.id, listing.summary) == ("listPets", "All pets")
    assert listing.arguments["properties"]["limit"] == {"type": "integer", "maximum": 50}
    assert listing.arguments["required"] == []
    assert listing.arguments["additionalProperties"] is False
    assert listing.replies == {"200": {"type": "array"}}
    change = contracts["pets.changePet"]
    assert change.arguments["required"] == ["petId"]
    assert change.arguments["properties"]["body"]["required"] == ["name"]
    assert change.replies == {"200": {"$ref": "#/components/schemas/Pet"}}
    assert "Pet" in backend.components["schemas"]
