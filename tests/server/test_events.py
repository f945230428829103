"""Subscribers get every event in order, or are told how many they missed; none slows the server."""

from __future__ import annotations

import queue
import threading

import pytest
import trio
import trio.testing

from restsock.server import ConnectionEvent, Subscription
from restsock.server._events import EventHub


def event(number: int) -> ConnectionEvent:
    return ConnectionEvent(type="ConnectionReceived", connection_id=str(number))


def drain(subscription: Subscription) -> list[str | int]:
    """Ids of what waits; a number stands for that many lost ones."""
    found: list[str | int] = []
    while True:
        try:
            got = subscription.receive_nowait()
        except (trio.WouldBlock, trio.EndOfChannel):
            return found
        found.append(got.lost if got.type == "EventsLost" else got.connection_id)


async def test_registered_at_the_call() -> None:
    hub = EventHub()
    hub.publish(event(0))
    subscription = hub.subscribe(10)
    hub.publish(event(1))
    assert (await subscription.receive()).connection_id == "1"
    with pytest.raises(trio.WouldBlock):
        subscription.receive_nowait()


async def test_each_subscriber_gets_all() -> None:
    hub = EventHub()
    subscriptions = [hub.subscribe(10) for _ in range(3)]
    for number in range(5):
        hub.publish(event(number))
    for subscription in subscriptions:
        assert drain(subscription) == list("01234")


async def test_a_slow_subscriber_is_told_how_much_it_missed() -> None:
    hub = EventHub()
    slow, fast = hub.subscribe(3), hub.subscribe(10)
    for number in range(8):
        hub.publish(event(number))
    assert drain(fast) == list("01234567")
    # The gap stands where it was, behind the three that had room.
    assert drain(slow) == ["0", "1", "2", 5]
    hub.publish(event(8))
    assert drain(slow) == ["8"]


async def test_the_gap_stands_in_front_of_what_came_later() -> None:
    hub = EventHub()
    subscription = hub.subscribe(2)
    for number in range(4):
        hub.publish(event(number))
    assert (await subscription.receive()).connection_id == "0"
    hub.publish(event(4))
    assert drain(subscription) == ["1", 2, "4"]


async def test_the_end_comes_after_what_waits() -> None:
    hub = EventHub()
    subscription = hub.subscribe(1)
    hub.publish(event(0))
    hub.publish(event(1))
    hub.end()
    assert [(e.type, e.lost) async for e in subscription] == [
        ("ConnectionReceived", 0),
        ("EventsLost", 1),
    ]
    with pytest.raises(trio.EndOfChannel):
        await subscription.receive()
    assert [e async for e in hub.subscribe(1)] == []


async def test_waiting_readers_share_the_events(autojump_clock: trio.testing.MockClock) -> None:
    hub = EventHub()
    subscription = hub.subscribe(10)
    got: list[str] = []

    async def read() -> None:
        async for e in subscription:
            got.append(e.connection_id)  # noqa: PERF401  # `got` is shared by three

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        for number in range(10):
            hub.publish(event(number))
        await trio.testing.wait_all_tasks_blocked()
        hub.end()
    assert sorted(got) == list("0123456789")


async def test_a_cancelled_reader_takes_nothing() -> None:
    hub = EventHub()
    subscription = hub.subscribe(10)
    with trio.CancelScope() as scope:
        scope.cancel()
        hub.publish(event(0))
        await subscription.receive()
    assert scope.cancelled_caught
    assert drain(subscription) == ["0"]


async def test_closing_ends_the_readers_and_frees_the_queue() -> None:
    hub = EventHub()
    async with hub.subscribe(10) as subscription:
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                assert [e async for e in subscription] == []

            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            subscription.close()
        await subscription.aclose()
    assert len(hub) == 0
    hub.publish(event(0))
    assert drain(subscription) == []


async def test_a_thread_may_read() -> None:
    hub = EventHub()
    signals: queue.SimpleQueue[None] = queue.SimpleQueue()
    subscription = hub.subscribe(100, lambda: signals.put(None))
    got: list[str] = []

    def read() -> None:
        while True:
            signals.get(timeout=10)
            while True:
                try:
                    got.append(subscription.receive_nowait().connection_id)
                except trio.WouldBlock:
                    break
                except trio.EndOfChannel:
                    return

    thread = threading.Thread(target=read)
    thread.start()
    for number in range(50):
        hub.publish(event(number))
        await trio.lowlevel.checkpoint()
    hub.end()
    await trio.to_thread.run_sync(thread.join)
    assert got == [str(number) for number in range(50)]


@pytest.mark.parametrize("capacity", [0, -1])
def test_capacity_is_checked(capacity: int) -> None:
    with pytest.raises(ValueError, match="capacity"):
        EventHub().subscribe(capacity)
