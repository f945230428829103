"""Sending: what a channel takes, what it waits for, and what it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import trio

from restsock.messaging import (
    InvalidMessage,
    MemoryStore,
    MessageTooLarge,
    Messaging,
    MessagingClosed,
    MessagingOptions,
    OutRecord,
    QueueFull,
    StoreFailed,
)
from tests.messaging.links import connect, pair

AT_LEAST: Any = {"delivery": "at_least_once"}


@pytest.mark.parametrize(
    "body", [float("nan"), {1, 2}, object(), {"a": b"bytes inside"}, "\ud800", {"\ud800": 1}]
)
@pytest.mark.parametrize("delivery", ["at_most_once", "at_least_once"])
async def test_what_is_not_json_is_not_sent(body: Any, delivery: Any) -> None:
    async with Messaging() as messaging:
        channel = messaging.channel("c", delivery=delivery)
        with pytest.raises(InvalidMessage):
            await channel.send(body)
        with pytest.raises(InvalidMessage):
            channel.send_nowait(body)
        assert messaging.statistics().outbox_messages == 0


@pytest.mark.parametrize(
    "headers", [{"a": 1}, {"": "b"}, {"a\n": "b"}, {1: "a"}, {f"h{n}": "" for n in range(65)}]
)
async def test_headers_are_text_by_name(headers: Any) -> None:
    async with Messaging() as messaging:
        with pytest.raises(InvalidMessage):
            await messaging.channel("c").send(1, headers=headers)
        with pytest.raises(InvalidMessage, match="reply_to"):
            await messaging.channel("c").send(1, reply_to="a\nb")


async def test_what_is_too_large_is_not_sent() -> None:
    async with pair() as (dialer, _listener, link):
        channel = dialer.channel("c", **AT_LEAST)
        await channel.send("x" * 65_000)
        with pytest.raises(MessageTooLarge, match="65536"):
            await channel.send("x" * 65_536)
        with pytest.raises(MessageTooLarge):
            await channel.send(b"x" * 50_000)  # base64 makes a third more of it
        link.max_message = 16 * 1024
        with pytest.raises(MessageTooLarge, match="16384"):
            await channel.send("x" * 20_000)


async def test_what_waits_and_is_too_large_for_the_peer_is_a_dead_letter() -> None:
    dialer, listener = Messaging(), Messaging()
    async with trio.open_nursery() as nursery, dialer, listener:
        channel = dialer.channel("c", **AT_LEAST)
        await channel.send("x" * 20_000)
        await channel.send("short")
        await dialer.channel("d").send("x" * 20_000)
        await dialer.channel("d").send("short")
        stream, others = listener.messages("c"), listener.messages("d")
        link = connect(nursery, dialer, listener, max_message=16 * 1024)
        message = await stream.receive()
        assert message.body == "short"
        assert (await others.receive()).body == "short"
        assert [letter.reason for letter in dialer.dead_letters] == ["too_large"]
        assert dialer.statistics().messages_dropped == {"too_large": 1}
        await message.ack()
        assert not link.cut
        nursery.cancel_scope.cancel()


async def test_send_waits_for_room(autojump_clock: Any) -> None:
    options = MessagingOptions(outbox_messages=2)
    dialer, listener = Messaging(options=options), Messaging()
    async with trio.open_nursery() as nursery, dialer, listener:
        channel = dialer.channel("c", **AT_LEAST)
        await channel.send(1)
        await channel.send(2)
        with trio.move_on_after(1) as scope:
            await channel.send(3)
        assert scope.cancelled_caught
        with pytest.raises(QueueFull):
            channel.send_nowait(3)
        await dialer.channel("c", to="another", **AT_LEAST).send(1)  # that has room of its own
        handled = []

        @listener.on("c")
        async def keep(message: Any) -> None:
            handled.append(message.body)

        nursery.start_soon(channel.send, 4)
        await trio.sleep(1)
        assert dialer.statistics().outbox_messages == 3
        connect(nursery, dialer, listener)
        await trio.sleep(1)
        await channel.drain()
        assert handled == [1, 2, 4]
        nursery.cancel_scope.cancel()


async def test_or_drops_the_oldest_which_is_a_dead_letter() -> None:
    options = MessagingOptions(outbox_messages=2, outbox_full="drop_oldest")
    async with Messaging(options=options) as dialer:
        channel = dialer.channel("c", **AT_LEAST)
        for number in range(5):
            await channel.send(number)
        assert [letter.reason for letter in dialer.dead_letters] == ["overflow"] * 3
        assert [letter.record.content for letter in dialer.dead_letters] == [
            f'"body":{number}' for number in range(3)
        ]
        assert dialer.statistics().outbox_messages == 2


async def test_or_says_that_there_is_none() -> None:
    options = MessagingOptions(outbox_messages=1, outbox_full="drop_newest")
    async with Messaging(options=options) as dialer:
        channel = dialer.channel("c", **AT_LEAST)
        await channel.send(1)
        with pytest.raises(QueueFull):
            await channel.send(2)
        assert dialer.statistics().messages_dropped == {"outbox_full": 1}


@pytest.mark.parametrize(
    ("policy", "left"), [("drop_oldest", [3, 4]), ("drop_newest", [0, 1]), ("disconnect", [0, 1])]
)
async def test_policies_of_the_queue(policy: Any, left: list[int]) -> None:
    options = MessagingOptions(queue_messages=2, queue_full=policy)
    dialer, listener = Messaging(options=options), Messaging()
    async with trio.open_nursery() as nursery, dialer, listener:
        channel = dialer.channel("c")
        refused = 0
        for number in range(5):
            try:
                await channel.send(number)
            except QueueFull:
                refused += 1
        assert refused == (0 if policy == "drop_oldest" else 3)
        assert dialer.statistics().messages_dropped == {policy: 3}
        stream = listener.messages("c", window=5)
        connect(nursery, dialer, listener)
        messages = [await stream.receive() for _ in range(2)]
        assert [message.body for message in messages] == left
        nursery.cancel_scope.cancel()


async def test_or_the_queue_blocks(autojump_clock: Any) -> None:
    options = MessagingOptions(queue_messages=1, queue_full="block")
    dialer, listener = Messaging(options=options), Messaging()
    async with trio.open_nursery() as nursery, dialer, listener:
        channel = dialer.channel("c")
        await channel.send(0)
        nursery.start_soon(channel.send, 1)
        await trio.sleep(1)
        stream = listener.messages("c", window=5)
        connect(nursery, dialer, listener)
        assert [(await stream.receive()).body for _ in range(2)] == [0, 1]
        nursery.cancel_scope.cancel()


async def test_a_queue_that_is_full_disconnects_a_peer_that_does_not_read() -> None:
    options = MessagingOptions(queue_messages=1, queue_full="disconnect")
    async with pair(listener=Messaging(options=options)) as (_dialer, listener, link):
        back = link.other
        back.stalled, back.most = True, 1
        [session] = listener.sessions
        await session.send("c", 1)
        with pytest.raises(QueueFull):
            await session.send("c", 2)
        assert back.closed == (1013, "the queue of messages is full")
        back.stalled = False


async def test_missed_messages_are_counted_for_the_receiver() -> None:
    options = MessagingOptions(queue_messages=2)
    dialer, listener = Messaging(options=options), Messaging()
    async with trio.open_nursery() as nursery, dialer, listener:
        stream = listener.messages("c", window=10)
        channel = dialer.channel("c")
        link = connect(nursery, dialer, listener)
        await channel.send("first")
        assert (await stream.receive()).missed is None  # what was before is not known
        link.end("cut")
        for number in range(5):
            await channel.send(number)
        connect(nursery, dialer, listener)
        messages = [await stream.receive() for _ in range(2)]
        assert [(message.body, message.missed) for message in messages] == [(3, 3), (4, 0)]
        nursery.cancel_scope.cancel()


class BadStore(MemoryStore):
    """A store that fails as long as it is told to."""

    def __init__(self, *, durable: bool) -> None:
        super().__init__()
        self.slow = durable
        self.failing = False
        self.batches: list[int] = []

    @property
    def durable(self) -> bool:
        return self.slow

    async def add(self, records: Sequence[OutRecord]) -> None:
        if self.slow:
            await trio.sleep(0.01)
        if self.failing:
            raise OSError("no space left on device")
        self.batches.append(len(records))
        await super().add(records)


@pytest.mark.parametrize("durable", [False, True])
async def test_what_the_store_cannot_keep_is_not_sent(durable: bool, autojump_clock: Any) -> None:
    store = BadStore(durable=durable)
    async with pair(Messaging(store)) as (dialer, listener, _):
        handled = []

        @listener.on("c")
        async def keep(message: Any) -> None:
            handled.append((message.body, message.missed))

        channel = dialer.channel("c", **AT_LEAST)
        await channel.send(1)
        store.failing = True
        with pytest.raises(StoreFailed, match="no space left") as info:
            await channel.send(2)
        assert isinstance(info.value.__cause__, OSError)
        store.failing = False
        await channel.send(3)
        await channel.drain()
        assert [body for body, _ in handled] == [1, 3]
        assert dialer.statistics().outbox_messages == 0


async def test_a_store_that_takes_its_time_gets_what_comes_meanwhile_at_once(
    autojump_clock: Any,
) -> None:
    store = BadStore(durable=True)
    async with pair(Messaging(store)) as (dialer, listener, _):
        handled = []

        @listener.on("c")
        async def keep(message: Any) -> None:
            handled.append(message.body)

        channel = dialer.channel("c", **AT_LEAST)
        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(channel.send, number)
        channel.send_nowait(50)
        await channel.drain()
        assert sorted(handled) == [*range(51)]
        assert len(store.batches) <= 4
        assert sum(store.batches) == 51


async def test_who_waits_for_the_store_is_told_when_it_is_over(autojump_clock: Any) -> None:
    class Stuck(BadStore):
        async def add(self, records: Sequence[OutRecord]) -> None:
            await trio.sleep_forever()

    told = []

    async def expect_closed(function: Any, *args: Any) -> None:
        with pytest.raises(MessagingClosed):
            await function(*args)
        told.append("closed")

    async with trio.open_nursery() as nursery:
        async with Messaging(Stuck(durable=True)) as messaging:
            channel = messaging.channel("c", **AT_LEAST)
            nursery.start_soon(expect_closed, channel.send, 1)
            await trio.sleep(1)
            nursery.start_soon(expect_closed, channel.drain)
            await trio.sleep(1)
    assert told == ["closed", "closed"]


async def test_drain_waits_for_what_was_sent(autojump_clock: Any) -> None:
    async with pair() as (dialer, listener, _):
        stream = listener.messages("c", window=2)
        channel = dialer.channel("c", **AT_LEAST)
        await channel.drain()
        await channel.send(1)
        message = await stream.receive()
        with trio.move_on_after(1) as scope:
            await channel.drain()
        assert scope.cancelled_caught
        await message.ack()
        await channel.drain()
        assert "at_least_once" in repr(channel)


async def test_a_receipt_tells_what_became_of_its_message() -> None:
    async with pair() as (dialer, listener, _link):
        goes_on = trio.Event()

        @listener.on("c")
        async def handle(message: Any) -> None:
            await goes_on.wait()
            if message.body == "bad":
                raise InvalidMessage("never")

        channel = dialer.channel("c", **AT_LEAST)
        good, bad = await channel.send_tracked("good"), await channel.send_tracked("bad")
        with trio.move_on_after(0.05) as waited:
            await good.handled()
        assert waited.cancelled_caught
        goes_on.set()
        with trio.fail_after(5):
            assert await good.handled()
            assert not await bad.handled()
        assert [letter.record.id for letter in dialer.dead_letters] == [bad.id]
        with pytest.raises(ValueError, match="no receipt"):
            await dialer.channel("c").send_tracked(1)


async def test_a_receipt_when_it_is_over_before() -> None:
    async with Messaging() as messaging:
        receipt = await messaging.channel("c", **AT_LEAST).send_tracked(1)
    with pytest.raises(MessagingClosed):
        await receipt.handled()
