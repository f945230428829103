"""`Arrivals`: which sockets have something to read, without a system call for each of them."""

from __future__ import annotations

import select

import trio

from restsock.connection import pass_end

__all__ = ["Arrivals"]

_HAS_EPOLL = hasattr(select, "epoll")


class Arrivals:
    """Some sockets. The system is asked once for all of them, in each pass of the loop.

    What comes later in the same pass is not seen before the next one. Where there is no epoll, or
    no descriptor is left for it, the system is asked for each socket, each time.
    """

    def __init__(self) -> None:
        self._epoll: select.epoll | None = None  # while there are any
        self._numbers: set[int] = set()  # of those that are in there
        self._ready: set[int] | None = None  # what was found in this pass

    def add(self, socket: trio.socket.SocketType) -> None:
        """Looks after a socket, to be removed before it is closed."""
        if not _HAS_EPOLL:
            return
        number = socket.fileno()
        try:
            if self._epoll is None:
                self._epoll = select.epoll()
            self._epoll.register(number, select.EPOLLIN)
        except OSError:
            return
        self._numbers.add(number)

    def remove(self, socket: trio.socket.SocketType) -> None:
        """Looks after it no more. Twice is harmless."""
        number = socket.fileno()
        if self._epoll is None or number not in self._numbers:
            return
        self._numbers.remove(number)
        if self._numbers:
            self._epoll.unregister(number)
        else:
            self._epoll.close()
            self._epoll = None

    def has(self, socket: trio.socket.SocketType) -> bool:
        """Whether something has come, or the other side has closed."""
        number = socket.fileno()
        if self._epoll is None or number not in self._numbers:
            return socket.is_readable()
        if self._ready is None:
            self._ready = {number for number, _ in self._epoll.poll(0, len(self._numbers))}
            pass_end().call(self._forget)
        return number in self._ready

    def _forget(self) -> None:
        self._ready = None
