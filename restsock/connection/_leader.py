"""Who reads the socket: the loop or, while it waits for an answer, a thread (leader and followers).

A thread that waits for an event of its exchange has nothing else to do, and to be woken by the loop
costs more than to read. So the first that waits takes the lead: it polls the socket, reads, and
hands on all that comes, under the connection's lock, until there is something for itself. The
others wait on their queues. While no thread leads, the loop does.

- The loop does not wait for the socket but for an epoll object around it, in which taking the lead
  disarms the socket (`_ready_poll`).
- A thread that reads a long body comes back for the next piece at once, and to wake the loop for
  what comes in between costs more than the piece. So it leaves the socket disarmed, and the loop
  looks in by the clock, as long as the thread goes on coming back.
- An asyncio loop whose tasks wait cannot wait for one socket only. So it leads for longer: once its
  requests follow one another closely, it is lent the socket, in an epoll object of its own. The
  connection's loop looks by the clock whether it still makes requests or reads. If it does not, the
  loan is over: a loop that is blocked, or was closed, does not hold up others for long.
- Who leads waits for two things: the socket, and its own queue, which others fill as well. They see
  that it sleeps, and wake it. It says that it is going to sleep before it looks at the queue for
  the last time, and they look at that after they have put something in: no wake-up is lost.

Where there is no epoll no thread takes the lead, and threads wait on their queues.
"""

from __future__ import annotations

import math
import os
import queue
import select
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

from ._ready_poll import Readable

if TYPE_CHECKING:
    from ._ready_poll import ReadyPoll

__all__ = ["LOAN", "Borrower", "Lead", "Lendable", "Sleeper", "Waiter", "Wakeable", "sleeper"]

# In seconds: how close requests of another loop have to follow one another for it to read, and how
# often the loop looks whether they still do.
LOAN = 20e-3
# How long a thread that reads a long body may stay away, in seconds, before the loop reads for the
# others on its connection.
LOOK_IN = 2e-3

_CAN_LEAD = hasattr(select, "epoll") and hasattr(os, "eventfd")


class Sleeper:
    """Lets one thread wait for a socket and for other threads at once.

    Attributes:
        asleep: whether it waits, or is about to; then `wake()` is needed.
    """

    __slots__ = ("_event", "asleep")

    def __init__(self) -> None:
        self.asleep = False
        self._event = -1  # for `__del__`, when there are no descriptors left
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def sleep(self, socket: int, seconds: float, *, sending: bool = False) -> bool:
        """Waits for a socket, `wake()`, or the time; tells whether it was the socket.

        May end for no reason. `asleep` is for the caller to set.

        Args:
            socket: its number.
            seconds: at most.
            sending: whether to wait for room in the socket, too, and not only for what it has.
        """
        poll = select.poll()
        poll.register(self._event, select.POLLIN)
        poll.register(socket, select.POLLIN | select.POLLOUT if sending else select.POLLIN)
        found = False
        for fd, _ in poll.poll(seconds * 1000):
            if fd == self._event:
                try:
                    os.eventfd_read(self._event)
                except BlockingIOError:
                    pass  # it was read by a call that was interrupted
            else:
                found = True
        return found

    def wake(self) -> None:
        """Ends `sleep()`, also one that has yet to begin. For any thread."""
        os.eventfd_write(self._event, 1)

    def __del__(self) -> None:
        if self._event >= 0:
            os.close(self._event)


class Wakeable(Protocol):
    """What somebody waits in for events: a `Sleeper`, or what a task of another loop waits in.

    Attributes:
        asleep: whether `wake()` is needed.
    """

    asleep: bool

    def wake(self) -> None:
        """Ends the wait, also one that has yet to begin. For any thread."""


class Waiter(Protocol):
    """What a thread waits for.

    Attributes:
        queue: others fill it, from any thread.
        sleeper: what the thread sleeps in while it leads; they wake it.
        more: whether a long body is on its way, so that the thread comes back for more at once.
    """

    sleeper: Wakeable | None
    more: bool

    @property
    def queue(self) -> queue.SimpleQueue[Any]: ...


class Borrower(Protocol):
    """What another loop waits for sockets with. Calls are made with the lock of a connection."""

    def open(self, reader: Lendable) -> bool:
        """Gets ready for a connection, on the thread of its loop; tells whether it can."""

    def arm(self, fd: int, reader: Lendable) -> bool:
        """Waits for a socket, if it can. For any thread."""

    def disarm(self, fd: int) -> None:
        """Waits for it no more. For any thread."""

    def forget(self, reader: Lendable) -> None:
        """A connection has ended, or has another borrower. For any thread."""


class Lendable(Protocol):
    """A connection, as far as another loop reads it."""

    def read_lent(self) -> None:
        """Reads what the socket has, on the thread of that loop."""


class Led(Readable, Lendable, Protocol):
    """A connection, as far as either loop reads it."""


class Lead:
    """The lead of one connection. All calls are made with the connection's lock.

    Args:
        fd: the number of the socket.
        poll: waits for it, among others.
        reader: the connection.

    Attributes:
        holder: what the thread that leads sleeps in; `None` while a loop leads.
        shared: whether the loop looks in by the clock, for a thread that comes back at once.
        soon: whether the thread that had it last does.
        borrower: the other loop that wants to read, or does.
        lent: whether it does.
        used: whether that one has made a request, or read, since the connection's loop has looked.
    """

    __slots__ = (
        "_armed",
        "_asked_at",
        "_fd",
        "_poll",
        "_reader",
        "_returned",
        "borrower",
        "holder",
        "lent",
        "shared",
        "soon",
        "used",
    )

    def __init__(self, fd: int, poll: ReadyPoll, reader: Led) -> None:
        self.holder: Sleeper | None = None
        self.shared = False
        self.soon = False
        self.borrower: Borrower | None = None
        self.lent = False
        self.used = False
        self._asked_at = -math.inf  # when another loop has sent a request
        self._fd = fd
        self._poll = poll
        self._reader = reader
        self._armed = True
        self._returned = False  # since the loop has looked in

    @property
    def pause(self) -> float | None:
        """How often the loop is to look in, in seconds; `None` if the socket is to wake it."""
        return LOAN if self.lent else LOOK_IN if self.shared else None

    def take(self, holder: Sleeper) -> None:
        """Takes it. It must be free."""
        self.holder = holder
        if self._armed:
            self._disarm()

    def give_back(self, *, soon: bool) -> None:
        """Gives it back to the loop; `soon` tells whether the thread is going to take it again."""
        self.holder = None
        self._returned = True
        self.soon = soon and not self.lent
        if not ((self.soon and self.shared) or self._armed):
            self._arm()

    def look_in(self) -> None:
        """The loop was woken, or its time has come: is it to look in again, or to be woken?"""
        if self.lent:
            if not self.used:
                self._lend(False)
            self.used = False
        elif self.borrower is not None and self.used:
            self._lend(True)
        else:
            self.shared = self.soon = self.soon and self._returned
            self._returned = False
            if self.holder is None:
                (self._disarm if self.shared else self._arm)()

    def ask(self, borrower: Borrower) -> None:
        """Another loop, here, has sent a request. If they follow closely, it wants to read."""
        now = time.monotonic()
        asked_at, self._asked_at = self._asked_at, now
        if now - asked_at > LOAN or self.lent:
            return
        if self.borrower is not borrower:
            if not borrower.open(self._reader):
                return
            if self.borrower is not None:
                self.borrower.forget(self._reader)
            self.borrower = borrower
        self.used = True

    def leave(self) -> None:
        """The connection has ended: no other loop reads it any more."""
        if self.lent:
            self._lend(False)
        if self.borrower is not None:
            self.borrower.forget(self._reader)
            self.borrower = None

    def _lend(self, lent: bool) -> None:
        """Has the other loop read from now on, or the connection's own."""
        if self._armed:
            self._disarm()
        self.lent = lent
        self.shared = self.soon = False
        if self.holder is None:
            self._arm()

    def _arm(self) -> None:
        self._armed = True
        if self.lent:
            assert self.borrower is not None
            self.lent = self.borrower.arm(self._fd, self._reader)
            self.used = self.used or not self.lent  # the loop is to look in, and to see that
        if not self.lent:
            self._poll.arm(self._fd, self._reader, armed=True)

    def _disarm(self) -> None:
        self._armed = False
        if self.lent:
            assert self.borrower is not None
            self.borrower.disarm(self._fd)
        else:
            self._poll.arm(self._fd, self._reader, armed=False)


_here = threading.local()


def sleeper() -> Sleeper | None:
    """That of this thread; `None` where threads cannot lead, or no descriptors are left."""
    if not _CAN_LEAD:
        return None
    try:
        found: Sleeper = _here.sleeper
    except AttributeError:
        try:
            found = _here.sleeper = Sleeper()
        except OSError:
            return None
    return found


def _forget_in_child() -> None:
    # The number stands for an object that parent and child share: one could wake the other.
    vars(_here).pop("sleeper", None)


if _CAN_LEAD:
    os.register_at_fork(after_in_child=_forget_in_child)
