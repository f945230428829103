"""What happens to a server's connections, for any number of subscribers.

Rules:

- Publishing never waits and never fails: a subscriber has a bounded queue of its own, and one that
  does not read loses events. In their place it finds one `EventsLost`, with their number.
- What waits is bounded by its weight, too: the events keep the metadata of peers that have gone.
- What a subscriber gets is in order and has no other gap: the newest are dropped, not the oldest.
- A `Subscription` may be read on the loop (`async for`) or, event by event, from any thread.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import trio

from restsock.protocol import weight_of

__all__ = ["ConnectionEvent", "EventHub", "EventType", "Subscription"]

# Bytes of metadata that the unread events of one subscription may hold in memory.
_MAX_WEIGHT = 16 * 1024 * 1024

EventType = Literal["ConnectionReceived", "ConnectionClosed", "ConnectionFailure", "EventsLost"]
"""What has happened; see `ConnectionEvent.type`."""


@dataclass(frozen=True, kw_only=True)
class ConnectionEvent:
    """Something that happened to a connection of a server.

    Attributes:
        type: `"ConnectionReceived"`: its handshake is complete, it can be called;
            `"ConnectionClosed"`: it ended cleanly; `"ConnectionFailure"`: it ended in another way;
            `"EventsLost"`: this subscriber has missed `lost` events here. (Look at
            `Server.connections` to learn the present state.)
        connection_id: The id, the same at both peers; empty with `"EventsLost"`.
        name: The name that the dialing peer gave itself, if any.
        metadata: The metadata that it sent along, any JSON value.
        principal: The name of its principal; `None` without authentication.
        reason: Why the connection ended, for people.
        code: The WebSocket close code with which it ended (spec/protocol.md, section 16); 1006
            when the peer was gone without one.
        lost: How many events are missing, with `"EventsLost"`.
    """

    type: EventType
    connection_id: str = ""
    name: str | None = None
    metadata: Any = None
    principal: str | None = None
    reason: str = ""
    code: int | None = None
    lost: int = 0


class Subscription:
    """The events of a server, from the moment of `Server.events()` on.

        async with server.events() as events:      # or without `async with`
            async for event in events: ...

    The iteration ends when the server has closed, after the last event, or when the
    subscription is closed. Several tasks may read one subscription; each event goes to one of them.

    Args:
        hub: What publishes.
        capacity: Events that may wait to be read.
        wake: Called on the loop whenever there is something to read, or the end was reached.
            It must neither block nor raise. `threading.Semaphore().release` and a
            `queue.SimpleQueue().put` are such functions, which lets a thread wait.
    """

    def __init__(
        self, hub: EventHub, *, capacity: int, wake: Callable[[], object] | None = None
    ) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be 1 event or more, not {capacity!r}")
        self._hub = hub
        self._capacity = capacity
        self._wake = wake
        self._queue: deque[tuple[ConnectionEvent, int]] = deque()  # each with its weight
        self._weight = 0
        self._lost = 0
        self._ended = False
        # The queue and its count of losses change together; a reader may be on another thread.
        self._lock = threading.Lock()
        self._readers = trio.lowlevel.ParkingLot()

    async def receive(self) -> ConnectionEvent:
        """Waits for the next event, on the loop. A checkpoint. Cancelled, it takes none.

        Raises:
            trio.EndOfChannel: There are no more: the server or the subscription was closed.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            try:
                event = self.receive_nowait()
            except trio.WouldBlock:
                await self._readers.park()
            else:
                await trio.lowlevel.cancel_shielded_checkpoint()
                return event

    def receive_nowait(self) -> ConnectionEvent:
        """Takes the next event without waiting. May be called from any thread.

        Raises:
            trio.WouldBlock: There is none now.
            trio.EndOfChannel: There will be no more.
        """
        with self._lock:
            if self._queue:
                event, weight = self._queue.popleft()
                self._weight -= weight
                return event
            if self._lost:
                return self._take_loss()
            if self._ended:
                raise trio.EndOfChannel
            raise trio.WouldBlock

    def close(self) -> None:
        """Ends the subscription; what waits unread is dropped. On the loop; raises nothing."""
        self._hub.discard(self)
        with self._lock:
            self._queue.clear()
            self._weight = 0
            self._lost = 0
        self.end()

    async def aclose(self) -> None:
        """Like `close`. A checkpoint, and raises nothing else."""
        self.close()
        await trio.lowlevel.checkpoint()

    def put(self, event: ConnectionEvent, weight: int) -> None:
        """Takes in an event, and what its metadata weighs. For the hub."""
        with self._lock:
            too_heavy = self._queue and self._weight + weight > _MAX_WEIGHT
            if len(self._queue) >= self._capacity or too_heavy:
                self._lost += 1
                return
            if self._lost:
                self._queue.append((self._take_loss(), 0))
            self._queue.append((event, weight))
            self._weight += weight
        self._notify()

    def end(self) -> None:
        """Lets the readers see the end, after what still waits. For the hub; raises nothing."""
        with self._lock:
            self._ended = True
        self._notify()

    def _take_loss(self) -> ConnectionEvent:
        lost, self._lost = self._lost, 0
        return ConnectionEvent(
            type="EventsLost", lost=lost, reason=f"{lost} events came faster than they were read"
        )

    def _notify(self) -> None:
        self._readers.unpark_all()
        if self._wake is not None:
            self._wake()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> ConnectionEvent:
        try:
            return await self.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Subscription:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.close()


class EventHub:
    """Hands each event to all subscriptions. On the loop only."""

    def __init__(self) -> None:
        self._subscriptions: set[Subscription] = set()
        self._ended = False

    def __len__(self) -> int:
        return len(self._subscriptions)

    def subscribe(self, capacity: int, wake: Callable[[], object] | None = None) -> Subscription:
        """A subscription to all events published from now on; after `end`, an ended one."""
        subscription = Subscription(self, capacity=capacity, wake=wake)
        if self._ended:
            subscription.end()
        else:
            self._subscriptions.add(subscription)
        return subscription

    def discard(self, subscription: Subscription) -> None:
        """Publishes to it no more."""
        self._subscriptions.discard(subscription)

    def publish(self, event: ConnectionEvent) -> None:
        """Tells all subscribers. Never waits."""
        if self._subscriptions:
            weight = weight_of(event.metadata) or 0
            for subscription in self._subscriptions:
                subscription.put(event, weight)

    def end(self) -> None:
        """Ends all subscriptions, after what they have not read yet."""
        self._ended = True
        for subscription in self._subscriptions:
            subscription.end()
        self._subscriptions.clear()
