"""A gateway, as a demo: a page lists and buys pets over one WebSocket; the store is behind NAT.

Run it with ``python -m examples.gateway``. It ends by itself. With ``--stay``, the gateway and two
stores keep running, and you can open the page in a browser.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import requests
import trio

import restsock
import restsock.sync
from restsock.auth import Bearer
from restsock.websockets import connect

from .serve import PRICES
from .store import make_database, sales

START = time.perf_counter()
PATIENCE = 20  # seconds


def say(words: str) -> None:
    print(f"{time.perf_counter() - START:7.3f} s  {words}", flush=True)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


class Page:
    """What a page does: calls over one WebSocket, and it connects again when that is closed.

    Attributes:
        pushed: What has come without being asked for.
        closed: The codes that its WebSockets were closed with.
    """

    def __init__(self, url: str) -> None:
        self.pushed: list[Any] = []
        self.closed: list[int] = []
        self._url = url
        self._socket: restsock.ClientWebSocket | None = None
        self._waiting: dict[int, list[Any]] = {}
        self._last = 0
        self._news = trio.lowlevel.ParkingLot()

    async def run(self) -> None:
        while True:
            with suppress(OSError, restsock.RestsockError):
                async with connect(self._url, proxy=False) as self._socket:
                    self._news.unpark_all()
                    async for data in self._socket:
                        self._take(json.loads(data))
            code = None if self._socket is None else self._socket.close_code
            if code is not None:
                self.closed.append(code)
            self._socket = None
            # A gateway that closes with 1012 has answered all that it has begun with.
            unread = {"status": 503, "error": {"may_have_run": False}}
            for answer in self._waiting.values():
                answer.append(unread if code == 1012 else {"status": 0})
            self._waiting.clear()
            self._news.unpark_all()
            await trio.sleep(0.05)

    def _take(self, message: Any) -> None:
        if "id" not in message:
            self.pushed.append(message)
        else:
            self._waiting.pop(message["id"]).append(message)
        self._news.unpark_all()

    async def ask(self, action: str, **data: Any) -> Any:
        """The answer to a call; its status is 0 if the WebSocket has ended without one."""
        while True:
            while self._socket is None:
                await self._news.park()
            self._last += 1
            number, answer = self._last, list[Any]()
            self._waiting[number] = answer
            try:
                await self._socket.send(json.dumps({"action": action, "id": number, **data}))
                break
            except restsock.WebSocketClosed:  # it was not sent
                self._waiting.pop(number, None)
                await trio.sleep(0.01)
        while not answer:
            await self._news.park()
        return answer[0]

    async def wait_pushed(self) -> None:
        """Waits until something has come without being asked for."""
        while not self.pushed:
            await self._news.park()

    async def until(self, action: str, status: int) -> float:
        """Asks until the answer has this status; gives the milliseconds that the last one took."""
        while True:
            begun = time.perf_counter()
            answer = await self.ask(action)
            if answer["status"] == status:
                return (time.perf_counter() - begun) * 1000
            await trio.sleep(0.02)

    async def buy(self, numbers: range) -> Counter[int]:
        """Buys some pets, eight at a time; the statuses of all answers.

        What provably has not run, since a gateway is about to close, is asked again.
        """
        statuses: Counter[int] = Counter()
        left = iter(numbers)

        async def buy_some() -> None:
            for number in left:
                answer = await self.ask("buyPet", petId=number)
                statuses[answer["status"]] += 1
                while answer["status"] == 503 and not answer["error"]["may_have_run"]:
                    await trio.sleep(0.2)
                    answer = await self.ask("buyPet", petId=number)
                    statuses[answer["status"]] += 1

        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(buy_some)
        return statuses


@asynccontextmanager
async def processes() -> AsyncIterator[Any]:
    """Starts modules of this package, and ends those that still run."""
    running: list[subprocess.Popen[str]] = []

    def start(module: str, *args: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", f"examples.gateway.{module}", *args]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return running[-1]

    try:
        yield start
    finally:
        for process in running:
            process.kill()
            process.communicate()


def push_price(url: str, price: int) -> dict[str, Any]:
    """Sends a price to all pages, from behind NAT: over a connection that was dialed."""
    with restsock.sync.connect(url, auth=Bearer(PRICES)) as peer:
        session = requests.Session()
        session.mount("http://gateway/", peer.adapter())
        body = {"message": {"action": "price", "price": price}}
        answer = session.post("http://gateway/groups/visitors", json=body)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found


async def demo(folder: Path) -> bool:
    port, database = free_port(), str(folder / "pets.sqlite")
    url = f"ws://127.0.0.1:{port}/"
    make_database(database, 400)
    page = Page(f"{url}ws")
    sold = 0
    async with processes() as start, trio.open_nursery() as nursery:
        gateway = start("serve", str(port))
        if not await trio.to_thread.run_sync(gateway.stdout.readline):
            raise SystemExit("the gateway has not started")
        stores = [start("store", url, database) for _ in range(2)]
        nursery.start_soon(page.run)
        await page.until("listPets", 200)
        say(f"the page is http://127.0.0.1:{port}/; two stores behind NAT share a name")

        async with trio.open_nursery() as buying:
            bought: list[Counter[int]] = []

            async def buy() -> None:
                bought.append(await page.buy(range(1, 161)))

            buying.start_soon(buy)
            await trio.sleep(0.2)
            stores[0].terminate()
            say("one store is stopped in the middle of 160 sales")
        sold += bought[0][200]
        say(f"sales that were answered: {bought[0][200]}, lost: {160 - bought[0][200]}")

        stores[1].terminate()
        await trio.to_thread.run_sync(stores[1].wait)
        for _ in range(4):
            await page.until("listPets", 503)
        quick = await page.until("listPets", 503)
        say(f"both are stopped: the breaker answers 503 at once, in {quick:.1f} ms")

        stores = [start("store", url, database) for _ in range(2)]
        await page.until("listPets", 200)
        say("the stores are back, and so are the answers")

        counts = (await trio.to_thread.run_sync(push_price, url, 17))["counts"]
        await page.wait_pushed()
        say(f"a price from behind NAT: {page.pushed[-1]['price']}, sent to {counts['sent']} page")

        async with trio.open_nursery() as buying:
            bought.clear()

            async def buy_more() -> None:
                bought.append(await page.buy(range(161, 321)))

            buying.start_soon(buy_more)
            await trio.sleep(0.2)
            gateway.send_signal(signal.SIGTERM)
            say("SIGTERM to the gateway in the middle of 160 sales")
            await trio.to_thread.run_sync(gateway.wait)
            gateway = start("serve", str(port))
        statuses = bought[0]
        refused = statuses[503]
        say(
            f"closed with {page.closed[-1]}, the page has connected again; "
            f"{statuses[200]} sold, {refused} asked again, "
            f"without an answer: {statuses[0]}"
        )
        sold += statuses[200]
        right = sales(database) == sold and statuses[0] == 0
        say(f"sold by the answers: {sold}, in the database: {sales(database)}")
        if "--stay" in sys.argv:
            say(f"open http://127.0.0.1:{port}/ ; Ctrl-C ends it")
            await trio.sleep_forever()
        nursery.cancel_scope.cancel()
    say("done" if right else "something is lost")
    return right


async def bounded(folder: Path) -> bool:
    if "--stay" in sys.argv:
        return await demo(folder)
    with trio.fail_after(4 * PATIENCE):
        return await demo(folder)


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, suppress(KeyboardInterrupt):
        return 0 if trio.run(bounded, Path(folder)) else 1
    return 130


if __name__ == "__main__":
    sys.exit(main())
