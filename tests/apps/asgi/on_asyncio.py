"""Apps on an asyncio loop beside trio, and what their tests need to see both sides.

The other thread has no virtual clock, so the few times that matter in these tests are short and
real, and nothing depends on how long anything takes.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio
import trio.testing

from restsock import Options
from restsock.apps import make_handler
from restsock.connection import Connection
from restsock.testing import Pair, connected_pair
from tests.apps.serving import linked as serving_linked

Receive = Any
Send = Any

HOST = (b"Host", b"edge")
PATIENCE = 20
# The time after which something is cancelled, where a test waits for just that.
SOON = 0.05


@asynccontextmanager
async def serving(app: Any, **options: Any) -> AsyncIterator[Pair]:
    with trio.fail_after(PATIENCE):
        async with connected_pair(app_b=app, loop_b="asyncio", **options) as pair:
            yield pair


def http(app: Any) -> Any:
    """An app that has no lifespan."""

    async def only_http(scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await app(scope, receive, send)

    return only_http


async def ok(send: Send, body: bytes = b"ok", headers: Any = ()) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})


async def read(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        assert message["type"] == "http.request"
        body += bytes(message["body"])
        if not message["more_body"]:
            return body


class Mark:
    """Something that happens on the one side, for which the other one waits."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.set = self._event.set
        self.is_set = self._event.is_set

    async def wait(self) -> None:
        await trio.to_thread.run_sync(self._wait)

    async def wait_on_asyncio(self) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self._wait)

    def _wait(self) -> None:
        assert self._event.wait(PATIENCE)


class Loop:
    """The app's loop, as soon as the app has told which it is."""

    loop: asyncio.AbstractEventLoop

    def note(self) -> None:
        self.loop = asyncio.get_running_loop()

    async def settle(self, progress: Callable[[], object]) -> None:
        """Waits until both sides have nothing to do any more."""
        before: object = None
        while (now := progress()) != before:
            before = now
            for _ in range(5):
                await trio.testing.wait_all_tasks_blocked()
                await trio.to_thread.run_sync(
                    lambda: asyncio.run_coroutine_threadsafe(_turn(), self.loop).result(PATIENCE)
                )


async def _turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def threads() -> set[threading.Thread]:
    return {t for t in threading.enumerate() if t.name.startswith("restsock-asyncio")}


@asynccontextmanager
async def linked(app: Any, options: Options) -> AsyncIterator[tuple[Any, Connection]]:
    """A handler, and the dialer of a connection that outlives it."""
    handler = make_handler(app, loop="asyncio", options=options)
    with trio.fail_after(PATIENCE):
        async with serving_linked(handler) as dialer:
            yield handler, dialer
