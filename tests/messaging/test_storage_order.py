"""What the store is told, in an order in which nothing that was noted is forgotten again."""

from __future__ import annotations

from collections.abc import Sequence

import trio
from trio.testing import MockClock

from restsock.messaging import MemoryStore, Message, Messaging, MessagingOptions
from restsock.messaging.engine import InboxKey
from restsock.protocol import Envelope
from tests.messaging.links import MemoryLink, pair, until


class SlowToForget(MemoryStore):
    """Takes as long to forget as it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.go = trio.Event()
        self.forgotten: list[InboxKey] = []

    @property
    def durable(self) -> bool:
        return True

    async def forget(self, keys: Sequence[InboxKey]) -> None:
        await self.go.wait()
        await super().forget(keys)
        self.forgotten += keys


def deliver(link: MemoryLink, epoch: str, seq: int) -> None:
    payload = {"channel": "c", "epoch": epoch, "seq": seq, "body": f"{epoch}.{seq}", "attempt": 1}
    payload["delivery"] = "at_least_once"
    link.other.session.receive(Envelope("data", f"{epoch}-{seq}", 0, payload), 100)


async def test_an_epoch_that_is_used_again_is_not_forgotten_after_that(
    autojump_clock: MockClock,
) -> None:
    store = SlowToForget()
    listener = Messaging(store, options=MessagingOptions(max_epochs=1))
    handled: list[str] = []

    @listener.on("c")
    async def keep(message: Message) -> None:
        handled.append(message.body)

    async with pair(listener=listener) as (_, _listener, link):
        # The second and third push out the one before; the store is at the first of these.
        for number, (epoch, seq) in enumerate([("a", 1), ("b", 1), ("d", 1), ("b", 2)], 1):
            deliver(link, epoch, seq)
            await until(lambda number=number: len(handled) == number)  # type: ignore[misc]
            await trio.sleep(10)  # longer than the store's work is gathered
        store.go.set()
        await trio.sleep(10)
        assert [key[2] for key in store.forgotten] == ["a", "d"]
    (mark,) = (await store.load()).marks
    assert (mark.epoch, mark.upto) == ("b", 2)
