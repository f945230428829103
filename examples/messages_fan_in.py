"""A hierarchy: machines send to their site, and the sites to the cloud.

A machine gets its acknowledgement when its site has stored the reading. The site sends the reading
on until the cloud has handled it. So machines need no route to the cloud, and the cloud need not
know the machines.
"""

import tempfile
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import trio

import restsock
from restsock.messaging import Message, Messaging, SQLiteStore

SITES = {"ulm": ["press", "saw"], "ghent": ["drill", "lathe", "mill"]}
READINGS = 20


async def main(folder: Path) -> None:
    cloud, had = Messaging(), Counter[str]()

    @cloud.on("readings")
    async def count(message: Message) -> None:
        had[f"{message.session.name}/{message.headers['machine']}"] += 1

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(cloud)
        listener = restsock.listen("127.0.0.1", 0, messaging=cloud)
        top = await stack.enter_async_context(listener)
        ways_up = []
        for site, machines in SITES.items():
            here = Messaging(SQLiteStore(folder / f"{site}.db"))
            up = here.channel("readings", delivery="at_least_once")  # to whom it has dialed

            @here.on("readings")
            async def send_on(message: Message, up: restsock.messaging.Channel = up) -> None:
                await up.send(message.body, headers={"machine": message.session.name or "?"})

            await stack.enter_async_context(here)
            await stack.enter_async_context(restsock.connect(top.url, name=site, messaging=here))
            middle = await stack.enter_async_context(
                restsock.listen("127.0.0.1", 0, messaging=here)
            )
            for machine in machines:
                async with Messaging() as own:
                    async with restsock.connect(middle.url, name=machine, messaging=own):
                        readings = own.channel("readings", delivery="at_least_once")
                        for number in range(READINGS):
                            await readings.send({"number": number})
                        await readings.drain()  # the site has them
            ways_up.append(up)
        for up in ways_up:
            await up.drain()
        for who, number in sorted(had.items()):
            print(f"the cloud has {number} readings of {who}")
        print("all of them:", sum(had.values()) == READINGS * sum(map(len, SITES.values())))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        trio.run(main, Path(folder))
