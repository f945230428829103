"""Two connections over a wire in memory, and handlers that do one thing."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any

import trio
import trio.testing

from restsock._options import Options
from restsock.connection import (
    AsyncExchange,
    Connection,
    Exchange,
    Handler,
    Peer,
    open_accepted,
    open_dialed,
)

Serve = Callable[[AsyncExchange], Awaitable[None]]


class TaskHandler:
    """Runs a coroutine function for each request, in a nursery of the test."""

    def __init__(self, nursery: trio.Nursery, serve: Serve) -> None:
        self.nursery = nursery
        self.serve = serve
        self.exchanges: list[Exchange] = []

    def handle(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)
        self.nursery.start_soon(self._run, AsyncExchange.accept(exchange, limit=64 * 1024))

    async def _run(self, exchange: AsyncExchange) -> None:
        await self.serve(exchange)

    def running(self) -> AbstractAsyncContextManager[None]:
        return nullcontext()


async def handshake(
    dialed: trio.abc.Stream,
    accepted: trio.abc.Stream,
    *,
    options: Options | None = None,
    listener_options: Options | None = None,
    name: str | None = "edge-1",
    metadata: Any = None,
) -> tuple[Connection, Connection]:
    """Returns dialer and listener, neither running yet."""
    options = options or Options()
    opened: dict[str, Connection] = {}

    async def dial() -> None:
        opened["dialer"] = await open_dialed(
            dialed,
            host="hub",
            name=name,
            metadata=metadata,
            peer=Peer("listener", 0),
            options=options,
        )

    async def accept() -> None:
        opened["listener"] = await open_accepted(
            accepted, peer=Peer("dialer", 0), options=listener_options or options
        )

    async with trio.open_nursery() as nursery:
        nursery.start_soon(dial)
        nursery.start_soon(accept)
    return opened["dialer"], opened["listener"]


@asynccontextmanager
async def pair(
    serve: Serve | None = None,
    *,
    options: Options | None = None,
    listener_options: Options | None = None,
    name: str | None = "edge-1",
    metadata: Any = None,
) -> AsyncGenerator[tuple[Connection, Connection], None]:
    """Dialer and listener, running; `serve` answers at both ends."""
    dialed, accepted = trio.testing.memory_stream_pair()
    dialer, listener = await handshake(
        dialed,
        accepted,
        options=options,
        listener_options=listener_options,
        name=name,
        metadata=metadata,
    )
    async with trio.open_nursery() as nursery:
        handler: Handler | None = None if serve is None else TaskHandler(nursery, serve)
        nursery.start_soon(dialer.run, handler)
        nursery.start_soon(listener.run, handler)
        yield dialer, listener
        await dialer.aclose()
        await listener.aclose()
        nursery.cancel_scope.cancel()


async def read_all(exchange: AsyncExchange) -> bytes:
    pieces = []
    while data := await exchange.receive_data():
        pieces.append(data)
    return b"".join(pieces)
