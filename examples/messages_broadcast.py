"""Broadcast: one message to all sessions, to some of them, or to subscribers."""

from contextlib import AsyncExitStack
from functools import partial

import trio

import restsock
from restsock.messaging import Message, Messaging

SCREENS = {"screen-1": "hall", "screen-2": "hall", "screen-3": "roof"}


async def main() -> None:
    hub = Messaging()
    seen: dict[str, list[str]] = {name: [] for name in SCREENS}
    send, arrived = trio.open_memory_channel[None](100)

    async def show(name: str, message: Message) -> None:
        seen[name].append(message.body)
        await send.send(None)

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(hub)
        listener = restsock.listen("127.0.0.1", 0, messaging=hub)
        server = await stack.enter_async_context(listener)
        for name, place in SCREENS.items():
            screen = Messaging()
            screen.on("*")(partial(show, name))
            await stack.enter_async_context(screen)
            where = {"place": place}  # what it tells of itself
            dialed = restsock.connect(server.url, name=name, metadata=where, messaging=screen)
            await stack.enter_async_context(dialed)
            if place == "roof":
                [session] = screen.sessions
                await session.subscribe("weather")

        sent = await hub.sessions.broadcast("news", "lunch is at noon")
        print("to all:", sorted(one.name or "" for one in sent if one.ok))
        sent = await hub.sessions.broadcast("news", "the hall closes", where={"place": "hall"})
        print("to the hall:", sorted(one.name or "" for one in sent if one.ok))
        print("to who has subscribed:", await hub.publish("weather", "rain"))

        for _ in range(len(SCREENS) + 2 + 1):
            await arrived.receive()
        for name, lines in seen.items():
            print(f"{name} shows", lines)


if __name__ == "__main__":
    trio.run(main)
