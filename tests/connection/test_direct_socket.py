from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from restsock.connection import AsyncExchange, Connection
from restsock.connection._direct_socket import DirectSocket, direct_socket_of
from restsock.protocol import ResponseHead

from .peers import TaskHandler, handshake
from .sockets import socket_streams


async def echo(exchange: AsyncExchange) -> None:
    pieces = []
    while data := await exchange.receive_data():
        pieces.append(data)
    exchange.send_head(ResponseHead(200, []))
    await exchange.send_data(b"".join(pieces))
    exchange.send_end()


@asynccontextmanager
async def pair() -> AsyncGenerator[tuple[Connection, Connection], None]:
    dialer, listener = await handshake(*socket_streams())
    async with trio.open_nursery() as nursery:
        handler = TaskHandler(nursery, echo)
        nursery.start_soon(dialer.run, handler)
        nursery.start_soon(listener.run, handler)
        yield dialer, listener
        await dialer.aclose()


class Narrow(DirectSocket):
    """Takes a few bytes at a time, or none."""

    __slots__ = ("limits", "written")

    def __init__(self, direct_socket: DirectSocket, limits: list[int]) -> None:
        super().__init__(direct_socket._socket)
        self.limits = limits
        self.written = 0

    def write(self, data: bytes) -> int:
        limit = self.limits[self.written % len(self.limits)]
        self.written += 1
        return super().write(data[:limit]) if limit else 0


@pytest.mark.parametrize("limits", [[1], [7, 0, 100], [0], [100_000]])
async def test_what_the_socket_does_not_take_follows_in_order(limits: list[int]) -> None:
    async with pair() as (dialer, listener):
        direct_sockets = []
        for connection in (dialer, listener):
            direct_socket = connection.writer.direct_socket
            assert direct_socket is not None
            connection.writer.direct_socket = Narrow(direct_socket, limits)
            direct_sockets.append(connection.writer.direct_socket)
        answers: list[bool] = []

        async def call(connection: Connection, first: int) -> None:
            for number in range(first, first + 10):
                body = b"%d," % number * (number % 2 * 20_000 + 10)
                response = await connection.request("POST", "/", body=body)
                answers.append(response.content == body)

        await trio.testing.wait_all_tasks_blocked()  # the writers sleep: the socket is theirs
        async with trio.open_nursery() as nursery:
            for first in range(5):
                nursery.start_soon(call, dialer, first)
                nursery.start_soon(call, listener, first)
        assert answers == [True] * 100
        assert [bool(direct_socket.written) for direct_socket in direct_sockets] == [True, True]


async def test_a_closed_socket_takes_nothing() -> None:
    here, there = socket_streams()
    direct_socket = direct_socket_of(here)
    assert direct_socket is not None
    assert direct_socket.write(b"hello") == 5
    assert await there.receive_some() == b"hello"
    await here.aclose()
    assert direct_socket.write(b"late") == 0
    await there.aclose()


async def test_only_sockets_are_direct() -> None:
    here, there = trio.testing.memory_stream_pair()
    assert direct_socket_of(here) is None
    assert direct_socket_of(there) is None
