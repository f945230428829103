"""A peer that vanishes without a word is noticed, within the heartbeat's interval and timeout.

A stopped process keeps its sockets, so nothing but its silence tells. What happens to processes
takes real time: none can be stopped by a virtual clock.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

import restsock
from restsock.client import Address, Client, parse_url
from restsock.connection import Request, Response
from restsock.server import ConnectionEvent, Server, Subscription
from restsock.testing import FaultyProxy, FaultyStream
from tests.memory_network import Echo, MemoryListener

pytestmark = pytest.mark.skipif(
    not hasattr(signal, "SIGSTOP"), reason="processes cannot be stopped"
)

HEARTBEAT = restsock.Heartbeat(interval=0.3, timeout=0.3)
LIMIT = 0.6
# A busy machine may be late, never early.
SLACK = 2.0
OPTIONS = restsock.Options(heartbeat=HEARTBEAT)
# A peer that is patient itself: whatever is noticed, is noticed by the other one.
PATIENT = restsock.Options(heartbeat=restsock.Heartbeat(interval=None))
QUICK = restsock.Backoff(initial=0.02, factor=2, cap=0.1)

ROOT = Path(__file__).parents[2]

APP = """
import sys, trio, restsock
from restsock.connection import Response

PATIENT = restsock.Options(heartbeat=restsock.Heartbeat(interval=None))
QUICK = restsock.Backoff(initial=0.02, factor=2, cap=0.1)

async def app(request):
    if request.path == "/hang":
        await trio.sleep_forever()
    return Response(200, {}, f"child {len(await request.read())}")
"""
DIALER = (
    APP
    + """
async def main():
    async with restsock.connect(
        sys.argv[1], app=app, name="child", options=PATIENT, backoff=QUICK
    ):
        await trio.sleep_forever()

trio.run(main)
"""
)
LISTENER = (
    APP
    + """
async def main():
    async with restsock.listen("127.0.0.1", 0, app=app, options=PATIENT) as server:
        print(server.url, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""
)


@asynccontextmanager
async def child(program: str, *arguments: str) -> AsyncIterator[trio.Process]:
    """A Python process, killed in the end, stopped or not."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-c", program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        yield process
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            assert process.stdout is not None
            await process.stdout.aclose()


async def own_app(request: Request) -> Response:
    return Response(200, {}, "own")


async def next_of(events: Subscription, type: str) -> ConnectionEvent:
    with trio.fail_after(20):
        async for event in events:
            if event.type == type:
                return event
    raise AssertionError(f"no {type}")


async def failure_of(
    requester: Any, found: list[restsock.ConnectionClosed], **request: Any
) -> None:
    with pytest.raises(restsock.ConnectionClosed) as info:
        await requester.request("POST", "/hang", **request)
    found.append(info.value)


@pytest.mark.parametrize("upload", [b"", bytes(32 * 1024 * 1024)], ids=["idle", "sending"])
async def test_a_stopped_dialer(upload: bytes) -> None:
    async with restsock.listen("127.0.0.1", 0, app=own_app, options=OPTIONS) as server:
        events = server.events()
        async with child(DIALER, server.url) as process, trio.open_nursery() as nursery:
            await next_of(events, "ConnectionReceived")
            (connection,) = server.connections
            found: list[restsock.ConnectionClosed] = []
            nursery.start_soon(failure_of, connection, found)
            assert (await connection.request("GET", "/")).text == "child 0"
            process.send_signal(signal.SIGSTOP)
            stopped = trio.current_time()
            if upload:
                # The writer is stuck in the middle of it when the time is over.
                async def pieces() -> AsyncIterator[bytes]:
                    yield upload

                nursery.start_soon(failure_of_upload, connection, pieces())
            failure = await next_of(events, "ConnectionFailure")
            took = trio.current_time() - stopped
            assert took <= LIMIT + SLACK
            assert failure.code == 4003
            assert failure.connection_id == connection.id
            assert len(server.connections) == 0
            await trio.testing.wait_all_tasks_blocked()
            assert found[0].may_have_run is True
            assert found[0].code == 4003
            # It wakes up, finds its connection gone, and comes back under its name.
            process.send_signal(signal.SIGCONT)
            again = await next_of(events, "ConnectionReceived")
            assert again.name == "child"
            assert (await server.route("child").request("GET", "/")).text == "child 0"


async def failure_of_upload(requester: Any, body: AsyncIterator[bytes]) -> None:
    with pytest.raises(restsock.ConnectionClosed):
        await requester.request("PUT", "/", body=body)


async def test_a_stopped_listener() -> None:
    async with child(LISTENER) as process:
        assert process.stdout is not None
        url = (await process.stdout.receive_some()).decode().strip()
        async with restsock.connect(url, app=own_app, options=OPTIONS, backoff=QUICK) as client:
            connection = client.connection
            assert connection is not None
            assert (await client.request("PUT", "/", body=b"12")).text == "child 2"
            found: list[restsock.ConnectionClosed] = []
            async with trio.open_nursery() as nursery:
                nursery.start_soon(failure_of, client, found)
                await client.request("GET", "/")
                process.send_signal(signal.SIGSTOP)
                stopped = trio.current_time()
                closed = await connection.wait_closed()
            assert trio.current_time() - stopped <= LIMIT + SLACK
            assert (closed.clean, closed.code) == (False, 4003)
            assert found[0].may_have_run is True
            process.send_signal(signal.SIGCONT)
            assert (await client.request("PUT", "/", body=b"123")).text == "child 3"


async def test_a_wire_that_swallows_everything(autojump_clock: MockClock) -> None:
    """Both ends notice by themselves; nothing that either says arrives."""
    network = MemoryListener()
    wires: list[FaultyStream] = []

    async def dial(address: Address) -> trio.abc.Stream:
        wires.append(FaultyStream(await network.open_stream(address)))
        return wires[-1]

    server = Server(None, 0, open_listeners=network.open, handler=Echo("hub"), options=OPTIONS)
    client = Client(
        parse_url("ws://hub/"),
        open_stream=dial,
        handler=Echo("edge"),
        name="edge",
        options=OPTIONS,
        backoff=QUICK,
    )
    async with server, client:
        events = server.events()
        received = await next_of(events, "ConnectionReceived")
        connection = client.connection
        assert connection is not None
        wires[0].drop()
        start = trio.current_time()
        closed = await connection.wait_closed()
        failure = await next_of(events, "ConnectionFailure")
        assert trio.current_time() - start <= LIMIT
        assert closed.code == failure.code == 4003
        assert failure.connection_id == received.connection_id == connection.id
        assert (await client.request("GET", "/")).text == "hub: GET /"
        assert (await server.route("edge").request("GET", "/")).text == "edge: GET /"
        assert len(wires) == 2


async def test_a_slow_peer_is_not_a_silent_one() -> None:
    """Bytes that come in, of whatever kind, are life, even when no pong is among them."""
    async with restsock.listen("127.0.0.1", 0, app=own_app, options=PATIENT) as server:
        events = server.events()
        async with FaultyProxy(*server.address) as proxy:
            async with restsock.connect(
                f"ws://127.0.0.1:{proxy.port}/", app=own_app, options=OPTIONS
            ) as client:
                await next_of(events, "ConnectionReceived")
                (link,) = proxy.links
                # 40 kB towards the client at 20 kB/s: the pongs queue behind them.
                link.stream.sending.rate = 20_000
                (connection,) = server.connections
                response = await connection.request("PUT", "/", body=bytes(40_000))
                assert response.status == 200
                assert client.statistics().connections == 1


async def test_a_killed_process_is_noticed_at_once() -> None:
    async with restsock.listen("127.0.0.1", 0, app=own_app, options=PATIENT) as server:
        events = server.events()
        async with child(DIALER, server.url) as process:
            received = await next_of(events, "ConnectionReceived")
            process.kill()
            failure = await next_of(events, "ConnectionFailure")
            assert failure.connection_id == received.connection_id
            assert failure.code == 1006
