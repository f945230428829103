"""Health says why not, in words that are fit for a dashboard."""

from __future__ import annotations

import dataclasses
import json

import pytest
import trio
from trio.testing import MockClock

from restsock import Backoff, Health, Heartbeat, Limits, Options, RequestTimeout
from restsock.connection import HealthReport, Load, load_of
from restsock.testing import connected_pair
from tests.instruments.recorder import app
from tests.memory_network import MemoryListener, refuse_with
from tests.server.test_server import client_of, server_of, settled


def test_symptoms() -> None:
    report = HealthReport()
    assert report.health() == Health(True, ())
    report.warning("a")
    report.warning("a")
    assert report.health() == Health(True, ("a",))
    report.include(Health(True, ("b",)))
    assert report.health().ok
    report.include(Health(False, ("c",)))
    assert report.health() == Health(False, ("a", "b", "c"))
    other = HealthReport()
    other.error("one\nline")
    assert other.health() == Health(False, ("one\\nline",))
    assert not other.health()
    assert json.loads(json.dumps(dataclasses.asdict(other.health()))) == {
        "ok": False,
        "reasons": ["one\\nline"],
    }


@pytest.mark.parametrize(("age", "mentioned"), [(0.0, True), (59.0, True), (61.0, False)])
def test_a_limit_is_mentioned_for_a_minute_and_is_no_illness(age: float, mentioned: bool) -> None:
    report = HealthReport()
    report.limits(("max_body", 1000.0), 1000.0 + age)
    health = report.health()
    assert health.ok
    assert health.reasons == ((f"the limit max_body was hit {age:.0f} s ago",) if mentioned else ())


def test_a_full_queue() -> None:
    class Handler:
        def load(self) -> Load:
            return Load(5, full=True)

    report = HealthReport()
    report.load(load_of(Handler()))
    assert report.health() == Health(False, ("the queue of the app is full: 5 requests wait",))
    assert load_of(None) is None
    assert load_of(object()) is None


async def test_a_connection(autojump_clock: MockClock) -> None:
    options = Options(heartbeat=Heartbeat(interval=10, timeout=20), limits=Limits(max_streams=1))
    async with connected_pair(app_b=app, options=options) as pair:
        dialer = pair.dialer
        assert dialer.health() == Health(True, ())
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(dialer.request, "GET", "/hang")
            await settled()
            assert dialer.health() == Health(True, ("2 requests wait for a free stream",))
            nursery.cancel_scope.cancel()
        await settled()
        pair.wire.stall()
        await trio.sleep(19)
        assert dialer.health().ok
        await trio.sleep(8)
        assert not dialer.health().ok
        assert "the heartbeat is late: no byte from the peer for" in dialer.health().reasons[0]
        pair.wire.resume()
        await trio.sleep(11)
        assert dialer.health().ok
        pair.listener.drain_soon()
        assert pair.listener.health() in (
            Health(False, ("the connection takes no new requests: it is draining",)),
            Health(False, ("the connection is being closed",)),
        )
        await dialer.wait_closed()
        assert dialer.health() == Health(False, ("the connection has ended: 1001",))


async def test_a_connection_that_drains_behind_a_request(autojump_clock: MockClock) -> None:
    async with connected_pair(app_b=app) as pair, trio.open_nursery() as nursery:
        nursery.start_soon(pair.dialer.request, "GET", "/hang")
        await settled()
        pair.listener.drain_soon()
        await settled()
        words = "the connection takes no new requests: it is draining"
        assert pair.listener.health() == Health(False, (words,))
        assert pair.dialer.health() == Health(False, (words,))
        nursery.cancel_scope.cancel()


async def test_without_heartbeat_silence_is_no_symptom(autojump_clock: MockClock) -> None:
    options = Options(heartbeat=Heartbeat(interval=None))
    async with connected_pair(options=options) as pair:
        await trio.sleep(10_000)
        assert pair.dialer.health().ok


async def test_a_client_that_loses_its_listener(autojump_clock: MockClock) -> None:
    network = MemoryListener()
    backoff = Backoff(initial=10, factor=1, jitter=False, restart=0)
    async with server_of(network) as server:
        client = client_of(network, backoff=backoff)
        assert client.health() == Health(False, ("the client was not started",))
        async with client:
            assert client.health() == Health(True, ())
            await settled()
            await next(iter(server.connections)).aclose(1001, "restart\nforged line")
            await settled()
            await trio.sleep(4)
            first, second = client.health().reasons
            assert first == "not connected to ws://hub/ for 4.0 s"
            assert second.startswith("the last failure: ")
            assert "1001" in second
            assert "\n" not in second
            with trio.move_on_after(1):
                await client.request("GET", "/")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.request, "GET", "/")
                await settled()
                assert "1 requests wait for a connection" in client.health().reasons
                assert not client.health().ok
            await client.wait_connected()
            assert client.health().ok
    health = client.health()
    assert not health.ok
    assert health.reasons[0].startswith("the client has ended, or is about to: 1000")


async def test_a_client_that_was_never_let_in(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        from tests.memory_network import Script

        script = Script(nursery, refuse_with(503), refuse_with(503))
        client = client_of(script)  # type: ignore[arg-type]  # it opens streams, too
        seen: list[Health] = []

        async def look() -> None:
            await trio.sleep(0.5)
            seen.append(client.health())

        nursery.start_soon(look)
        async with client:
            pass
        nursery.cancel_scope.cancel()
    (health,) = seen
    assert not health.ok
    assert health.reasons[0] == "not connected to ws://hub/ for 0.5 s"
    assert "503" in health.reasons[1]


async def test_a_server(autojump_clock: MockClock) -> None:
    network = MemoryListener()
    options = Options(limits=Limits(max_connections=2, max_handshakes=1))
    server = server_of(network, options=options)
    assert server.health() == Health(False, ("the server does not listen yet",))
    async with server:
        assert server.health() == Health(True, ())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_the_absent, server)
            await settled()
            assert server.health() == Health(True, ("1 requests wait for peers who are away",))
            nursery.cancel_scope.cancel()
        async with client_of(network), client_of(network):
            await settled()
            words = "no more than 2 peers can be connected"
            assert server.health() == Health(False, (words,))
        await settled()
        assert server.health() == Health(True, ())
        stream = await network.open_stream(None)  # type: ignore[arg-type]  # nobody looks
        await settled()
        (reason,) = server.health().reasons
        assert reason == "handshakes under way: 1, the most there may be"
        assert server.health().ok
        await stream.aclose()
    assert server.health() == Health(False, ("the server is closed",))


async def ask_the_absent(server: object) -> None:
    with pytest.raises(RequestTimeout):
        await server.request("nobody", "GET", "/")  # type: ignore[attr-defined]


async def test_a_server_that_drains(autojump_clock: MockClock) -> None:
    network = MemoryListener()
    async with server_of(network) as server, client_of(network, name="edge-1") as client:
        client._endpoint.handler = None
        await settled()
        async with trio.open_nursery() as nursery:
            connection = client.connection
            assert connection is not None
            nursery.start_soon(server.aclose)
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
            assert not server.health().ok
