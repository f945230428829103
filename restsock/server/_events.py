"""The connection events of a server, for any number of subscribers.

Rules:

- Publishing never waits and never fails. Each subscriber has its own bounded queue; if it does not
  read, it loses events. In their place it finds one `EventsLost`, with their number.
- The queue is also limited in memory, since events keep the metadata of peers that have gone.
- Events arrive in order and without any other gap: the newest are dropped, not the oldest.
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
"""The type of an event; see `ConnectionEvent.type`."""


@dataclass(frozen=True, kw_only=True)
class ConnectionEvent:
    """An event of a connection of a server.

    Attributes:
        type: `"ConnectionReceived"`: its handshake is complete, and it can be called.
            `"ConnectionClosed"`: it ended cleanly. `"ConnectionFailure"`: it ended in another way.
            `"EventsLost"`: this subscriber has missed `lost` events here; `Server.connections` has
            the current state.
        connection_id: The id, the same at both peers; empty with `"EventsLost"`.
        name: The name of the dialing peer, if any.
        metadata: The metadata of the dialing peer, any JSON value.
        principal: The name of its principal; `None` without authentication.
        reason: Why the connection ended, for people.
        code: The WebSocket close code with which it ended (spec/protocol.md, section 16); 1006 if
            there was none.
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
    """The events of a server, from the call of `Server.events()` on.

        async with server.events() as events:      # or without `async with`
            async for event in events: ...

    The iteration ends after the last event when the server has closed, or when the subscription is
    closed. Several tasks may share one subscription; each event goes to one of them.

    Args:
        hub: The hub that publishes.
        capacity: How many events may wait to be read.
        wake: Called on the loop whenever there is something to read, or at the end. It must neither
            block nor raise. A thread can wait with `threading.Semaphore().release` or
            `queue.SimpleQueue().put`.
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
        # The queue and the number of lost events change together; readers may be on other threads.
        self._lock = threading.Lock()
        self._readers = trio.lowlevel.ParkingLot()

    async def receive(self) -> ConnectionEvent:
        """Waits for the next event, on the loop. A checkpoint. If cancelled, no event is lost.

        Raises:
            trio.EndOfChannel: There are no more events: the server or this was closed.
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
            trio.WouldBlock: There is no event now.
            trio.EndOfChannel: There are no more events: the server or this was closed.
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
        """Ends the subscription and drops unread events. On the loop; raises nothing."""
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
        """Queues an event, with the memory that its metadata takes. For the hub."""
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
        """Shows the readers the end, after the queued events. For the hub; raises nothing."""
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
    """Passes each event to all subscriptions. On the loop only."""

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
        """Stops publishing to a subscription."""
        self._subscriptions.discard(subscription)

    def publish(self, event: ConnectionEvent) -> None:
        """Passes an event to all subscriptions. Never waits."""
        if self._subscriptions:
            weight = weight_of(event.metadata) or 0
            for subscription in self._subscriptions:
                subscription.put(event, weight)

    def end(self) -> None:
        """Ends all subscriptions, after their unread events."""
        self._ended = True
        for subscription in self._subscriptions:
            subscription.end()
        self._subscriptions.clear()
