"""`ReadyBytes`: a socket that the one task of the loop reads for."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from restsock.connection import ReadyBytes

_SIZE = 1000


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[ReadyBytes, trio.SocketStream]]:
    near, far = trio.socket.socketpair()
    stream = trio.SocketStream(near)
    bytes_ = ReadyBytes(stream, _SIZE)
    async with trio.SocketStream(far) as other, stream:
        with trio.fail_after(5):
            yield bytes_, other
        bytes_.close()


async def test_what_comes_is_received_up_to_the_end() -> None:
    async with pair() as (near, far):
        await far.send_all(b"one")
        assert await near.receive() == b"one"
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def later() -> None:
                await trio.sleep(0.01)
                await far.send_all(b"two")
                await far.send_eof()

            assert await near.receive() == b"two"
            assert await near.receive() == b""


@pytest.mark.parametrize("count", [1, 2, 3, 10])
async def test_a_long_row_of_full_reads_comes_whole(count: int) -> None:
    """Also where it ends with the size of a read, and nothing more is there at first."""
    async with pair() as (near, far):
        for _ in range(3):
            await far.send_all(b"x" * _SIZE * count)
            received = b""
            while len(received) < _SIZE * count:
                received += await near.receive()
            assert received == b"x" * _SIZE * count


async def test_what_nobody_waits_for_stays_in_the_socket() -> None:
    async with pair() as (near, far):
        await far.send_all(b"one")
        assert await near.receive() == b"one"
        await far.send_all(b"two")
        for _ in range(5):
            await trio.sleep(0.001)  # it is seen, and left alone
        assert await near.receive() == b"two"


async def test_one_that_is_cancelled_takes_nothing() -> None:
    async with pair() as (near, far):
        with trio.move_on_after(0.01) as scope:
            await near.receive()
        assert scope.cancelled_caught
        await far.send_all(b"late")
        assert await near.receive() == b"late"


async def test_a_socket_that_is_broken_off_says_so() -> None:
    async with pair() as (near, far):
        far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await near.send(b"never read")
        await trio.testing.wait_all_tasks_blocked()  # it has left
        await far.aclose()
        with pytest.raises(trio.BrokenResourceError):
            await near.receive()


async def test_what_the_socket_does_not_take_at_once_is_sent_all_the_same() -> None:
    async with pair() as (near, far):
        data = bytes(range(256)) * 10_000
        async with trio.open_nursery() as nursery:
            nursery.start_soon(near.send, data)
            received = bytearray()
            while len(received) < len(data):
                received += await far.receive_some(65536)
        assert received == data


async def test_what_is_sent_in_one_pass_of_the_loop_leaves_together_at_its_end() -> None:
    async with pair() as (near, far):
        await near.send(b"one ")
        await near.send(b"two")
        assert near.cut
        with pytest.raises(BlockingIOError):
            os.read(far.socket.fileno(), 100)
        assert await far.receive_some(100) == b"one two"
        assert not near.cut


async def test_what_the_socket_takes_late_is_sent_by_who_waits_for_the_answer() -> None:
    left, right = trio.socket.socketpair()
    async with trio.SocketStream(left) as stream, trio.SocketStream(right) as far:
        filled = 0
        with pytest.raises(BlockingIOError):
            while True:
                filled += os.write(left.fileno(), bytes(65536))
        near = ReadyBytes(stream, _SIZE)
        await near.send(b"question")
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:

                @nursery.start_soon
                async def answer() -> None:
                    await trio.testing.wait_all_tasks_blocked()
                    received = b""
                    while len(received) < filled + 8:
                        received += await far.receive_some(65536)
                    assert received.endswith(b"question")
                    await far.send_all(b"answer")

                assert await near.receive() == b"answer"
        assert not near.cut
        near.close()


async def test_an_answer_comes_in_although_the_question_could_not_be_sent() -> None:
    async with pair() as (near, far):
        await far.send_all(b"not here")
        await near.send(b"half ")
        await trio.testing.wait_all_tasks_blocked()
        await far.aclose()  # with unread bytes: it is reset
        await near.send(b"a question")
        await trio.testing.wait_all_tasks_blocked()
        assert near.cut
        assert await near.receive() == b"not here"


async def test_what_waits_is_not_sent_after_a_close() -> None:
    async with pair() as (near, far):
        await near.send(b"never")
        near.close()
        assert not near.cut
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(BlockingIOError):
            os.read(far.socket.fileno(), 100)
