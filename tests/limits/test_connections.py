"""How many connections a listener has, in all and from one address."""

from __future__ import annotations

import logging

import pytest
import trio
from trio.testing import MockClock

from restsock import Backoff, Client, HandshakeError, Limits, Options, Timeouts, connect
from restsock._limit_log import LimitLog
from restsock.server._connection_limiter import ConnectionLimiter, network_of
from tests.e2e.raw_peer import UPGRADE, RawPeer, field
from tests.limits.scene import Scene, scene
from tests.memory_network import MemoryListener, chances
from tests.server.test_server import ADDRESS, server_of, settled
from tests.waiting import until

NO_PATIENCE = Backoff(tries=1)


async def assert_refused(peer: RawPeer, status: int) -> None:
    await peer.raw(UPGRADE)
    head = await peer.head()
    assert int(head.split(b" ", 2)[1]) == status
    assert field(head, b"retry-after") == b"5"
    assert field(head, b"connection") == b"close"
    assert b"too many connections" in await peer.rest()


async def test_max_connections_is_503_before_the_upgrade() -> None:
    async with scene(Options(limits=Limits(max_connections=3))) as s:
        await s.ready()
        second = await s.ready()
        for _ in range(3):
            await assert_refused(await s.stranger(), 503)
        assert s.hits == {"max_connections": 3}
        await second.close()
        await until_connected(s, 2)
        # The place is free again.
        await s.ready()
        await assert_refused(await s.stranger(), 503)


async def until_connected(s: Scene, count: int) -> None:
    await until(lambda: len(s.server.connections) == count)


async def until_places(s: Scene, count: int) -> None:
    await until(lambda: len(s.server._limiter) == count)


async def test_a_client_takes_503_for_something_that_passes(autojump_clock: MockClock) -> None:
    listener = MemoryListener()
    options = Options(limits=Limits(max_connections=1))

    async def stay_for_ten_seconds(task_status: trio.TaskStatus[None]) -> None:
        async with Client(ADDRESS, open_stream=listener.open_stream, name="first"):
            task_status.started()
            await trio.sleep(10)

    async with server_of(listener, options=options) as server, trio.open_nursery() as nursery:
        await nursery.start(stay_for_ten_seconds)
        async with Client(
            ADDRESS,
            open_stream=listener.open_stream,
            name="second",
            backoff=Backoff(jitter=False),
            chance=chances(1.0),
        ) as second:
            assert trio.current_time() == pytest.approx(15)  # 0, 1, 3, 7, 15
            await settled()
            assert [c.name for c in server.connections] == ["second"]
            assert second.statistics().failures == 4


async def test_a_client_learns_why(caplog: pytest.LogCaptureFixture) -> None:
    async with scene(Options(limits=Limits(max_connections=1))) as s:
        with pytest.raises(HandshakeError, match="503: There are too many connections") as caught:
            async with connect(s.server.url, backoff=NO_PATIENCE):
                pass
        assert caught.value.status == 503
        assert caught.value.retryable
        assert caught.value.may_have_run is False


async def test_a_place_is_given_back_by_a_handshake_that_fails() -> None:
    timeouts = Timeouts(handshake=0.2)
    async with scene(Options(limits=Limits(max_connections=2), timeouts=timeouts)) as s:
        stalled = await s.upgraded()
        await assert_refused(await s.stranger(), 503)  # one in its handshake has a place
        assert (await stalled.close_code())[0] == 4001
        await until_places(s, 1)
        liar = await s.upgraded()
        await liar.text(b"no envelope")
        assert (await liar.close_code())[0] == 4000
        await liar.close()
        await until_places(s, 1)
        await s.ready()


async def test_strangers_that_ask_for_nothing_take_no_place() -> None:
    async with scene(Options(limits=Limits(max_connections=2))) as s:
        for _ in range(5):
            await s.stranger()
        await s.ready()


async def test_one_address_leaves_room_for_others() -> None:
    limits = Limits(max_connections_per_address=2)
    async with scene(Options(limits=limits)) as s:
        await s.ready()
        await assert_refused(await s.stranger(), 429)
        await assert_refused(await s.stranger(), 429)
        assert s.hits == {"max_connections_per_address": 2}
        for _ in range(2):
            await s.upgraded("127.0.0.2")
        await assert_refused(await s.stranger("127.0.0.2"), 429)
        await s.upgraded("127.0.0.3")


async def test_too_many_handshakes_drop_the_oldest(caplog: pytest.LogCaptureFixture) -> None:
    async with scene(Options(limits=Limits(max_handshakes=2))) as s:
        first = await s.stranger()
        await s.stranger()
        await s.stranger()
        assert await first.rest() == b""
        await s.hit("max_handshakes")
        assert "too many handshakes at once: dropped the oldest" in caplog.text


# --- the counting -------------------------------------------------------------------------


def limiter(**limits: int) -> ConnectionLimiter:
    return ConnectionLimiter(Limits(**limits), LimitLog(logging.getLogger("restsock.tests")))


def test_places_come_back() -> None:
    some = limiter(max_connections=2, max_connections_per_address=1)
    assert some.acquire("192.0.2.1") is None
    refused = some.acquire("192.0.2.1")
    assert refused is not None
    assert refused.status == 429
    assert some.acquire("192.0.2.2") is None
    refused = some.acquire("192.0.2.3")
    assert refused is not None
    assert refused.status == 503
    some.release("192.0.2.1")
    assert some.acquire("192.0.2.1") is None
    some.release("192.0.2.1")
    some.release("192.0.2.2")
    assert len(some) == 0
    assert some._by_network == {}


def test_an_ipv6_network_is_one_address() -> None:
    some = limiter(max_connections_per_address=1)
    assert some.acquire("2001:db8:1:2::1") is None
    assert some.acquire("2001:db8:1:2:ffff::9") is not None
    assert some.acquire("2001:db8:1:3::1") is None


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::1", "::/64"),
        ("memory", "memory"),
    ],
)
def test_what_counts_as_one_address(host: str, network: str) -> None:
    assert network_of(host) == network
