"""Backends behind real channels, with real clients: what is asked over a WebSocket is answered."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

import restsock
import restsock.aio
import restsock.websockets.aio
from restsock.connection import Request, Response
from restsock.gateway import (
    HTTP,
    JSONRPC,
    Action,
    App,
    Balance,
    Channel,
    Gateway,
    HTTPDialect,
    HTTPMapping,
    Operations,
    Peer,
    Pipe,
    RawDialect,
    Router,
    WebSocket,
)
from restsock.websockets import ClientWebSocket, Endpoint, ServerWebSocket, connect
from tests.gateway.backends.servers import make_app, waitress
from tests.openapi.documents import document, operation, parameter
from tests.waiting import until

ID = {"type": "integer", "minimum": 1}
PATHS: dict[str, Any] = {
    "/pets/{id}": {"get": operation(operationId="pet", parameters=[parameter("path", "id", ID)])}
}


@asynccontextmanager
async def serving(
    router: Any, dialect: Any = None, **more: Any
) -> AsyncIterator[tuple[restsock.Server, ClientWebSocket]]:
    gateway = Gateway([Channel("/ws", dialect or Action(), router, **more)])
    async with (
        restsock.listen("127.0.0.1", 0, endpoints=gateway) as server,
        connect(f"ws://127.0.0.1:{server.address[1]}/ws") as websocket,
    ):
        yield server, websocket


async def ask(websocket: ClientWebSocket, **asked: Any) -> Any:
    await websocket.send(json.dumps(asked))
    return json.loads(await websocket.receive())


async def test_all_kinds_of_http_answer_alike() -> None:
    mapping = HTTPMapping(method="GET", path="/pets/{body[id]}")
    with waitress() as url:
        router = Router(
            {
                "http": HTTP(url, mapping),
                "app": App(make_app(), mapping),
                "balance": Balance([HTTP(url, mapping), App(make_app(), mapping)]),
                "peer": Peer("edge-1", mapping),
                "api.*": Operations(document(PATHS), Peer("edge-1"), prefix="api."),
            }
        )
        async with serving(router, Action(id_field="ref")) as (server, websocket):
            there = restsock.connect(
                f"ws://127.0.0.1:{server.address[1]}/", name="edge-1", app=make_app()
            )
            async with there:
                for action in ("http", "app", "balance", "peer", "api.pet"):
                    said = await ask(websocket, action=action, ref=action, id=7)
                    assert said["status"] == 200
                    assert said["body"] == {"id": 7, "for": "127.0.0.1"}
                    said = await ask(websocket, action=action, ref=action)
                    assert (said["ref"], said["status"]) == (action, 422)  # it has no id
                    assert said["error"]["errors"][0]["pointer"] == "#/id"


async def test_the_dialect_http_reaches_an_api_without_any_mapping() -> None:
    router = Router({"*": App(make_app())})
    async with serving(router, HTTPDialect()) as (_, websocket):
        said = await ask(websocket, id=1, method="GET", path="/pets/7")
        assert (said["id"], said["status"]) == (1, 200)
        assert said["body"] == {"id": 7, "for": "127.0.0.1"}
        said = await ask(websocket, id=2, method="POST", path="/pets", body={"name": "Rex"})
        assert (said["status"], said["body"]) == (201, {"bought": {"name": "Rex"}})
        said = await ask(websocket, id=3, method="GET", path="/pets/404")
        assert said["status"] == 404
        said = await ask(websocket, id=4, method="GET", path="/../secret")
        assert said["status"] == 400


async def test_operations_of_a_peer_are_called_by_json_rpc() -> None:
    router = Pipe(Operations(document(PATHS), Peer("edge-1", None, wait=0.2)))
    async with serving(router, JSONRPC()) as (server, websocket):
        call: dict[str, Any] = {"jsonrpc": "2.0", "method": "pet"}
        said = await ask(websocket, **call, id=1, params={"id": 7})
        assert said["error"]["data"]["may_have_run"] is False  # there is no such peer yet
        async with restsock.connect(
            f"ws://127.0.0.1:{server.address[1]}/", name="edge-1", app=make_app()
        ):
            said = await ask(websocket, **call, id=2, params={"id": 7})
            assert said["result"] == {"id": 7, "for": "127.0.0.1"}
            said = await ask(websocket, **call, id=3, params={"id": 0})
            assert said["error"]["data"]["errors"][0]["pointer"] == "#/id"


async def test_messages_pass_through_as_they_are_and_so_does_the_end() -> None:
    seen: list[ServerWebSocket] = []

    async def upstream(websocket: ServerWebSocket) -> None:
        seen.append(websocket)
        async for data in websocket:
            if data == "bye":
                await websocket.aclose(4001, "so long")
            else:
                await websocket.send(data)

    async with restsock.listen("127.0.0.1", 0, endpoints={"/up": Endpoint(upstream)}) as there:
        url = f"ws://127.0.0.1:{there.address[1]}/up"
        async with serving(Pipe(WebSocket(url, None)), RawDialect()) as (_, websocket):
            for data in ("text", b"\x00\xff", "x" * 20_000):
                await websocket.send(data)
                assert await websocket.receive() == data
            await websocket.send("bye")
            with pytest.raises(restsock.WebSocketClosed) as caught:
                await websocket.receive()
            assert (caught.value.code, caught.value.reason) == (4001, "so long")
        async with serving(Pipe(WebSocket(url, None)), RawDialect()) as (_, websocket):
            await websocket.send("text")
            await websocket.receive()
            await websocket.aclose(4002, "I leave")
            await until(lambda: seen[-1].close_code is not None)
            assert (seen[-1].close_code, seen[-1].close_reason) == (4002, "I leave")


def test_a_listener_on_asyncio_has_the_same_backends() -> None:
    async def app(request: Request) -> Response:
        return Response(200, {"Content-Type": "application/json"}, b"[1]")

    async def main() -> None:
        router = Router({"wsgi": App(make_app(), HTTPMapping(method="GET", path="/pets/7")),
                         "peer": Peer("edge-1"), "trio": App(app)})  # fmt: skip
        gateway = Gateway([Channel("/ws", Action(), router)])
        async with restsock.aio.listen("127.0.0.1", 0, endpoints=gateway) as server:
            url = f"ws://127.0.0.1:{server.address[1]}/"
            async with (
                restsock.aio.connect(url, name="edge-1", app=app),
                restsock.websockets.aio.connect(url + "ws") as websocket,
            ):
                for action, expected in (("wsgi", 7), ("peer", [1]), ("trio", [1])):
                    await websocket.send(json.dumps({"action": action, "id": 1}))
                    said = json.loads(await websocket.receive())
                    body = said["body"]
                    assert (body["id"] if isinstance(body, dict) else body) == expected

    anyio.run(main)
