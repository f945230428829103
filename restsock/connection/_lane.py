"""A way into a plain TCP socket that does not wait, for sends out of a callback of the loop."""

from __future__ import annotations

import os

import trio

__all__ = ["Lane", "lane_of"]


class Lane:
    """Writes what the socket takes right now.

    The number of the socket is asked for each time: it is -1 once the socket is closed, so that a
    late write cannot hit another one that got its number.
    """

    __slots__ = ("_socket",)

    def __init__(self, socket: trio.socket.SocketType) -> None:
        self._socket = socket

    async def read(self, size: int) -> bytes:
        """Waits for bytes and returns them; `b""` at the end.

        Like `receive_some` of the stream, without its first look, which mostly finds nothing.

        Raises:
            OSError: the socket has failed.
        """
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            try:
                return os.read(self._socket.fileno(), size)
            except BlockingIOError:
                pass

    def write(self, data: bytes) -> int:
        """Returns how many bytes were taken; 0 when the socket is full, or has failed.

        What a failure was is for the writer to find out, when it tries again.
        """
        try:
            return os.write(self._socket.fileno(), data)
        except OSError:
            return 0


def lane_of(stream: trio.abc.Stream) -> Lane | None:
    """The lane of a stream; `None` where there is none: with TLS, in memory, without POSIX."""
    if os.name != "posix" or type(stream) is not trio.SocketStream:
        return None
    return Lane(stream.socket)
