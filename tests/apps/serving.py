"""A handler of the test's own behind a real connection in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
import trio.testing

from restsock.connection import Connection, Handler
from tests.connection.peers import handshake


@asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[Connection]:
    """Runs the handler; gives the dialer of a connection whose listener has it."""
    async with handler.running(), linked(handler) as dialer:
        yield dialer


@asynccontextmanager
async def linked(handler: Handler) -> AsyncIterator[Connection]:
    """Gives the dialer of a connection with default options, for a handler that runs."""
    near, far = trio.testing.memory_stream_pair()
    dialer, listener = await handshake(near, far)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dialer.run)
        nursery.start_soon(listener.run, handler)
        yield dialer
        await dialer.aclose()
