"""The listening side as an ASGI application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import requests
from fastapi import FastAPI
from starlette.routing import WebSocketRoute
from typing_extensions import assert_type

import restsock
import restsock.aio
import restsock.asgi
import restsock.sync
from restsock.auth import BearerTokens

ASGIApp = Callable[
    [
        MutableMapping[str, Any],
        Callable[[], Awaitable[MutableMapping[str, Any]]],
        Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ],
    Awaitable[None],
]

listener = restsock.asgi.Listener(auth=BearerTokens({"secret": "shop-7"}), names="reject")
alone: ASGIApp = listener
app = FastAPI(lifespan=listener.lifespan)
app.router.routes.append(WebSocketRoute("/tunnel", listener))
app.mount("/mounted", listener)


@app.get("/stock/{shop}")
async def stock(shop: str) -> Any:
    response = await listener.request(shop, "GET", "/stock", timeout=10)
    assert_type(response, restsock.Response)
    assert_type(listener.route(shop), restsock.aio.Route)
    async for event in listener.events():
        assert_type(event, restsock.ConnectionEvent)
    return response.json()


@app.get("/report/{shop}")
def report(shop: str) -> str:
    assert_type(listener.sync, restsock.sync.Server)
    with requests.Session() as session:
        session.mount("http://shop/", listener.adapter(shop))
        return session.get("http://shop/report", timeout=10).text
