"""A listener on a port of one that was just killed."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import trio

import restsock

__all__ = ["listening"]


async def listening(
    stack: contextlib.AsyncExitStack, port: int, **arguments: Any
) -> restsock.Server:
    """A listener; on a port of one that was just killed, and may not be quite gone."""
    host = os.environ.get("RESTSOCK_FAULTS_HOST", "127.0.0.1")
    deadline = trio.current_time() + 5
    while True:
        server = restsock.listen(host, port, **arguments)
        try:
            return await stack.enter_async_context(server)
        except OSError:
            if not port or trio.current_time() > deadline:
                raise
            await trio.sleep(0.02)
