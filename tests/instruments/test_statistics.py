"""Numbers that add up: over outcomes, over ends of a wire, over connections that have gone."""

from __future__ import annotations

import dataclasses
import json

import pytest
import trio
from trio.testing import MockClock

import restsock
import restsock.sync
from restsock import OUTCOMES, Limits, Options, Statistics
from restsock.connection import Counters
from restsock.testing import connected_pair
from tests.instruments.recorder import app
from tests.memory_network import MemoryListener
from tests.plain_client import GET, dial
from tests.server.test_server import client_of, server_of, settled
from tests.waiting import until


def add_up(numbers: Statistics) -> None:
    """What has ended is what was there, without what is open."""
    assert set(numbers.sent) == set(numbers.received) == set(OUTCOMES)
    assert all(count >= 0 for count in (*numbers.sent.values(), *numbers.received.values()))
    ended = sum(numbers.sent.values()) + sum(numbers.received.values())
    asked = numbers.requests_sent + numbers.requests_received
    assert ended <= asked <= ended + numbers.open_streams


async def test_outcomes_add_up(autojump_clock: MockClock) -> None:
    async with connected_pair(app_a=app, app_b=app) as (dialer, listener):
        for _ in range(3):
            await dialer.request("GET", "/")
            await listener.request("GET", "/fail")
        with pytest.raises(restsock.RequestTimeout):
            await dialer.request("GET", "/hang", timeout=1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dialer.request, "GET", "/hang")
            await settled()
            now = dialer.statistics()
            assert now.open_streams == 1
            assert (now.requests_sent, sum(now.sent.values())) == (5, 4)
            add_up(now)
            nursery.cancel_scope.cancel()
        now = dialer.statistics()
        assert now.sent == dict.fromkeys(OUTCOMES, 0) | {"answered": 3, "cancelled": 2}
        assert now.received == dict.fromkeys(OUTCOMES, 0) | {"answered": 3}
        assert now.resets_sent == {"CANCEL": 2}
        assert now.resets_received == {}
        await settled()
        there = listener.statistics()
        assert (there.received, there.sent) == (now.sent, now.received)
        assert there.resets_received == {"CANCEL": 2}
        assert there.bytes_received == dialer.statistics().bytes_sent
        assert now.round_trip is not None


async def test_requests_under_way_in_both_directions(autojump_clock: MockClock) -> None:
    async with connected_pair(app_a=app, app_b=app) as (dialer, listener):
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(dialer.request, "GET", "/hang")
            nursery.start_soon(listener.request, "GET", "/hang")
            await dialer.request("GET", "/")
            await settled()
            now = dialer.statistics()
            assert (now.requests_sent, now.requests_received, now.open_streams) == (3, 1, 3)
            assert now.sent["answered"] == 1
            assert now.received["answered"] == 0
            nursery.cancel_scope.cancel()


async def test_an_idle_connection_has_no_table_of_what_is_rare() -> None:
    async with connected_pair(app_b=app) as (dialer, listener):
        await dialer.request("GET", "/")
        assert dialer.counters.event_counts is None
        assert listener.counters.event_counts is None


async def test_a_server_sums_over_those_that_have_gone(autojump_clock: MockClock) -> None:
    network = MemoryListener()
    sent = received = 0
    async with server_of(network) as server:
        for number in range(3):
            async with client_of(network) as client:
                for _ in range(number + 1):
                    assert (await client.request("GET", "/")).status == 503  # no app
                await settled()
                now = server.statistics()
                assert (now.connections, now.handshakes) == (1, number + 1)
            await settled()
            counters = client.statistics().traffic
            sent += counters.bytes_sent
            received += counters.bytes_received
        now = server.statistics()
        assert now.connections == 0
        assert now.traffic.requests_received == now.traffic.received["answered"] == 6
        assert now.traffic.open_streams == 0
        # What the two ends have told each other when they parted may still be under way.
        assert now.traffic.bytes_sent >= received > 0
        assert sent >= now.traffic.bytes_received > 0
        async with client_of(network, name="late") as client:
            await client.request("GET", "/")
            await settled()
            assert server.statistics().traffic.requests_received == 7


async def test_counters_never_fall(autojump_clock: MockClock) -> None:
    network = MemoryListener()
    before: dict[str, int] = {}

    def check(numbers: Statistics) -> None:
        flat = {
            name: getattr(numbers, name)
            for name in (
                *("bytes_sent", "bytes_received", "requests_sent", "requests_received"),
                "rejected",
            )
        }
        flat |= {f"sent {name}": count for name, count in numbers.sent.items()}
        flat |= {f"received {name}": count for name, count in numbers.received.items()}
        for name, count in flat.items():
            assert count >= before.get(name, 0), name
        before.update(flat)

    async with server_of(network) as server, client_of(network, name="edge-1") as client:
        for round_ in range(20):
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(server.request, "edge-1", "GET", "/")
                await settled()
                check(server.statistics().traffic)
            if round_ % 5 == 4:
                connection = server.connections.by_name("edge-1")
                assert connection is not None
                await connection.aclose(1001)
                check(server.statistics().traffic)
                await trio.sleep(10)
            check(server.statistics().traffic)
        assert server.statistics().handshakes == 5
        assert client.statistics().reconnects == 4
        assert server.statistics().traffic.sent["answered"] == 60
        assert client.statistics().traffic.received["answered"] == 60


async def test_all_of_it_is_json(autojump_clock: MockClock) -> None:
    network = MemoryListener()
    async with server_of(network) as server, client_of(network) as client:
        await client.request("GET", "/")
        for numbers in (server.statistics(), client.statistics()):
            again = json.loads(json.dumps(dataclasses.asdict(numbers)))
            assert again["traffic"]["bytes_sent"] > 0
            assert again["queued"] is None
            assert again["limits"] == {}
        connection = client.connection
        assert connection is not None
        with pytest.raises(dataclasses.FrozenInstanceError):
            connection.statistics().bytes_sent = 1  # type: ignore[misc]  # on purpose


def test_sums() -> None:
    counters = Counters()
    counters.requests_sent, counters.open_sent = 10, 2
    counters.add_event_counts({("sent", "lost"): 1, ("resets_sent", "FLOW"): 2})
    other = counters.copy()
    other.add_event_counts({("sent", "lost"): 2, ("rejected", "max_head"): 1, ("rejected", "x"): 1})
    assert counters.statistics().sent["answered"] == 7
    numbers = other.statistics(0.5)
    assert (numbers.sent["lost"], numbers.sent["answered"]) == (3, 5)
    assert (numbers.rejected, numbers.resets_sent, numbers.round_trip) == (2, {"FLOW": 2}, 0.5)


async def test_in_threads_and_after_the_end() -> None:
    def work() -> None:
        with restsock.sync.listen("127.0.0.1", 0, app=app) as server:
            with restsock.sync.connect(server.url) as client:
                client.request("GET", "/", timeout=10)
                assert server.statistics().connections == 1
                assert server.health().ok
                assert client.health() == restsock.Health(True, ())
                assert client.connection is not None
                assert client.connection.health().ok
            assert client.statistics().traffic.requests_sent == 1
            assert not client.health().ok
        assert server.statistics().traffic.requests_received == 1
        assert server.health() == restsock.Health(False, ("the server is closed",))

    await trio.to_thread.run_sync(work)


async def test_clients_of_plain_http_are_counted_apart() -> None:
    options = Options(limits=Limits(max_http_clients=2))
    async with (
        restsock.listen("127.0.0.1", 0, endpoints={"/": app}, options=options) as server,
        restsock.connect(server.url) as peer,
    ):
        await peer.request("GET", "/")
        async with dial(server) as one, dial(server) as other, dial(server) as third:
            await one.get()
            await other.get("/status/404")
            await other.get("/fail")
            now = server.statistics()
            assert (now.http_clients, now.http_clients_total) == (2, 2)
            add_up(now.http_traffic)
            assert now.http_traffic.requests_received == now.http_traffic.received["answered"] == 3
            assert now.http_traffic.bytes_sent > now.http_traffic.bytes_received > 0
            # One of them makes room, and what it has asked stays counted.
            await third.get()
            now = server.statistics()
            assert (now.http_clients, now.http_clients_total) == (2, 3)
            assert now.http_traffic.requests_received == 4
            # A peer is no such client, nor the other way round.
            assert (now.connections, now.handshakes, now.handshakes_failed) == (1, 1, 0)
            assert now.traffic.requests_received == 1
            # What a client leaves is over.
            await third.send(GET.replace(b"/ ", b"/hang "))
            await until(lambda: server.statistics().http_traffic.open_streams)
        await until(lambda: not server.statistics().http_clients)
        now = server.statistics()
        assert now.http_clients_total == 3
        assert now.http_traffic.received == dict.fromkeys(OUTCOMES, 0) | {"answered": 4, "lost": 1}
        assert now.http_traffic.open_streams == 0


def test_the_numbers_of_a_server_are_ready_for_json() -> None:
    with restsock.sync.listen("127.0.0.1", 0, health_path="/h") as server:
        found = json.loads(json.dumps(dataclasses.asdict(server.statistics())))
    assert found["http_clients"] == found["http_traffic"]["requests_received"] == 0
