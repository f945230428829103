"""A listener, an honest peer of it that must notice nothing, and strangers who pass its limits."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from restsock import Client, Options, Response, Server, connect, listen
from tests.e2e.raw_peer import RawPeer, envelope, hello
from tests.waiting import until

# Seconds for what happens at once.
SOON = 10


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """/hang reads nothing and answers nothing; /stall begins an answer; else it reads all."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    if scope["path"] == "/hang":
        await trio.sleep_forever()
    if scope["path"] != "/stall":
        while (await receive()).get("more_body"):
            pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/stall":
        await send({"type": "http.response.body", "body": b"so", "more_body": True})
        await trio.sleep_forever()
    await send({"type": "http.response.body", "body": b"fine"})


class Scene:
    """What a test works with.

    Attributes:
        server: Has the limits.
        honest: Is connected to it.
    """

    def __init__(self, server: Server, honest: Client) -> None:
        self.server = server
        self.honest = honest
        self._strangers: list[RawPeer] = []
        self._asked = 0

    @property
    def hits(self) -> dict[str, int]:
        """How often each limit of the server was passed."""
        return self.server.limit_log.counts

    async def stranger(self, source: str | None = None) -> RawPeer:
        """One who has only dialed yet, from another address of this machine if it is given."""
        host, port = self.server.address
        if source is None:
            stream = await trio.open_tcp_stream(host, port)
        else:
            stream = await trio.open_tcp_stream(host, port, local_address=source)
        peer = RawPeer(stream)
        self._strangers.append(peer)
        return peer

    async def upgraded(self, source: str | None = None) -> RawPeer:
        """One behind the 101."""
        peer = await self.stranger(source)
        await peer.upgrade()
        return peer

    async def ready(self, name: str | None = None, **settings: Any) -> RawPeer:
        """One behind a right handshake."""
        peer = await self.upgraded()
        await peer.text(hello(name=name, settings=settings))
        welcome = json.loads((await peer.message()).payload)
        peer.connection_id = welcome["payload"]["connection_id"]
        await peer.text(envelope("ready", {"connection_id": peer.connection_id}))
        return peer

    async def hit(self, kind: str, count: int = 1) -> None:
        """Waits until a limit was passed so often."""
        await until(lambda: self.hits.get(kind, 0) >= count)
        assert self.hits[kind] == count

    async def notices_nothing(self) -> None:
        """The honest peer is on its first connection still, and is answered, in both directions."""
        assert self.honest.statistics().connections == 1
        response: Response = await self.honest.request("GET", "/", timeout=SOON)
        assert (response.status, response.content) == (200, b"fine")
        response = await self.server.request("honest", "GET", "/", timeout=SOON)
        assert (response.status, response.content) == (200, b"fine")

    async def close(self) -> None:
        for peer in self._strangers:
            await peer.close()


@asynccontextmanager
async def scene(
    options: Options, *, host: str = "127.0.0.1", handler_app: Any = app, **app_options: Any
) -> AsyncIterator[Scene]:
    """Opens one for a block; in front of it and behind it the honest peer is looked after."""
    with trio.fail_after(30):
        async with listen(
            host, 0, app=handler_app, options=options, loop="trio", **app_options
        ) as server:
            async with connect(server.url, app=app, name="honest", loop="trio") as honest:
                current = Scene(server, honest)
                await current.notices_nothing()
                try:
                    yield current
                    await current.notices_nothing()
                finally:
                    with trio.CancelScope(shield=True):
                        await current.close()
