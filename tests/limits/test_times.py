"""The time that a request, a pause and a connection may take."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from restsock import Backoff, Client, Limits, Options, StreamReset, Timeouts, connect, listen
from restsock.testing import connected_pair
from tests.e2e.raw_peer import DATA, END, HEAD, RESET, get
from tests.limits.scene import app, scene
from tests.memory_network import Echo, MemoryListener, chances
from tests.server.test_server import ADDRESS, server_of

TIMEOUT = 2
SHORT = Options(timeouts=Timeouts(request=0.3))


# --- requests, with real sockets ----------------------------------------------------------


async def test_a_slow_body_is_a_408() -> None:
    async with scene(SHORT) as s:
        peer = await s.ready()
        await peer.frame(HEAD, 0, 1, get("/", method="POST"))
        start = trio.current_time()
        with trio.move_on_after(30):
            async with trio.open_nursery() as nursery:

                async def drip() -> None:
                    while True:
                        await peer.frame(DATA, 0, 1, b"x")
                        await trio.sleep(0.02)

                nursery.start_soon(drip)
                answer = await peer.answer(1)
                nursery.cancel_scope.cancel()
        assert (answer.type, answer.flags) == (HEAD, END)
        assert answer.payload.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        stop = await peer.next_frame()
        assert (stop.type, stop.payload) == (RESET, bytes(2))
        assert 0.25 < trio.current_time() - start < 20
        await s.hit("request")


async def test_an_app_that_takes_too_long_is_504() -> None:
    async with scene(SHORT) as s:
        peer = await s.ready()
        await peer.frame(HEAD, END, 1, get("/hang"))
        answer = await peer.answer(1)
        assert (answer.type, answer.flags) == (HEAD, END)
        assert answer.payload.startswith(b"HTTP/1.1 504 Gateway Timeout\r\n")
        await s.hit("request")


async def test_a_response_under_way_is_reset() -> None:
    async with scene(SHORT) as s:
        peer = await s.ready()
        await peer.frame(HEAD, END, 1, get("/stall"))
        assert await peer.response_status(1) == 200
        while True:
            frame = await peer.next_frame()
            if frame.type == RESET:
                break
        assert int.from_bytes(frame.payload[:2], "big") == TIMEOUT
        await s.hit("request")


async def test_a_slow_reader_is_reset() -> None:
    """One that takes the response a byte at a time, by its credit."""

    async def long(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope.get("path") != "/long":
            await app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(100_000)})

    async with scene(SHORT, handler_app=long) as s:
        peer = await s.ready(initial_window=16384)
        await peer.frame(HEAD, END, 1, get("/long"))
        assert await peer.response_status(1) == 200
        while (frame := await peer.next_frame()).type != RESET:
            await peer.frame(4, 0, 1, (1).to_bytes(4, "big"))
            await trio.sleep(0.01)
        assert int.from_bytes(frame.payload[:2], "big") == TIMEOUT
        await s.hit("request")


# --- requests, with a clock of their own --------------------------------------------------


async def pause(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answers after as many seconds as the path says."""
    if scope["type"] == "lifespan":
        raise NotImplementedError(scope["type"])
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await trio.sleep(100)
        await send({"type": "websocket.close"})
        return
    await trio.sleep(float(scope["path"][1:]))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})


async def test_each_request_has_its_own_time(autojump_clock: MockClock) -> None:
    options = Options(timeouts=Timeouts(request=10))
    async with connected_pair(loop_b="trio", app_b=pause, options=options) as (dialer, listener):
        answers: list[tuple[str, int, float]] = []
        start = trio.current_time()

        async def ask(delay: float, path: str) -> None:
            await trio.sleep(delay)
            response = await dialer.request("GET", path)
            answers.append((path, response.status, trio.current_time() - start))

        async with trio.open_nursery() as nursery:
            for delay, path in [(0, "/99"), (1, "/2"), (4, "/98"), (5, "/9.5"), (40, "/97")]:
                nursery.start_soon(ask, delay, path)
        assert [(path, status) for path, status, _ in answers] == [
            ("/2", 200),
            ("/99", 504),
            ("/98", 504),
            ("/9.5", 200),
            ("/97", 504),
        ]
        assert [when for _, _, when in answers] == pytest.approx([3, 10, 14, 14.5, 50])
        assert listener.multiplexer.open_streams == 0
        assert not listener.exchange_table._deadlines


async def test_off_by_default(autojump_clock: MockClock) -> None:
    async with connected_pair(loop_b="trio", app_b=pause) as (dialer, listener):
        assert (await dialer.request("GET", "/1000")).status == 200
        assert listener.exchange_table._deadlines is None


async def test_bytes_after_its_101_are_left_alone(autojump_clock: MockClock) -> None:
    options = Options(timeouts=Timeouts(request=10))
    fields = [
        ("Connection", "upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
        ("Sec-WebSocket-Version", "13"),
    ]
    async with connected_pair(loop_b="trio", app_b=pause, options=options) as (dialer, _):
        start = trio.current_time()
        async with dialer.stream("GET", "/", headers=fields) as response:
            assert response.status == 101
            try:
                async for _ in response:
                    pass
            except StreamReset:
                pass
        assert trio.current_time() - start == pytest.approx(100, abs=5)


async def test_the_request_of_a_listener_is_bounded_by_the_dialer(
    autojump_clock: MockClock,
) -> None:
    options = Options(timeouts=Timeouts(request=10))
    async with connected_pair(
        loop_a="trio", app_a=pause, options=options, options_b=Options()
    ) as pair:
        assert (await pair.listener.request("GET", "/99")).status == 504


# --- connections --------------------------------------------------------------------------


async def test_an_idle_connection_is_closed(autojump_clock: MockClock) -> None:
    options = Options(timeouts=Timeouts(connection_idle=100))
    async with connected_pair(
        loop_b="trio", app_b=pause, options=Options(), options_b=options
    ) as pair:
        start = trio.current_time()
        await trio.sleep(50)
        assert (await pair.dialer.request("GET", "/180")).status == 200  # busy until 230
        closed = await pair.dialer.wait_closed()
        assert 330 <= trio.current_time() - start <= 430
        assert (closed.clean, closed.code, closed.reason) == (True, 1001, "idle")
        assert pair.listener.limit_log.counts.get("connection_idle", 0) >= 1


async def test_a_connection_that_is_asked_now_and_then_is_not_idle(
    autojump_clock: MockClock,
) -> None:
    options = Options(timeouts=Timeouts(connection_idle=100))
    async with connected_pair(
        loop_a="trio", loop_b="trio", app_a=pause, app_b=pause, options=options
    ) as pair:
        for _ in range(10):
            await trio.sleep(45)
            assert (await pair.dialer.request("GET", "/0")).status == 200
            await trio.sleep(45)
            assert (await pair.listener.request("GET", "/0")).status == 200


async def test_an_old_connection_is_drained_and_the_client_comes_back(
    autojump_clock: MockClock,
) -> None:
    listener = MemoryListener()
    options = Options(timeouts=Timeouts(lifetime=1000))
    async with server_of(listener, options=options, handler=Echo()) as server:
        client = Client(
            ADDRESS,
            name="edge-1",
            open_stream=listener.open_stream,
            backoff=Backoff(),
            chance=chances(0.5),
        )
        async with client:
            first = client.connection
            assert first is not None
            await trio.sleep(999)
            assert client.connection is first
            await trio.sleep(5)
            second = client.connection
            assert second is not None
            assert second is not first
            assert first.closed is not None
            assert (first.closed.clean, first.closed.code) == (True, 1001)
            assert (await client.request("GET", "/")).status == 200
            assert server.limit_log.counts == {"lifetime": 1}


async def test_a_request_outlives_the_lifetime(autojump_clock: MockClock) -> None:
    timeouts = Timeouts(lifetime=10)
    async with connected_pair(
        loop_b="trio", app_b=pause, options=Options(), options_b=Options(timeouts=timeouts)
    ) as pair:
        start = trio.current_time()
        assert (await pair.dialer.request("GET", "/20")).status == 200
        closed = await pair.dialer.wait_closed()
        assert closed.code == 1001
        assert 20 <= trio.current_time() - start <= 22


async def test_lifetimes_over_real_sockets_fail_no_request() -> None:
    """Connections come and go, on both ends' account, and who asks notices nothing of it."""
    for ours, theirs in [
        (Timeouts(lifetime=0.2), Timeouts()),
        (Timeouts(), Timeouts(lifetime=0.2)),
    ]:
        async with scene(Options()) as s:
            async with listen("127.0.0.1", 0, app=app, options=Options(timeouts=ours)) as server:
                options = Options(timeouts=theirs)
                async with connect(server.url, app=app, name="edge", options=options) as client:
                    with trio.fail_after(20):
                        while client.statistics().connections < 3:
                            assert (await client.request("POST", "/", body=b"x")).status == 200
                            assert (await server.request("edge", "POST", "/")).status == 200
            await s.notices_nothing()


async def test_an_idle_connection_over_a_real_socket() -> None:
    options = Options(timeouts=Timeouts(connection_idle=0.1))
    async with scene(Options()) as s:
        async with connect(s.server.url, name="idle", options=options) as client:
            first = client.connection
            assert first is not None
            closed = await first.wait_closed()
            assert (closed.clean, closed.code, closed.reason) == (True, 1001, "idle")
            assert client.limit_log.counts["connection_idle"] >= 1


def test_the_times_are_checked() -> None:
    for name in ("request", "connection_idle", "lifetime"):
        assert getattr(Timeouts(), name) is None
        for wrong in (0, -1, float("inf"), "1", True):
            with pytest.raises(ValueError, match=f"Timeouts.{name} must be a number of seconds"):
                Timeouts(**{name: wrong})  # type: ignore[arg-type]


def test_the_limits_are_checked() -> None:
    with pytest.raises(ValueError, match=r"Limits\.max_message must be a whole number in 65544"):
        Limits(max_message=65543)
    Limits(max_message=65544)
    with pytest.raises(ValueError, match=r"Limits\.max_message"):
        Limits(max_message=131081)
    for name in ("max_connections", "max_connections_per_address"):
        with pytest.raises(ValueError, match=f"Limits.{name}"):
            Limits(**{name: 0})
    for name in ("max_body", "max_response_body", "buffered_total"):
        Limits(**{name: 0})
        with pytest.raises(ValueError, match=f"Limits.{name}"):
            Limits(**{name: -1})
