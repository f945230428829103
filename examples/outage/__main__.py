"""Messages, as a demo: readings of an edge, while the network is away for two seconds.

Run it with ``make demo``. The edge dials the hub through a small proxy, which the demo breaks: the
connection is cut, and no new one gets through. The edge goes on sending, into its file. In the end
each reading has been handled once, and is in NATS once, if nats-server is installed.
"""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import trio

import restsock
from examples.outage import broker
from restsock.messaging import Channel, Message, Messaging, SQLiteStore
from restsock.messaging.bridge import publish_to
from restsock.testing import FaultyProxy

START = time.perf_counter()
PERIOD = 0.01  # seconds between two readings
AWAY = 2.0  # seconds without a network
PATIENCE = 15  # seconds
QUICK = restsock.Backoff(initial=0.05, cap=0.2)


def say(words: str) -> None:
    print(f"{time.perf_counter() - START:7.3f} s  {words}", flush=True)


class Edge:
    """Sends numbered readings."""

    def __init__(self, readings: Channel) -> None:
        self.sent = 0
        self._readings = readings

    async def measure(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            while True:
                with trio.CancelScope(shield=True):  # a number is sent, or it is not counted
                    await self._readings.send({"number": self.sent})  # the file has it
                self.sent += 1
                await trio.sleep(PERIOD)


def check(what: str, numbers: list[int], sent: int) -> bool:
    """Says whether these are all that were sent, each once and in order."""
    missing = len(set(range(sent)) - set(numbers))
    twice = len(numbers) - len(set(numbers))
    order = "in order" if numbers == sorted(numbers) else "NOT in order"
    say(f"{what} {len(numbers)} of {sent}: missing: {missing}, twice: {twice}, {order}")
    return numbers == [*range(sent)]


async def story(folder: Path, nats_url: str | None) -> bool:
    cloud = Messaging(SQLiteStore(folder / "hub.db"))
    edge = Messaging(SQLiteStore(folder / "edge.db"))
    handled: list[int] = []

    @cloud.on("readings")
    async def keep(message: Message) -> None:
        handled.append(message.body["number"])

    async with AsyncExitStack() as stack:
        if nats_url is not None:
            from restsock.messaging.nats import Nats  # where it is installed

            nats = await stack.enter_async_context(Nats(nats_url))
            cloud.on("readings")(publish_to(nats.jetstream(), "readings.{peer}"))
        await stack.enter_async_context(cloud)
        await stack.enter_async_context(edge)
        server = await stack.enter_async_context(restsock.listen("127.0.0.1", 0, messaging=cloud))
        proxy = await stack.enter_async_context(FaultyProxy(*server.address[:2]))
        await stack.enter_async_context(
            restsock.connect(
                f"ws://127.0.0.1:{proxy.port}/", name="edge-1", messaging=edge, backoff=QUICK
            )
        )
        readings = edge.channel("readings", delivery="at_least_once")
        device = Edge(readings)
        await device.measure(0.5)
        say(f"{device.sent} readings are sent, {len(handled)} handled")

        await proxy.refuse()
        await proxy.cut()
        before, there = device.sent, len(handled)
        say(f"the network is cut for {AWAY:.0f} seconds; the edge goes on")
        await device.measure(AWAY)
        say(f"{device.sent - before} more are sent meanwhile, {len(handled) - there} handled")

        await proxy.accept()
        say("the network is back")
        await device.measure(0.5)
        with trio.move_on_after(PATIENCE):
            await readings.drain()  # until all are handled
        sent = device.sent
        whole = check("the hub has handled", handled, sent)
    if nats_url is None:
        say("nats-server is not installed: left out")
        return whole
    stored = await trio.to_thread.run_sync(broker.stored, nats_url)
    return check("NATS has", [body["number"] for body in stored], sent) and whole


def main(folder: Path) -> bool:
    print("\nreadings at least once, over a network that goes away")
    command = broker.program()
    if command is None:
        return trio.run(story, folder, None)
    with broker.running(command, folder / "nats") as url:
        return trio.run(partial(story, folder, url))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        if not main(Path(name)):
            sys.exit("readings were lost, repeated or not in order")
    say("done")
