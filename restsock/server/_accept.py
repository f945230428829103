"""Listening sockets, and the accept loop, which continues after errors."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeAlias

import trio

from restsock._logging import PartLog
from restsock._options import SocketOptions
from restsock.connection import Peer
from restsock.endpoint import UNIX, prepare_listening_socket

__all__ = [
    "Listener",
    "OpenListeners",
    "PeerOf",
    "accept_forever",
    "accept_queued",
    "address_of",
    "backlog_of",
    "open_listeners",
    "peer_of",
]

Listener: TypeAlias = trio.abc.Listener[Any]

OpenListeners: TypeAlias = Callable[[str | None, int, SocketOptions], Awaitable[Sequence[Listener]]]
"""Opens the listeners, given host, port and socket options."""

PeerOf: TypeAlias = Callable[..., Peer]
"""Returns the address of a newcomer, given its stream and, by keyword, whether it uses TLS."""

_log = PartLog("restsock.server")

# How often to try to find one port that is free on all addresses of a host name.
_PORT_TRIES = 10
# Above this a kernel uses its own maximum, and some kernels have only 16 bits for it.
_MAX_BACKLOG = 0xFFFF
# Seconds to wait when the system has no file descriptor or memory for another socket. Meanwhile
# new connections queue in the kernel.
_PAUSE = 0.1

_ADVICE = {
    errno.EADDRINUSE: "stop the program that listens there, or take another port (0 is a free one)",
    errno.EADDRNOTAVAIL: "this machine has no such address",
    errno.EACCES: "ports below 1024 are for privileged programs on many systems",
}


async def open_listeners(
    host: str | None, port: int, options: SocketOptions
) -> list[trio.SocketListener]:
    """Binds every address of the host on the same port, and listens.

    Raises:
        OSError: An address cannot be bound, or the host is unknown.
    """
    for _ in range(_PORT_TRIES):
        listeners = await _bind(host, port, options)
        if port or len(listeners) == 1:
            return listeners
        # With port 0 the kernel chose a different port for each address. Use the first for all.
        chosen = listeners[0].socket.getsockname()[1]
        _close(listeners)
        try:
            return await _bind(host, chosen, options)
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE:
                raise
    raise OSError(errno.EADDRINUSE, f"no port is free on all addresses of {host!r}")


async def _bind(host: str | None, port: int, options: SocketOptions) -> list[trio.SocketListener]:
    """Like `trio.open_tcp_listeners`, which takes no socket options."""
    try:
        found = await trio.socket.getaddrinfo(
            host, port, type=trio.socket.SOCK_STREAM, flags=trio.socket.AI_PASSIVE
        )
    except OSError as exc:
        raise _explained(exc, host, port) from exc
    listeners: list[trio.SocketListener] = []
    unknown: OSError | None = None
    try:
        for family, kind, protocol, _, where in found:
            try:
                sock = trio.socket.socket(family, kind, protocol)
            except OSError as exc:
                # A system without IPv6 may still resolve a name to IPv6 addresses.
                if exc.errno != errno.EAFNOSUPPORT:
                    raise
                unknown = exc
                continue
            try:
                prepare_listening_socket(sock, options)
                if family == trio.socket.AF_INET6:
                    # IPv4 has its own socket, on all systems.
                    sock.setsockopt(trio.socket.IPPROTO_IPV6, trio.socket.IPV6_V6ONLY, 1)
                await sock.bind(where)
                sock.listen(backlog_of(options))
                listeners.append(trio.SocketListener(sock))
            except OSError as exc:
                sock.close()
                # "localhost" may have an IPv6 address while the loopback interface has none.
                if exc.errno == errno.EADDRNOTAVAIL and where[0] == "::1":
                    unknown = _explained(exc, *where[:2])
                    continue
                raise _explained(exc, *where[:2]) from exc
            except BaseException:
                sock.close()
                raise
        if unknown is not None and not listeners:
            raise unknown
    except BaseException:
        _close(listeners)
        raise
    return listeners


def _close(listeners: Iterable[trio.SocketListener]) -> None:
    for listener in listeners:
        listener.socket.close()


def _explained(error: OSError, host: str | None, port: int) -> OSError:
    """The same error, with the address and with advice."""
    address = f"[{host}]:{port}" if host is not None and ":" in host else f"{host or '*'}:{port}"
    text = f"cannot listen on {address}: {error.strerror or error}"
    if error.errno in _ADVICE:
        text += f"; {_ADVICE[error.errno]}"
    if isinstance(error, socket.gaierror):  # whose numbers are others
        return socket.gaierror(error.errno, text)
    return OSError(error.errno, text)  # Python chooses the class by the number


def backlog_of(options: SocketOptions) -> int:
    """The length of the kernel's queue of new connections."""
    return _MAX_BACKLOG if options.backlog is None else options.backlog


async def accept_forever(listener: Listener, greet: Callable[[trio.abc.Stream], object]) -> None:
    """Passes each new connection to `greet`, which must not block, until the listener is closed.

    If accepting fails, it is tried again after a pause, since running out of file descriptors must
    not end the server. The beginning and the end of the failure are logged.
    """
    failures = 0
    begun = 0.0
    while True:
        try:
            stream = await listener.accept()
        except trio.ClosedResourceError:
            return
        except OSError as exc:
            failures += 1
            if failures == 1:
                begun = trio.current_time()
                _log.warning("cannot accept connections: %s; trying again every %s s", exc, _PAUSE)
            await trio.sleep(_PAUSE)
            continue
        if failures:
            seconds = trio.current_time() - begun
            _log.warning("accepting connections again, after %.1f s", seconds)
            failures = 0
        greet(stream)


def accept_queued(listener: Listener, greet: Callable[[trio.abc.Stream], object]) -> None:
    """Accepts and passes on all connections in the kernel's queue. Does not wait."""
    sock: trio.socket.SocketType | None = getattr(listener, "socket", None)
    if sock is None:
        return
    with socket.socket(fileno=sock.dup().detach()) as queue:
        queue.setblocking(False)
        while True:
            try:
                newcomer, _ = queue.accept()
            except OSError:  # there is none, or it has gone
                return
            greet(trio.SocketStream(trio.socket.from_stdlib_socket(newcomer)))


def address_of(listener: Listener) -> tuple[str, int]:
    """The host and port of a listener; for a Unix socket, its path and 0."""
    sock: trio.socket.SocketType | None = getattr(listener, "socket", None)
    if sock is None:
        return ("memory", 0)
    if sock.family == UNIX:
        # The name of an abstract socket begins with a zero byte, which systemd writes as "@".
        return (os.fsdecode(sock.getsockname()).replace("\0", "@"), 0)
    host, port, *more = sock.getsockname()
    # A link-local address can be dialed only together with its interface.
    zone = more[1] if len(more) == 2 else 0
    return (f"{host}%{socket.if_indextoname(zone)}" if zone else host, port)


def peer_of(stream: trio.abc.Stream, *, tls: bool) -> Peer:
    """The address of a newcomer.

    Raises:
        OSError: It has gone already.
    """
    if not isinstance(stream, trio.SocketStream):
        return Peer("memory", 0, tls)
    if stream.socket.family == UNIX:
        return Peer("", 0, tls)
    host, port = stream.socket.getpeername()[:2]
    return Peer(host, port, tls)
