"""`Admit`: whoever is asked before a WebSocket is accepted."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

import restsock
import restsock.aio
from restsock import WebSocketRefused
from restsock.gateway import Admit, App, Gateway, Message, Peer
from restsock.websockets import connect
from tests.gateway.site import action, connected, served
from tests.websockets.site import url_of

UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}
JSON = [("Content-Type", "application/json")]


class Asked:
    """An app that is asked, and says what it is told to say."""

    def __init__(self, status: int = 200, body: Any = None) -> None:
        self.status = status
        self.body = body
        self.seen: list[Any] = []

    async def answer(self, request: restsock.Request) -> restsock.Response:
        self.seen.append((request.method, request.target, json.loads(await request.read())))
        body = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        return restsock.Response(self.status, JSON, b"" if self.body is None else body)


async def who(message: Message) -> Any:
    session = message.session
    return {
        "name": None if session.principal is None else session.principal.name,
        "claims": None if session.principal is None else dict(session.principal.claims),
        "groups": sorted(session.groups),
        "metadata": session.metadata,
        "stash": session.stash,
    }


def gateway_of(asked: Asked, **options: Any) -> Gateway:
    return Gateway([action(who, on_connect=Admit(App(asked.answer), **options))])


async def test_it_says_who_a_client_is() -> None:
    asked = Asked(
        body={
            "principal": {"name": "anna", "claims": {"plan": "gold"}},
            "groups": ["visitors"],
            "metadata": {"city": "Ulm"},
            "stash": {"cart": 3},
        }
    )
    async with served(gateway_of(asked, path="/connect")) as server:
        async with connected(server, "/ws?a=1", headers={"Cookie": "x=y", "X-A": "b"}) as client:
            answer = await client.ask({"action": "x", "id": 1})
    assert answer["body"] == {
        "name": "anna",
        "claims": {"plan": "gold"},
        "groups": ["visitors"],
        "metadata": {"city": "Ulm"},
        "stash": {"cart": 3},
    }
    ((method, target, said),) = asked.seen
    assert (method, target) == ("POST", "/connect")
    assert (said["channel"], said["target"], said["address"]) == ("/ws", "/ws?a=1", "127.0.0.1")
    assert said["principal"] is None
    assert said["headers"]["cookie"] == "x=y"
    assert "x-a" not in said["headers"]


async def test_no_word_is_enough_to_let_a_client_in() -> None:
    async with served(gateway_of(Asked(204))) as server, connected(server) as client:
        assert (await client.ask({"action": "x", "id": 1}))["body"]["name"] is None


@pytest.mark.parametrize(
    ("asked", "status", "words"),
    [
        (Asked(402, {"detail": "choose a plan first"}), 402, "choose a plan first"),
        (Asked(403, b"<html>"), 403, "may not open"),
        (Asked(401), 401, "may not open"),
        (Asked(403, {"detail": 7}), 403, "may not open"),
        (Asked(500, {"detail": "secret"}), 503, "cannot be found out"),
        (Asked(302), 503, "cannot be found out"),
        (Asked(200, [1]), 503, "cannot be found out"),
        (Asked(200, b"nonsense"), 503, "cannot be found out"),
        (Asked(200, {"other": 1}), 503, "cannot be found out"),
        (Asked(200, {"principal": 7}), 503, "cannot be found out"),
        (Asked(200, {"principal": {"name": ""}}), 503, "cannot be found out"),
        (Asked(200, {"principal": {"claims": {}}}), 503, "cannot be found out"),
        (Asked(200, {"groups": "x"}), 503, "cannot be found out"),
        (Asked(200, {"groups": [""]}), 503, "cannot be found out"),
        (Asked(200, {"stash": []}), 503, "cannot be found out"),
    ],
)
async def test_who_is_not_let_in_is_told_so(asked: Asked, status: int, words: str) -> None:
    async with served(gateway_of(asked)) as server:
        async with httpx.AsyncClient() as web:
            url = url_of(server, "/ws").replace("ws://", "http://")
            answer = await web.get(url, headers=UPGRADE)
    assert answer.status_code == status
    assert words in answer.text


async def test_a_peer_behind_nat_is_asked_and_without_it_nobody_is_let_in() -> None:
    asked = Asked(200, {"principal": "anna"})
    gateway = Gateway([action(who, on_connect=Admit(Peer("shop", wait=0.1)))])
    async with served(gateway) as server:
        with pytest.raises(WebSocketRefused, match="503"):
            async with connect(url_of(server, "/ws"), proxy=False):
                pass
        async with restsock.connect(server.url, name="shop", app=asked.answer) as peer:
            await peer.wait_connected()
            async with connected(server) as client:
                assert (await client.ask({"action": "x", "id": 1}))["body"]["name"] == "anna"


def test_on_a_listener_for_asyncio() -> None:
    asked = Asked(200, {"principal": "anna"})
    gateway = Gateway([action(who, on_connect=Admit(App(asked.answer)))])

    async def main() -> None:
        async with restsock.aio.listen("127.0.0.1", 0, endpoints=gateway) as server:
            import websockets.asyncio.client

            url = url_of(server, "/ws")
            async with websockets.asyncio.client.connect(url, proxy=None) as socket:
                await socket.send('{"action": "x", "id": 1}')
                assert json.loads(await socket.recv())["body"]["name"] == "anna"

    asyncio.run(asyncio.wait_for(main(), 20))


async def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match="HTTP, App or Peer"):
        Admit(7)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="begins with /"):
        Admit("http://127.0.0.1", path="x")
    with pytest.raises(ValueError, match="timeout"):
        Admit("http://127.0.0.1", timeout=0)
    with pytest.raises(NotImplementedError):
        await Admit("http://127.0.0.1").call(None)  # type: ignore[arg-type]
