"""`Heartbeat(data=, on_ping=, on_pong=)` in each API, at both ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trio

import restsock.asgi
from restsock import ConnectionInfo, Heartbeat, Options
from tests.apis import API, each_api, each_native_api
from tests.waiting import until


def beats(**functions: Any) -> Options:
    return Options(heartbeat=Heartbeat(interval=0.05, timeout=10, **functions))


class Told:
    """Keeps what it is told, and where that was."""

    def __init__(self) -> None:
        self.pings: list[bytes] = []
        self.pongs: list[tuple[bytes, float]] = []
        self.infos: set[tuple[str, str | None]] = set()
        self.places: set[Any] = set()

    def has(self, count: int) -> bool:
        return len(self.pings) >= count and len(self.pongs) >= count

    def ping(self, connection: ConnectionInfo, data: bytes) -> None:
        self._note(connection)
        self.pings.append(data)

    def pong(self, connection: ConnectionInfo, data: bytes, seconds: float) -> None:
        self._note(connection)
        self.pongs.append((data, seconds))

    async def ping_async(self, connection: ConnectionInfo, data: bytes) -> None:
        self.ping(connection, data)

    async def pong_async(self, connection: ConnectionInfo, data: bytes, seconds: float) -> None:
        self.pong(connection, data, seconds)

    def _note(self, connection: ConnectionInfo) -> None:
        self.infos.add((connection.id, connection.name))
        self.places.add(place())


def place() -> Any:
    """The loop that this is called on, or the thread."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        pass
    try:
        return trio.lowlevel.current_root_task()
    except RuntimeError:
        return threading.get_ident()


@each_native_api
async def test_async_functions_run_on_the_loop_of_their_api(api: API) -> None:
    dialer, listener = Told(), Told()
    numbers = iter(range(10_000))
    here = beats(
        data=lambda: b"%d" % next(numbers), on_ping=dialer.ping_async, on_pong=dialer.pong_async
    )
    there = beats(data=b"site", on_ping=listener.ping_async, on_pong=listener.pong_async)
    async with api.listen("127.0.0.1", 0, options=there) as server:
        async with api.connect(server.url, options=here, name="edge-1"):
            for told in (dialer, listener):
                await until(partial(told.has, 3))
            (connection,) = server.connections
            expected = {(connection.id, "edge-1")}
    assert dialer.infos == listener.infos == expected
    assert set(dialer.pings) == {b"site"} == {data for data, _ in listener.pongs}
    assert [int(data) for data in listener.pings[:3]] == [0, 1, 2]
    assert [int(data) for data, _ in dialer.pongs] == sorted(int(data) for data, _ in dialer.pongs)
    assert all(0 <= seconds < 10 for _, seconds in dialer.pongs + listener.pongs)
    places = dialer.places | listener.places
    assert len(places) == 1
    if not api.in_threads:
        assert places == {place()}
    else:  # trio's, in the background
        assert not places & {place(), threading.get_ident()}


@each_native_api
async def test_plain_functions_run_in_threads(api: API) -> None:
    dialer, listener = Told(), Told()
    here, there = (beats(on_ping=told.ping, on_pong=told.pong) for told in (dialer, listener))
    async with api.listen("127.0.0.1", 0, options=there) as server:
        async with api.connect(server.url, options=here):
            for told in (dialer, listener):
                await until(partial(told.has, 3))
    assert set(dialer.pings) == set(listener.pings) == {b""}
    threads = dialer.places | listener.places
    assert all(isinstance(found, int) for found in threads)
    assert threading.get_ident() not in threads


@each_native_api
async def test_functions_that_block_or_fail_end_nothing(api: API) -> None:
    go_on = threading.Event()
    failed: list[bytes] = []

    def block(connection: ConnectionInfo, data: bytes) -> None:
        go_on.wait(20)

    async def fail(connection: ConnectionInfo, data: bytes, seconds: float) -> None:
        failed.append(data)
        raise RuntimeError("on purpose")

    def data() -> bytes:
        raise RuntimeError("on purpose")

    async def app(request: Any) -> Any:
        return restsock.Response(200, {}, "still here")

    here, there = beats(data=data, on_pong=fail), beats(data=data, on_ping=block)
    try:
        async with api.listen("127.0.0.1", 0, options=there, app=app) as server:
            async with api.connect(server.url, options=here) as client:
                await until(lambda: len(failed) >= 3)
                statistics: Callable[[], Any] = server.statistics
                await until(lambda: statistics().limits.get("heartbeat_calls", 0) > 2)
                response = await client.request("GET", "/")
                assert (response.status, response.text) == (200, "still here")
                assert statistics().connections == statistics().handshakes == 1
    finally:
        go_on.set()


@each_api
async def test_a_listener_measures_in_a_web_server_too(api: API) -> None:
    dialer, listener = Told(), Told()
    here = beats(on_pong=dialer.pong_async, data=b"abc")
    there = beats(on_pong=listener.pong_async)
    async with api.listen("127.0.0.1", 0, options=there) as server:
        async with api.connect(server.url, options=here, name="edge-1"):
            await until(lambda: len(dialer.pongs) >= 3 and len(listener.pongs) >= 3)
    assert {data for data, _ in dialer.pongs} == {b"abc"}
    assert {data for data, _ in listener.pongs} == {b""}


@each_api
async def test_a_dialer_is_told_of_pings_whichever_way_they_come(api: API) -> None:
    told = Told()
    async with api.listen("127.0.0.1", 0, options=beats()) as server:
        async with api.connect(server.url, options=beats(on_ping=told.ping_async)):
            await until(lambda: len(told.pings) >= 3)
    assert set(told.pings) == {b""}


@pytest.mark.parametrize(
    ("functions", "problem"),
    [
        ({"data": b"x"}, "Heartbeat.data: the pings of a listener in a web server carry no data"),
        ({"data": lambda: b"x"}, "Heartbeat.data: the pings"),
        ({"on_ping": print}, "Heartbeat.on_ping: a web server answers pings"),
    ],
)
def test_what_a_web_server_has_cannot_be_had(functions: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        restsock.asgi.Listener(options=beats(**functions))
