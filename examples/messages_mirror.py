"""Two regions that mirror each other: both know the orders of each.

Each takes orders from its own shops, and passes them on to the other region at least once. The link
between them is cut for a while: both go on, and afterwards both have all orders, each once. A
header says where an order comes from, so that none is sent back.
"""

import trio

import restsock
from restsock.messaging import Message, Messaging
from restsock.testing import FaultyProxy

QUICK = restsock.Backoff(initial=0.05, cap=0.2)


class Region:
    def __init__(self, name: str, other: str) -> None:
        self.name = name
        self.orders: list[int] = []
        # With `SQLiteStore("orders.db")` they would survive the process, too.
        self.messaging = Messaging()
        self.mirror = self.messaging.channel("orders", delivery="at_least_once", to=other)
        self.messaging.on("orders")(self.take)

    async def take(self, message: Message) -> None:
        if "region" not in message.headers:  # of a shop
            await self.mirror.send(message.body, headers={"region": self.name})
        self.orders.append(message.body)


async def take_orders(shop: Messaging, numbers: range) -> None:
    orders = shop.channel("orders", delivery="at_least_once")
    for number in numbers:
        await orders.send(number)
    await orders.drain()  # its region has them


async def in_both(east: Region, west: Region) -> None:
    await east.mirror.drain()
    await west.mirror.drain()
    same = sorted(east.orders) == sorted(west.orders)
    once = len(set(east.orders)) == len(east.orders)
    print(f"in both: {len(east.orders)} orders - the same: {same}, each once: {once}")


async def main() -> None:
    # West dials East. So East sends to the peer "west", and West to whom it has dialed.
    east, west = Region("east", other="west"), Region("west", other="")
    async with (
        east.messaging,
        west.messaging,
        restsock.listen("127.0.0.1", 0, messaging=east.messaging) as in_east,
        restsock.listen("127.0.0.1", 0, messaging=west.messaging) as in_west,
        FaultyProxy(*in_east.address[:2]) as link,
        restsock.connect(
            f"ws://127.0.0.1:{link.port}/", name="west", messaging=west.messaging, backoff=QUICK
        ),
        Messaging() as shop_east,
        Messaging() as shop_west,
        restsock.connect(in_east.url, name="shop-east", messaging=shop_east),
        restsock.connect(in_west.url, name="shop-west", messaging=shop_west),
    ):
        await take_orders(shop_east, range(100, 110))
        await take_orders(shop_west, range(200, 210))
        await in_both(east, west)

        await link.refuse()
        await link.cut()
        await take_orders(shop_east, range(110, 120))
        await take_orders(shop_west, range(210, 220))
        print(f"while it is cut: {len(east.orders)} in the east, {len(west.orders)} in the west")

        await link.accept()
        await in_both(east, west)


if __name__ == "__main__":
    trio.run(main)
