"""The ends of messages of restsock; see `message_orders` for what they are told.

python -m tests.bench.message_ends ROLE restsock ...

A server acknowledges a message when its handler has returned. A caller is a dialer with an outbox
of its own, and each reader one that has a messaging of its own.
"""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator

import trio

import restsock
from restsock.messaging import MemoryStore, Message, Messaging, SQLiteStore
from tests.bench.idle import raise_file_limit
from tests.bench.message_orders import (
    CHANNEL,
    Delays,
    Order,
    fan,
    figures,
    obey,
    one,
    say,
)
from tests.bench.spells import percentiles
from tests.bench.workloads import MIB, PIECE

_DOWNLOAD_MIB = 100


async def _read() -> str:
    return await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)


def _messaging(file: str) -> Messaging:
    return Messaging(MemoryStore() if file == "-" else SQLiteStore(file))


async def _download(request: restsock.Request) -> restsock.Response:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(_DOWNLOAD_MIB * MIB // len(PIECE)):
            yield PIECE

    return restsock.Response(200, body=pieces())


async def _serve(file: str) -> None:
    messaging = _messaging(file)

    @messaging.on(CHANNEL)
    async def take(message: Message) -> None:
        pass

    async def send(text: str) -> None:
        await messaging.sessions.broadcast(CHANNEL, text)

    async def do(order: Order) -> Order:
        return await fan(order, send, trio.sleep)

    options = restsock.Options(sockets=restsock.SocketOptions(backlog=1024))
    listener = restsock.listen("127.0.0.1", 0, app=_download, messaging=messaging, options=options)
    async with messaging, listener as server:
        say({"port": server.address[1]})
        await obey(_read, do)


async def _call(file: str, url: str, name: str) -> None:
    messaging = _messaging(file)
    channel = messaging.channel(CHANNEL, delivery="at_least_once")
    client = restsock.connect(url, name=name, messaging=messaging)

    async def exchange(text: str) -> None:
        await channel.send(text)
        await channel.drain()

    async def pump(order: Order) -> Order:
        body, count = "x" * order["size"], 0
        begin = time.perf_counter()

        async def work() -> None:
            nonlocal count
            while time.perf_counter() < begin + order["pump"]:
                await channel.send(body)
                count += 1

        async with trio.open_nursery() as nursery:
            for _ in range(order["tasks"]):
                nursery.start_soon(work)
        await channel.drain()
        return figures(begin, count, [])

    async def downloads(found: Order) -> None:
        """One after the other; notes how many bytes came, and how long each piece took."""
        begin, count, gaps = time.perf_counter(), 0, []
        try:
            while True:
                async with client.stream("GET", "/") as response:
                    last = time.perf_counter()
                    async for piece in response:
                        now = time.perf_counter()
                        count += len(piece)
                        gaps.append(now - last)
                        last = now
        finally:
            found["mb_per_s"] = count / (time.perf_counter() - begin) / 1e6
            found["gap"] = percentiles(gaps or [0.0])

    async def do(order: Order) -> Order:
        if "pump" in order:
            return await pump(order)
        load: Order = {}
        async with trio.open_nursery() as nursery:
            if "load" in order or order.get("download"):
                nursery.start_soon(downloads, load)
            if "load" in order:
                await trio.sleep(order["load"])
                found: Order = {}
            else:
                found = await one(order, exchange)
            nursery.cancel_scope.cancel()
        return found | load

    async with messaging, client:
        await client.wait_connected()
        say({})
        await obey(_read, do)


async def _hold(name: str, url: str, count: int) -> None:
    delays = Delays()

    async def take(message: Message) -> None:
        delays.note(message.body)

    async def hold(number: int, task_status: trio.TaskStatus[None]) -> None:
        messaging = Messaging()
        messaging.on(CHANNEL)(take)
        client = restsock.connect(url, name=f"{name}{number}", messaging=messaging)
        async with messaging, client:
            await client.wait_connected()
            task_status.started()
            await trio.sleep_forever()

    async def do(order: Order) -> Order:
        return await delays.answer(order, trio.sleep)

    async with trio.open_nursery() as nursery:
        for number in range(count):
            await nursery.start(hold, number)
        say({})
        await obey(_read, do)
        nursery.cancel_scope.cancel()


def main() -> None:
    raise_file_limit()
    role, _, file, *rest = sys.argv[1:]
    if role == "serve":
        trio.run(_serve, file)
    elif role == "call":
        trio.run(_call, file, rest[0], rest[1])
    else:
        trio.run(_hold, file, rest[0], int(rest[1]))


if __name__ == "__main__":
    main()
