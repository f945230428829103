"""Quart and Quart-Trio: one app, on the loop of the class."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import quart
import quart_trio

from tests.frameworks.site import EVENTS, HELLO, PIECE, PIECES, Digest, Site


def make(site: Site) -> Any:
    return _make(site, quart.Quart)


def make_trio(site: Site) -> Any:
    return _make(site, quart_trio.QuartTrio)


def _make(site: Site, kind: type[quart.Quart]) -> Any:
    app = kind("app")
    app.config["MAX_CONTENT_LENGTH"] = None

    @app.get("/hello")
    async def hello() -> Any:
        return HELLO

    @app.post("/json")
    async def json() -> Any:
        name = quart.request.scope["restsock"].name  # type: ignore[typeddict-item]  # an extension
        return {"number": (await quart.request.get_json())["number"] + 1, "name": name}

    @app.post("/upload")
    async def upload() -> Any:
        digest = Digest()
        async for data in quart.request.body:
            digest.feed(data)
        return digest.result()

    @app.get("/download")
    async def download() -> Any:
        async def made() -> AsyncIterator[bytes]:
            for _ in range(PIECES):
                yield PIECE

        return quart.Response(made())

    @app.get("/events")
    async def events() -> Any:
        async def made() -> AsyncIterator[str]:
            for number in range(EVENTS):
                await site.wait_async()
                yield f"data: {number}\n\n"

        return quart.Response(made(), mimetype="text/event-stream")

    @app.get("/error")
    async def error() -> Any:
        raise ZeroDivisionError

    @app.websocket("/ws")
    async def ws() -> None:
        while True:
            await quart.websocket.send((await quart.websocket.receive()).upper())

    @app.before_serving
    async def startup() -> None:
        site.log.append("startup")

    @app.after_serving
    async def shutdown() -> None:
        site.log.append("shutdown")

    return app
