"""Follow the connection events: which peers connect, leave, or lose their network."""

import trio

import restsock
from restsock.testing import FaultyProxy


async def main() -> None:
    async with (
        restsock.listen("127.0.0.1", 0) as server,
        FaultyProxy(*server.address) as proxy,  # a network that can be cut
        server.events() as events,  # misses no event from here on
    ):

        async def next_event() -> None:
            event = await events.__anext__()
            print(f"{event.type:18} {event.name} {event.metadata} {event.reason}")

        url = f"ws://127.0.0.1:{proxy.port}/"
        soon = restsock.Backoff(initial=0.05)
        where = {"city": "Ghent", "floor": 3}
        async with restsock.connect(url, name="edge-1", metadata=where, backoff=soon):
            await next_event()
            (connection,) = server.connections.by_metadata(where)
            print("connected now:      ", connection.name, "from", connection.peer.host)

            await proxy.cut()
            await next_event()  # the failure
            await next_event()  # and the client has reconnected by itself

        await next_event()  # a clean close
        print("connected now:      ", len(server.connections))


if __name__ == "__main__":
    trio.run(main)
