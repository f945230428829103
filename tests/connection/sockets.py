"""Connections over real sockets, whose other end is a test; and threads beside a loop that stands.

Between two ends of a socket pair, what one has written the other can read: nobody has to wait.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import trio
import trio.testing

from restsock._options import Options
from restsock.connection import Connection, Handler
from restsock.connection._direct_socket import DirectSocket
from restsock.protocol import BinaryMessage, MultiplexerEvent, Ping, WebSocketEvent
from tests.tls_pair import tls_streams

from .peers import handshake

T = TypeVar("T")

# What `alone` runs over. Tests of both have a fixture that changes it.
carrier = "tcp"


def socket_streams() -> tuple[trio.SocketStream, trio.SocketStream]:
    here, there = socket.socketpair()
    return (
        trio.SocketStream(trio.socket.from_stdlib_socket(here)),
        trio.SocketStream(trio.socket.from_stdlib_socket(there)),
    )


class Far:
    """The other end of a connection: handshaken, but it does only what the test tells it.

    Attributes:
        heard: every WebSocket event so far.
        bytes: how many bytes have come.
        scope: around the `run()` of the end that is not this one.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.multiplexer = connection.multiplexer
        self.heard: list[WebSocketEvent] = []
        self.bytes = 0
        self.scope = trio.CancelScope()

    def arrived(self) -> list[MultiplexerEvent]:
        """What has come since the last call, of the exchanges. For any thread."""
        direct_socket = self.connection.writer.direct_socket
        assert direct_socket is not None
        self.connection._pipeline.decode(b"")  # what came with the handshake
        with suppress(BlockingIOError):
            while data := direct_socket.read_now(1 << 20):
                self.bytes += len(data)
                self.connection._pipeline.decode(data)
        while (event := self.connection._websocket.next_event()) is not None:
            self.heard.append(event)
            if isinstance(event, BinaryMessage):
                self.multiplexer.receive_message(event.data, event.rest)
        return self.multiplexer.events.take()

    def messages(self) -> int:
        """How many messages of exchanges have come."""
        return sum(isinstance(event, BinaryMessage) for event in self.heard)

    def pings(self) -> int:
        return sum(isinstance(event, Ping) for event in self.heard)

    def say(self) -> None:
        """Sends what its multiplexer and WebSocket have to send."""
        direct_socket = self.connection.writer.direct_socket
        assert direct_socket is not None
        while data := self.connection.writer.take_output():
            assert direct_socket.write(data) == len(data)


@asynccontextmanager
async def alone(
    handler: Handler | None = None, *, options: Options | None = None
) -> AsyncGenerator[tuple[Connection, Far], None]:
    """A dialer that runs, and its other end."""
    streams: tuple[trio.abc.Stream, trio.abc.Stream] = socket_streams()
    if carrier == "tls":
        streams = await tls_streams(*streams)
    dialer, listener = await handshake(*streams, options=options)
    far = Far(listener)

    async def run() -> None:
        with far.scope:
            await dialer.run(handler)

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await trio.testing.wait_all_tasks_blocked()
            yield dialer, far
            nursery.cancel_scope.cancel()
    finally:
        await trio.aclose_forcefully(listener._stream)


def while_the_loop_stands(function: Callable[..., T], *args: object) -> T:
    """Runs a function in a thread, and the loop that this is called on does nothing meanwhile."""
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(function(*args))
        except BaseException as exc:  # noqa: BLE001  # raised by the test's own thread
            outcome.set_exception(exc)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        return outcome.result(5)
    finally:
        thread.join(5)


def is_free(lock: Any) -> bool:
    """Whether a thread other than this one could have the lock."""

    def look() -> bool:
        if not lock.acquire(blocking=False):
            return False
        lock.release()
        return True

    return while_the_loop_stands(look)


class Posts:
    """Stands in for a loop's token, and notes what is posted to it."""

    def __init__(self, connection: Connection) -> None:
        self.token = connection.token
        self.functions: list[Any] = []
        connection.token = connection.writer.token = self  # type: ignore[assignment]

    def run_sync_soon(self, function: Callable[..., object], *args: object) -> None:
        self.functions.append(function)
        self.token.run_sync_soon(function, *args)


class Scripted(DirectSocket):
    """A direct socket that notes what it is to write, and takes no more of it than it is told.

    Attributes:
        takes: bytes, for each write; `None` is all, and so is what the script has no word for.
        wrote: what was taken, write by write.
    """

    __slots__ = ("takes", "wrote")

    def __init__(self, connection: Connection, *takes: int | None) -> None:
        direct_socket = connection.writer.direct_socket
        assert direct_socket is not None
        super().__init__(direct_socket._socket)
        self.takes = list(takes)
        self.wrote: list[bytes] = []
        connection.writer.direct_socket = self

    def write(self, data: bytes) -> int:
        limit = self.takes.pop(0) if self.takes else None
        taken = super().write(data[:limit]) if limit != 0 else 0
        self.wrote.append(data[:taken])
        return taken
