"""A gateway on a listener, over real sockets or in memory, and clients of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

import restsock
from restsock import ClientWebSocket, Options, Timeouts
from restsock.client import parse_url
from restsock.gateway import Action, Backend, Channel, Gateway, Message, Pipe, Reply, Router
from restsock.server import Server
from restsock.server._front_door import FrontDoor
from restsock.testing import Network
from tests.websockets.site import PATIENCE, RawClient, request_for, url_of

QUICK = Options(timeouts=Timeouts(close=0.5))


class Client:
    """A client that speaks JSON."""

    def __init__(self, websocket: ClientWebSocket) -> None:
        self.websocket = websocket

    async def say(self, value: Any) -> None:
        await self.websocket.send(value if isinstance(value, (str, bytes)) else json.dumps(value))

    async def hear(self) -> Any:
        with trio.fail_after(PATIENCE):
            return json.loads(await self.websocket.receive())

    async def ask(self, value: Any) -> Any:
        await self.say(value)
        return await self.hear()

    async def end(self) -> restsock.WebSocketClosed:
        """How it ends, whatever comes before."""
        with trio.fail_after(PATIENCE):
            while True:
                try:
                    await self.websocket.receive()
                except restsock.WebSocketClosed as exc:
                    return exc


async def echo(message: Message) -> Any:
    """What was asked."""
    return message.body


class Gate(Backend):
    """Answers once it is opened.

    Attributes:
        begun: Bodies of calls, in the order in which they came.
        cancelled: Of calls that were cancelled.
    """

    def __init__(self) -> None:
        self.begun: list[Any] = []
        self.cancelled: list[Any] = []
        self._open = trio.Event()
        self._came = trio.lowlevel.ParkingLot()

    def open(self) -> None:
        self._open.set()

    async def wait(self, count: int) -> None:
        """Waits until so many calls have come."""
        with trio.fail_after(PATIENCE):
            while len(self.begun) < count:
                await self._came.park()

    async def call(self, message: Message) -> Reply:
        self.begun.append(message.body)
        self._came.unpark_all()
        try:
            await self._open.wait()
        except trio.Cancelled:
            self.cancelled.append(message.body)
            raise
        return Reply(message.body)


class Hooks:
    """Notes who comes and goes."""

    def __init__(self) -> None:
        self.connected: list[Any] = []
        self.ended: list[tuple[int, str]] = []
        self._told = trio.lowlevel.ParkingLot()

    async def connect(self, session: Any) -> None:
        self.connected.append(session)

    async def disconnect(self, session: Any, code: int, reason: str) -> None:
        assert session in self.connected
        self.ended.append((code, reason))
        self._told.unpark_all()

    async def wait(self, count: int = 1) -> list[int]:
        """The codes of those that have ended, once there are so many."""
        with trio.fail_after(PATIENCE):
            while len(self.ended) < count:
                await self._told.park()
        assert len(self.ended) == count
        return [code for code, _ in self.ended]


def action(router: Any = None, path: str = "/ws", **options: Any) -> Channel:
    """A channel that speaks `Action`: functions and backends by key, or one for all."""
    if router is None:
        router = {"echo": echo}
    if isinstance(router, dict):
        router = Router(router)
    elif not isinstance(router, Backend):
        router = Pipe(router)
    return Channel(path, Action(), router, **options)


@asynccontextmanager
async def served(gateway: Gateway | Channel, **options: Any) -> AsyncIterator[restsock.Server]:
    """A listener with this gateway."""
    if isinstance(gateway, Channel):
        gateway = Gateway([gateway])
    options.setdefault("options", QUICK)
    async with restsock.listen("127.0.0.1", 0, endpoints=gateway, **options) as server:
        yield server


@asynccontextmanager
async def connected(server: Any, path: str = "/ws", **options: Any) -> AsyncIterator[Client]:
    """A client of it."""
    options.setdefault("options", QUICK)
    url = url_of(server, path)
    async with restsock.websockets.connect(url, proxy=False, **options) as websocket:
        yield Client(websocket)


class Memory:
    """A listener in memory, for clocks that jump."""

    def __init__(self, network: Network, server: Server) -> None:
        self.network = network
        self.server = server

    async def open(self, path: str = "/ws") -> RawClient:
        """A client whose WebSocket was accepted."""
        stream = await self.network.open_stream(parse_url("ws://hub/"))
        await stream.send_all(request_for(path))
        head = b""
        while b"\r\n\r\n" not in head:
            data = bytes(await stream.receive_some(65536))
            assert data, head
            head += data
        head, _, rest = head.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        return RawClient(stream, rest)


@asynccontextmanager
async def in_memory(gateway: Gateway | Channel) -> AsyncIterator[Memory]:
    """A listener without sockets that has this gateway."""
    if isinstance(gateway, Channel):
        gateway = Gateway([gateway])
    options = Options(timeouts=Timeouts(close=5, idle=10_000))
    network = Network()
    door = FrontDoor(None, gateway, None, options)
    async with Server(
        None, 0, open_listeners=network.open, options=options, front_door=door
    ) as server:
        yield Memory(network, server)
