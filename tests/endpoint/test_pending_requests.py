"""A request that a connection does not take goes on waiting for the next one."""

from __future__ import annotations

from typing import Any

import pytest
import trio.testing

import restsock
from restsock.connection import Connection
from restsock.testing import trio_pair

Clock = trio.testing.MockClock


async def app(request: restsock.Request) -> restsock.Response:
    return restsock.Response(204)


class LateLock:
    """The lock of a connection, which a thread that reads a GOAWAY has taken first."""

    def __init__(self, connection: Connection | None) -> None:
        assert connection is not None
        self._connection = connection
        self._lock = connection.writer.lock

    def __enter__(self) -> Any:
        self._connection.multiplexer.accepts_streams = False
        return self._lock.__enter__()

    def __exit__(self, *exc: Any) -> None:
        self._lock.__exit__(*exc)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lock, name)


async def test_a_peer_that_goes_away_as_it_is_chosen(autojump_clock: Clock) -> None:
    async with trio_pair(app) as (_, server):
        connection = server.connections.by_name("client")
        assert connection is not None
        connection.writer.lock = LateLock(connection)  # type: ignore[assignment]
        with pytest.raises(restsock.PeerUnavailable):
            await server.request("client", "GET", "/", timeout=1)


async def test_a_listener_that_goes_away_as_it_is_used(autojump_clock: Clock) -> None:
    async with trio_pair(server_app=app) as (client, _):
        connection = client.connection
        assert connection is not None
        connection.writer.lock = LateLock(connection)  # type: ignore[assignment]
        with pytest.raises(restsock.RequestTimeout) as caught:
            await client.request("GET", "/", timeout=1)
        assert caught.value.phase == "connect"
