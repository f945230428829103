"""A listener that strangers say anything to, with an honest peer connected."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from restsock import Heartbeat, Limits, Options, Timeouts
from restsock.client import Client, connect
from restsock.server import Server, listen
from tests.e2e.raw_peer import RawPeer

LIMITS = Limits(max_streams=4, max_head=8192, initial_window=16384)
# No deadline that a busy machine could miss, and no heartbeat where time is jumped over.
TIMEOUTS = Timeouts(handshake=60, close=0.5, disconnect=0.05)
OPTIONS = Options(limits=LIMITS, timeouts=TIMEOUTS, heartbeat=Heartbeat(interval=None))


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """/hang never reads and never answers; everything else reads all and answers 200."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    if scope["path"] == "/hang":
        await trio.sleep_forever()
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"fine"})


class Log(logging.Handler):
    """What the package logs, for a task that waits for it."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []
        self._more = trio.lowlevel.ParkingLot()

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self._more.unpark_all()

    async def line(self, *words: str) -> str:
        """The first line with one of these words in it, now or later."""
        seen = 0
        while True:
            for record in self.records[seen:]:
                if any(word in record.getMessage() for word in words):
                    return record.getMessage()
            seen = len(self.records)
            await self._more.park()


class Listener:
    """A listener with one honest peer, and any number of others."""

    def __init__(self, server: Server, client: Client, log: Log) -> None:
        self.server = server
        self.client = client
        self.log = log
        self.strangers: list[RawPeer] = []

    async def stranger(self) -> RawPeer:
        """One who has only dialed yet."""
        peer = RawPeer(await trio.open_tcp_stream("127.0.0.1", self.server.address[1]))
        self.strangers.append(peer)
        return peer

    async def upgraded(self) -> RawPeer:
        """One behind the 101, in front of hello."""
        peer = await self.stranger()
        await peer.upgrade()
        return peer

    async def ready(self) -> RawPeer:
        """One behind a right handshake."""
        peer = await self.upgraded()
        await peer.shake_hands()
        return peer

    async def still_answers(self) -> None:
        """The honest connection works, in both directions."""
        assert (await self.client.request("GET", "/", timeout=5)).status == 200
        assert (await self.server.route("honest").request("GET", "/", timeout=5)).status == 200


@asynccontextmanager
async def attacked() -> AsyncIterator[Listener]:
    """A listener at work; the honest peer still has to be answered in the end."""
    log = Log()
    logger = logging.getLogger("restsock")
    logger.addHandler(log)
    level = logger.level
    logger.setLevel(logging.DEBUG)
    try:
        async with listen("127.0.0.1", 0, app=app, loop="trio", options=OPTIONS) as server:
            async with connect(server.url, app=app, loop="trio", name="honest") as client:
                listener = Listener(server, client, log)
                await listener.still_answers()
                log.records.clear()
                with trio.fail_after(300):
                    yield listener
                    await listener.still_answers()
                for peer in listener.strangers:
                    await peer.close()
    finally:
        logger.setLevel(level)
        logger.removeHandler(log)
    assert not [record.getMessage() for record in log.records if record.levelno >= logging.ERROR]
