"""A coroutine function as an app, behind a real connection in memory."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
import trio.testing

from restsock import Limits, Options, StreamReset
from restsock.connection import AsyncExchange, Request, Response
from restsock.protocol import RequestHead
from restsock.testing import connected_pair


async def test_request_and_response() -> None:
    async def app(request: Request) -> Response:
        assert (request.method, request.path, request.query) == ("POST", "/a b", "q=1")
        assert request.connection.name == "edge-1"
        return Response(201, {"X-A": "1"}, await request.read() + b"!", {"X-T": "2"})

    async with connected_pair(app_b=app, name="edge-1") as (dialer, _):
        response = await dialer.request("POST", "/a%20b?q=1", body=b"hi")
        assert (response.status, response.content) == (201, b"hi!")
        assert response.header("x-a") == "1"
        assert response.header("date")
        assert list(response.trailers) == [(b"X-T", b"2")]


async def test_a_known_length_is_told() -> None:
    async def app(request: Request) -> Response:
        return Response(body="ä")

    async with connected_pair(app_b=app) as (dialer, _):
        assert (await dialer.request("GET", "/")).header("content-length") == "2"
        head = await dialer.request("HEAD", "/")
        assert (head.header("content-length"), head.content) == ("2", b"")


class Pieces:
    """A body that tells what becomes of it."""

    def __init__(self) -> None:
        self.count = 0
        self.closed = trio.Event()

    async def __call__(self, request: Request) -> Response:
        return Response(body=self.make(int(request.query)))

    async def make(self, count: int) -> AsyncIterator[bytes]:
        try:
            for _ in range(count):
                self.count += 1
                yield b"x" * 1000
        finally:
            self.closed.set()


async def test_a_body_in_pieces_waits_for_its_reader() -> None:
    limits = Limits(initial_window=16384, max_window=16384, send_buffer=4096)
    pieces = Pieces()
    async with connected_pair(app_b=pieces, options=Options(limits=limits)) as (dialer, _):
        async with dialer.stream("GET", "/?100") as response:
            await trio.testing.wait_all_tasks_blocked()
            assert 20 <= pieces.count <= 23
            assert len(await response.read()) == 100_000
    assert pieces.closed.is_set()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_body_that_nobody_reads_is_closed(
    method: str, caplog: pytest.LogCaptureFixture
) -> None:
    pieces = Pieces()
    async with connected_pair(app_b=pieces) as (dialer, _):
        async with dialer.stream(method, "/?1000000") as response:
            assert response.status == 200
        await pieces.closed.wait()
    assert not [r for r in caplog.records if r.levelno > logging.DEBUG]


@pytest.mark.parametrize("reads", [True, False])
async def test_it_is_cancelled_at_once(reads: bool, caplog: pytest.LogCaptureFixture) -> None:
    reached = trio.Event()
    cancelled = trio.Event()

    async def app(request: Request) -> Response:
        reached.set()
        try:
            if reads:
                await request.read()
            await trio.sleep_forever()
        finally:
            cancelled.set()

    async with connected_pair(app_b=app) as (dialer, _):
        head = RequestHead(b"PUT", b"/", [(b"Host", b"x")])
        exchange = AsyncExchange.open(dialer, head, end=False)
        await reached.wait()
        exchange.close()
        await cancelled.wait()
        assert not dialer.multiplexer.open_streams
    assert not [r for r in caplog.records if r.levelno > logging.DEBUG]


async def test_a_continue_is_sent() -> None:
    async def app(request: Request) -> Response:
        return Response(body=await request.read())

    async with connected_pair(app_b=app) as (dialer, _):
        head = RequestHead(b"PUT", b"/", [(b"Host", b"x"), (b"Expect", b"100-continue")])
        exchange = AsyncExchange.open(dialer, head, end=False)
        assert (await exchange.receive_head(interim=True)).status == 100
        await exchange.send_data(b"abc")
        exchange.send_end()
        assert (await exchange.receive_head()).status == 200
        assert await exchange.receive_data() == b"abc"


async def raises(request: Request) -> Response:
    raise ZeroDivisionError


async def nothing(request: Request) -> Response:
    return None  # type: ignore[return-value]  # on purpose


async def bad_header(request: Request) -> Response:
    return Response(200, {"a": "b\nc"})


async def bad_trailer(request: Request) -> Response:
    return Response(trailers={"a b": "c"})


async def wrong_length(request: Request) -> Response:
    return Response(200, {"Content-Length": "1"}, b"ab")


@pytest.mark.parametrize("app", [raises, nothing, bad_header, bad_trailer, wrong_length])
async def test_a_failure_is_a_500(app: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with connected_pair(app_b=app) as (dialer, _):
        for _ in range(2):
            assert (await dialer.request("GET", "/")).status == 500
    assert len([r for r in caplog.records if r.exc_info]) == 2


async def test_a_failure_behind_the_head_is_a_reset(caplog: pytest.LogCaptureFixture) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"a"
        raise ZeroDivisionError

    async def app(request: Request) -> Response:
        return Response(body=pieces())

    async with connected_pair(app_b=app) as (dialer, _):
        for _ in range(2):
            with pytest.raises(StreamReset):
                await dialer.request("GET", "/")
    assert len([r for r in caplog.records if r.exc_info]) == 2
