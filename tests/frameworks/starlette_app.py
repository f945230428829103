from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from tests.frameworks.site import EVENTS, HELLO, PIECE, PIECES, Digest, Site


def make(site: Site) -> Any:
    def hello(request: Request) -> Any:  # a plain function runs in a thread
        return PlainTextResponse(HELLO)

    async def json(request: Request) -> Any:
        name = request.scope["restsock"].name
        return JSONResponse({"number": (await request.json())["number"] + 1, "name": name})

    async def upload(request: Request) -> Any:
        digest = Digest()
        async for data in request.stream():
            digest.feed(data)
        return JSONResponse(digest.result())

    async def download(request: Request) -> Any:
        async def made() -> AsyncIterator[bytes]:
            for _ in range(PIECES):
                yield PIECE

        return StreamingResponse(made())

    async def events(request: Request) -> Any:
        async def made() -> AsyncIterator[str]:
            for number in range(EVENTS):
                await site.wait_async()
                yield f"data: {number}\n\n"

        return StreamingResponse(made(), media_type="text/event-stream")

    async def error(request: Request) -> Any:
        raise ZeroDivisionError

    async def ws(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            while True:
                await websocket.send_text((await websocket.receive_text()).upper())
        except WebSocketDisconnect:
            site.log.append("left")

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        site.log.append("startup")
        yield
        site.log.append("shutdown")

    return Starlette(
        routes=[
            Route("/hello", hello),
            Route("/json", json, methods=["POST"]),
            Route("/upload", upload, methods=["POST"]),
            Route("/download", download),
            Route("/events", events),
            Route("/error", error),
            WebSocketRoute("/ws", ws),
        ],
        lifespan=lifespan,
    )
