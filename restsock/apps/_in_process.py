"""Calls an app in this process like one of a peer: over a pair of sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from restsock._options import Options
from restsock.connection import Connection, Handler, Peer, Requester, open_accepted, open_dialed

from ._tasks import open_nursery

__all__ = ["in_process"]

_PEER = Peer("", 0)  # as of a Unix socket


@asynccontextmanager
async def in_process(handler: Handler, *, options: Options) -> AsyncIterator[Requester]:
    """Serves an app to this process only, while the block runs.

    It is an ordinary connection: the app learns that a request was cancelled, and an error of the
    app ends only the request.

    Args:
        handler: The handler of the app, from `make_handler`. It is run here.
        options: The options of both ends. `Heartbeat(interval=None)` makes sense, since neither end
            can fail alone.

    Raises:
        AppStartupError: The app reports that it cannot start.
    """
    async with handler.running():
        dialer, listener = await _connected(options)
        async with open_nursery() as nursery:
            nursery.start_soon(dialer.run)
            nursery.start_soon(listener.run, handler)
            try:
                yield dialer
            finally:
                # No requests are left, and both ends are here: this is short, even if cancelled.
                with trio.CancelScope(shield=True):
                    await dialer.aclose()
                    await listener.aclose()


async def _connected(options: Options) -> tuple[Connection, Connection]:
    """Both ends of a new connection. After a cancellation or failure, nothing is left open."""
    near, far = map(trio.SocketStream, trio.socket.socketpair())
    ends: dict[str, Connection] = {}

    async def dial() -> None:
        ends["dialer"] = await open_dialed(near, host="in-process", peer=_PEER, options=options)

    async def accept() -> None:
        ends["listener"] = await open_accepted(far, peer=_PEER, options=options)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(dial)
        nursery.start_soon(accept)
    return ends["dialer"], ends["listener"]
