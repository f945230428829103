from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from litestar import Litestar, Request, WebSocket, get, post, websocket
from litestar.exceptions import WebSocketDisconnect
from litestar.response import ServerSentEvent, Stream

from tests.frameworks.site import EVENTS, HELLO, PIECE, PIECES, Digest, Site


def make(site: Site) -> Any:
    @get("/hello", media_type="text/plain")
    async def hello() -> str:
        return HELLO

    @post("/json")
    async def json(request: Request[Any, Any, Any]) -> dict[str, Any]:
        name = request.scope["restsock"].name  # type: ignore[typeddict-item]  # an extension
        return {"number": (await request.json())["number"] + 1, "name": name}

    @post("/upload")
    async def upload(request: Request[Any, Any, Any]) -> dict[str, object]:
        digest = Digest()
        async for data in request.stream():
            digest.feed(data)
        return digest.result()

    @get("/download")
    async def download() -> Stream:
        async def made() -> AsyncIterator[bytes]:
            for _ in range(PIECES):
                yield PIECE

        return Stream(made())

    @get("/events")
    async def events() -> ServerSentEvent:
        async def made() -> AsyncIterator[str]:
            for number in range(EVENTS):
                await site.wait_async()
                yield str(number)

        return ServerSentEvent(made())

    @get("/error")
    async def error() -> None:
        raise ZeroDivisionError

    @websocket("/ws")
    async def ws(socket: WebSocket[Any, Any, Any]) -> None:
        await socket.accept()
        try:
            while True:
                await socket.send_text((await socket.receive_text()).upper())
        except WebSocketDisconnect:
            site.log.append("left")

    return Litestar(
        [hello, json, upload, download, events, error, ws],
        on_startup=[lambda: site.log.append("startup")],
        on_shutdown=[lambda: site.log.append("shutdown")],
        request_max_body_size=None,
        logging_config=None,  # it would be for the whole process
    )
