"""The page of the example in a real Chromium: it lists, buys, gets prices, and connects again.

There is no driver: the page says what it sees in messages to the gateway, where it is asked to.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

import restsock
from examples.gateway import serve, store
from examples.gateway.__main__ import push_price
from restsock.auth import Bearer
from restsock.gateway import Message
from tests.chromium import PATIENCE, chromium, needs_chromium

pytestmark = [needs_chromium, pytest.mark.timeout(2 * PATIENCE)]


class Reports:
    """What the page has said, whichever gateway it was connected to."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._news = trio.lowlevel.ParkingLot()

    async def take(self, message: Message) -> bool:
        self.texts.append(message.body["text"])
        self._news.unpark_all()
        return True

    async def until(self, text: str) -> None:
        """Waits until it has said something, and forgets what was before."""
        with trio.fail_after(PATIENCE):
            while text not in self.texts:
                await self._news.park()
        del self.texts[: self.texts.index(text) + 1]


@asynccontextmanager
async def gateway(port: int, reports: Reports) -> AsyncIterator[restsock.Server]:
    async with serve.listen(serve.make_gateway({"report": reports.take}), port) as server:
        yield server


@asynccontextmanager
async def dialed_in(server: restsock.Server, database: str) -> AsyncIterator[None]:
    """A store that has dialed in."""
    app = store.make_app(database)
    token = Bearer(store.TOKEN)
    async with restsock.connect(server.url, name=store.NAME, auth=token, app=app) as peer:
        await peer.wait_connected()
        yield


async def test_the_page_of_the_example(tmp_path: Path) -> None:
    database = str(tmp_path / "pets.sqlite")
    store.make_database(database, 5)
    reports = Reports()
    async with gateway(0, reports) as server:
        port = server.address[1]
        async with chromium(f"http://127.0.0.1:{port}/?report", tmp_path / "profile"):
            # There is no store yet: the page says so, and goes on.
            await reports.until("the store is away: what this goes to is not connected")
            async with dialed_in(server, database):
                await trio.to_thread.run_sync(push_price, server.url, 17)
                await reports.until("price 17")
                await server.aclose()
            # The listener comes back at its port, and so does the page.
            async with gateway(port, reports) as again, dialed_in(again, database):
                await trio.to_thread.run_sync(push_price, again.url, 18)
                await reports.until("5 pets")
