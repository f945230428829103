"""The sockets that an asyncio loop reads for its own tasks, while these make requests.

If the background loop reads for them, it has to wake them, which costs more than reading. So it
lends a socket to the loop of the waiting tasks (`restsock.connection._leader`): the socket is added
to an epoll object for which that loop waits. Any thread can add and remove sockets there, without
telling the loop.

Without epoll, nothing is lent.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from restsock.connection import Lendable

__all__ = ["LoopPoll"]

_HAS_EPOLL = hasattr(select, "epoll")
# How many connections are read before the other tasks of the loop have their turn.
_AT_ONCE = 64


class LoopPoll:
    """Waits for sockets that were lent; a `Borrower`.

    The epoll object exists while there are connections that lend. It is opened and closed on the
    loop; if the loop is closed first, it is closed together with the last connection.

    Args:
        loop: The asyncio loop.
        read: Called on the loop with a function that reads everything that is ready.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, read: Callable[[Callable[[], None]], None]
    ) -> None:
        self._loop = loop
        self._read = read
        self._epoll: select.epoll | None = None
        self._lenders: set[Lendable] = set()
        self._readers: dict[int, Lendable] = {}

    def open(self, reader: Lendable) -> bool:
        """See `Borrower`."""
        self._lenders.add(reader)  # first, so that it is not closed from here on
        if self._epoll is None and _HAS_EPOLL:
            try:
                epoll = select.epoll()
                self._loop.add_reader(epoll.fileno(), self._read, self._read_ready)
            except (OSError, NotImplementedError):
                pass  # no descriptors are left, or the loop does not support it
            else:
                self._epoll = epoll
        if self._epoll is None:
            self._lenders.discard(reader)
        return self._epoll is not None

    def arm(self, fd: int, reader: Lendable) -> bool:
        """See `Borrower`."""
        if self._epoll is None:
            return False
        self._readers[fd] = reader
        try:
            self._epoll.register(fd, select.EPOLLIN)
        except (OSError, ValueError):  # no room, or it was closed
            del self._readers[fd]
            return False
        return True

    def disarm(self, fd: int) -> None:
        """See `Borrower`."""
        self._readers.pop(fd, None)
        if self._epoll is not None:
            with suppress(OSError, ValueError):  # it was closed
                self._epoll.unregister(fd)

    def forget(self, reader: Lendable) -> None:
        """See `Borrower`."""
        self._lenders.discard(reader)
        if not self._lenders:
            try:
                self._loop.call_soon_threadsafe(self._close)
            except RuntimeError:
                self._close()  # the loop is closed, and waits for nothing

    def _close(self) -> None:
        epoll = self._epoll
        if epoll is None or self._lenders:
            return
        self._epoll = None
        if not self._loop.is_closed():
            self._loop.remove_reader(epoll.fileno())
        epoll.close()

    def _read_ready(self) -> None:
        if self._epoll is not None:
            for fd, _ in self._epoll.poll(0, _AT_ONCE):
                reader = self._readers.get(fd)
                if reader is not None:  # otherwise it was removed while another one read
                    reader.read_lent()
