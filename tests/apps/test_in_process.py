"""An app in this process, asked like one of a peer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from restsock import ConnectionClosed, Heartbeat, Options
from restsock.apps import in_process, make_handler
from restsock.connection import Request, Requester, Response

OPTIONS = Options(heartbeat=Heartbeat(interval=None))


async def echo(request: Request) -> Response:
    return Response(200, {}, await request.read())


@asynccontextmanager
async def asked(app: Any) -> AsyncIterator[Requester]:
    async with in_process(make_handler(app, options=OPTIONS), options=OPTIONS) as requester:
        yield requester


async def test_it_answers_with_bodies_of_any_size() -> None:
    async with asked(echo) as requester:
        for size in (0, 10, 3_000_000):
            response = await requester.request("POST", "/", body=b"x" * size)
            assert len(response.content) == size


async def test_its_end_ends_what_is_under_way_and_leaves_nothing() -> None:
    begun = trio.Event()

    async def slow(request: Request) -> Response:
        begun.set()
        await trio.sleep_forever()
        raise AssertionError

    errors: list[Exception] = []

    async def ask(requester: Requester) -> None:
        with pytest.raises(ConnectionClosed) as caught:
            await requester.request("GET", "/")
        errors.append(caught.value)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            async with asked(slow) as requester:
                nursery.start_soon(ask, requester)
                await begun.wait()
    assert len(errors) == 1


async def test_a_cancellation_ends_it_at_once() -> None:
    with trio.fail_after(10), trio.CancelScope() as scope:
        async with asked(echo) as requester:
            await requester.request("GET", "/")
            scope.cancel()
            await trio.sleep_forever()


async def test_an_error_of_the_block_comes_out_as_it_is() -> None:
    with pytest.raises(KeyError):
        async with asked(echo):
            raise KeyError("x")
