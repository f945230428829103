"""trio_pair, sync_pair, aio_pair: a client and a server without a port, and a network to break."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import fastapi
import pytest
import requests
import trio
from trio.testing import MockClock

import restsock
import restsock.aio
import restsock.sync
from restsock import HandshakeError, Heartbeat, Options, Request, Response, Timeouts
from restsock.auth import Bearer, BearerTokens
from restsock.testing import aio_pair, sync_pair, trio_pair

ROOT = Path(__file__).parents[2]


async def hello(request: Request) -> Response:
    return Response(200, body=f"hello {request.path}")


def threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith("restsock")]


# --- threads ------------------------------------------------------------------------------------


def test_both_ends_serve_and_ask_from_threads() -> None:
    with sync_pair(hello, hello, name="edge-1", client={"metadata": {"a": 1}}) as pair:
        client, server = pair
        assert isinstance(client, restsock.sync.Client)
        assert isinstance(server, restsock.sync.Server)
        assert [each.metadata for each in server.connections] == [{"a": 1}]
        assert client.request("GET", "/up").text == "hello /up"
        with requests.Session() as session:
            session.mount("http://edge-1/", server.adapter("edge-1"))
            assert session.get("http://edge-1/down").text == "hello /down"
    assert client.closed
    assert server.closed
    assert threads() == []


def test_long_bodies_pass_from_threads() -> None:
    async def echo(request: Request) -> Response:
        return Response(200, body=await request.read())

    body = os.urandom(3_000_000)
    with sync_pair(echo) as (_, server):
        assert server.request("client", "POST", "/", body=body, timeout=20).content == body


def test_a_client_dials_again_after_a_cut() -> None:
    with sync_pair(hello) as pair:
        pair.network.cut()
        assert pair.server.request("client", "GET", "/again", timeout=20).text == "hello /again"
        assert pair.client.statistics().reconnects == 1
        pair.network.cut("eof")
        assert pair.server.request("client", "GET", "/again", timeout=20).text == "hello /again"


def test_a_cut_fails_what_is_in_flight() -> None:
    begun = threading.Event()

    async def never(request: Request) -> Response:
        begun.set()
        await trio.sleep_forever()
        raise AssertionError

    def cut() -> None:
        begun.wait(20)
        pair.network.cut()

    with sync_pair(never) as pair:
        cutting = threading.Thread(target=cut)
        cutting.start()
        with pytest.raises(restsock.ConnectionClosed) as caught:
            pair.server.request("client", "POST", "/", timeout=20)
        cutting.join()
        assert caught.value.may_have_run


def test_while_the_network_refuses_there_is_no_connection() -> None:
    with sync_pair(hello, options=Options(timeouts=Timeouts(connect=0.05))) as pair:
        pair.network.refuse()
        pair.network.cut()
        with pytest.raises(restsock.PeerUnavailable):
            pair.server.request("client", "GET", "/")
        pair.network.accept_again()
        assert pair.client.wait_connected(20) is not None


def test_leaving_waits_for_no_network_that_is_lost() -> None:
    for fault in ("stall", "drop"):
        with sync_pair(hello, options=Options(timeouts=Timeouts(close=1000))) as pair:
            getattr(pair.network, fault)()
    assert threads() == []


def test_ends_that_are_closed_in_the_block_are_left_alone() -> None:
    with sync_pair(hello) as pair:
        pair.client.close()
        pair.server.close()
    assert threads() == []
    with pytest.raises(trio.RunFinishedError):
        pair.network.stall()


def test_what_is_wrong_is_told_before_anything_starts() -> None:
    with pytest.raises(TypeError, match="wrokers"):
        sync_pair(hello, client={"wrokers": 1})
    with pytest.raises(ValueError, match="host in a URL"):
        sync_pair(hello, name="a b")
    with pytest.raises(ValueError, match="delay"), sync_pair() as pair:
        pair.network.slow(-1)
    assert threads() == []


def test_a_client_that_is_refused_is_an_error_of_the_pair() -> None:
    listener = {"auth": BearerTokens({"right": "client"})}
    with pytest.raises(HandshakeError):
        with sync_pair(hello, client={"auth": Bearer("wrong")}, server=listener):
            raise AssertionError
    with sync_pair(hello, client={"auth": Bearer("right")}, server=listener) as (_, server):
        assert server.request("client", "GET", "/").status == 200
    assert threads() == []


# --- asyncio ------------------------------------------------------------------------------------


def on_asyncio(function: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def test() -> None:
        asyncio.run(asyncio.wait_for(function(), 40))
        assert threads() == []

    test.__name__ = function.__name__
    return test


@on_asyncio
async def test_both_ends_serve_and_ask_on_asyncio() -> None:
    app = fastapi.FastAPI()
    queue: asyncio.Queue[str] = asyncio.Queue()

    @app.get("/next")
    async def following() -> str:
        return await queue.get()

    async with aio_pair(app, hello) as (client, server):
        assert isinstance(client, restsock.aio.Client)
        assert isinstance(server, restsock.aio.Server)
        queue.put_nowait("here")  # on the loop of the app, which is this one
        assert (await server.request("client", "GET", "/next", timeout=20)).json() == "here"
        assert (await client.request("GET", "/up", timeout=20)).text == "hello /up"


@on_asyncio
async def test_the_network_breaks_on_asyncio() -> None:
    async with aio_pair(hello) as pair:
        await pair.network.cut()
        again = await pair.server.request("client", "GET", "/again", timeout=20)
        assert again.text == "hello /again"
        pair.network.stall()
        with pytest.raises(restsock.RequestTimeout):
            await pair.server.request("client", "GET", "/", timeout=0.05)
        pair.network.resume()
        assert (await pair.server.request("client", "GET", "/", timeout=20)).status == 200
        pair.network.drop()


@on_asyncio
async def test_a_cancellation_leaves_a_pair_at_once() -> None:
    inside = asyncio.Event()

    async def hold() -> None:
        async with aio_pair(hello) as pair:
            pair.network.stall()
            inside.set()
            await asyncio.Event().wait()

    holding = asyncio.create_task(hold())
    await inside.wait()
    holding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await holding


# --- trio ---------------------------------------------------------------------------------------


async def test_both_ends_serve_and_ask_on_trio(autojump_clock: MockClock) -> None:
    async with trio_pair(hello, hello) as (client, server):
        assert (await client.request("GET", "/up")).text == "hello /up"
        assert (await server.request("client", "GET", "/down")).text == "hello /down"


async def test_a_slow_network_takes_its_time(autojump_clock: MockClock) -> None:
    async with trio_pair(hello) as pair:
        pair.network.slow(delay=2)
        begun = trio.current_time()
        assert (await pair.server.request("client", "GET", "/")).status == 200
        assert trio.current_time() - begun == pytest.approx(2)
        pair.network.slow()
        begun = trio.current_time()
        assert (await pair.server.request("client", "GET", "/")).status == 200
        assert trio.current_time() - begun < 1


async def test_a_drop_is_noticed_and_healed(autojump_clock: MockClock) -> None:
    options = Options(heartbeat=Heartbeat(interval=5, timeout=3))
    async with trio_pair(hello, options=options) as pair:
        first = pair.client.connection
        assert first is not None
        pair.network.drop()
        assert (await first.wait_closed()).code == 4003
        pair.network.resume()
        assert (await pair.server.request("client", "GET", "/")).status == 200
        assert (await pair.client.wait_connected()) is not first


async def test_an_error_in_the_block_arrives_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with trio_pair():
            _ = 1 // 0
