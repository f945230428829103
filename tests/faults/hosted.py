"""Web servers with a listener in them: processes of their own, and a thread of this one."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import hypercorn.asyncio
import hypercorn.config
import trio
import uvicorn

import restsock
import restsock.aio
import restsock.asgi
import restsock.sync
from tests.faults.config import Config, Errors, options_of
from tests.faults.ledger import Ledger
from tests.faults.work import asgi_work

__all__ = ["CallerInHost", "Hosted"]


class Hosted:
    """A process that is one: `Config.host` says which; as docs/existing-server.md has it."""

    def __init__(self, config: Config) -> None:
        self.config = config
        ledger = Ledger(config.ledger)
        self.listener = restsock.asgi.Listener(
            app=asgi_work(ledger),
            options=options_of(config),
            drain_on_signal=config.host == "uvicorn",
        )
        logging.getLogger("restsock").addHandler(Errors(ledger, config.who))
        assert config.port is not None
        self.sock = _listening_socket(config.port)

    def run(self) -> None:
        if self.config.host == "uvicorn":
            _uvicorn(self).run(sockets=[self.sock])
        else:
            config = hypercorn.config.Config()
            config.bind = [f"fd://{self.sock.fileno()}"]
            config.accesslog = config.errorlog = None
            serving = hypercorn.asyncio.serve(self, config, shutdown_trigger=self._closed)
            asyncio.run(serving)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def told(message: Any) -> None:
            await send(message)
            if message["type"] == "lifespan.startup.complete":
                self._say_ready()

        await self.listener(scope, receive, told if scope["type"] == "lifespan" else send)

    def _say_ready(self) -> None:
        """Dialers wait in the socket, which listens."""
        port = self.sock.getsockname()[1]
        print(json.dumps({"who": self.config.who, "pid": os.getpid(), "port": port}), flush=True)

    async def _closed(self) -> None:
        async with restsock.aio.drain_on_signal(self.listener):
            await asyncio.sleep(math.inf)


class CallerInHost:
    """What the endpoints of a web server are to peers: they call the one of a name.

    The server is uvicorn, in a thread. Tasks are callers on its loop, whatever loop they come from;
    threads have `adapter`.
    """

    def __init__(self, name: str, options: restsock.Options) -> None:
        self.listener = restsock.asgi.Listener(options=options)
        self._name = name
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def connections(self) -> int:
        """How many there have been."""
        return self.listener.sync.statistics().handshakes

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        """Runs the server; gives its port."""
        sock = _listening_socket(0)
        server = _uvicorn(self)
        thread = threading.Thread(target=server.run, args=([sock],), name="uvicorn")
        thread.start()
        try:
            yield sock.getsockname()[1]
        finally:
            server.should_exit = True
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(thread.join)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._loop = asyncio.get_running_loop()
        await self.listener(scope, receive, send)

    async def _there(self, call: Coroutine[Any, Any, Any]) -> Any:
        assert self._loop is not None
        future = asyncio.run_coroutine_threadsafe(call, self._loop)
        try:
            return await trio.to_thread.run_sync(future.result, abandon_on_cancel=True)
        finally:
            future.cancel()

    async def request(self, *args: Any, **options: Any) -> Any:
        return await self._there(self.listener.request(self._name, *args, **options))

    @property
    def connection(self) -> _Connection | None:
        connection = self.listener.sync.route(self._name).connection
        return None if connection is None else _Connection(connection)

    def adapter(self) -> Any:
        return self.listener.adapter(self._name)


class _Connection:
    def __init__(self, connection: restsock.sync.Connection) -> None:
        self._connection = connection

    async def wait_closed(self) -> Any:
        return await trio.to_thread.run_sync(self._connection.wait_closed, abandon_on_cancel=True)


def _uvicorn(app: Any) -> uvicorn.Server:
    return uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))


def _listening_socket(port: int) -> socket.socket:
    """A socket that listens; on a port of one that was just killed, and may not be quite gone."""
    deadline = time.monotonic() + 5
    while True:
        try:
            return socket.create_server(("127.0.0.1", port), backlog=100)
        except OSError:
            if not port or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
