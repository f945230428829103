"""A listener with an endpoint of swaggersocket, an app, and what tests wait for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

import restsock
from restsock import swaggersocket
from restsock.connection import Connection
from tests.waiting import until

PATIENCE = 20
EVERY_BYTE = bytes(range(256)) * 8
QUICK = restsock.Backoff(initial=0.01, cap=0.05)


class Api:
    """An ASGI app with a path for each thing that a handler may do.

    Attributes:
        calls: method and path of each request, as it begins.
        flushes: releases one piece of `/flush` each.
        disconnected: set when a handler of `/hang` learns that its peer has gone.
        release: lets `/wait` answer.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.flushes = trio.Semaphore(0)
        self.disconnected = trio.Event()
        self.release = trio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        path = scope["path"]
        self.calls.append(f"{scope['method']} {path}")

        async def start(status: int = 200, *headers: tuple[bytes, bytes], **more: Any) -> None:
            head = {"type": "http.response.start", "status": status, "headers": list(headers)}
            await send({**head, **more})

        async def body(data: bytes = b"", *, more: bool = False) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": more})

        if path == "/echo":
            data = b""
            while True:
                message = await receive()
                data += message.get("body", b"")
                if not message.get("more_body"):
                    break
            await start()
            await body(data)
        elif path == "/flush":
            await start(200, (b"content-type", b"text/plain"))
            for number in (1, 2, 3):
                await self.flushes.acquire()
                await body(b"Chunk #%d\n" % number, more=True)
            await body()
        elif path == "/trailers":
            await start(200, (b"trailer", b"x-sum"), trailers=True)
            await body(b"counted", more=True)
            await body()
            await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"7")]})
        elif path in ("/204", "/304"):
            await start(int(path[1:]))
            await body()
        elif path == "/boom":
            raise ValueError("the handler has failed")
        elif path == "/cut":
            await start()
            await body(b"begun", more=True)
            raise ValueError("the handler has failed in the middle")
        elif path == "/bytes":
            await start()
            await body(EVERY_BYTE)
        elif path == "/hang":
            while (await receive())["type"] != "http.disconnect":
                pass
            self.disconnected.set()
        elif path == "/wait":
            await self.release.wait()
            await start()
            await body(b"at last")
        elif path == "/large":
            await start()
            for _ in range(64):
                await body(bytes(16 * 1024), more=True)
            await body()
        else:
            await start()
            await body(b"%b %b" % (scope["method"].encode(), path.encode()))


@asynccontextmanager
async def listening(
    app: Any = None, endpoint: Any = None, path: str = "/", **options: Any
) -> AsyncIterator[restsock.Server]:
    """A listener for peers of both kinds."""
    if isinstance(app, Api):
        options.setdefault("loop", "trio")
    async with restsock.listen(
        "127.0.0.1",
        0,
        app=app,
        endpoints={path: endpoint or swaggersocket.Endpoint()},
        **options,
    ) as server:
        yield server


def connect(url: str, app: Any = None, **options: Any) -> restsock.Client:
    """A client that dials again quickly."""
    if isinstance(app, Api):
        options.setdefault("loop", "trio")
    return swaggersocket.connect(url, app=app, **{"backoff": QUICK, "proxy": False, **options})


async def connection_of(server: restsock.Server, id: str) -> Connection:
    """The connection of a peer, once its handshake is over here, too."""
    await until(lambda: server.connections.by_id(id))
    found = server.connections.by_id(id)
    assert found is not None
    return found
