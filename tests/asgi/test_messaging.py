"""Messages over a listener that is an application of a web server, over sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute

import restsock.aio
import restsock.asgi
from restsock.messaging.aio import Messaging


@asynccontextmanager
async def hosted(app: Any) -> AsyncIterator[str]:
    """Has uvicorn serve an application, on this loop; gives what a peer dials."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        config = uvicorn.Config(app, log_level="warning", lifespan="on")
        server = uvicorn.Server(config)
        serving = asyncio.ensure_future(server.serve([sock]))
        while not server.started:
            assert not serving.done(), serving.result()
            await asyncio.sleep(0.01)
        try:
            yield f"ws://127.0.0.1:{sock.getsockname()[1]}/tunnel"
        finally:
            server.should_exit = True
            await serving


def test_messages_come_and_go_both_ways() -> None:
    async def main() -> None:
        central, edge = Messaging(), Messaging()
        told = asyncio.Event()
        listener = restsock.asgi.Listener(messaging=central)

        @asynccontextmanager
        async def lifespan(app: Any) -> AsyncIterator[None]:
            async with central, listener.lifespan():
                yield

        @central.on("readings")
        async def keep(message: Any) -> None:
            assert asyncio.get_running_loop() is here
            await message.reply({"had": message.body}, channel="answers")

        @edge.on("answers")
        async def note(message: Any) -> None:
            assert message.body == {"had": 21.5}
            told.set()

        here = asyncio.get_running_loop()
        app = Starlette(lifespan=lifespan, routes=[WebSocketRoute("/tunnel", listener)])
        async with (
            hosted(app) as url,
            edge,
            restsock.aio.connect(url, name="edge-1", messaging=edge),
        ):
            readings = edge.channel("readings", delivery="at_least_once")
            await readings.send(21.5)
            await asyncio.wait_for(told.wait(), 20)
            [session] = central.sessions
            assert session.name == "edge-1"
            assert (await session.ask("status"))["healthy"]

    asyncio.run(main())


def test_a_messaging_that_is_not_open_is_an_error_of_the_start() -> None:
    async def main() -> None:
        listener = restsock.asgi.Listener(messaging=Messaging())
        with pytest.raises(RuntimeError, match="is not open"):
            async with listener.lifespan():
                pass

    asyncio.run(main())
