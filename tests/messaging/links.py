"""Two messagings in memory, connected by a pair of links that can be cut."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import trio

from restsock._principal import Principal
from restsock.messaging import Messaging, Outgoing, Session
from restsock.protocol import decode_envelope

_numbers = itertools.count(1)


class MemoryLink:
    """One end of a connection in memory. What is sent waits until its task passes it on."""

    def __init__(
        self,
        id: str,
        *,
        name: str | None,
        dialed: bool,
        credit: tuple[int, int] | None,
        foreign: bool = False,
        principal: Principal | None = None,
        metadata: Mapping[str, Any] | None = None,
        max_message: int = 64 * 1024,
        most: int = 256 * 1024,
    ) -> None:
        self.id = id
        self.name = name
        self.dialed = dialed
        self.credit = None if foreign else credit
        self.foreign = foreign
        self.principal = principal
        self.metadata = metadata or {}
        self.connected_at = time.time()
        self.max_message = max_message
        self.queue: deque[Outgoing] = deque()
        self.queued = 0
        self.most = most
        self.closed: tuple[int, str] | None = None
        self.other: MemoryLink
        self.session: Session
        self.cut = False
        self.stalled = False
        self.wake = trio.Event()
        self.refused = False

    @property
    def passing(self) -> bool:
        return not (self.cut or self.stalled)

    @property
    def room(self) -> int:
        return self.most - self.queued

    def send(self, outgoing: Outgoing) -> bool:
        if self.cut or self.queued + outgoing.size > self.most:
            self.refused = True
            return False
        self.queue.append(outgoing)
        self.queued += outgoing.size
        self.wake.set()
        return True

    def close_soon(self, code: int, reason: str) -> None:
        self.closed = self.closed or (code, reason)
        self.wake.set()

    async def run(self) -> None:
        """Passes on what is sent, until the connection is closed."""
        while not self.cut:
            await self.wake.wait()
            self.wake = trio.Event()
            while self.queue and self.passing:
                outgoing = self.queue.popleft()
                self.queued -= outgoing.size
                self.other.session.receive(decode_envelope(outgoing.text), outgoing.size)
            if self.refused and self.passing:
                self.refused = False
                self.session.writable()
            if self.closed is not None:
                self.end(self.closed[1])

    def end(self, reason: str) -> None:
        """Ends the connection, both ways; what is under way is lost."""
        for link in (self, self.other):
            if not link.cut:
                link.cut = True
                link.queue.clear()
                link.wake.set()
                link.session.detach(reason)


async def until(condition: Callable[[], object]) -> None:
    """Lets the other tasks run until something is so."""
    while not condition():  # of many things, none of which has an event
        await trio.lowlevel.checkpoint()


def credit_of(messaging: Messaging) -> tuple[int, int]:
    return messaging.options.credit_messages, messaging.options.credit_bytes


def connect(
    nursery: trio.Nursery,
    dialer: Messaging,
    listener: Messaging,
    *,
    name: str | None = "edge-1",
    principal: Principal | None = None,
    metadata: Mapping[str, Any] | None = None,
    max_message: int = 64 * 1024,
) -> MemoryLink:
    """Connects two messagings; returns the link of the dialer.

    Args:
        nursery: for the tasks that pass on what is sent.
        dialer: one of them.
        listener: the other one.
        name: of the dialer.
        principal: of the dialer.
        metadata: of the dialer.
        max_message: what the listener takes.
    """
    id = f"connection-{next(_numbers)}"
    credit = credit_of(listener)
    out = MemoryLink(id, name=None, dialed=True, credit=credit, max_message=max_message)
    back = MemoryLink(
        id,
        name=name,
        dialed=False,
        credit=credit_of(dialer),
        principal=principal,
        metadata=metadata,
    )
    out.other, back.other = back, out
    back.session = listener.attach(back)
    out.session = dialer.attach(out)
    nursery.start_soon(out.run)
    nursery.start_soon(back.run)
    return out


@asynccontextmanager
async def pair(
    dialer: Messaging | None = None,
    listener: Messaging | None = None,
    *,
    name: str | None = "edge-1",
) -> AsyncIterator[tuple[Messaging, Messaging, MemoryLink]]:
    """A dialer and a listener, connected."""
    dialer, listener = dialer or Messaging(), listener or Messaging()
    async with trio.open_nursery() as nursery:
        async with dialer, listener:
            link = connect(nursery, dialer, listener, name=name)
            yield dialer, listener, link
        nursery.cancel_scope.cancel()


class ForeignLink(MemoryLink):
    """A link to a peer that a test plays: what is sent to it is kept in `sent`."""

    def __init__(self, id: str = "foreign", **more: Any) -> None:
        more = {"name": None, "dialed": False, "credit": None, "foreign": True} | more
        super().__init__(id, **more)
        self.sent: list[Outgoing] = []

    def send(self, outgoing: Outgoing) -> bool:
        if self.stalled:
            self.refused = True
            return False
        self.sent.append(outgoing)
        self.wake.set()
        return True

    async def wait_sent(self, type: str, count: int = 1) -> list[Outgoing]:
        """Waits until so many envelopes of a type were sent."""
        while True:
            found = [outgoing for outgoing in self.sent if outgoing.type == type]
            if len(found) >= count:
                return found
            self.wake = trio.Event()
            await self.wake.wait()
