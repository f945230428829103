"""Falcon by WSGI, and by ASGI: two kinds of app with the same manners."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import falcon
import falcon.asgi

from tests.frameworks.site import EVENTS, HELLO, PIECE, PIECES, Digest, Site


def make(site: Site) -> Any:
    class Hello:
        def on_get(self, req: Any, resp: Any) -> None:
            resp.text = HELLO

    class Json:
        def on_post(self, req: Any, resp: Any) -> None:
            name = req.env["restsock.connection"].name
            resp.media = {"number": req.get_media()["number"] + 1, "name": name}

    class Upload:
        def on_post(self, req: Any, resp: Any) -> None:
            digest = Digest()
            while data := req.bounded_stream.read(64 * 1024):
                digest.feed(data)
            resp.media = digest.result()

    class Download:
        def on_get(self, req: Any, resp: Any) -> None:
            resp.stream = (PIECE for _ in range(PIECES))

    class Events:
        def on_get(self, req: Any, resp: Any) -> None:
            def made() -> Iterator[bytes]:
                for number in range(EVENTS):
                    site.wait()
                    yield b"data: %d\n\n" % number

            resp.content_type = "text/event-stream"
            resp.stream = made()

    class Error:
        def on_get(self, req: Any, resp: Any) -> None:
            raise ZeroDivisionError

    app = falcon.App()
    for resource in (Hello, Json, Upload, Download, Events, Error):
        app.add_route(f"/{resource.__name__.lower()}", resource())
    return app


def make_asgi(site: Site) -> Any:
    class Hello:
        async def on_get(self, req: Any, resp: Any) -> None:
            resp.text = HELLO

    class Json:
        async def on_post(self, req: Any, resp: Any) -> None:
            name = req.scope["restsock"].name
            resp.media = {"number": (await req.get_media())["number"] + 1, "name": name}

    class Upload:
        async def on_post(self, req: Any, resp: Any) -> None:
            digest = Digest()
            async for data in req.stream:
                digest.feed(data)
            resp.media = digest.result()

    class Download:
        async def on_get(self, req: Any, resp: Any) -> None:
            async def made() -> AsyncIterator[bytes]:
                for _ in range(PIECES):
                    yield PIECE

            resp.stream = made()

    class Events:
        async def on_get(self, req: Any, resp: Any) -> None:
            async def made() -> AsyncIterator[Any]:
                for number in range(EVENTS):
                    await site.wait_async()
                    yield falcon.asgi.SSEvent(text=str(number))

            resp.sse = made()

    class Error:
        async def on_get(self, req: Any, resp: Any) -> None:
            raise ZeroDivisionError

    class Ws:
        async def on_websocket(self, req: Any, ws: Any) -> None:
            await ws.accept()
            try:
                while True:
                    await ws.send_text((await ws.receive_text()).upper())
            except falcon.WebSocketDisconnected:
                site.log.append("left")

    class Lifespan:
        async def process_startup(self, scope: Any, event: Any) -> None:
            site.log.append("startup")

        async def process_shutdown(self, scope: Any, event: Any) -> None:
            site.log.append("shutdown")

    app = falcon.asgi.App(middleware=[Lifespan()])
    for resource in (Hello, Json, Upload, Download, Events, Error, Ws):
        app.add_route(f"/{resource.__name__.lower()}", resource())
    return app
