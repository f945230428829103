"""One task that reads for all connections of a loop, and one epoll object around their sockets.

A task for each connection that only waits for its socket would be most of what an idle connection
costs. So the sockets of all are in one epoll object, the loop waits for that, and what is ready is
read in plain calls: each connection reads for a bounded time, `_AT_ONCE` of them before other tasks
have their turn, and the system goes on with those that have waited longest.

- A thread that takes the lead of a connection (`_leader`) disarms its socket in there: one system
  call, and the loop is not woken any more. The epoll is level-triggered: what came in between is
  seen when the socket is armed again.
- Nothing depends on that. Reading holds the connection's lock, so what comes is handled in order,
  on whatever thread; a loop that is woken in vain finds nothing, and waits again.
- The task belongs to the trio run, and exists while there are connections. It reads, and waits for
  nothing else: what takes time is a task of the connection, in the nursery of its owner.
- What goes wrong in one connection ends that one, and is raised where its owner runs it.

Where there is no epoll, each connection has a task that reads.
"""

from __future__ import annotations

import select
from contextlib import suppress
from typing import Protocol

import trio

from restsock._blocked import loop_watch
from restsock._logging import PartLog

__all__ = ["Readable", "ReadyPoll", "is_broken_off", "ready_poll"]

_log = PartLog("restsock.connection")

_HAS_EPOLL = hasattr(select, "epoll")
# Connections that read before the other tasks of the loop have their turn.
_AT_ONCE = 64


def is_broken_off(fd: int) -> bool:
    """Whether the peer has broken a socket off, or both sides have closed it.

    An epoll object tells that of a socket that is disarmed, too, again and again.
    """
    poll = select.poll()
    poll.register(fd, 0)
    return bool(poll.poll(0))


class Readable(Protocol):
    """A connection, as far as it reads."""

    def read_ready(self) -> None:
        """Reads what the socket has. On the loop; raises nothing."""

    def read_here(self) -> None:
        """The same on another thread, if the lock is free: the loop is blocked."""


class ReadyPoll:
    """The sockets that one loop waits for. Calls are made on the loop unless they say so."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._readers: dict[int, Readable] = {}
        # Sockets that others leave disarmed: when they are to be looked at, and how often.
        self._by_clock: dict[int, tuple[float, float]] = {}
        self._watch = loop_watch()

    def add(self, fd: int, reader: Readable, interval: float | None) -> None:
        """Has a connection read whenever its socket has something.

        Args:
            fd: of the socket; to be removed before it is closed.
            reader: the connection.
            interval: of its heartbeat, in seconds, which a blocked loop must not stop.

        Raises:
            OSError: the system cannot watch more sockets.
        """
        self._epoll.register(fd, select.EPOLLIN)
        self._readers[fd] = reader
        self._watch.stand_in(self.read_here, interval)
        if len(self._readers) == 1:
            number = self._epoll.fileno()
            trio.lowlevel.spawn_system_task(self._run, number, name="restsock-ready-poll")

    def remove(self, fd: int, reader: Readable) -> None:
        """Forgets a socket. With its connection's lock; the last one ends the task."""
        if self._readers.get(fd) is not reader:
            return  # it was closed without a word, and another one has its number
        del self._readers[fd]
        self._by_clock.pop(fd, None)
        with suppress(OSError):  # it was closed
            self._epoll.unregister(fd)
        if not self._readers:
            self._close()

    def arm(self, fd: int, reader: Readable, *, armed: bool = True) -> None:
        """Waits for a socket, or not, if it is not removed. For any thread; with the lock."""
        if fd in self._readers and self._readers[fd] is reader:
            self._epoll.modify(fd, select.EPOLLIN if armed else 0)

    def by_clock(self, fd: int, seconds: float | None) -> None:
        """Has a connection look in so often, whether its socket is armed or not; or no more."""
        if seconds is None:
            self._by_clock.pop(fd, None)
        elif self._by_clock.get(fd, (0.0, None))[1] != seconds:
            self._by_clock[fd] = trio.current_time() + seconds, seconds

    def read_here(self) -> None:
        """Has those that are ready read, on a thread that is not the loop's: that is blocked."""
        try:
            ready = [fd for fd, _ in self._epoll.poll(0)]
        except (ValueError, OSError):
            return  # the last connection has just left
        for fd in [*ready, *list(self._by_clock)]:
            reader = self._readers.get(fd)
            if reader is not None:
                try:
                    reader.read_here()
                except Exception:  # noqa: BLE001  # a bug of ours in one is not the others' end
                    _log.exception("a thread could not read for a loop that is blocked")

    def _close(self) -> None:
        _poll.set(None)
        self._watch.stop_standing_in(self.read_here)
        trio.lowlevel.notify_closing(self._epoll.fileno())
        self._epoll.close()

    async def _run(self, number: int) -> None:
        epoll = self._epoll
        try:
            while not epoll.closed:
                if self._by_clock:
                    with trio.move_on_at(min(self._by_clock.values())[0]):
                        await trio.lowlevel.wait_readable(number)
                    self._look_in()
                else:
                    await trio.lowlevel.wait_readable(number)
                if epoll.closed:
                    break  # since it was found to be readable
                for fd, _ in epoll.poll(0, _AT_ONCE):
                    if fd in self._readers:  # else one of those before it has ended it
                        self._readers[fd].read_ready()
        except trio.ClosedResourceError:
            pass  # the last connection has left
        finally:
            if not epoll.closed:  # the run is over before its connections are
                self._close()

    def _look_in(self) -> None:
        """Has those look in whose time it is."""
        now = trio.current_time()
        for fd, (due, seconds) in list(self._by_clock.items()):
            if now >= due and fd in self._readers:
                self._by_clock[fd] = now + seconds, seconds
                self._readers[fd].read_ready()


_poll: trio.lowlevel.RunVar[ReadyPoll | None] = trio.lowlevel.RunVar("restsock-ready-poll", None)


def ready_poll() -> ReadyPoll | None:
    """That of this trio run; `None` where there is no epoll.

    Raises:
        OSError: no descriptors are left.
    """
    if not _HAS_EPOLL:
        return None
    found = _poll.get()
    if found is None:
        found = ReadyPoll()
        _poll.set(found)
    return found
