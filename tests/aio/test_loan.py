"""A loop of asyncio reads the socket itself while its tasks make requests, and holds up nothing."""

from __future__ import annotations

import asyncio
import contextlib
import random
import select
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
import requests
import uvloop

import restsock.aio
from restsock import Request, RequestTimeout, Response
from restsock.connection import _leader
from restsock.connection._leader import Lead
from restsock.connection._reader import Reader
from restsock.threads import _loop_poll
from restsock.threads._wakeups import borrower_here
from tests.waiting import until

from .test_aio import PATIENCE, on_asyncio

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="needs epoll")

LONG = 1000.0  # seconds: requests follow closely, however slow the machine, and no loan ends


@pytest.fixture
def _kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_leader, "LOAN", LONG)


async def echo(request: Request) -> Response:
    return Response(200, body=request.target.encode() + await request.read())


def hello(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]


@contextlib.asynccontextmanager
async def peers(**options: Any) -> AsyncIterator[tuple[restsock.aio.Server, restsock.aio.Client]]:
    async with (
        restsock.aio.listen("127.0.0.1", 0, app=hello) as server,
        restsock.aio.connect(server.url, app=echo, name="edge-1", **options) as client,
    ):
        yield server, client


def reader_of(server: restsock.aio.Server) -> Reader:
    (connection,) = server.connections
    return connection._connection.reader


async def until_lent(server: restsock.aio.Server) -> Lead:
    route = server.route("edge-1")
    while True:
        assert (await route.request("GET", "/")).content == b"/"
        lead = reader_of(server).lead  # none if the first one had to wait for the peer
        if lead is not None and lead.lent:
            return lead


@pytest.mark.usefixtures("_kept")
@on_asyncio
async def test_its_loop_reads_once_requests_follow_closely() -> None:
    async with peers() as (server, _):
        lead = await until_lent(server)
        here = threading.get_ident()
        read_by = []
        receive = Reader._receive

        def note(reader: Reader, data: bytes) -> int:
            if reader.lead is lead:
                read_by.append(threading.get_ident())
            return receive(reader, data)

        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(Reader, "_receive", note)
            for _ in range(20):
                assert (await server.request("edge-1", "GET", "/x")).content == b"/x"
        assert set(read_by) == {here}
        borrower = borrower_here()
        assert isinstance(borrower, _loop_poll.LoopPoll)
        assert borrower._epoll is not None
    await asyncio.sleep(0)
    assert borrower._epoll is None  # no file is left


@pytest.mark.usefixtures("_kept")
@on_asyncio
async def test_its_loop_is_not_woken_by_what_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    async with peers() as (server, _):
        await until_lent(server)
        route = server.route("edge-1")
        await asyncio.gather(*(route.request("GET", "/") for _ in range(5)))
        loop = asyncio.get_running_loop()
        woken = []
        call = loop.call_soon_threadsafe

        def note(function: Any, *args: Any, **kwargs: Any) -> asyncio.Handle:
            if getattr(function, "__name__", "") == "_empty":
                woken.append(function)
            return call(function, *args, **kwargs)

        monkeypatch.setattr(loop, "call_soon_threadsafe", note)
        for _ in range(10):
            await route.request("GET", "/")
        assert woken == []


@on_asyncio
async def test_a_loop_that_asks_no_more_loses_it() -> None:
    async with peers() as (server, _):
        lead = await until_lent(server)
        while lead.lent:  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(_leader.LOAN)
        assert (await server.request("edge-1", "GET", "/")).content == b"/"


@on_asyncio
async def test_a_loop_that_is_blocked_does_not_hold_up_the_peers_requests() -> None:
    async with peers() as (server, client):
        await until_lent(server)
        outcome: list[bytes] = []

        def ask() -> None:
            with requests.Session() as session:
                session.mount("http://listener", client.adapter())
                outcome.append(session.get("http://listener/").content)

        thread = threading.Thread(target=ask)
        thread.start()
        thread.join(PATIENCE)  # and the loop with it
        assert outcome == [b"hello"]


@pytest.mark.usefixtures("_kept")
@on_asyncio
async def test_threads_read_while_it_is_lent() -> None:
    async with peers() as (server, _):
        lead = await until_lent(server)

        def ask() -> None:
            with requests.Session() as session:
                session.mount("http://edge-1", server.adapter("edge-1"))
                for _ in range(5):
                    assert session.get("http://edge-1/y").content == b"/y"

        await asyncio.to_thread(ask)
        assert lead.lent
        assert lead.holder is None
        assert (await server.request("edge-1", "GET", "/")).content == b"/"


@on_asyncio
async def test_a_loop_that_is_closed_loses_it() -> None:
    async with peers() as (server, _):
        borrowers: list[Any] = []

        async def ask() -> None:
            lead = await until_lent(server)
            borrowers.append(lead.borrower)

        await asyncio.to_thread(asyncio.run, ask())
        assert (await server.request("edge-1", "GET", "/")).content == b"/"
        lead = await until_lent(server)
        assert lead.borrower is borrower_here()
        assert lead.borrower not in borrowers
        assert borrowers[0]._epoll is None


@pytest.mark.usefixtures("_kept")
@on_asyncio
async def test_a_connection_that_is_lost_while_it_is_lent() -> None:
    async with peers() as (server, client):
        lead = await until_lent(server)
        connection = client._client.connection
        assert connection is not None
        client._portal.call(connection.writer.distrust)
        (lost,) = server.connections
        await lost.wait_closed()
        assert not lead.lent
        assert lead.borrower is None
        await client.wait_connected()
        assert (await server.request("edge-1", "GET", "/")).content == b"/"


@pytest.mark.usefixtures("_kept")
@on_asyncio
async def test_without_descriptors_the_background_thread_reads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail() -> None:
        raise OSError(24, "too many open files")

    async with peers() as (server, _):
        assert (await server.request("edge-1", "GET", "/")).content == b"/"
        monkeypatch.setattr(select, "epoll", fail)
        for _ in range(5):
            assert (await server.request("edge-1", "GET", "/")).content == b"/"
        lead = reader_of(server).lead
        assert lead is not None
        assert not lead.lent


@pytest.mark.usefixtures("_kept")
@on_asyncio
async def test_a_loop_that_cannot_wait_for_one_more_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    async with peers() as (server, _):
        lead = await until_lent(server)
        monkeypatch.setattr(_loop_poll.LoopPoll, "arm", lambda *args: False)

        def ask() -> None:
            with requests.Session() as session:
                session.mount("http://edge-1", server.adapter("edge-1"))
                assert session.get("http://edge-1/y").content == b"/y"

        await asyncio.to_thread(ask)  # takes the lead, and cannot give it back to the loop
        for _ in range(5):
            assert (await server.request("edge-1", "GET", "/")).content == b"/"
        assert not lead.lent
        assert lead.pause is None


# --- all at once ------------------------------------------------------------------------------


class Strain:
    """Requests of all kinds on one connection; each answer is the one to its own request.

    Args:
        server: the calling side.
        seed: of the order of things.
    """

    def __init__(self, server: restsock.aio.Server, seed: int) -> None:
        self._server = server
        self._random = random.Random(seed)
        self.answered = 0

    async def tasks(self, count: int) -> None:
        """Tasks that come, go, run out of time, and are cancelled."""
        for _ in range(count):
            kinds = [self._plain, self._streamed, self._late, self._cancelled]
            some = self._random.choices(kinds, k=self._random.randint(1, 8))
            await asyncio.gather(*(kind(self._random.random()) for kind in some))

    async def _plain(self, number: float) -> None:
        response = await self._server.request("edge-1", "POST", f"/{number}", body=b"-", timeout=10)
        assert response.content == f"/{number}-".encode()
        self.answered += 1

    async def _streamed(self, number: float) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(20):
                yield bytes(5000)

        route = self._server.route("edge-1")
        async with route.stream("POST", f"/{number}", body=pieces()) as response:
            body = await response.read()
        assert body == f"/{number}".encode() + bytes(100_000)
        self.answered += 1

    async def _late(self, number: float) -> None:
        with contextlib.suppress(RequestTimeout):
            await self._server.request("edge-1", "GET", f"/{number}", timeout=number / 500)

    async def _cancelled(self, number: float) -> None:
        task = asyncio.create_task(self._server.request("edge-1", "GET", f"/{number}"))
        for _ in range(int(number * 10)):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled() or task.result().content == f"/{number}".encode()

    def thread(self, over: threading.Event) -> None:
        """The same from a thread, until the others are done."""
        with requests.Session() as session:
            session.mount("http://edge-1", self._server.adapter("edge-1"))
            number = 0
            while not over.is_set():
                number += 1
                got = session.post(f"http://edge-1/{number}", data=b"-").content
                assert got == f"/{number}-".encode()
        self.answered += 1


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    make = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}[request.param]

    def run(main: Any) -> Any:
        loop = make()
        try:
            return loop.run_until_complete(asyncio.wait_for(main, 3 * PATIENCE))
        finally:
            loop.close()

    return run


@pytest.mark.usefixtures("_kept")
def test_tasks_and_threads_on_one_connection(run: Callable[[Any], Any]) -> None:
    async def main() -> None:
        async with peers() as (server, _):
            await until_lent(server)
            await strain_all(server, lambda strain: strain.tasks(40))

    run(main())


# Seconds: a loan lasts as long as two loops are at work, or hardly begins.
@pytest.mark.parametrize("loan", [_leader.LOAN, 1e-3])
def test_tasks_of_two_loops_and_threads_on_one_connection(
    run: Callable[[Any], Any], loan: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_leader, "LOAN", loan)

    async def main() -> None:
        async with peers() as (server, _):
            other = Strain(server, 9)

            async def tasks(strain: Strain) -> None:
                elsewhere = asyncio.to_thread(run, other.tasks(40))
                await asyncio.gather(elsewhere, strain.tasks(40))

            await strain_all(server, tasks)
            assert other.answered

    run(main())


async def strain_all(
    server: restsock.aio.Server, tasks: Callable[[Strain], Coroutine[Any, Any, None]]
) -> None:
    """Two threads beside the tasks; in the end nothing is left of what was given up."""
    *by_threads, by_tasks = strains = [Strain(server, seed) for seed in range(3)]
    over = threading.Event()
    threads = [asyncio.create_task(asyncio.to_thread(s.thread, over)) for s in by_threads]
    try:
        await tasks(by_tasks)
    finally:
        over.set()
        await asyncio.gather(*threads)
    assert all(strain.answered for strain in strains)
    await until_settled(server)


async def until_settled(server: restsock.aio.Server) -> None:
    (connection,) = server.connections
    await until(lambda: not connection.statistics().open_streams)
