"""Foreign peers of a messaging: the package `websockets`, at either end, in threads."""

from __future__ import annotations

import functools
import itertools
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import trio
from websockets.exceptions import ConnectionClosed

import restsock
from restsock.messaging import Message, Messaging
from restsock.websockets import Endpoint, Reconnect
from tests.websockets.site import PATIENCE, foreign_client, in_thread, listening

QUICK = Reconnect(initial=0.02, cap=0.1)


class Kept:
    """A handler that keeps what it gets, and fails when it is told to."""

    def __init__(self, messaging: Messaging, channel: str) -> None:
        self.messages: list[Message] = []
        self.failures = 0  # so many times from now on
        self._changed = trio.Event()
        messaging.on(channel)(self.keep)

    async def keep(self, message: Message) -> None:
        if self.failures:
            self.failures -= 1
            raise RuntimeError("told to")
        self.messages.append(message)
        self._changed.set()
        self._changed = trio.Event()

    @property
    def bodies(self) -> list[Any]:
        return [message.body for message in self.messages]

    async def wait(self, count: int) -> list[Any]:
        with trio.fail_after(PATIENCE):
            while len(self.messages) < count:
                await self._changed.wait()
        return self.bodies


@asynccontextmanager
async def served(messaging: Messaging, endpoint: Endpoint) -> AsyncIterator[restsock.Server]:
    """A messaging with an endpoint at /ws."""
    async with messaging, listening(endpoint) as server:
        yield server


@asynccontextmanager
async def client(server: restsock.Server, **options: Any) -> AsyncIterator[Foreign]:
    """A foreign client of it."""
    context = foreign_client(server, **options)
    connection = await in_thread(context.__enter__)
    try:
        yield Foreign(connection)
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(context.__exit__, None, None, None)


class Foreign:
    """A foreign client, from trio."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    async def send(self, message: str | bytes) -> None:
        await in_thread(functools.partial(self.connection.send, message))

    async def receive(self) -> str | bytes:
        found: str | bytes = await in_thread(self.connection.recv)
        return found

    async def send_json(self, value: Any) -> None:
        await self.send(json.dumps(value))

    async def receive_json(self, type: str | None = None) -> Any:
        """The next envelope; of a type, if one is given."""
        while True:
            found = json.loads(await self.receive())
            if type is None or found["type"] == type:
                return found

    async def receive_json_text(self) -> Any:
        """The next message, which is JSON in a text frame."""
        found = await self.receive()
        assert isinstance(found, str)
        return json.loads(found)

    async def closed(self) -> int:
        """The code that it is closed with, by the other side."""

        def wait() -> int:
            with suppress(ConnectionClosed):
                while True:
                    self.connection.recv()
            return int(self.connection.close_code)

        return int(await in_thread(wait))


_numbers = itertools.count(1)


def data(payload: Any, **more: Any) -> dict[str, Any]:
    """A message as a semstreams output makes it."""
    now = int(time.time() * 1000)
    id = f"msg-{now}-{next(_numbers)}"
    return {"type": "data", "id": id, "timestamp": now, "payload": payload} | more
