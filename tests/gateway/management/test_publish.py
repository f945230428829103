"""`POST /publish/`: libraries of GRIP publish to the groups of a gateway."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import gripcontrol
import httpx
import pubcontrol
import pytest
import trio

import restsock
from restsock import Principal
from restsock.auth import BearerTokens
from restsock.gateway import Channel, Gateway, Pipe, RawDialect, Session
from restsock.gateway.management import Management
from tests.gateway.site import Client, action, connected, echo, served
from tests.waiting import until

TOKENS = {"the-writer": Principal("writer", claims={"scopes": ["write"]})}


async def joined(session: Session) -> None:
    session.groups.add("room-7")


@asynccontextmanager
async def site() -> AsyncIterator[tuple[Gateway, Client, Client, str]]:
    """A gateway with a client of messages that pass as they are, and one of JSON; and the API."""
    plain = Channel("/raw", RawDialect(), Pipe(echo), on_connect=joined)
    gateway = Gateway([action({"x": echo}, on_connect=joined), plain])
    api = Management(gateway, BearerTokens(TOKENS))
    async with (
        served(gateway) as server,
        restsock.listen("127.0.0.1", 0, endpoints={"/": api}, peers=False) as manager,
        connected(server, "/raw") as one,
        connected(server, "/ws") as two,
    ):
        await until(lambda: len(gateway.sessions) == 2)
        yield gateway, one, two, f"http://127.0.0.1:{manager.address[1]}"


def items(*messages: dict[str, Any], channel: str = "room-7") -> dict[str, Any]:
    return {"items": [{"channel": channel, "formats": {"ws-message": one}} for one in messages]}


async def posted(url: str, body: Any, token: str = "the-writer") -> httpx.Response:
    async with httpx.AsyncClient() as web:
        headers = {"Authorization": f"Bearer {token}"}
        return await web.post(f"{url}/publish/", json=body, headers=headers)


async def test_a_library_of_grip_publishes_as_it_does_to_pushpin() -> None:
    async with site() as (_, one, two, url):

        def publish() -> None:
            control = gripcontrol.GripPubControl({"control_uri": url, "key": "the-writer"})
            for content in ("hello", '{"price": 17}'):
                message = gripcontrol.WebSocketMessageFormat(content)
                control.publish("room-7", pubcontrol.Item(message, id="1"), blocking=True)
            message = gripcontrol.WebSocketMessageFormat(b"\x00\xff", binary=True)
            control.publish("room-7", pubcontrol.Item(message), blocking=True)
            message = gripcontrol.WebSocketMessageFormat(action="close", code=4001, reason="bye")
            control.publish("room-7", pubcontrol.Item(message), blocking=True)
            control.close()

        await trio.to_thread.run_sync(publish)
        heard = [await one.websocket.receive() for _ in range(3)]
        assert heard == ["hello", '{"price": 17}', b"\x00\xff"]
        assert [await two.hear() for _ in range(2)] == ["hello", {"price": 17}]
        assert await two.websocket.receive() == b"\x00\xff"
        for client in (one, two):
            with pytest.raises(restsock.WebSocketClosed) as caught:
                await client.websocket.receive()
            assert (caught.value.code, caught.value.reason) == (4001, "bye")


async def test_it_tells_how_many_are_reached() -> None:
    async with site() as (_, one, _two, url):
        assert (await posted(url, items({"content": "a"}, {"content": "b"}))).json() == {
            "published": 4
        }
        nobody = await posted(url, items({"content": "a"}, channel="empty"))
        assert (nobody.status_code, nobody.json()) == (200, {"published": 0})
        others = {"items": [{"channel": "room-7", "formats": {"http-stream": {"content": "x"}}}]}
        assert (await posted(url, others)).json() == {"published": 0}
        hint = await posted(url, items({"action": "hint"}))
        assert hint.json() == {"published": 0}
        assert [await one.websocket.receive() for _ in range(2)] == ["a", "b"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (items({}), 400),
        (items({"content": "a", "content-bin": "YQ=="}), 400),
        (items({"content-bin": "?"}), 400),
        (items({"content": 1}), 400),
        (items({"content": "a"}, channel=""), 400),
        (items({"action": "explode"}), 400),
        ({}, 400),
    ],
)
async def test_what_is_no_item_is_refused(body: Any, status: int) -> None:
    async with site() as (_, _one, _two, url):
        assert (await posted(url, body)).status_code == status


async def test_it_needs_a_token_that_may_write() -> None:
    async with site() as (_, _one, _two, url):
        body = items({"content-bin": base64.b64encode(b"x").decode()})
        assert (await posted(url, body, "nobody")).status_code == 401
