"""Listening sockets from a parent process: systemd, or a program that starts this one."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Sequence

import trio

from restsock._options import SocketOptions

from ._accept import Listener, OpenListeners

__all__ = ["listeners_on", "systemd_sockets"]

# The first descriptor that systemd passes (sd_listen_fds(3)).
_FIRST = 3


def listeners_on(sockets: Iterable[socket.socket]) -> OpenListeners:
    """A function that makes a server accept from these sockets, and close them in the end.

    It does not change their options. The file of a Unix socket stays.

    Args:
        sockets: Listening stream sockets, TCP or Unix.

    Raises:
        ValueError: There are none, or one does not listen.
        TypeError: One is not a socket.
    """
    found = list(sockets)
    if not found:
        raise ValueError("sockets= is empty: none was handed over, or it was taken before")
    for sock in found:
        if not isinstance(sock, socket.socket):
            raise TypeError(f"sockets= takes sockets, not {type(sock).__name__}")
        if sock.type != socket.SOCK_STREAM or not _listens(sock):
            raise ValueError(f"sockets= takes stream sockets that listen, not {sock!r}")

    async def open_listeners(
        host: str | None, port: int, options: SocketOptions
    ) -> Sequence[Listener]:
        return [trio.SocketListener(trio.socket.from_stdlib_socket(sock)) for sock in found]

    return open_listeners


def _listens(sock: socket.socket) -> bool:
    try:
        return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:  # some systems cannot tell
        return True


def systemd_sockets(name: str | None = None) -> list[socket.socket]:
    """The sockets that systemd has opened for this process (socket activation, sd_listen_fds(3)).

        restsock.listen(sockets=restsock.systemd_sockets(), app=app)

    The unit `restsock.socket` defines them: `ListenStream=8443`, or
    `ListenStream=/run/restsock.sock` with `SocketMode=0600`. systemd keeps them open while the
    service restarts, so new connections wait in the queue of the socket, and none is refused.

    Each socket is returned once. The environment variables (`LISTEN_PID`, `LISTEN_FDS`,
    `LISTEN_FDNAMES`) are removed with the last one, and no child process inherits the sockets. Any
    parent process may set these variables; `LISTEN_PID` is the id of the process that they are for.

    Args:
        name: Only the sockets of this name (`FileDescriptorName=`; by default the name of the unit,
            `restsock.socket` for example); `None` for all.

    Returns:
        The sockets in the order of the unit; none without socket activation.

    Raises:
        OSError: A descriptor that was passed is not a socket.
    """
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(os.environ.get("LISTEN_FDS") or 0)
    given = os.environ.get("LISTEN_FDNAMES")
    names = given.split(":") if given else []
    names += ["unknown"] * (count - len(names))  # as sd_listen_fds_with_names(3) calls them
    taken: list[socket.socket] = []
    for number in range(count):
        if names[number] and name in (None, names[number]):
            os.set_inheritable(_FIRST + number, False)
            taken.append(socket.socket(fileno=_FIRST + number))
            names[number] = ""
    os.environ["LISTEN_FDNAMES"] = ":".join(names)
    if not any(names[:count]):
        for variable in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
            del os.environ[variable]
    return taken
