"""The ends of messages of other Python packages; see `message_orders` for what they are told.

python -m tests.bench.message_foreign ROLE websockets|python-socketio ...

"websockets" answers each message with an echo, and has a broadcast. "python-socketio" acknowledges
one when its handler has returned, over WebSocket alone, with aiohttp as its server and client.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

from tests.bench.idle import raise_file_limit
from tests.bench.message_orders import CHANNEL, WINDOW, Delays, Order, fan, figures, obey, one, say


async def _read() -> str:
    return await asyncio.to_thread(sys.stdin.readline)


# --- websockets -------------------------------------------------------------------------------


async def _serve_websockets() -> None:
    from websockets.asyncio.server import ServerConnection, broadcast, serve

    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async with serve(echo, "127.0.0.1", 0, compression=None, backlog=1024) as server:

        async def send(text: str) -> None:
            broadcast(server.connections, text)

        async def do(order: Order) -> Order:
            return await fan(order, send, asyncio.sleep)

        say({"port": next(iter(server.sockets)).getsockname()[1]})
        await obey(_read, do)


async def _call_websockets(url: str) -> None:
    from websockets.asyncio.client import connect

    async with connect(url, compression=None, proxy=None) as connection:

        async def exchange(text: str) -> None:
            await connection.send(text)
            await connection.recv()

        async def pump(order: Order) -> Order:
            text, count = "x" * order["size"], 0
            room = asyncio.Semaphore(WINDOW)
            begin = time.perf_counter()

            async def receive() -> None:
                while True:
                    await connection.recv()
                    room.release()

            receiving = asyncio.create_task(receive())
            while time.perf_counter() < begin + order["pump"]:
                await room.acquire()
                await connection.send(text)
                count += 1
            for _ in range(WINDOW):
                await room.acquire()
            receiving.cancel()
            await asyncio.wait([receiving])
            return figures(begin, count, [])

        async def do(order: Order) -> Order:
            return await (one(order, exchange) if "one" in order else pump(order))

        say({})
        await obey(_read, do)


async def _hold_websockets(url: str, count: int) -> None:
    from websockets.asyncio.client import ClientConnection, connect

    delays = Delays()

    async def hold(connection: ClientConnection) -> None:
        async for message in connection:
            delays.note(str(message))

    async def do(order: Order) -> Order:
        return await delays.answer(order, asyncio.sleep)

    connections = [await connect(url, compression=None, proxy=None) for _ in range(count)]
    holding = [asyncio.create_task(hold(connection)) for connection in connections]
    say({})
    await obey(_read, do)
    for task in holding:
        task.cancel()
    await asyncio.wait(holding)
    await asyncio.gather(*(connection.close() for connection in connections))


# --- python-socketio --------------------------------------------------------------------------


async def _serve_socketio() -> None:
    import socketio
    from aiohttp import web

    sio = socketio.AsyncServer(async_mode="aiohttp", transports=["websocket"])
    app = web.Application()
    sio.attach(app)

    async def take(sid: str, text: str) -> str:
        return ""

    sio.on(CHANNEL, take)

    async def send(text: str) -> None:
        await sio.emit(CHANNEL, text)

    async def do(order: Order) -> Order:
        return await fan(order, send, asyncio.sleep)

    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    say({"port": runner.addresses[0][1]})
    await obey(_read, do)
    await runner.cleanup()


def _socketio_client() -> Any:
    import socketio

    return socketio.AsyncClient(reconnection=False, handle_sigint=False)


async def _call_socketio(url: str) -> None:
    sio = _socketio_client()
    await sio.connect(url.replace("ws:", "http:"), transports=["websocket"])

    async def exchange(text: str) -> None:
        await sio.call(CHANNEL, text)

    async def pump(order: Order) -> Order:
        text, count = "x" * order["size"], 0
        room = asyncio.Semaphore(WINDOW)
        begin = time.perf_counter()

        def acknowledged(*_: object) -> None:
            room.release()

        while time.perf_counter() < begin + order["pump"]:
            await room.acquire()
            await sio.emit(CHANNEL, text, callback=acknowledged)
            count += 1
        for _ in range(WINDOW):
            await room.acquire()
        return figures(begin, count, [])

    async def do(order: Order) -> Order:
        return await (one(order, exchange) if "one" in order else pump(order))

    say({})
    await obey(_read, do)
    await sio.disconnect()


async def _hold_socketio(url: str, count: int) -> None:
    delays = Delays()
    clients = []
    for _ in range(count):
        sio = _socketio_client()
        sio.on(CHANNEL, delays.note)
        await sio.connect(url.replace("ws:", "http:"), transports=["websocket"])
        clients.append(sio)

    async def do(order: Order) -> Order:
        return await delays.answer(order, asyncio.sleep)

    say({})
    await obey(_read, do)
    await asyncio.gather(*(sio.disconnect() for sio in clients))


def main() -> None:
    raise_file_limit()
    role, kind, _, *rest = sys.argv[1:]
    websockets = kind == "websockets"
    if role == "serve":
        asyncio.run(_serve_websockets() if websockets else _serve_socketio())
    elif role == "call":
        asyncio.run((_call_websockets if websockets else _call_socketio)(rest[0]))
    else:
        hold = _hold_websockets if websockets else _hold_socketio
        asyncio.run(hold(rest[0], int(rest[1])))


if __name__ == "__main__":
    main()
