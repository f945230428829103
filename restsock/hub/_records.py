"""The records of a hub: rings of the latest ones, and counters by name."""

from __future__ import annotations

import logging
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

import trio

from restsock.ingress import Passed
from restsock.server import ConnectionEvent, Server

__all__ = ["EventLog", "NameCounters", "PassedLog", "Record", "Ring"]

_KEPT = 1000
# Names with counters of their own; of more, the one that was not asked for longest is forgotten.
_NAMES = 10_000

# Characters of a method or a path that are kept: what strangers send must not fill the memory.
_KEPT_OF_TEXT = 1000

_access_log = logging.getLogger("restsock.hub.access")
_CLASSES = {n: f"{n}xx" for n in range(1, 10)}  # of statuses

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Record(Generic[_T]):
    """One of a ring.

    Attributes:
        id: unique, also across runs of the hub.
        number: from 1, in the order of the ring.
        time: seconds since 1970.
        value: what was recorded.
    """

    id: str
    number: int
    time: float
    value: _T


class Ring(Generic[_T]):
    """The latest records, to look at and to follow. On the loop."""

    def __init__(self, size: int = _KEPT) -> None:
        # Number, time and value: what else a record has is for those who look.
        self._kept: deque[tuple[int, float, _T]] = deque(maxlen=size)
        self._run = secrets.token_hex(8)
        self._count = 0
        self._news = trio.lowlevel.ParkingLot()
        self._ended = False

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[Record[_T]]:
        """Those that are kept, oldest first: a snapshot."""
        return iter(self.after(None))

    def add(self, value: _T) -> None:
        """Records something. Never waits."""
        self._count += 1
        self._kept.append((self._count, time.time(), value))
        if self._news:
            self._news.unpark_all()

    def end(self) -> None:
        """Lets those who follow see the end. Raises nothing."""
        self._ended = True
        self._news.unpark_all()

    def after(self, id: str | None) -> list[Record[_T]]:
        """Those after the record of this id; all that are kept if it is unknown, or `None`."""
        run, _, number = (id or "").rpartition("-")
        known = 0
        if run == self._run and number.isascii() and number.isdecimal() and len(number) < 19:
            known = int(number)
        return [
            Record(f"{self._run}-{count}", count, at, value)
            for count, at, value in self._kept
            if count > known
        ]

    @property
    def latest(self) -> str:
        """The id of the latest record, or of what was before the first."""
        return f"{self._run}-{self._count}"

    async def wait(self, id: str | None) -> list[Record[_T]]:
        """Those after the record of this id, once there are any; empty at the end.

        Raises no error. Cancelled, it has taken nothing.
        """
        while True:
            found = self.after(id)
            if found or self._ended:
                return found
            await self._news.park()


class EventLog(Ring[ConnectionEvent]):
    """The latest events of the connections of peers, and since when each of these is there."""

    def __init__(self) -> None:
        super().__init__()
        self._since: dict[str, float] = {}  # on the clock of the loop, by their ids

    def age_of(self, connection_id: str) -> float | None:
        """Seconds since a connection began; `None` if that is not known."""
        began = self._since.get(connection_id)
        return None if began is None else trio.current_time() - began

    async def follow(self, server: Server, *, task_status: trio.TaskStatus[None]) -> None:
        """Records the events of a server, until it is closed."""
        async with server.events() as events:
            task_status.started()
            async for event in events:
                # Metadata may be large, and connections have it.
                self.add(replace(event, metadata=None))
                if event.type == "ConnectionReceived":
                    self._since[event.connection_id] = trio.current_time()
                elif event.type == "EventsLost":
                    alive = server.connections
                    self._since = {id: t for id, t in self._since.items() if alive.by_id(id)}
                else:
                    self._since.pop(event.connection_id, None)


@dataclass(slots=True)
class NameCounters:
    """Counts the requests through the ingress to one name.

    Attributes:
        requests: that are over.
        by_class: those, by the class of their status: `"2xx"`.
        received: bytes of their bodies.
        sent: bytes of the bodies of their responses.
        seconds: that they have taken together.
    """

    requests: int = 0
    by_class: dict[str, int] = field(default_factory=dict)
    received: int = 0
    sent: int = 0
    seconds: float = 0.0

    def count(self, passed: Passed) -> None:
        """Counts one more."""
        self.requests += 1
        kind = _CLASSES.get(passed.status // 100, "none")
        self.by_class[kind] = self.by_class.get(kind, 0) + 1
        self.received += passed.received
        self.sent += passed.sent
        self.seconds += passed.seconds


class PassedLog(Ring[Passed]):
    """The last requests through the ingress, with counters.

    Attributes:
        total: counts all of them.
        by_name: counts those of names that are, or were, peers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = NameCounters()
        self.by_name: OrderedDict[str, NameCounters] = OrderedDict()

    def note(self, passed: Passed, *, known: bool) -> None:
        """Takes in a request that is over.

        Args:
            passed: the request.
            known: whether there is, or was, such a peer. Names that strangers make up are not
                counted one by one.
        """
        if len(passed.method) + len(passed.target) > _KEPT_OF_TEXT:
            method, target = passed.method[:_KEPT_OF_TEXT], passed.target[:_KEPT_OF_TEXT]
            passed = replace(passed, method=method, target=target)
        self.add(passed)
        self.total.count(passed)
        if known:
            counters = self.by_name.get(passed.name)
            if counters is None:
                counters = self.by_name[passed.name] = NameCounters()
                if len(self.by_name) > _NAMES:
                    self.by_name.popitem(last=False)
            else:
                self.by_name.move_to_end(passed.name)
            counters.count(passed)

    def of(self, name: str) -> NameCounters:
        """The counters of a name; those of one that was never asked for are zero."""
        return self.by_name.get(name) or NameCounters()


def log_passed(passed: Passed) -> None:
    """Writes a line on a request through the ingress (`restsock.hub.access`)."""
    _access_log.info(
        "%s %s %s %s -> %d, %.3f s",
        passed.client or "-",
        passed.name or "-",
        passed.method,
        passed.target,
        passed.status,
        passed.seconds,
        extra={
            "client": passed.client,
            "peer": passed.name,
            "principal": passed.principal,
            "status": passed.status,
            "received": passed.received,
            "sent": passed.sent,
            "seconds": round(passed.seconds, 6),
        },
    )
