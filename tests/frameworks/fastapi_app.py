"""FastAPI, with endpoints that run on either loop, and with some that await asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import fastapi
import pydantic
from fastapi.responses import PlainTextResponse, StreamingResponse

from tests.frameworks.site import EVENTS, HELLO, PIECE, PIECES, Digest, Site


class Body(pydantic.BaseModel):
    number: int


async def _nothing() -> None:
    """What a library may need a loop for."""


async def _on_asyncio() -> None:
    await asyncio.create_task(_nothing())


def make(site: Site) -> Any:
    return _make(site, _nothing)


def make_asyncio(site: Site) -> Any:
    return _make(site, _on_asyncio)


def _make(site: Site, library: Any) -> Any:
    @asynccontextmanager
    async def lifespan(app: fastapi.FastAPI) -> AsyncIterator[None]:
        site.log.append("startup")
        yield
        await library()
        site.log.append("shutdown")

    app = fastapi.FastAPI(lifespan=lifespan)

    @app.get("/hello", response_class=PlainTextResponse)
    def hello() -> Any:  # a plain function runs in a thread
        return HELLO

    @app.post("/json")
    async def json(body: Body, request: fastapi.Request) -> Any:
        await library()
        return {"number": body.number + 1, "name": request.scope["restsock"].name}

    @app.post("/upload")
    async def upload(request: fastapi.Request) -> Any:
        digest = Digest()
        async for data in request.stream():
            await library()
            digest.feed(data)
        return digest.result()

    @app.get("/download")
    async def download() -> Any:
        async def made() -> AsyncIterator[bytes]:
            for _ in range(PIECES):
                await library()
                yield PIECE

        return StreamingResponse(made())

    @app.get("/events")
    async def events() -> Any:
        async def made() -> AsyncIterator[str]:
            for number in range(EVENTS):
                await site.wait_async()
                await library()
                yield f"data: {number}\n\n"

        return StreamingResponse(made(), media_type="text/event-stream")

    @app.get("/error")
    async def error() -> Any:
        await library()
        raise ZeroDivisionError

    @app.websocket("/ws")
    async def ws(websocket: fastapi.WebSocket) -> None:
        await websocket.accept()
        try:
            while True:
                text = await websocket.receive_text()
                await library()
                await websocket.send_text(text.upper())
        except fastapi.WebSocketDisconnect:
            site.log.append("left")

    return app
