"""`TunnelAdapter` over two real connections; the app is a coroutine on the loop.

The wire is in memory, where the loop sends for the thread that asks, and then a socket pair, where
the thread does so itself.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import pytest
import requests
import trio
import trio.testing

from restsock._exceptions import ConnectionClosed, StreamReset
from restsock._options import Limits, Options
from restsock.adapters import TunnelAdapter
from restsock.connection import (
    AsyncExchange,
    Connection,
    Exchange,
    Peer,
    open_accepted,
    open_dialed,
)
from restsock.protocol import ResetCode, ResponseHead
from tests.connection.sockets import socket_streams

URL = "http://edge-1/"
PEER = Peer("memory", 0)

App = Callable[[AsyncExchange], Awaitable[None]]
Wire = Callable[[], "tuple[trio.abc.Stream, trio.abc.Stream]"]


class Apps:
    """A handler that runs a coroutine for each request."""

    def __init__(self, app: App, limits: Limits) -> None:
        self._app = app
        self._limits = limits
        self._nursery: trio.Nursery | None = None

    def handle(self, exchange: Exchange) -> None:
        assert self._nursery is not None
        accepted = AsyncExchange.accept(exchange, limit=self._limits.send_buffer)
        self._nursery.start_soon(self._run, accepted)

    async def _run(self, exchange: AsyncExchange) -> None:
        try:
            await self._app(exchange)
        except StreamReset:
            pass

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as self._nursery:
            yield
            self._nursery.cancel_scope.cancel()


class Tunnel:
    """Two connections on a loop in a thread: `session` calls through one, `app` serves it."""

    def __init__(self, app: App, options: Options, wire: Wire) -> None:
        ready = threading.Event()
        self.dialer: Connection
        self.listener: Connection
        self._scope = trio.CancelScope()
        self._thread = threading.Thread(
            target=trio.run, args=(self._main, app, options, wire, ready)
        )
        self._thread.start()
        ready.wait(5)
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.mount(URL, TunnelAdapter(self.listener))

    async def _main(self, app: App, options: Options, wire: Wire, ready: threading.Event) -> None:
        here, there = wire()
        handler = Apps(app, options.limits)

        async def listen() -> None:
            self.listener = await open_accepted(there, peer=PEER, options=options)

        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(listen)
                self.dialer = await open_dialed(
                    here,
                    host="memory",
                    target="/",
                    name="edge-1",
                    metadata=None,
                    headers=(),
                    peer=PEER,
                    options=options,
                )
            async with handler.running(), trio.open_nursery() as nursery:
                nursery.start_soon(self.dialer.run, handler)
                nursery.start_soon(self.listener.run)
                ready.set()
                await trio.sleep_forever()

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        return trio.from_thread.run_sync(function, *args, trio_token=self.listener.token)

    def wait_no_streams(self) -> None:
        """Waits until the loop has nothing left to do, and then for no longer."""
        trio.from_thread.run(trio.testing.wait_all_tasks_blocked, trio_token=self.listener.token)
        assert self.run(self.listener.statistics).open_streams == 0

    def close(self) -> None:
        self.session.close()
        self.run(self._scope.cancel)
        self._thread.join()


MakeTunnel = Callable[..., Tunnel]


@pytest.fixture(params=[trio.testing.memory_stream_pair, socket_streams], ids=["loop", "threads"])
def make_tunnel(request: pytest.FixtureRequest) -> Iterator[MakeTunnel]:
    tunnels: list[Tunnel] = []

    def make(app: App, **limits: int) -> Tunnel:
        tunnels.append(Tunnel(app, Options(limits=Limits(**limits)), request.param))
        return tunnels[-1]

    yield make
    for tunnel in tunnels:
        tunnel.close()


async def echo(exchange: AsyncExchange) -> None:
    exchange.send_head(ResponseHead(200, [(b"Content-Type", b"text/plain")]))
    while data := await exchange.receive_data():
        await exchange.send_data(data)
    exchange.send_end()


async def digest(exchange: AsyncExchange) -> None:
    sha = hashlib.sha256()
    while data := await exchange.receive_data():
        sha.update(data)
    body = sha.hexdigest().encode()
    exchange.send_head(ResponseHead(200, [(b"Content-Length", b"%d" % len(body))]))
    await exchange.send_data(body)
    exchange.send_end()


def test_a_request(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel(echo)
    assert tunnel.session.post(URL, data=b"body", timeout=5).content == b"body"
    assert tunnel.session.get(URL, timeout=5).content == b""


def test_large_bodies(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel(digest)
    body = bytes(range(256)) * 20_000
    expected = hashlib.sha256(body).hexdigest()
    assert tunnel.session.post(URL, data=body, timeout=5).text == expected
    pieces = (body[at : at + 10_000] for at in range(0, len(body), 10_000))
    assert tunnel.session.post(URL, data=pieces, timeout=5).text == expected


def test_an_echo_of_any_length(make_tunnel: MakeTunnel) -> None:
    """It is read and sent in turns, since neither side stores more than its window."""
    tunnel = make_tunnel(echo, initial_window=16_384, max_window=16_384, send_buffer=4_096)
    pieces = (bytes(10_000) for _ in range(200))
    assert len(tunnel.session.post(URL, data=pieces, timeout=5).content) == 2_000_000


def test_a_long_download(make_tunnel: MakeTunnel) -> None:
    async def download(exchange: AsyncExchange) -> None:
        exchange.send_head(ResponseHead(200, [(b"Content-Length", b"10000000")]))
        for _ in range(100):
            await exchange.send_data(bytes(100_000))
        exchange.send_end()

    tunnel = make_tunnel(download)
    with tunnel.session.get(URL, stream=True, timeout=5) as response:
        assert sum(len(piece) for piece in response.iter_content(65_536)) == 10_000_000
    # The length told that it is complete; the frame that ends the stream may be behind it.
    tunnel.wait_no_streams()


def test_an_early_answer(make_tunnel: MakeTunnel) -> None:
    async def refuse(exchange: AsyncExchange) -> None:
        await exchange.receive_data()
        exchange.send_head(ResponseHead(413, [(b"Content-Length", b"3")]))
        await exchange.send_data(b"no!")
        exchange.send_end()

    tunnel = make_tunnel(refuse)
    pieces = (bytes(10_000) for _ in range(10_000))
    response = tunnel.session.post(URL, data=pieces, timeout=5)
    assert (response.status_code, response.content) == (413, b"no!")
    assert tunnel.session.post(URL, data=b"x", timeout=5).status_code == 413


def test_the_peer_learns_of_a_close(make_tunnel: MakeTunnel) -> None:
    told: list[BaseException] = []
    ended = threading.Event()

    async def endless(exchange: AsyncExchange) -> None:
        exchange.send_head(ResponseHead(200, []))
        while await exchange.send_data(bytes(10_000)):
            pass
        if exchange.error is not None:
            told.append(exchange.error)
        ended.set()

    tunnel = make_tunnel(endless)
    with tunnel.session.get(URL, stream=True, timeout=5) as response:
        assert len(response.raw.read(50_000)) == 50_000
    assert ended.wait(5)
    assert isinstance(told[0], StreamReset)
    assert told[0].code == ResetCode.CANCEL


def test_a_request_waits_for_a_free_stream(make_tunnel: MakeTunnel) -> None:
    release = trio.Event()

    async def held(exchange: AsyncExchange) -> None:
        await release.wait()
        await digest(exchange)

    tunnel = make_tunnel(held, max_streams=1)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(tunnel.session.post, URL, data=b"1", timeout=5)
        while not tunnel.run(tunnel.listener.statistics).open_streams:
            pass
        with pytest.raises(requests.ConnectTimeout):
            tunnel.session.get(URL, timeout=(0.05, 5))
        second = pool.submit(tunnel.session.post, URL, data=b"2", timeout=5)
        while not tunnel.run(tunnel.listener.statistics).waiting_requests:
            pass
        tunnel.run(release.set)
        assert first.result().ok
        assert second.result().ok


def test_the_connection_ends_under_a_request(make_tunnel: MakeTunnel) -> None:
    async def kill(exchange: AsyncExchange) -> None:
        tunnel.dialer.close_soon(1001, "bye")
        await trio.sleep_forever()

    tunnel = make_tunnel(kill)
    with pytest.raises(requests.ConnectionError) as caught:
        tunnel.session.get(URL, timeout=5)
    cause = caught.value.__cause__
    assert isinstance(cause, ConnectionClosed)
    assert cause.may_have_run is True
    with pytest.raises(requests.ConnectionError) as caught:
        tunnel.session.get(URL, timeout=5)
    assert isinstance(caught.value.__cause__, ConnectionClosed)
    assert caught.value.__cause__.may_have_run is False


def test_a_length_that_is_wrong(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel(digest)
    request = requests.Request("POST", URL, data=b"body").prepare()
    request.headers["Content-Length"] = "3"
    with pytest.raises(requests.exceptions.InvalidHeader):  # nothing of it was sent
        tunnel.session.send(request, timeout=5)
    request = requests.Request("POST", URL, data=iter([b"body"])).prepare()
    request.headers["Content-Length"] = "5"
    # Depending on who sends, something of it has left by then, or nothing.
    with pytest.raises((requests.ConnectionError, requests.exceptions.InvalidHeader)):
        tunnel.session.send(request, timeout=5)
    assert tunnel.session.post(URL, data=b"body", timeout=5).ok


def test_many_threads(make_tunnel: MakeTunnel) -> None:
    async def overtake(exchange: AsyncExchange) -> None:
        body = await exchange.receive_data()
        await trio.sleep(int(body[-1:]) / 1000)
        exchange.send_head(ResponseHead(200, []))
        await exchange.send_data(body)
        exchange.send_end()

    tunnel = make_tunnel(overtake)

    def ask(number: int) -> bool:
        return tunnel.session.post(URL, data=str(number), timeout=10).text == str(number)

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(500)))
