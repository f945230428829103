"""Sockets that listen, and the loop that accepts from them whatever happens."""

from __future__ import annotations

import errno
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

import trio

from restsock.connection import Peer

__all__ = ["Listener", "OpenListeners", "accept_forever", "address_of", "open_listeners", "peer_of"]

Listener: TypeAlias = trio.abc.Listener[Any]

OpenListeners: TypeAlias = Callable[[str | None, int, int | None], Awaitable[Sequence[Listener]]]
"""Opens what to accept from, given host, port and backlog."""

_log = logging.getLogger("restsock.server")

# How often to look for one port that is free on all addresses of a host name.
_PORT_TRIES = 10
# Seconds to wait when the system has no file descriptor or memory for another socket. Meanwhile
# newcomers queue in the kernel.
_PAUSE = 0.1


async def open_listeners(
    host: str | None, port: int, backlog: int | None
) -> list[trio.SocketListener]:
    """Binds and listens, on every address of the host, all on the same port.

    Raises:
        OSError: An address cannot be bound, or the host is not known.
    """
    for _ in range(_PORT_TRIES):
        listeners = await trio.open_tcp_listeners(port, host=host, backlog=backlog)
        if port or len(listeners) == 1:
            return listeners
        # With port 0 the kernel gave each address a port of its own. Take the first for all.
        chosen = listeners[0].socket.getsockname()[1]
        for listener in listeners:
            listener.socket.close()
        try:
            return await trio.open_tcp_listeners(chosen, host=host, backlog=backlog)
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE:
                raise
    raise OSError(errno.EADDRINUSE, f"no port is free on all addresses of {host!r}")


async def accept_forever(listener: Listener, greet: Callable[[trio.abc.Stream], object]) -> None:
    """Hands each newcomer to `greet`, which must not block, until the listener is closed.

    A failing accept is logged, when it begins and when it is over, and tried again after a pause:
    running out of file descriptors must not end the server.
    """
    failures = 0
    while True:
        try:
            stream = await listener.accept()
        except trio.ClosedResourceError:
            return
        except OSError as exc:
            failures += 1
            if failures == 1:
                _log.error("cannot accept connections: %s; trying again every %s s", exc, _PAUSE)
            await trio.sleep(_PAUSE)
            continue
        if failures:
            _log.info("accepting connections again, after %d failures", failures)
            failures = 0
        greet(stream)


def address_of(listener: Listener) -> tuple[str, int]:
    """Host and port of a listener; port 0 where there is no TCP."""
    if not isinstance(listener, trio.SocketListener):
        return ("memory", 0)
    host, port = listener.socket.getsockname()[:2]
    return (host, port)


def peer_of(stream: trio.abc.Stream, *, tls: bool) -> Peer:
    """Where a newcomer is.

    Raises:
        OSError: It has gone already.
    """
    if not isinstance(stream, trio.SocketStream):
        return Peer("memory", 0, tls)
    host, port = stream.socket.getpeername()[:2]
    return Peer(host, port, tls)
