"""The contract of a channel, a document of AsyncAPI 3, and that what is said keeps to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

import restsock
from restsock.auth import BearerTokens
from restsock.gateway import (
    JSONRPC,
    Action,
    Answers,
    App,
    Channel,
    Dialect,
    EnvelopeDialect,
    Gateway,
    HTTPDialect,
    Operations,
    Pipe,
    RawDialect,
    Router,
    Validate,
    asyncapi,
)
from restsock.gateway.management import Management
from tests.gateway.management.test_management import TOKENS
from tests.gateway.site import connected, echo, served

# Where `npm install` in tests/bench/npm puts it.
SPECS = Path(__file__).parents[1] / "bench" / "npm" / "node_modules" / "@asyncapi" / "specs"

PETS: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Pets", "version": "1"},
    "paths": {
        "/pets/{petId}": {
            "get": {
                "operationId": "getPet",
                "summary": "One pet",
                "description": "By its number.",
                "deprecated": True,
                "parameters": [
                    {
                        "name": "petId",
                        "in": "path",
                        "required": True,
                        "schema": {"$ref": "#/components/schemas/Id"},
                    }
                ],
                "responses": {
                    "200": {
                        "description": "it",
                        "content": {
                            "application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}
                        },
                    },
                    "404": {"description": "there is none"},
                },
            }
        },
        "/pets": {
            "post": {
                "operationId": "buyPet",
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}
                    },
                },
                "responses": {"204": {"description": "bought"}},
            }
        },
    },
    "components": {
        "schemas": {
            "Id": {"type": "integer", "minimum": 1},
            "Pet": {
                "type": "object",
                "required": ["id"],
                "properties": {"id": {"$ref": "#/components/schemas/Id"}},
            },
        }
    },
}
ORDER = {"type": "object", "required": ["pet"], "properties": {"pet": {"type": "string"}}}


async def store(request: restsock.Request) -> restsock.Response:
    number = request.target.rpartition("/")[2]
    body = json.dumps({"id": int(number)}) if number.isdecimal() else "{}"
    return restsock.Response(200, [("Content-Type", "application/json")], body)


def channel(dialect: Dialect, **options: Any) -> Channel:
    routes: dict[str, Answers] = {
        "pets.*": Operations(PETS, App(store), prefix="pets."),
        "orders.new": Pipe(echo, [Validate({"*": ORDER})]),
        "news.*": echo,
    }
    return Channel("/ws", dialect, Router(routes, default=echo), **options)


def schema_of(document: dict[str, Any], name: str) -> jsonschema.Draft202012Validator:
    """What checks the payloads of a message."""
    resource = Resource.from_contents(document, default_specification=DRAFT202012)
    registry: Any = Registry().with_resource("urn:it", resource)
    name = name.replace("~", "~0").replace("/", "~1")
    ref = f"urn:it#/channels/messages/messages/{name}/payload"
    return jsonschema.Draft202012Validator({"$ref": ref}, registry=registry)


def references_in(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*map(references_in, value.values()))
    return set().union(*map(references_in, value)) if isinstance(value, list) else set()


def leads_somewhere(document: Any, ref: str) -> bool:
    for part in ref.removeprefix("#/").split("/"):
        if part not in document:
            return False
        document = document[part]
    return True


DIALECTS = [Action(), JSONRPC(), HTTPDialect(), EnvelopeDialect(), RawDialect()]


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda one: type(one).__name__)
def test_it_is_a_document_of_asyncapi(dialect: Dialect) -> None:
    document = asyncapi(channel(dialect), title="Shop", version="2", url="wss://api.example:8443")
    json.dumps(document)
    assert document["asyncapi"] == "3.0.0"
    assert document["info"] == {"title": "Shop", "version": "2"}
    assert document["servers"]["gateway"] == {"host": "api.example:8443", "protocol": "wss"}
    assert set(document["operations"]) == {
        *("pets.getPet", "pets.buyPet", "orders.new", "news._", "any"),
    }
    for ref in references_in(document):
        assert leads_somewhere(document, ref), ref


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda one: type(one).__name__)
def test_it_keeps_to_the_schema_of_asyncapi(dialect: Dialect) -> None:
    if not SPECS.exists():
        pytest.skip(f"no @asyncapi/specs: npm install --prefix {SPECS.parents[2]}")
    schema = json.loads((SPECS / "schemas" / "3.0.0.json").read_text("utf-8"))
    jsonschema.Draft7Validator(schema).validate(asyncapi(channel(dialect), url="ws://a.example"))


async def test_what_is_said_keeps_to_it() -> None:
    document = asyncapi(channel(Action()))
    operation = document["operations"]["pets.getPet"]
    assert operation["summary"] == "One pet"
    assert operation["description"] == "By its number."
    assert operation["tags"] == [{"name": "deprecated"}]
    good = [
        ("pets.getPet", {"action": "pets.getPet", "id": 1, "petId": 7}),
        ("pets.buyPet", {"action": "pets.buyPet", "id": 2, "body": {"id": 3}}),
        ("orders.new", {"action": "orders.new", "id": 3, "pet": "Tom"}),
        ("news._", {"action": "news.today", "id": 4}),
        ("any", {"action": "else", "id": 5}),
    ]
    async with served(channel(Action())) as server, connected(server) as client:
        for name, message in good:
            schema_of(document, name).validate(message)
            answer = await client.ask(message)
            assert answer["status"] == 200, answer
            schema_of(document, f"{name}.reply").validate(answer)
        bad = [
            ("pets.getPet", {"action": "pets.getPet", "id": 1, "petId": 0}),
            ("pets.getPet", {"action": "pets.getPet", "id": 1}),
            ("orders.new", {"action": "orders.new", "id": 1, "pet": 7}),
        ]
        for name, message in bad:
            assert not schema_of(document, name).is_valid(message)
            answer = await client.ask(message)
            assert answer["status"] == 422
            schema_of(document, f"{name}.reply").validate(answer)
    assert not schema_of(document, "news._").is_valid({"action": "other"})


async def test_calls_of_json_rpc_keep_to_it() -> None:
    document = asyncapi(channel(JSONRPC()))
    async with served(channel(JSONRPC())) as server, connected(server) as client:
        for params in ({"petId": 7}, {"petId": 0}):
            message = {"jsonrpc": "2.0", "id": 1, "method": "pets.getPet", "params": params}
            valid = schema_of(document, "pets.getPet").is_valid(message)
            assert valid is (params["petId"] == 7)
            answer = await client.ask(message)
            assert ("result" in answer) is valid
            schema_of(document, "pets.getPet.reply").validate(answer)


async def test_messages_of_http_and_envelopes_keep_to_it() -> None:
    for dialect, message in (
        (HTTPDialect(), {"id": 1, "method": "GET", "path": "/x", "body": 1}),
        (
            EnvelopeDialect(),
            {
                "type": "request",
                "id": "a",
                "timestamp": 1,
                "payload": {"method": "news.today", "params": 1},
            },
        ),
    ):
        document = asyncapi(channel(dialect))
        name = "any" if isinstance(dialect, HTTPDialect) else "news._"
        schema_of(document, name).validate(message)
        async with served(channel(dialect)) as server, connected(server) as client:
            schema_of(document, f"{name}.reply").validate(await client.ask(message))


def test_schemas_of_two_documents_stand_beside_each_other() -> None:
    other = json.loads(json.dumps(PETS).replace('"minimum": 1', '"minimum": 100'))
    router = Router(
        {
            "a.*": Operations(PETS, App(store), prefix="a."),
            "b.getPet": Operations(other, App(store), prefix="b."),
        }
    )
    document = asyncapi(Channel("/ws", Action(), router))
    assert set(document["operations"]) == {"a.getPet", "a.buyPet", "b.getPet"}
    message = {"id": 1, "petId": 7}
    assert schema_of(document, "a.getPet").is_valid({"action": "a.getPet", **message})
    assert not schema_of(document, "b.getPet").is_valid({"action": "b.getPet", **message})


def test_keys_that_cannot_be_names_are_told_apart() -> None:
    document = asyncapi(Channel("/ws", Action(), Router({"a b": echo, "a/b": echo})))
    assert set(document["operations"]) == {"a_b", "a_b_2"}


def test_a_wrong_url_is_refused() -> None:
    with pytest.raises(ValueError, match="not the URL of a WebSocket"):
        asyncapi(channel(Action()), url="https://a.example")


async def test_it_is_served_beside_the_channel_where_that_is_wanted() -> None:
    gateway = Gateway([channel(Action(), contract=True), Channel("/hidden", Action(), Pipe(echo))])
    for endpoints in (gateway, dict(gateway)):
        async with restsock.listen("127.0.0.1", 0, endpoints=endpoints) as server:
            base = f"http://127.0.0.1:{server.address[1]}"
            async with httpx.AsyncClient(base_url=base) as web:
                answer = await web.get("/ws/asyncapi.json?x=1")
                assert answer.headers["content-type"] == "application/json"
                assert answer.json() == asyncapi(gateway.channels["/ws"])
                head = await web.head("/ws/asyncapi.json")
                assert (head.content, head.status_code) == (b"", 200)
                assert (await web.post("/ws/asyncapi.json")).status_code == 405
                assert (await web.get("/hidden/asyncapi.json")).status_code == 404


async def test_the_management_api_has_it() -> None:
    gateway = Gateway([channel(Action())])
    api = Management(gateway, BearerTokens(TOKENS))
    async with restsock.listen("127.0.0.1", 0, endpoints={"/": api}, peers=False) as server:
        headers = {"Authorization": "Bearer the-reader"}
        base = f"http://127.0.0.1:{server.address[1]}"
        async with httpx.AsyncClient(base_url=base, headers=headers) as web:
            answer = await web.get("/contract?channel=/ws")
            assert answer.json() == asyncapi(gateway.channels["/ws"])
            assert (await web.get("/contract?channel=/other")).status_code == 404
