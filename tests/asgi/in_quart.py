"""Quart with peers at /tunnel, as docs/existing-server.md says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from quart import Quart, Response

import restsock
import restsock.asgi

app = Quart(__name__)
listener = restsock.asgi.Listener(drain_on_signal=True)


@app.while_serving
async def lifespan() -> AsyncGenerator[None, None]:
    async with listener.lifespan():
        yield


inner = app.asgi_app


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    at_tunnel = scope["type"] == "websocket" and scope["path"] == "/tunnel"
    await (listener if at_tunnel else inner)(scope, receive, send)


app.asgi_app = asgi_app  # type: ignore[method-assign]  # what Quart says of middleware


@app.get("/call/<peer>/<path:rest>")
async def call(peer: str, rest: str) -> Response:
    def get() -> Response:
        with restsock.Session() as session:
            session.mount("http://peer/", listener.adapter(peer))
            answer = session.get(f"http://peer/{rest}", timeout=10)
            return Response(answer.content, answer.status_code)

    return await asyncio.to_thread(get)


@app.get("/ask/<peer>/<path:rest>")
async def ask(peer: str, rest: str) -> Response:
    answer = await listener.request(peer, "GET", f"/{rest}", timeout=10)
    return Response(answer.content, answer.status)


@app.get("/peers")
async def peers() -> list[str | None]:
    return [connection.name for connection in listener.sync.connections]
