"""The engine on trio: a store that fails, or takes its time; carriers that have no room."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from restsock.messaging import Messaging, MessagingOptions, QueueFull
from restsock.protocol import Envelope
from tests.messaging.links import ForeignLink, connect, pair
from tests.messaging.test_channel import AT_LEAST, BadStore


class Failing(BadStore):
    """Fails whatever call it is told to."""

    def __init__(self, *, durable: bool) -> None:
        super().__init__(durable=durable)
        self.fails: set[str] = set()
        self.calls: list[str] = []

    async def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.slow:
            await trio.sleep(0.01)
        if name in self.fails:
            raise OSError("no space left on device")

    async def mark(self, marks: Any) -> None:
        await self._call("mark")
        await super().mark(marks)

    async def done(self, keys: Any) -> None:
        await self._call("done")
        await super().done(keys)

    async def attempts(self, counts: Any) -> None:
        await self._call("attempts")
        await super().attempts(counts)

    async def dead(self, letters: Any) -> None:
        await self._call("dead")
        await super().dead(letters)


@pytest.mark.parametrize("durable", [False, True])
async def test_no_ack_leaves_before_the_store_has_noted_it(
    durable: bool, autojump_clock: Any
) -> None:
    store = Failing(durable=durable)
    async with pair(listener=Messaging(store)) as (dialer, listener, link):
        handled = []

        @listener.on("c")
        async def keep(message: Any) -> None:
            handled.append(message.body)

        channel = dialer.channel("c", **AT_LEAST)
        store.fails.add("mark")
        await channel.send(1)
        await channel.send(2)
        await trio.sleep(5)
        assert handled == [1, 2]
        assert dialer.statistics().outbox_messages == 2
        assert listener.statistics().errors["store"] >= 3
        link.end("cut")  # and what comes again meanwhile is neither handled nor acknowledged
        async with trio.open_nursery() as nursery:
            connect(nursery, dialer, listener)
            await trio.sleep(5)
            assert dialer.statistics().outbox_messages == 2
            store.fails.clear()
            await channel.drain()
            nursery.cancel_scope.cancel()
        assert handled == [1, 2]


@pytest.mark.parametrize("durable", [False, True])
async def test_what_is_done_is_removed_once_the_store_takes_it(
    durable: bool, autojump_clock: Any
) -> None:
    store = Failing(durable=durable)
    async with pair(Messaging(store)) as (dialer, listener, _):
        refuse = True

        @listener.on("c")
        async def keep(message: Any) -> None:
            if refuse:
                message.nack(retry_after=1)

        channel = dialer.channel("c", **AT_LEAST)
        store.fails |= {"done", "attempts", "dead"}
        await channel.send(1)
        await trio.sleep(2.5)
        refuse = False
        await channel.drain()
        assert len((await store.load()).records) == 1
        store.fails.clear()
        await trio.sleep(3)
        assert (await store.load()).records == ()


async def test_at_the_end_what_was_handled_is_stored(autojump_clock: Any) -> None:
    store, own = Failing(durable=True), Failing(durable=True)
    dialer = Messaging(own)
    async with trio.open_nursery() as nursery, dialer:
        channel = dialer.channel("c", **AT_LEAST)
        async with Messaging(store) as listener:
            link = connect(nursery, dialer, listener)
            handled = trio.Event()

            @listener.on("c")
            async def keep(message: Any) -> None:
                handled.set()

            await channel.send(1)
            await handled.wait()
        assert len((await store.load()).marks) == 1
        await channel.drain()  # the ack has left
        link.end("over")
        nursery.cancel_scope.cancel()
    assert (await own.load()).records == ()


async def test_even_if_it_is_cancelled(autojump_clock: Any) -> None:
    store = Failing(durable=True)
    link = ForeignLink(name="edge-1", foreign=False, credit=(10, 200_000))
    with trio.move_on_after(60) as scope:
        async with Messaging(store) as listener:

            @listener.on("c")
            async def keep(message: Any) -> None:
                scope.cancel()

            link.session = listener.attach(link)
            payload = {"channel": "c", "delivery": "at_least_once", "body": 1}
            payload |= {"seq": 1, "epoch": "e", "attempt": 1}
            link.session.receive(Envelope("data", "1", 0, payload), 10)
            await trio.sleep_forever()
    assert len((await store.load()).marks) == 1
    assert [outgoing.type for outgoing in link.sent] == ["ack"]


async def test_a_store_that_never_answers_does_not_keep_it_from_its_end(
    autojump_clock: Any,
) -> None:
    class Stuck(Failing):
        async def mark(self, marks: Any) -> None:
            await trio.sleep_forever()

    began = trio.current_time()
    options = MessagingOptions(grace=2)
    stuck = Messaging(Stuck(durable=True), options=options)
    async with pair(listener=stuck) as (dialer, listener, _):

        @listener.on("c")
        async def keep(message: Any) -> None:
            pass

        await dialer.channel("c", **AT_LEAST).send(1)
        await trio.sleep(1)
    assert trio.current_time() - began < 10


async def test_a_store_that_cannot_be_opened_says_why() -> None:
    class Broken(BadStore):
        async def open(self) -> None:
            raise OSError("read-only file system")

    with pytest.raises(OSError, match="read-only"):
        async with Messaging(Broken(durable=True)):
            pass


async def test_a_carrier_without_room_gets_the_rest_when_it_has_some() -> None:
    async with pair() as (dialer, listener, link):
        link.most = 2000
        handled = []

        @listener.on("c")
        async def keep(message: Any) -> None:
            handled.append(message.body)

        channel = dialer.channel("c", **AT_LEAST)
        for number in range(200):
            await channel.send(number)
        await channel.drain()
        assert handled == [*range(200)]


def foreign_data(link: ForeignLink, id: str, body: Any = 1, **more: Any) -> None:
    payload = {"channel": "c", "delivery": "at_least_once", "body": body} | more
    link.session.receive(Envelope("data", id, 0, payload), 100)


@pytest.mark.parametrize(
    ("policy", "handled", "refused"),
    [
        ("drop_oldest", [0, 4, 5], [1, 2, 3]),
        ("drop_newest", [0, 1, 2], [3, 4, 5]),
        ("disconnect", [0, 1, 2], [3, 4, 5]),
    ],
)
async def test_policies_for_foreign_peers(
    policy: Any, handled: list[int], refused: list[int]
) -> None:
    link = ForeignLink()
    options = MessagingOptions(queue_messages=2, queue_full=policy)
    async with Messaging(options=options) as messaging:
        found = []
        begun, go_on = trio.Event(), trio.Event()

        @messaging.on("c")
        async def slow(message: Any) -> None:
            begun.set()
            await go_on.wait()
            found.append(message.body)

        link.session = messaging.attach(link)
        foreign_data(link, "0", 0)
        await begun.wait()
        for number in range(1, 6):
            foreign_data(link, str(number), number)
        go_on.set()
        nacks = await link.wait_sent("nack", 3)
        acks = await link.wait_sent("ack", 3)
        assert found == handled
        assert sorted(int(nack.id) for nack in nacks) == refused
        assert {nack.payload["reason"] for nack in nacks} == {"overflow"}
        assert sorted(int(ack.id) for ack in acks) == handled
        assert messaging.statistics().messages_dropped == {"queue_full": 3}
        assert (link.closed is not None) is (policy == "disconnect")
        # One word of warning for the whole crossing.
        assert len([one for one in link.sent if one.type == "slow"]) == 1


async def test_a_queue_that_blocks_has_its_carrier_wait() -> None:
    link = ForeignLink()
    options = MessagingOptions(queue_messages=2, queue_full="block")
    async with Messaging(options=options) as messaging:
        go_on = trio.Event()

        @messaging.on("c")
        async def slow(message: Any) -> None:
            await go_on.wait()

        link.session = messaging.attach(link)
        for number in range(3):
            await link.session.ready()
            foreign_data(link, str(number))
            await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0.01) as scope:
            await link.session.ready()
        assert scope.cancelled_caught
        go_on.set()
        await link.session.ready()
        assert messaging.statistics().messages_dropped == {}


async def test_slow_is_told_once_a_crossing() -> None:
    link = ForeignLink()
    async with Messaging(options=MessagingOptions(queue_messages=10)) as messaging:
        stream = messaging.messages("c")
        link.session = messaging.attach(link)
        for number in range(10):
            foreign_data(link, str(number))
        [slow] = await link.wait_sent("slow")
        assert slow.payload["queue_capacity"] == 10
        assert slow.payload["threshold"] == 0.8
        for _ in range(8):
            await (await stream.receive()).ack()
        for number in range(10, 17):
            foreign_data(link, str(number))
        assert len(await link.wait_sent("slow", 2)) == 2
        assert messaging.statistics().slow_sent == 2


async def test_a_peer_that_is_told_to_be_slow_halves_its_rate(autojump_clock: Any) -> None:
    link = ForeignLink()
    async with Messaging() as messaging:
        session = link.session = messaging.attach(link)

        async def rate(seconds: int) -> float:
            before = len(link.sent)
            for _ in range(10 * seconds):
                try:
                    await session.send("c", 1)
                except QueueFull:
                    pass
                await trio.sleep(0.1)
            return (len(link.sent) - before) / seconds

        assert await rate(3) == pytest.approx(10, abs=0.1)
        session.receive(Envelope("slow", "1", 0, {"utilization": 0.9}), 10)
        assert await rate(1) <= 6
        assert await rate(60) == pytest.approx(10, abs=2)  # it grows again
        assert messaging.statistics().slow_received == 1


async def test_duplicates_of_foreign_peers_are_known_by_their_ids(autojump_clock: Any) -> None:
    link = ForeignLink()
    async with Messaging() as messaging:
        found = []

        @messaging.on("c")
        async def keep(message: Any) -> None:
            found.append(message.id)

        link.session = messaging.attach(link)
        for _ in range(2):
            foreign_data(link, "1")
            await link.wait_sent("ack")
        await link.wait_sent("ack", 2)
        assert found == ["1"]
        await trio.sleep(700)  # after that it is not known any more
        foreign_data(link, "1")
        await link.wait_sent("ack", 3)
        assert found == ["1", "1"]


async def test_foreign_peers_acknowledge_by_the_id_alone() -> None:
    link = ForeignLink(name="edge")
    async with Messaging(options=MessagingOptions(credit_messages=2)) as messaging:
        link.session = messaging.attach(link)
        channel = messaging.channel("c", to="edge", **AT_LEAST)
        for number in range(4):
            await channel.send(number)
        sent = await link.wait_sent("data", 2)
        assert len(sent) == 2  # so many at once
        assert sent[0].channel == "c"
        link.session.receive(Envelope("ack", sent[0].id, 0, {}), 10)
        link.session.receive(Envelope("nack", sent[1].id, 0, {"reason": "publish_failed"}), 10)
        assert len(await link.wait_sent("data", 3)) >= 3
        assert messaging.statistics().messages_acknowledged == {"c": 1}
