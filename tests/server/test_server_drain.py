"""A server that closes lets what is in flight finish, and turns newcomers away in so many words."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from restsock import (
    Backoff,
    ConnectionClosed,
    HandshakeError,
    Options,
    PeerUnavailable,
    Request,
    Response,
    Timeouts,
)
from restsock.apps import make_handler
from restsock.client import Address, Client, parse_url
from restsock.connection import Connection
from restsock.server import Server
from tests.memory_network import MemoryListener, chances

STEADY = Backoff(initial=1, factor=2, cap=60, jitter=False)
ADDRESS = parse_url("ws://hub/")


class App:
    """Answers `/slow` once it is told to, and everything else at once."""

    def __init__(self) -> None:
        self.go = trio.Event()
        self.begun: list[str] = []

    async def __call__(self, request: Request) -> Response:
        self.begun.append(request.target)
        if request.path == "/slow":
            await self.go.wait()
        return Response(200, {}, request.target)


def server_of(listener: MemoryListener, app: Any = None, **options: Any) -> Server:
    handler = None if app is None else make_handler(app, interface="function")
    return Server(None, 0, open_listeners=listener.open, handler=handler, **options)


def client_of(listener: MemoryListener, app: Any = None, **options: Any) -> Client:
    options.setdefault("backoff", STEADY)
    handler = None if app is None else make_handler(app, interface="function")
    return Client(
        ADDRESS, open_stream=listener.open_stream, handler=handler, chance=chances(1.0), **options
    )


async def settled() -> None:
    await trio.testing.wait_all_tasks_blocked()


async def call(where: Any, *target: str, into: list[Response]) -> None:
    into.append(await where.request(*target))


async def test_both_ways_it_finishes_what_is_in_flight(autojump_clock: MockClock) -> None:
    listener, app = MemoryListener(), App()
    done: list[Response] = []
    async with trio.open_nursery() as nursery:
        async with (
            server_of(listener, app) as server,
            client_of(listener, app, name="edge") as client,
        ):
            await settled()
            nursery.start_soon(lambda: call(client, "GET", "/slow", into=done))
            nursery.start_soon(lambda: call(server, "edge", "GET", "/slow", into=done))
            await settled()
            nursery.start_soon(server.aclose)
            await trio.sleep(25)
            assert server.closed
            assert len(server.connections) == 1
            with pytest.raises(PeerUnavailable):
                await server.request("edge", "GET", "/late")
            app.go.set()
            await server.wait_closed()
            assert trio.current_time() == pytest.approx(25, abs=0.1)
    assert [response.status for response in done] == [200, 200]
    assert app.begun == ["/slow", "/slow"]


async def test_newcomers_are_told_to_come_back(autojump_clock: MockClock) -> None:
    listener, app = MemoryListener(), App()
    async with server_of(listener, app) as server, client_of(listener) as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.request, "GET", "/slow")
            await settled()
            nursery.start_soon(server.aclose)
            await settled()
            with pytest.raises(HandshakeError, match="about to close") as caught:
                async with client_of(listener, backoff=Backoff(tries=1)):
                    pytest.fail("entered")
            assert caught.value.status == 503
            assert caught.value.retryable
            # In so many words.
            stream = await listener.open_stream(ADDRESS)
            await stream.send_all(
                b"GET / HTTP/1.1\r\nHost: hub\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
                b"Sec-WebSocket-Protocol: restsock.v1\r\n\r\n"
            )
            answer = bytes(await stream.receive_some())
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"\r\nretry-after: 1\r\n" in answer.lower()
            await stream.aclose()
            app.go.set()


async def test_the_grace_ends(autojump_clock: MockClock) -> None:
    listener, app = MemoryListener(), App()
    options = Options(timeouts=Timeouts(grace=8))
    async with server_of(listener, app, options=options) as server, client_of(listener) as client:
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(ConnectionClosed) as caught:
                    await client.request("GET", "/slow")
                assert caught.value.may_have_run is True
                assert caught.value.code == 1012

            nursery.start_soon(ask)
            await settled()
            await server.aclose(1012)
            assert trio.current_time() == pytest.approx(8, abs=0.1)


async def test_a_second_close_may_shorten_the_first(autojump_clock: MockClock) -> None:
    listener, app = MemoryListener(), App()
    async with server_of(listener, app) as server, client_of(listener, app, name="e") as client:
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(ConnectionClosed):
                    await client.request("GET", "/slow")

            nursery.start_soon(ask)
            await settled()
            nursery.start_soon(server.aclose)
            await trio.sleep(2)
            await server.aclose(grace=0)
            assert trio.current_time() == pytest.approx(2, abs=0.1)


async def ask_in_vain(client: Client) -> None:
    with pytest.raises(ConnectionClosed) as caught:
        await client.request("GET", "/slow")
    assert caught.value.may_have_run is True


async def test_an_error_in_the_block_of_a_client_waits_for_nothing(
    autojump_clock: MockClock,
) -> None:
    listener, app = MemoryListener(), App()
    async with server_of(listener, app), trio.open_nursery() as nursery:
        with pytest.raises(KeyError):
            async with client_of(listener) as client:
                nursery.start_soon(ask_in_vain, client)
                await settled()
                raise KeyError
        assert trio.current_time() < 0.1


async def test_an_error_in_the_block_of_a_server_waits_for_nothing(
    autojump_clock: MockClock,
) -> None:
    listener, app = MemoryListener(), App()
    async with trio.open_nursery() as nursery:

        async def peer() -> None:
            async with client_of(listener) as client:
                await ask_in_vain(client)

        with pytest.raises(KeyError):
            async with server_of(listener, app):
                nursery.start_soon(peer)
                await settled()
                raise KeyError
        assert trio.current_time() < 0.1


async def test_leaving_a_client_finishes_what_it_serves_and_what_it_asked(
    autojump_clock: MockClock,
) -> None:
    listener, app = MemoryListener(), App()
    done: list[Response] = []
    async with server_of(listener, app) as server, trio.open_nursery() as nursery:
        async with client_of(listener, app, name="edge") as client:
            await settled()
            nursery.start_soon(lambda: call(client, "GET", "/slow", into=done))
            nursery.start_soon(lambda: call(server, "edge", "GET", "/slow", into=done))
            await settled()

            async def later() -> None:
                await trio.sleep(9)
                with pytest.raises(ConnectionClosed) as caught:
                    await client.request("GET", "/late")
                assert caught.value.may_have_run is False
                app.go.set()

            nursery.start_soon(later)
        assert trio.current_time() == pytest.approx(9, abs=0.1)
        assert (await client.wait_closed()).code == 1000
    assert [response.status for response in done] == [200, 200]


async def test_the_grace_of_a_client_ends(autojump_clock: MockClock) -> None:
    listener, app = MemoryListener(), App()
    async with server_of(listener, app) as server, client_of(listener, app, name="edge") as client:
        await settled()

        async def ask() -> None:
            with pytest.raises(ConnectionClosed) as caught:
                await server.request("edge", "GET", "/slow")
            assert caught.value.may_have_run is True

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await settled()
            await client.aclose(grace=6)
            assert trio.current_time() == pytest.approx(6, abs=0.1)


# --- moving over --------------------------------------------------------------------------


async def test_a_client_moves_over_while_the_old_connection_finishes(
    autojump_clock: MockClock,
) -> None:
    listener, app = MemoryListener(), App()
    done: list[Response] = []
    async with (
        server_of(listener, app) as server,
        client_of(listener, app, name="edge") as client,
        trio.open_nursery() as nursery,
    ):
        await settled()
        old = server.connections.by_name("edge")
        assert old is not None
        nursery.start_soon(lambda: call(client, "GET", "/slow", into=done))
        nursery.start_soon(lambda: call(server, "edge", "GET", "/slow", into=done))
        await settled()
        nursery.start_soon(old.drain)
        await trio.sleep(1.5)  # the pause is one second
        new = server.connections.by_name("edge")
        assert new is not None
        assert new is not old
        assert client.connection is not None
        assert client.connection.id == new.id
        # Requests, both ways, take the new one; those on the old one go on.
        for _ in range(3):
            assert (await client.request("GET", "/a")).status == 200
            assert (await server.request("edge", "GET", "/b")).status == 200
        assert old.closed is None
        assert old.multiplexer.open_streams == 2
        app.go.set()
        closed = await old.wait_closed()
        assert closed.clean
        await settled()
        assert list(server.connections) == [new]
        assert server.connections.by_name("edge") is new
        assert (await client.request("GET", "/c")).status == 200
    assert [response.status for response in done] == [200, 200]
    assert client.statistics().connections == 2


async def test_requests_made_between_the_two_connections_wait(autojump_clock: MockClock) -> None:
    listener, app = MemoryListener(), App()
    async with (
        server_of(listener, app) as server,
        client_of(listener, app, name="edge") as client,
        trio.open_nursery() as nursery,
    ):
        await settled()
        nursery.start_soon(client.request, "GET", "/slow")
        await settled()
        (old,) = server.connections
        old.drain_soon(1012)
        await settled()
        done: list[Response] = []
        nursery.start_soon(lambda: call(client, "GET", "/x", into=done))
        nursery.start_soon(lambda: call(server, "edge", "GET", "/y", into=done))
        await trio.sleep(0.9)
        assert done == []
        await trio.sleep(0.2)
        assert [response.status for response in done] == [200, 200]
        app.go.set()


async def test_what_will_not_end_is_ended_when_the_name_was_taken_over(
    autojump_clock: MockClock,
) -> None:
    listener, app = MemoryListener(), App()
    options = Options(timeouts=Timeouts(grace=5))
    async with (
        server_of(listener, app, options=options) as server,
        client_of(listener, app, name="edge") as client,
        trio.open_nursery() as nursery,
    ):
        await settled()

        async def ask() -> None:
            with pytest.raises(ConnectionClosed):
                await client.request("GET", "/slow")

        nursery.start_soon(ask)
        await settled()
        (old,) = server.connections
        old.drain_soon()  # and nobody looks after the time
        await old.wait_closed()
        assert trio.current_time() == pytest.approx(6, abs=0.2)
        assert not client.closed
        assert len(server.connections) == 1


async def test_a_peer_that_announces_its_end_and_does_not_end(autojump_clock: MockClock) -> None:
    listener, app = MemoryListener(), App()
    options = Options(timeouts=Timeouts(grace=5))
    async with (
        server_of(listener, app) as server,
        client_of(listener, options=options) as client,
        trio.open_nursery() as nursery,
    ):
        await settled()
        (first,) = server.connections
        first.multiplexer.send_goaway(1001)  # and that is all
        first.writer.wake()
        await trio.sleep(4)
        assert len(server.connections) == 2
        await trio.sleep(2)
        assert len(server.connections) == 1
        assert first.closed is not None
        assert first.closed.clean
        # With something in flight it stays, for as long as its peer lets it.
        (second,) = server.connections
        nursery.start_soon(client.request, "GET", "/slow")
        await settled()
        second.multiplexer.send_goaway(1001)
        second.writer.wake()
        await trio.sleep(30)
        assert second.closed is None
        app.go.set()
        await second.wait_closed()


@pytest.mark.parametrize("names", ["replace", "reject", "share"])
async def test_moving_over_goes_with_every_policy_for_names(
    names: str, autojump_clock: MockClock
) -> None:
    listener, app = MemoryListener(), App()
    async with (
        server_of(listener, app, names=names) as server,
        client_of(listener, app, name="edge") as client,
        trio.open_nursery() as nursery,
    ):
        await settled()
        nursery.start_soon(client.request, "GET", "/slow")
        await settled()
        (old,) = server.connections
        nursery.start_soon(old.drain)
        await trio.sleep(1.5)
        assert len(server.connections) == 2
        assert (await server.request("edge", "GET", "/b")).status == 200
        assert (await client.request("GET", "/b")).status == 200
        app.go.set()


async def test_after_a_final_goaway_no_client_dials(autojump_clock: MockClock) -> None:
    listener, app = MemoryListener(), App()
    async with (
        server_of(listener, app) as server,
        client_of(listener) as client,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(client.request, "GET", "/slow")
        await settled()
        (old,) = server.connections
        nursery.start_soon(lambda: old.drain(None, 1000))
        await trio.sleep(20)
        assert len(server.connections) == 1
        app.go.set()
        assert (await client.wait_closed()).code == 1000
    assert client.statistics().connections == 1


async def test_a_client_that_cannot_come_back_still_finishes(autojump_clock: MockClock) -> None:
    listener, app = MemoryListener(), App()
    done: list[Response] = []
    connections: list[Connection] = []

    async def dial(address: Address) -> trio.abc.Stream:
        if connections:
            raise ConnectionRefusedError("gone")
        return await listener.open_stream(address)

    client = Client(
        ADDRESS, open_stream=dial, backoff=Backoff(tries=2, initial=0.1), chance=chances(1.0)
    )
    async with server_of(listener, app) as server, client, trio.open_nursery() as nursery:
        nursery.start_soon(lambda: call(client, "GET", "/slow", into=done))
        await settled()
        connections.extend(server.connections)
        nursery.start_soon(connections[0].drain)
        await trio.sleep(5)
        with pytest.raises(ConnectionClosed) as caught:
            await client.request("GET", "/late")
        assert caught.value.may_have_run is False
        assert not client.closed
        app.go.set()
        assert (await client.wait_closed()).code == 1006
    assert [response.status for response in done] == [200]
