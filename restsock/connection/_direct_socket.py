"""The socket of a connection, for threads that read and write it without the loop."""

from __future__ import annotations

import os

import trio

__all__ = ["DirectSocket", "direct_socket_of"]


class DirectSocket:
    """Writes what the socket takes right now, and reads what it has.

    The number of the socket is asked for each time: it is -1 once the socket is closed, so that a
    late write cannot hit another one that got its number.
    """

    __slots__ = ("_socket",)

    def __init__(self, socket: trio.socket.SocketType) -> None:
        self._socket = socket

    def fileno(self) -> int:
        """The number of the socket; -1 once it is closed."""
        return self._socket.fileno()

    def read_now(self, size: int) -> bytes:
        """Returns the bytes that are there; `b""` at the end.

        Raises:
            BlockingIOError: there are none now.
            OSError: the socket has failed.
        """
        return os.read(self._socket.fileno(), size)

    def write(self, data: bytes) -> int:
        """Returns how many bytes were taken; 0 when the socket is full, or has failed.

        What a failure was is for the writer to find out, when it tries again.
        """
        try:
            return os.write(self._socket.fileno(), data)
        except OSError:
            return 0


def direct_socket_of(stream: trio.abc.Stream) -> DirectSocket | None:
    """The socket of a stream; `None` where that is no plain socket, and without POSIX."""
    if os.name != "posix" or type(stream) is not trio.SocketStream:
        return None
    return DirectSocket(stream.socket)
