"""What the peer provably did not start is sent again by itself; what may have run never is."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, nullcontext

import httpx
import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from restsock import (
    Backoff,
    ConnectionClosed,
    Limits,
    Options,
    RestsockError,
    StreamRefused,
    StreamReset,
    Timeouts,
)
from restsock.adapters import AsyncHTTPXTransport
from restsock.client import Client, parse_url
from restsock.connection import AsyncExchange, Connection, Exchange, pause_before
from restsock.protocol import ResetCode, ResponseHead
from tests.memory_network import Script

from .peers import pair, read_all

OK = ResponseHead(200, [])


class Choosy:
    """Refuses the first requests, and answers those behind them with their body.

    Attributes:
        asked: when each request came, refused ones too.
        bodies: of the requests that were started.
    """

    def __init__(self, nursery: trio.Nursery, refusals: int) -> None:
        self.left = refusals
        self.asked: list[float] = []
        self.bodies: list[bytes] = []
        self.wait_for_body = False  # before it refuses
        self._nursery = nursery

    def running(self) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    def handle(self, exchange: Exchange) -> None:
        self.asked.append(trio.current_time())
        self._nursery.start_soon(self._serve, AsyncExchange.accept(exchange, limit=65536))

    async def _serve(self, exchange: AsyncExchange) -> None:
        refuse = self.left > 0
        self.left -= 1
        if refuse and not self.wait_for_body:
            exchange.close(ResetCode.REFUSED, "not now")
            return
        body = await read_all(exchange)
        if refuse:
            exchange.exchange.reset(ResetCode.REFUSED, "not now")
            return
        self.bodies.append(body)
        exchange.send_head(OK)
        await exchange.send_data(body)
        exchange.send_end()


Connected = Callable[..., AbstractAsyncContextManager[tuple[Connection, Connection, Choosy]]]


async def connected(
    nursery: trio.Nursery, refusals: int, *, connect: float = 10
) -> tuple[Connection, Choosy]:
    """A connection to somebody who is choosy."""
    options = Options(timeouts=Timeouts(connect=connect))
    choosy = Choosy(nursery, refusals)
    script = Script(nursery, handler=choosy)
    client = Client(parse_url("ws://hub/"), open_stream=script.open_stream, options=options)
    await nursery.start(_stay, client)
    connection = client.connection
    assert connection is not None
    return connection, choosy


async def _stay(client: Client, task_status: trio.TaskStatus[None]) -> None:
    async with client:
        task_status.started()
        await trio.sleep_forever()


@pytest.mark.parametrize("body", [b"", b"once", bytes(300_000)])
async def test_a_refused_request_is_asked_again_behind_growing_pauses(
    body: bytes, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    connection, choosy = await connected(nursery, 4)
    response = await connection.request("POST", "/", body=body)
    assert response.content == body
    assert choosy.bodies == [body]  # once
    assert len(choosy.asked) == 5
    pauses = [b - a for a, b in zip(choosy.asked, choosy.asked[1:], strict=False)]
    for attempt, pause in enumerate(pauses):
        assert 0.01 * 2**attempt <= pause <= 0.021 * 2**attempt


async def test_the_pauses_have_a_bound_and_jitter() -> None:
    assert all(0.5 <= pause_before(50) <= 1 for _ in range(100))
    assert len({pause_before(50) for _ in range(100)}) > 50


async def test_it_goes_on_for_the_connect_timeout_and_then_tells(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    connection, choosy = await connected(nursery, 1000, connect=5)
    start = trio.current_time()
    with pytest.raises(StreamRefused, match="not now") as caught:
        await connection.request("POST", "/", body=b"once")
    assert caught.value.may_have_run is False
    assert trio.current_time() - start == pytest.approx(5, abs=0.01)
    assert 8 < len(choosy.asked) < 20
    await trio.sleep(10)
    assert len(choosy.asked) < 20  # nobody asks for one that was given up
    assert connection.multiplexer.open_streams == 0


async def test_a_timeout_of_the_caller_between_two_attempts_says_that_nothing_ran(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    connection, choosy = await connected(nursery, 1000, connect=60)
    with pytest.raises(StreamRefused, match="not now") as caught:
        await connection.request("POST", "/", body=b"once", timeout=3)
    assert caught.value.may_have_run is False
    assert choosy.bodies == []


async def test_a_cancelled_request_is_not_asked_again(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    connection, choosy = await connected(nursery, 1000)
    with trio.move_on_after(0.5):
        await connection.request("GET", "/")
    asked = len(choosy.asked)
    await trio.sleep(20)
    assert len(choosy.asked) == asked


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def test_a_short_body_in_pieces_is_sent_again(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    connection, choosy = await connected(nursery, 2)
    choosy.wait_for_body = True
    response = await connection.request("POST", "/", body=pieces(b"a" * 1000, b"", b"b" * 20_000))
    assert response.content == b"a" * 1000 + b"b" * 20_000
    assert len(choosy.bodies) == 1
    assert len(choosy.asked) == 3


async def test_a_body_that_has_left_cannot_be_sent_again(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    connection, choosy = await connected(nursery, 1)
    choosy.wait_for_body = True
    start = trio.current_time()
    with pytest.raises(StreamRefused, match="not now") as caught:
        await connection.request("POST", "/", body=pieces(*[bytes(10_000)] * 20))
    assert caught.value.may_have_run is False
    assert trio.current_time() - start < 0.01  # it does not wait for what cannot be
    assert len(choosy.asked) == 1


async def test_a_stream_goes_on_where_it_was_accepted(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    connection, choosy = await connected(nursery, 2)
    async with connection.stream("PUT", "/", body=pieces(b"x" * 100)) as response:
        assert await response.read() == b"x" * 100
    assert choosy.bodies == [b"x" * 100]


@pytest.mark.parametrize("size", [0, 10, 300_000])
async def test_httpx_on_trio(size: int, nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    connection, choosy = await connected(nursery, 2)
    choosy.wait_for_body = True
    body = random.Random(size).randbytes(size)
    async with httpx.AsyncClient(transport=AsyncHTTPXTransport(connection)) as http:
        assert (await http.post("http://hub/", content=body)).content == body
        assert choosy.bodies == [body]
        choosy.left = 1
        short = b"s" * min(size, 50_000)
        assert (await http.post("http://hub/", content=pieces(short))).content == short
        assert choosy.bodies == [body, short]


async def test_httpx_on_trio_is_told_of_what_cannot_be_sent_again(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    connection, choosy = await connected(nursery, 1000, connect=2)
    choosy.wait_for_body = True
    timeout = httpx.Timeout(2, read=9)
    async with httpx.AsyncClient(
        transport=AsyncHTTPXTransport(connection), timeout=timeout
    ) as http:
        for body in (b"", bytes(300_000), pieces(*[bytes(10_000)] * 20)):
            with pytest.raises(httpx.ConnectError, match="not now") as caught:
                await http.post("http://hub/", content=body)
            assert isinstance(caught.value.__cause__, StreamRefused)
    assert choosy.bodies == []


async def test_httpx_on_trio_is_told_at_once_that_there_will_be_no_connection(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    script = Script(nursery, handler=Choosy(nursery, 0))
    client = Client(parse_url("ws://hub/"), open_stream=script.open_stream)
    async with client:
        transport = AsyncHTTPXTransport(client)
    start = trio.current_time()
    async with httpx.AsyncClient(transport=transport) as http:
        for body in (b"", bytes(300_000)):
            with pytest.raises(httpx.ConnectError, match="has ended"):
                await http.post("http://hub/", content=body)
    assert trio.current_time() == start


async def test_a_refusal_behind_a_head_is_none() -> None:
    async def serve(exchange: AsyncExchange) -> None:
        exchange.send_head(ResponseHead(103, []))
        await trio.testing.wait_all_tasks_blocked()
        exchange.close(ResetCode.REFUSED, "so I say")

    async with pair(serve) as (dialer, _):
        with pytest.raises(StreamReset) as caught:
            await dialer.request("POST", "/", body=b"once")
        assert caught.value.may_have_run is True


async def test_what_waits_between_two_attempts_goes_to_the_next_connection(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    first, second = Choosy(nursery, 1000), Choosy(nursery, 0)
    script = Script(nursery, handler=first)
    client = Client(
        parse_url("ws://hub/"), open_stream=script.open_stream, backoff=Backoff(initial=0.1)
    )
    async with client, trio.open_nursery() as asking:
        asking.start_soon(client.request, "POST", "/")
        await trio.sleep(2)  # in the middle of a pause
        script._handler = second
        await trio.aclose_forcefully(script.connection._stream)
    assert first.bodies == []
    assert second.bodies == [b""]


async def test_what_was_not_announced_when_the_wire_broke_is_not_lost(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    choosy = Choosy(nursery, 0)
    script = Script(nursery, handler=choosy)
    client = Client(
        parse_url("ws://hub/"), open_stream=script.open_stream, backoff=Backoff(initial=0.1)
    )
    async with client, trio.open_nursery() as asking:
        await trio.testing.wait_all_tasks_blocked()
        connection = client.connection
        assert connection is not None
        with connection.lock:
            connection.writer.writing = True  # a writer that never comes
        asking.start_soon(client.request, "POST", "/")
        await trio.testing.wait_all_tasks_blocked()
        assert connection.multiplexer.open_streams == 1
        assert choosy.asked == []
        await trio.aclose_forcefully(script.connection._stream)
    assert len(choosy.bodies) == 1


async def test_an_upload_that_was_not_announced_and_is_too_long_to_be_kept(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    connection, choosy = await connected(nursery, 0)
    await trio.testing.wait_all_tasks_blocked()
    with connection.lock:
        connection.writer.writing = True  # a writer that never comes

    async def upload() -> None:
        with pytest.raises(ConnectionClosed) as caught:
            await connection.request("POST", "/", body=pieces(*[bytes(10_000)] * 20))
        assert caught.value.may_have_run is False

    async with trio.open_nursery() as asking:
        asking.start_soon(upload)
        await trio.testing.wait_all_tasks_blocked()
        await trio.aclose_forcefully(connection._stream)
    assert choosy.asked == []


async def test_a_goaway_that_crosses_a_long_upload_is_told(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    choosy = Choosy(nursery, 0)
    script = Script(nursery, handler=choosy)
    client = Client(parse_url("ws://hub/"), open_stream=script.open_stream)
    async with client:
        await trio.testing.wait_all_tasks_blocked()
        connection = client.connection
        assert connection is not None
        with connection.lock:
            connection.writer.writing = True  # what is sent stays here
        async with trio.open_nursery() as asking:

            async def upload() -> None:
                with pytest.raises(StreamRefused) as caught:
                    await client.request("POST", "/", body=pieces(*[bytes(10_000)] * 20))
                assert caught.value.may_have_run is False

            asking.start_soon(upload)
            await trio.testing.wait_all_tasks_blocked()
            script.connection.drain_soon()
    assert choosy.asked == []


async def test_a_goaway_that_crosses_a_request_costs_nothing(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    choosy = Choosy(nursery, 0)
    script = Script(nursery, handler=choosy)
    client = Client(
        parse_url("ws://hub/"), open_stream=script.open_stream, backoff=Backoff(initial=0.1)
    )
    async with client, trio.open_nursery() as asking:
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(script.connection.drain)  # it is on its way when the requests leave
        for _ in range(10):
            asking.start_soon(client.request, "POST", "/")
    assert len(choosy.bodies) == 10
    assert len(script.connections) == 2


async def test_where_there_is_no_other_connection_the_error_says_so(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    async with pair() as (dialer, listener):
        listener.drain_soon(1001)
        with pytest.raises((StreamRefused, ConnectionClosed)) as caught:
            await dialer.request("POST", "/", body=b"once")
        assert caught.value.may_have_run is False


# --- everything at once -------------------------------------------------------------------


class Wild:
    """An app that does anything, and counts how often each request was run."""

    def __init__(self, nursery: trio.Nursery, rng: random.Random) -> None:
        self.runs: dict[bytes, int] = {}
        self.wrong: list[bytes] = []
        self.refused = 0
        self._nursery = nursery
        self._rng = rng

    def running(self) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    def handle(self, exchange: Exchange) -> None:
        self._nursery.start_soon(self._serve, AsyncExchange.accept(exchange, limit=65536))

    async def _serve(self, exchange: AsyncExchange) -> None:
        rng = self._rng
        if rng.random() < 0.3:
            if rng.random() < 0.5:
                await trio.sleep(rng.random() / 10)
            self.refused += 1
            exchange.close(ResetCode.REFUSED, "no")
            return
        target = exchange.exchange.request.target
        self.runs[target] = self.runs.get(target, 0) + 1
        try:
            if rng.random() < 0.5:
                await trio.sleep(rng.random())
            body = await read_all(exchange)
            if body != body_for(target):
                self.wrong.append(target)
            exchange.send_head(ResponseHead(200, [(b"X-Target", target)]))
            await exchange.send_data(body)
            exchange.send_end()
        except RestsockError:
            pass  # the wire broke; the requester knows


def body_for(target: bytes) -> bytes:
    number = int(target[1:])
    return target * (number * 37 % 9_000)


async def ask(client: Client, number: int, rng: random.Random, ends: dict[str, int]) -> None:
    target = f"/{number}"
    body = body_for(target.encode())

    async def in_pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(body), 5000):
            yield body[at : at + 5000]
            if at % 3 == 0:
                await trio.sleep(0.001)

    await trio.sleep(rng.random() * 5)
    given_ = body if number % 2 else in_pieces()
    try:
        response = await client.request("POST", target, body=given_)
    except RestsockError as exc:
        ends[target] = -1 if exc.may_have_run is None else int(exc.may_have_run)
    else:
        assert response.header("X-Target") == target
        assert response.content == body
        ends[target] = 2


async def havoc(script: Script, rng: random.Random) -> None:
    """Ends connections, in good order and otherwise."""
    while True:
        await trio.sleep(rng.random())
        if not script.connections:
            continue
        connection = script.connection
        deed = rng.randrange(5)
        if deed == 0:
            await trio.aclose_forcefully(connection._stream)
        elif deed == 1:
            await connection.drain(rng.random() * 2, rng.choice([1001, 1012]))
        elif deed == 2:
            connection.drain_soon(1001)
        elif deed == 3:
            connection.close_soon(1001)
        else:
            await trio.sleep(rng.random())


async def wild_times(seed: int) -> tuple[Wild, dict[str, int], int]:
    rng = random.Random(seed)
    ends: dict[str, int] = {}
    limits = Limits(max_streams=rng.choice([1, 4, 128]))
    async with trio.open_nursery() as nursery:
        wild = Wild(nursery, rng)
        script = Script(nursery, handler=wild, options=Options(limits=limits))
        client = Client(
            parse_url("ws://hub/"),
            open_stream=script.open_stream,
            backoff=Backoff(initial=0.05, cap=0.5),
            chance=rng.random,
            options=Options(timeouts=Timeouts(connect=60)),
        )
        async with client:
            nursery.start_soon(havoc, script, rng)
            async with trio.open_nursery() as asking:
                for number in range(60):
                    asking.start_soon(ask, client, number, rng, ends)
            count = len(script.connections)
        nursery.cancel_scope.cancel()
    return wild, ends, count


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32))
def test_each_request_runs_at_most_once_and_its_end_is_told_truly(seed: int) -> None:
    clock = MockClock(autojump_threshold=0)
    wild, ends, _ = trio.run(wild_times, seed, clock=clock)
    assert len(ends) == 60
    assert wild.wrong == []
    for number in range(60):
        runs = wild.runs.get(b"/%d" % number, 0)
        end = ends[f"/{number}"]
        assert runs <= 1
        assert end >= 0  # each error says it
        if end == 2:
            assert runs == 1
        if end == 0:
            assert runs == 0
