"""What a person reads of a listener: one line for each thing that happens, and never a flood."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

import restsock
from restsock import Backoff, HandshakeError, Limits, Options, Principal
from restsock.auth import BearerTokens, Upgrade
from restsock.client import Client, parse_url
from restsock.server import Server
from tests.memory_network import MemoryListener


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[str], list[str]]:
    """The lines with these words in them, with their levels."""
    caplog.set_level(logging.INFO)

    def read(words: str) -> list[str]:
        ours = [record for record in caplog.records if record.name != "restsock.client"]
        found = [f"{record.levelname} {record.getMessage()}" for record in ours]
        return [line for line in found if words in line]

    return read


def client_of(network: MemoryListener, **options: Any) -> Client:
    return Client(parse_url("ws://hub/"), open_stream=network.open_stream, **options)


async def turned_away(network: MemoryListener, **options: Any) -> None:
    with pytest.raises(HandshakeError):
        async with client_of(network, backoff=Backoff(tries=1), **options):
            pytest.fail("entered")
    await trio.testing.wait_all_tasks_blocked()


async def faulty(upgrade: Upgrade) -> Principal | None:
    raise LookupError("sesame")


TOKENS = BearerTokens({"a-secret-of-32-characters-or-more": "edge"})
FULL = Options(limits=Limits(max_connections=1))
FULL_FOR_ONE = Options(limits=Limits(max_connections_per_address=1))
SMALL = Options(limits=Limits(max_metadata=256))


@pytest.mark.parametrize(
    ("options", "start", "counted"),
    [
        ({"auth": TOKENS}, "INFO memory:0: no connection: refused with 401: ", "refused"),
        ({"auth": faulty}, "ERROR the authenticator has failed: LookupError ", "auth_failed"),
        (
            {"options": FULL},
            "WARNING memory:0: no connection: refused with 503: There are too many connections: 1",
            "max_connections",
        ),
        (
            {"options": FULL_FOR_ONE},
            "WARNING memory:0: no connection: refused with 429: ",
            "max_connections_per_address",
        ),
        (
            {"names": "reject"},
            "WARNING memory:0 (name 'edge'): no connection: the handshake failed: the name is tak",
            "names",
        ),
        (
            {"options": SMALL},
            "WARNING memory:0: no connection: the handshake failed: ",
            "max_metadata",
        ),
    ],
)
async def test_a_refusal_is_one_line(
    options: dict[str, Any],
    start: str,
    counted: str,
    autojump_clock: MockClock,
    lines: Callable[[str], list[str]],
) -> None:
    network = MemoryListener()
    async with Server("hub", 1, open_listeners=network.open, **options) as server:
        async with AsyncExitStack() as stack:
            if "auth" not in options and options != {"options": SMALL}:
                await stack.enter_async_context(client_of(network, name="edge"))
                await trio.testing.wait_all_tasks_blocked()
            before = len(lines(""))
            await turned_away(network, name="edge", metadata="x" * 1000)
            (line,) = lines("")[before:]
        assert line.startswith(start)
        assert server.statistics().limits[counted] == 1
        assert "sesame" not in line


async def test_failing_connections_are_no_flood(
    autojump_clock: MockClock, lines: Callable[[str], list[str]]
) -> None:
    network = MemoryListener()
    async with Server("hub", 1, open_listeners=network.open) as server:
        server.limit_log._clock = lambda: 0.0  # one line a second more would be right
        for _ in range(300):
            stream = None

            async def open_stream(address: Any) -> trio.abc.Stream:
                nonlocal stream
                stream = await network.open_stream(address)
                return stream

            client = Client(parse_url("ws://hub/"), open_stream=open_stream)
            with trio.CancelScope() as scope:
                async with client:
                    await trio.testing.wait_all_tasks_blocked()
                    scope.cancel()  # drops it without a word
                    await trio.lowlevel.checkpoint()
            await trio.testing.wait_all_tasks_blocked()
        for _ in range(300):
            await (await network.open_stream(parse_url("ws://hub/"))).aclose()
            await trio.testing.wait_all_tasks_blocked()
        assert server.statistics().handshakes == 300
        assert server.statistics().handshakes_failed == 300
        assert 1 <= len(lines("has ended in failure")) < 40
        assert 1 <= len(lines(") from memory:0")) < 40
        assert 1 <= len(lines("no connection")) < 40


async def test_a_peer_that_comes_back_is_as_loud_as_its_failure(
    autojump_clock: MockClock, lines: Callable[[str], list[str]]
) -> None:
    network = MemoryListener()
    backoff = Backoff(initial=7, jitter=False)
    async with Server("hub", 1, open_listeners=network.open) as server:
        async with client_of(network, name="edge", backoff=backoff) as client:
            await trio.testing.wait_all_tasks_blocked()
            (first,) = lines("from memory:0")
            assert first.startswith("INFO ")
            assert first.endswith("from memory:0")
            (connection,) = server.connections
            await trio.aclose_forcefully(connection._stream)
            await trio.testing.wait_all_tasks_blocked()
            await client.wait_connected()
            await trio.testing.wait_all_tasks_blocked()
            assert lines("has ended in failure")[0].startswith("WARNING ")
            (back,) = lines("from memory:0, back after 7.0 s")
            assert back.startswith("WARNING ")
        # An end in good order and a new beginning are no news.
        async with client_of(network, name="edge"):
            await trio.testing.wait_all_tasks_blocked()
            assert len(lines("back after")) == 1


async def test_names_that_have_failed_are_told_apart(autojump_clock: MockClock) -> None:
    registry = restsock.Connections()
    assert registry.time_away("a", 5.0) is None
    registry.note_failure("a", 5.0)  # was never here
    assert registry.time_away("a", 6.0) is None
    registry.note_failure(None, 5.0)
    assert registry.time_away(None, 6.0) is None
