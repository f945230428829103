"""The ends of messages: processes that send, acknowledge or receive them.

    python -m tests.bench.message_ends serve KIND FILE      prints its port as JSON
    python -m tests.bench.message_ends call KIND FILE URL   answers each order, a line of JSON
    python -m tests.bench.message_ends hold KIND FILE URL COUNT

KIND is "restsock" or "websockets", FILE that of a store, or "-" for memory. A server acknowledges
what it gets: restsock when its handler has returned, websockets by an echo. Orders are
{"pump": seconds, "size": bytes, "tasks": n} and {"one": seconds, "size": bytes, "download": bool}
for a caller, {"fan": seconds, "pause": seconds} for a server, {"delays": true} for a holder.
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import trio
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as ws_connect
from websockets.asyncio.server import ServerConnection, broadcast, serve

import restsock
from restsock.messaging import MemoryStore, Message, Messaging, SQLiteStore
from tests.bench.spells import percentiles
from tests.bench.workloads import MIB, PIECE

__all__ = ["WINDOW"]

WINDOW = 64
"""Messages under way at once: what a peer of restsock is given credit for."""

_CHANNEL = "bench"
_DOWNLOAD = 16  # MiB of one download

Order = dict[str, Any]


def _say(message: Order) -> None:
    print(json.dumps(message), flush=True)


async def _obey(
    read: Callable[[], Awaitable[str]], do: Callable[[Order], Awaitable[Order]]
) -> None:
    """Answers orders until there are no more."""
    while line := await read():
        _say(await do(json.loads(line)))


async def _read_trio() -> str:
    return await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)


async def _read_asyncio() -> str:
    return await asyncio.to_thread(sys.stdin.readline)


def _figures(begin: float, count: int, seconds: list[float]) -> Order:
    found: Order = {"messages": count, "seconds": time.perf_counter() - begin}
    return found | (percentiles(seconds) if seconds else {})


def _delays(delays: list[float]) -> Order:
    """Those since the last order."""
    found = {"messages": len(delays), **percentiles(delays or [math.inf])}
    delays.clear()
    return found


# --- restsock ---------------------------------------------------------------------------------


def _messaging(file: str) -> Messaging:
    return Messaging(MemoryStore() if file == "-" else SQLiteStore(file))


async def _download(request: restsock.Request) -> restsock.Response:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(_DOWNLOAD * MIB // len(PIECE)):
            yield PIECE

    return restsock.Response(200, body=pieces())


async def _serve_restsock(file: str) -> None:
    messaging = _messaging(file)

    @messaging.on(_CHANNEL)
    async def take(message: Message) -> None:
        pass

    async def do(order: Order) -> Order:
        begin, sent = time.monotonic(), 0
        while time.monotonic() < begin + order["fan"]:
            await messaging.sessions.broadcast(_CHANNEL, str(time.monotonic()).ljust(100))
            sent += 1
            await trio.sleep(max(0, begin + sent * order["pause"] - time.monotonic()))
        return {"sent": sent}

    listener = restsock.listen("127.0.0.1", 0, app=_download, messaging=messaging)
    async with messaging, listener as server:
        _say({"port": server.address[1]})
        await _obey(_read_trio, do)


async def _call_restsock(file: str, url: str) -> None:
    messaging = _messaging(file)
    channel = messaging.channel(_CHANNEL, delivery="at_least_once")

    async def one(order: Order) -> Order:
        body, seconds = "x" * order["size"], []
        begin = time.perf_counter()
        while (now := time.perf_counter()) < begin + order["one"]:
            await channel.send(body)
            await channel.drain()
            seconds.append(time.perf_counter() - now)
        return _figures(begin, len(seconds), seconds)

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
        return _figures(begin, count, [])

    client = restsock.connect(url, name="bench", messaging=messaging)

    async def download() -> None:
        while True:
            async with client.stream("GET", "/") as response:
                async for _ in response:
                    pass

    async def beside(order: Order) -> Order:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(download)
            found = await one(order)
            nursery.cancel_scope.cancel()
        return found

    async def do(order: Order) -> Order:
        if "pump" in order:
            return await pump(order)
        return await (beside if order.get("download") else one)(order)

    async with messaging, client:
        await client.wait_connected()
        _say({})
        await _obey(_read_trio, do)


async def _hold_restsock(file: str, url: str, count: int) -> None:
    delays: list[float] = []

    async def take(message: Message) -> None:
        delays.append(time.monotonic() - float(message.body))

    async def hold(number: int, task_status: trio.TaskStatus[None]) -> None:
        messaging = Messaging()
        messaging.on(_CHANNEL)(take)
        client = restsock.connect(url, name=f"{file}{number}", messaging=messaging)
        async with messaging, client:
            await client.wait_connected()
            task_status.started()
            await trio.sleep_forever()

    async def do(order: Order) -> Order:
        return _delays(delays)

    async with trio.open_nursery() as nursery:
        for number in range(count):
            await nursery.start(hold, number)
        _say({})
        await _obey(_read_trio, do)
        nursery.cancel_scope.cancel()


# --- websockets -------------------------------------------------------------------------------


async def _serve_websockets() -> None:
    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async with serve(echo, "127.0.0.1", 0, compression=None) as server:

        async def do(order: Order) -> Order:
            begin, sent = time.monotonic(), 0
            while time.monotonic() < begin + order["fan"]:
                broadcast(server.connections, str(time.monotonic()).ljust(100))
                sent += 1
                await asyncio.sleep(max(0, begin + sent * order["pause"] - time.monotonic()))
            return {"sent": sent}

        _say({"port": next(iter(server.sockets)).getsockname()[1]})
        await _obey(_read_asyncio, do)


async def _call_websockets(url: str) -> None:
    async with ws_connect(url, compression=None, proxy=None) as connection:

        async def one(order: Order) -> Order:
            body, seconds = "x" * order["size"], []
            begin = time.perf_counter()
            while (now := time.perf_counter()) < begin + order["one"]:
                await connection.send(body)
                await connection.recv()
                seconds.append(time.perf_counter() - now)
            return _figures(begin, len(seconds), seconds)

        async def pump(order: Order) -> Order:
            body, count = "x" * order["size"], 0
            room = asyncio.Semaphore(WINDOW)
            begin = time.perf_counter()

            async def receive() -> None:
                while True:
                    await connection.recv()
                    room.release()

            receiving = asyncio.create_task(receive())
            while time.perf_counter() < begin + order["pump"]:
                await room.acquire()
                await connection.send(body)
                count += 1
            for _ in range(WINDOW):
                await room.acquire()
            receiving.cancel()
            await asyncio.wait([receiving])
            return _figures(begin, count, [])

        async def do(order: Order) -> Order:
            return await (one if "one" in order else pump)(order)

        _say({})
        await _obey(_read_asyncio, do)


async def _hold_websockets(url: str, count: int) -> None:
    delays: list[float] = []

    async def hold(connection: ClientConnection) -> None:
        async for message in connection:
            delays.append(time.monotonic() - float(message))  # noqa: PERF401  # it has no end

    async def do(order: Order) -> Order:
        return _delays(delays)

    connections = [await ws_connect(url, compression=None, proxy=None) for _ in range(count)]
    holding = [asyncio.create_task(hold(connection)) for connection in connections]
    _say({})
    await _obey(_read_asyncio, do)
    for task in holding:
        task.cancel()
    await asyncio.wait(holding)
    for connection in connections:
        await connection.close()


def main() -> None:
    role, kind, file, *rest = sys.argv[1:]
    url, count = (rest + ["", "0"][len(rest) :])[:2]
    if kind == "restsock":
        if role == "serve":
            trio.run(_serve_restsock, file)
        elif role == "call":
            trio.run(_call_restsock, file, url)
        else:
            trio.run(_hold_restsock, file, url, int(count))
    elif role == "serve":
        asyncio.run(_serve_websockets())
    elif role == "call":
        asyncio.run(_call_websockets(url))
    else:
        asyncio.run(_hold_websockets(url, int(count)))


if __name__ == "__main__":
    main()
