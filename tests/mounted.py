"""A listener in a web server that runs on the loop of the test, with the face of a server.

The servers are made to begin and end as a test says, without signals; those of `tests/asgi` are the
programs that people run.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import granian.constants
import granian.server.embed
import hypercorn.asyncio
import hypercorn.config
import hypercorn.trio
import uvicorn

import restsock.asgi
from tests.ports import free_port

__all__ = ["SERVERS", "Mounted"]

Serve = Callable[[Any, int, anyio.Event], Awaitable[object]]
"""Serves an application on a port of 127.0.0.1 until the event."""


async def _uvicorn(app: Any, port: int, end: anyio.Event) -> None:
    config = uvicorn.Config(
        app, host="127.0.0.1", port=port, interface="asgi3", lifespan="on", log_config=None
    )
    server = uvicorn.Server(config)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve)
        await end.wait()
        server.should_exit = True


def _for_hypercorn(port: int) -> hypercorn.config.Config:
    config = hypercorn.config.Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.accesslog = config.errorlog = None
    return config


async def _hypercorn(app: Any, port: int, end: anyio.Event) -> None:
    await hypercorn.asyncio.serve(app, _for_hypercorn(port), shutdown_trigger=end.wait)


async def _hypercorn_on_trio(app: Any, port: int, end: anyio.Event) -> None:
    await hypercorn.trio.serve(app, _for_hypercorn(port), shutdown_trigger=end.wait)


async def _granian(app: Any, port: int, end: anyio.Event) -> None:
    asgi = granian.constants.Interfaces.ASGI
    server: Any = granian.server.embed.Server(
        app, address="127.0.0.1", port=port, interface=asgi, log_enabled=False
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve)
        await end.wait()
        server.stop()


SERVERS: dict[str, Serve] = {
    "uvicorn": _uvicorn,
    "hypercorn": _hypercorn,
    "hypercorn, trio": _hypercorn_on_trio,
    "granian": _granian,
}


class Mounted:
    """A listener in a web server, from its start to its end; to be entered.

    Args:
        serve: Out of `SERVERS`.
        face: Makes of the listener what tasks of this loop call: itself, or that for threads.
        host: 127.0.0.1.
        port: To listen on; 0 is any.
        options: Of the listener.
    """

    def __init__(
        self, serve: Serve, face: Callable[[Any], Any], host: str, port: int, **options: Any
    ) -> None:
        assert host == "127.0.0.1"
        self.listener = restsock.asgi.Listener(**options)
        self._serve = serve
        self._face = face
        self._ready, self._end, self._ended = anyio.Event(), anyio.Event(), anyio.Event()
        self._tasks = anyio.create_task_group()
        self.address = (host, port or free_port())

    @property
    def url(self) -> str:
        return f"ws://{self.address[0]}:{self.address[1]}/"

    async def __aenter__(self) -> Mounted:
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._run)
        await self._ready.wait()
        while not _answers(self.address):  # noqa: ASYNC110  # servers tell nobody
            await anyio.sleep(0.01)
        self._called = self._face(self.listener)
        return self

    async def __aexit__(self, *exc: Any) -> bool | None:
        with anyio.move_on_after(5, shield=True):
            await self.aclose()
        self._tasks.cancel_scope.cancel()
        return await self._tasks.__aexit__(*exc)

    async def aclose(self, *args: Any, **options: Any) -> None:
        await self.listener.aclose(*args, **options)
        self._end.set()
        await self._ended.wait()

    async def _run(self) -> None:
        try:
            await self._serve(self._app, self.address[1], self._end)
        finally:
            self._ended.set()

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        async def told(message: Any) -> None:
            await send(message)
            if message["type"] == "lifespan.startup.complete":
                self._ready.set()

        await self.listener(scope, receive, told if scope["type"] == "lifespan" else send)

    def __getattr__(self, name: str) -> Any:
        """What only the face for threads has is looked up there."""
        called = self._called if hasattr(self._called, name) else self.listener.sync
        return getattr(called, name)


def _answers(address: tuple[str, int]) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(address) == 0
