"""A connected client and server without a port, for each API: `trio_pair`, `sync_pair`, `aio_pair`.

The three take the same arguments.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    ExitStack,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import trio

from restsock import aio, sync
from restsock._options import Backoff, Options
from restsock.client import Client, connect
from restsock.connection import MessagingLike
from restsock.endpoint import documented_like, with_arguments_of
from restsock.server import Server, listen
from restsock.testing._network import AioNetwork, Network, SyncNetwork

__all__ = ["EndpointPair", "PairFactory", "aio_pair", "sync_pair", "trio_pair"]

C = TypeVar("C")
S = TypeVar("S")
N = TypeVar("N")

# A test that cuts the connection should not wait long for the next one.
_BACKOFF = Backoff(initial=0.01, cap=0.1)


class EndpointPair(tuple[C, S], Generic[C, S, N]):
    """A connected client and server; unpacks into the two.

    Attributes:
        client: The dialing end, a `Client` of the API in use.
        server: The listening end, a `Server`.
        network: The network between them, which can fail: `network.cut()` and so on.
    """

    client: C
    server: S
    network: N

    def __new__(cls, client: C, server: S, network: N) -> EndpointPair[C, S, N]:
        """See the attributes."""
        pair = super().__new__(cls, (client, server))
        pair.client, pair.server, pair.network = client, server, network
        return pair


@dataclass(frozen=True)
class _Ends:
    """Both ends before they are entered; the server has to be first."""

    client: Client
    server: Server
    network: Network


def _make_ends(
    app: Any = None,
    server_app: Any = None,
    *,
    name: str = "client",
    options: Options | None = None,
    messaging: MessagingLike | None = None,
    server_messaging: MessagingLike | None = None,
    client: Mapping[str, Any] | None = None,
    server: Mapping[str, Any] | None = None,
) -> _Ends:
    """Makes both ends of a pair.

    Args:
        app: Serves the requests of the server: an ASGI or WSGI app, or a coroutine function.
        server_app: Serves the requests of the client.
        name: The name of the client.
        options: Limits, timeouts and heartbeat of both ends.
        messaging: Receives and sends messages at the client: an open `Messaging` of the API in use.
            Enter the pair inside its `with`.
        server_messaging: The same at the server.
        client: Other arguments of `connect`: `{"auth": Bearer("secret")}`, for example. By default
            the pause before dialing again is at most 10 ms, growing to 100 ms.
        server: Other arguments of `listen`. Neither end can use TLS.

    Raises:
        ValueError: An argument is not valid.
        TypeError: An argument is unknown or has a wrong type.
        HandshakeError: On entering: the server has refused the client.
    """
    network = Network()
    both: dict[str, Any] = {"options": options}
    dialing = {**both, "backoff": _BACKOFF, "messaging": messaging, **(client or {})}
    listening = {**both, "messaging": server_messaging, **(server or {})}
    here = connect("ws://memory/", app=app, name=name, proxy=False, **dialing)
    here.dial_over(network.open_stream)
    there = listen(None, 0, app=server_app, **listening)
    there.accept_from(network.open)
    return _Ends(here, there, network)


@with_arguments_of(_make_ends)
def trio_pair(
    ends: _Ends,
) -> AbstractAsyncContextManager[EndpointPair[Client, Server, Network]]:
    """Connect a `restsock.Client` and a `restsock.Server` in memory. For trio.

        async with trio_pair(app) as (client, server):
            response = await server.request("client", "GET", "/pets")

    With `trio.testing.MockClock(autojump_threshold=0)`, timeouts and delays take no time. The rest
    is as for `sync_pair`.
    """
    return _on_trio(ends)


@with_arguments_of(_make_ends)
def sync_pair(
    ends: _Ends,
) -> AbstractContextManager[EndpointPair[sync.Client, sync.Server, SyncNetwork]]:
    """Connect a `restsock.sync.Client` and a `restsock.sync.Server` in memory. For threads.

        with sync_pair(app) as (client, server):
            session.mount("http://client/", server.adapter("client"))
            assert session.get("http://client/pets").json() == ["Rex"]

    There is no port, and nothing leaves the process. When the block begins, the client is
    connected. Leaving the block closes both, after the requests in flight; at once, if the network
    stalls or drops at that time.
    """
    return _in_threads(ends)


@with_arguments_of(_make_ends)
def aio_pair(
    ends: _Ends,
) -> AbstractAsyncContextManager[EndpointPair[aio.Client, aio.Server, AioNetwork]]:
    """Connect a `restsock.aio.Client` and a `restsock.aio.Server` in memory. For asyncio.

        async with aio_pair(app) as (client, server):
            response = await server.request("client", "GET", "/pets")

    ASGI apps and functions run on the caller's loop. The rest is as for `sync_pair`.
    """
    return _on_asyncio(ends)


@asynccontextmanager
async def _on_trio(ends: _Ends) -> AsyncIterator[EndpointPair[Client, Server, Network]]:
    async with ends.server as server:
        events = server.events()
        async with ends.client as client:
            await events.receive()  # so that both are connected
            await events.aclose()
            try:
                yield EndpointPair(client, server, ends.network)
            finally:
                with trio.CancelScope(shield=True):
                    await ends.network.end()


@contextmanager
def _in_threads(
    ends: _Ends,
) -> Iterator[EndpointPair[sync.Client, sync.Server, SyncNetwork]]:
    with sync.Server(ends.server) as server:
        events = server.events()
        with sync.Client(ends.client) as client:
            events.receive()
            events.close()
            network = SyncNetwork(ends.network)
            try:
                yield EndpointPair(client, server, network)
            finally:
                network.end()


@asynccontextmanager
async def _on_asyncio(
    ends: _Ends,
) -> AsyncIterator[EndpointPair[aio.Client, aio.Server, AioNetwork]]:
    async with aio.Server(ends.server) as server:
        events = server.events()
        async with aio.Client(ends.client) as client:
            await events.receive()
            await events.aclose()
            network = AioNetwork(ends.network)
            try:
                yield EndpointPair(client, server, network)
            finally:
                network.end()  # short, whatever the network does


class PairFactory:
    """The value of the fixture `restsock_pair`: makes pairs for one test.

        def test_stock(restsock_pair):
            client, server = restsock_pair(app)

    Calling it returns a `sync_pair` that is open until the test ends. `aio` and `trio` are
    `aio_pair` and `trio_pair`, for `async with` in an async test.
    """

    aio = staticmethod(aio_pair)
    trio = staticmethod(trio_pair)

    def __init__(self) -> None:
        self._stack = ExitStack()

    @documented_like(_make_ends)
    def __call__(
        self,
        app: Any = None,
        server_app: Any = None,
        *,
        name: str = "client",
        options: Options | None = None,
        messaging: MessagingLike | None = None,
        server_messaging: MessagingLike | None = None,
        client: Mapping[str, Any] | None = None,
        server: Mapping[str, Any] | None = None,
    ) -> EndpointPair[sync.Client, sync.Server, SyncNetwork]:
        """Connect a client and a server for threads, until the test ends; see `sync_pair`."""
        pair = sync_pair(
            app,
            server_app,
            name=name,
            options=options,
            messaging=messaging,
            server_messaging=server_messaging,
            client=client,
            server=server,
        )
        return self._stack.enter_context(pair)

    def close(self) -> None:
        """Close all pairs, latest first. Raises the same errors as leaving a `sync_pair`."""
        self._stack.close()
