"""Who may call which operation: the rules, and the handler that stands in front of an app."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restsock.connection import Connection, Request, Response
from restsock.openapi import AccessHandler, OpenAPIHandler, Rule, Rules, allow, load
from restsock.testing import connected_pair
from tests.apps.serving import linked


def contract(*operations: str) -> dict[str, Any]:
    """A document with operations like `"getStatus GET /status"`."""
    paths: dict[str, Any] = {}
    for line in operations:
        id, method, path = line.split(" ")
        names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
        paths.setdefault(path, {})[method.lower()] = {
            "operationId": id,
            "parameters": [
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                for name in names
            ],
            "responses": {"200": {"description": "fine"}},
        }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Robots", "version": "1"},
        "servers": [{"url": "/v1"}],
        "paths": paths,
    }


SPEC = load(
    contract(
        "getStatus GET /status",
        "listPets GET /pets",
        "addPet POST /pets",
        "getPet GET /pets/{id}",
        "sellPet POST /pets/{id}/sale",
        "getFeed GET /pets/feed",
    )
)


class App:
    """An app that notes what reaches it."""

    def __init__(self) -> None:
        self.reached: list[str] = []

    async def __call__(self, request: Request) -> Response:
        self.reached.append(f"{request.method} {request.target}")
        return Response(body=await request.read())


@asynccontextmanager
async def guarded(
    rules: Sequence[Rule], app: Any = None, **options: Any
) -> AsyncIterator[Connection]:
    handler = AccessHandler(app or App(), SPEC, rules, peer="edge-1", **options)
    async with handler.running(), linked(handler) as dialer:
        yield dialer


def named(name: str | None) -> Any:
    return lambda exchange: name


# --- rules ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "caller", "peer", "operation", "allowed"),
    [
        (("a", "p", ["getStatus"]), "a", "p", "getStatus", True),
        (("a", "p", ["getStatus"]), "A", "p", "getStatus", False),
        (("a", "p", ["getStatus"]), "a", "q", "getStatus", False),
        (("a", "p", ["getStatus"]), "a", "p", "listPets", False),
        (("a", "p", "getStatus"), "a", "p", "getStatus", True),
        (("a", "p", ["x", "list*"]), "a", "p", "listPets", True),
        (("a", "p", ["GET /pets/{id}"]), "a", "p", "getPet", True),
        (("a", "p", ["GET *"]), "a", "p", "getPet", True),
        (("a", "p", ["GET *"]), "a", "p", "addPet", False),
        (("robot-*", "*", ["*"]), "robot-7", "p", "addPet", True),
        (("robot-*", "*", ["*"]), "xrobot-7", "p", "addPet", False),
        (("robot-*", "*", ["*"]), None, "p", "addPet", False),
        (("*", "*", ["*"]), None, "p", "addPet", True),
        (("**", "*", ["*"]), None, "p", "addPet", False),
        (("[a]", "?", ["*"]), "a", "p", "addPet", False),
        (("a", "p", ["*"]), "*", "p", "addPet", False),
    ],
)
def test_a_rule(
    rule: tuple[str, str, Any], caller: str | None, peer: str, operation: str, allowed: bool
) -> None:
    found = SPEC.operation(operation)
    assert found is not None
    assert Rules([allow(*rule)]).allows(caller, peer, found) is allowed


def test_no_rules_allow_nothing() -> None:
    assert not any(Rules([]).allows("a", "p", operation) for operation in SPEC.operations)


@given(st.lists(st.sampled_from("ab*"), min_size=1).map("".join), st.text("ab*", max_size=6))
def test_a_star_is_any_text(pattern: str, name: str) -> None:
    def like(pattern: str, name: str) -> bool:
        if not pattern:
            return not name
        if pattern[0] == "*":
            return like(pattern[1:], name) or (bool(name) and like(pattern, name[1:]))
        return bool(name) and pattern[0] == name[0] and like(pattern[1:], name[1:])

    found = SPEC.operation("getStatus")
    assert found is not None
    assert Rules([allow(pattern, "p", "*")]).allows(name, "p", found) is like(pattern, name)


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        (("", "p", ["x"]), ValueError),
        (("a", "", ["x"]), ValueError),
        (("a", "p", []), ValueError),
        (("a", "p", [""]), ValueError),
        ((None, "p", ["x"]), TypeError),
        (("a", "p", [7]), TypeError),
    ],
)
def test_a_rule_that_is_none(rule: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        allow(*rule)


def test_rules_are_rules() -> None:
    with pytest.raises(TypeError, match="`allow`"):
        Rules([("a", "p", ("x",))])  # type: ignore[list-item]  # on purpose
    rules = Rules([allow("a", "p", "x")])
    assert list(rules) == [("a", "p", ("x",))]
    assert len(rules) == 1
    assert "'a'" in repr(rules)


def test_a_misspelt_operation_is_found_at_once() -> None:
    with pytest.raises(ValueError, match="no operation 'getStats'; did you mean 'getStatus'"):
        AccessHandler(App(), SPEC, [allow("a", "edge-*", "getStats")], peer="edge-1")
    # What other peers have is not known here.
    handler = AccessHandler(App(), SPEC, [allow("a", "edge-2", "getStats")], peer="edge-1")
    with pytest.raises(ValueError, match="no operation"):
        handler.rules = [allow("a", "edge-1", "nothing")]
    assert len(handler.rules) == 1


# --- in front of an app ---------------------------------------------------------------------------


async def test_what_is_allowed_and_what_is_not(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "restsock.openapi")
    app = App()
    rules = [allow("edge-1", "edge-1", ["listPets", "getPet"])]
    async with guarded(rules, app, caller=named("edge-1")) as dialer:
        assert (await dialer.request("GET", "/v1/pets?x=1")).status == 200
        assert (await dialer.request("GET", "/v1/pets/7")).status == 200
        assert (await dialer.request("HEAD", "/v1/pets")).status == 200
        assert app.reached == ["GET /v1/pets?x=1", "GET /v1/pets/7", "HEAD /v1/pets"]
        response = await dialer.request("POST", "/v1/pets?token=secret", body=b"x" * 300_000)
        assert response.status == 403
        assert response.header("content-type") == "application/problem+json"
        assert response.header("date")
        assert response.json() == {
            "type": "about:blank",
            "title": "Forbidden",
            "status": 403,
            "detail": "'edge-1' may not call addPet",
        }
        head = await dialer.request("HEAD", "/v1/status")
        assert (head.status, head.content) == (403, b"")
        assert len(app.reached) == 3
        assert not dialer.multiplexer.open_streams
    assert "refused: 'edge-1' may not call addPet, at 'edge-1'" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/pets",  # without the base path of the server
        "/v1/pet",
        "/v1/pets/",
        "/v1//pets",
        "//v1/pets",
        "/v1/pets/7/sale",  # GET is not there
        "/v1/pets/feed",  # more concrete than /pets/{id}, and not allowed
        "/v1/pets/%66eed",
        "/v1/pets/7%2Fsale",
        "/v1/pets/..",
        "/v1/pets/%2e%2E",
        "/v1/pets/.%2e;x=1",
        "/v1/pets/%5c..%5cstatus",
        "/v1/pets/../status",
        "/openapi.json",
        "/V1/pets",
    ],
)
async def test_paths_that_are_none_of_those_allowed(target: str) -> None:
    app = App()
    rules = [allow("*", "*", ["listPets", "getPet"])]
    async with guarded(rules, app) as dialer:
        assert (await dialer.request("GET", target)).status == 403
        assert (await dialer.request("GET", "/v1/p%65ts")).status == 200
        assert app.reached == ["GET /v1/p%65ts"]


@pytest.mark.parametrize("method", ["get", "OPTIONS", "TRACE", "DELETE", "QUERY", "!"])
async def test_methods_that_the_contract_does_not_have(method: str) -> None:
    async with guarded([allow("*", "*", "*")]) as dialer:
        assert (await dialer.request(method, "/v1/pets")).status == 403


async def test_the_caller_is_the_dialer_by_its_name() -> None:
    app = App()
    rules = [allow("edge-1", "*", "getStatus")]
    handler = AccessHandler(app, SPEC, rules, peer="hub")
    async with connected_pair(app_b=handler, name="edge-1") as (dialer, _):
        assert (await dialer.request("GET", "/v1/status")).status == 200
    async with connected_pair(app_b=handler, name="edge-2") as (dialer, _):
        response = await dialer.request("GET", "/v1/status")
        assert response.json()["detail"] == "'edge-2' may not call getStatus"
    async with connected_pair(app_b=handler) as (dialer, _):
        response = await dialer.request("GET", "/v1/status")
        assert response.json()["detail"] == "a caller without a name may not call getStatus"


async def test_a_listener_does_not_go_by_the_name_of_the_dialer() -> None:
    handler = AccessHandler(App(), SPEC, [allow("edge-1", "*", "*")], peer="edge-1")
    async with connected_pair(app_a=handler, name="edge-1") as (_, listener):
        assert (await listener.request("GET", "/v1/status")).status == 403
    handler = AccessHandler(
        App(), SPEC, [allow("hub", "*", "*")], peer="edge-1", caller=named("hub")
    )
    async with connected_pair(app_a=handler, name="edge-1") as (_, listener):
        assert (await listener.request("GET", "/v1/status")).status == 200


class Principal:
    def __init__(self, name: Any) -> None:
        self.name = name


@pytest.mark.parametrize(("principal", "status"), [("robot-7", 200), ("edge-1", 403), (None, 403)])
async def test_a_principal_counts_and_not_the_name(principal: Any, status: int) -> None:
    """Of an authenticated connection, what it calls itself does not matter."""
    handler = AccessHandler(App(), SPEC, [allow("robot-7", "*", "*")], peer="hub")
    async with connected_pair(app_b=handler, name="robot-7") as (dialer, listener):
        listener.principal = Principal(principal)  # type: ignore[assignment]
        assert (await dialer.request("GET", "/v1/status")).status == status


async def test_rules_may_be_replaced() -> None:
    handler = AccessHandler(App(), SPEC, [allow("*", "*", "getStatus")], peer="edge-1")
    async with handler.running(), linked(handler) as dialer:
        assert (await dialer.request("GET", "/v1/status")).status == 200
        handler.rules = Rules([allow("*", "*", "listPets")])
        assert (await dialer.request("GET", "/v1/status")).status == 403
        assert (await dialer.request("GET", "/v1/pets")).status == 200


async def test_what_everybody_may_get() -> None:
    app = App()
    public = ["/openapi.json"]
    async with guarded([], app, public=public) as dialer:
        for method in ("GET", "HEAD"):
            assert (await dialer.request(method, "/openapi.json?x=1")).status == 200
        upgrade = {"Connection": "upgrade", "Upgrade": "websocket"}
        for method, target, headers in (
            ("POST", "/openapi.json", {}),
            ("GET", "/openapi.json/", {}),
            ("GET", "/openapi%2ejson", {}),
            ("GET", "/openapi.json", upgrade),
        ):
            async with dialer.stream(method, target, headers=headers) as response:
                assert response.status == 403
    assert len(app.reached) == 2
    with pytest.raises(TypeError, match="list of paths"):
        AccessHandler(app, SPEC, [], peer="edge-1", public="/openapi.json")


async def test_validation_stands_inside() -> None:
    """An offence against the rules is told before one against the contract."""
    handler = OpenAPIHandler(App(), SPEC)
    rules = [allow("*", "*", "getPet")]
    async with guarded(rules, handler, public=["/openapi.json"]) as dialer:
        assert (await dialer.request("POST", "/v1/pets")).status == 403
        assert (await dialer.request("GET", "/v1/pets/7")).status == 200
        assert (await dialer.request("GET", "/openapi.json")).json()["openapi"] == "3.1.0"


async def test_it_stands_around_another_handler() -> None:
    inner = AccessHandler(App(), SPEC, [allow("*", "*", "getStatus")], peer="edge-1")
    async with guarded([allow("*", "*", ["getStatus", "listPets"])], inner) as dialer:
        assert (await dialer.request("GET", "/v1/status")).status == 200
        assert (await dialer.request("GET", "/v1/pets")).status == 403
        assert (await dialer.request("GET", "/v1/pets/7")).status == 403
    with pytest.raises(TypeError, match="is already a handler"):
        AccessHandler(inner, SPEC, [], peer="edge-1", interface="wsgi")


def test_options_are_those_of_the_app() -> None:
    with pytest.raises(ValueError, match="interface"):
        AccessHandler(App(), SPEC, [], peer="edge-1", interface="cgi")
    with pytest.raises(TypeError):
        AccessHandler(7, SPEC, [], peer="edge-1")
