"""Documents from a peer: beside the loop, and bounded in time and size."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
import requests
import trio

import restsock
import restsock.sync
from restsock.connection import Request, Response
from restsock.openapi import APIClient, discover, discover_blocking
from restsock.openapi.document._work import TooMuchWork, spend
from restsock.testing import connected_pair
from tests.openapi.documents import document

JSON = [(b"Content-Type", b"application/json")]


async def test_a_document_is_read_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a cancellation does not wait for it."""
    data = json.dumps(document()).encode()
    threads: list[threading.Thread] = []
    stopped = threading.Event()

    def slow(data: bytes, *, source: str) -> Any:
        threads.append(threading.current_thread())
        try:
            while True:
                spend(100)
        except TooMuchWork:
            stopped.set()
            raise

    async def app(request: Request) -> Response:
        return Response(200, JSON, data)

    async with connected_pair(app_b=app) as (peer, _):
        assert (await discover(peer)).title == "Pets"
        monkeypatch.setattr("restsock.openapi.client._discover.parse", slow)
        with trio.move_on_after(0.1) as scope:
            await discover(peer)
        assert scope.cancelled_caught
        assert threads[0] is not threading.main_thread()
        await trio.to_thread.run_sync(stopped.wait)


@pytest.mark.parametrize("blocking", [False, True])
async def test_a_document_that_does_not_come_in_time(blocking: bool) -> None:
    """One that trickles in resets no clock."""

    async def app(request: Request) -> Any:
        async def body() -> AsyncIterator[bytes]:
            while True:
                yield b" "
                await trio.sleep(0.02)

        return Response(200, JSON, body())

    async with connected_pair(app_b=app) as (peer, _):
        with trio.fail_after(20), pytest.raises(restsock.RequestTimeout):
            if blocking:
                await trio.to_thread.run_sync(partial(discover_blocking, peer, timeout=0.3))
            else:
                await discover(peer, timeout=0.3)


@pytest.mark.parametrize("blocking", [False, True])
async def test_a_document_that_is_too_large(blocking: bool) -> None:
    async def app(request: Request) -> Response:
        return Response(200, JSON, b" " * 5_000_000)

    async with connected_pair(app_b=app) as (peer, _):
        with pytest.raises(restsock.SpecError, match="larger than"):
            if blocking:
                await trio.to_thread.run_sync(discover_blocking, peer)
            else:
                await discover(peer)


def test_a_session_reads_no_more_than_that_either() -> None:
    async def app(request: Request) -> Response:
        return Response(200, JSON, b" " * 5_000_000)

    with (
        restsock.sync.listen("127.0.0.1", 0) as server,
        restsock.sync.connect(server.url, app=app, name="edge-1"),
        requests.Session() as session,
    ):
        session.mount("http://edge-1/", server.adapter("edge-1"))
        with pytest.raises(restsock.SpecError, match="larger than"):
            APIClient(session, "/openapi.json", base_url="http://edge-1/")
