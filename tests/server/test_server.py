"""A server knows its peers, tells what happens to them, and lets none disturb another."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from restsock import (
    Backoff,
    ConnectionClosed,
    HandshakeError,
    Heartbeat,
    Limits,
    Options,
    PeerNotFound,
    PeerUnavailable,
    Timeouts,
)
from restsock.client import Address, Client, parse_url
from restsock.connection import Exchange, Peer, open_dialed
from restsock.connection._exchange_table import ExchangeTable
from restsock.protocol import CloseCode
from restsock.server import ConnectionEvent, Server, Subscription, listen
from tests.memory_network import Echo, MemoryListener, chances

STEADY = Backoff(initial=1, factor=2, cap=60, jitter=False)
ADDRESS = parse_url("ws://hub/")


def server_of(listener: MemoryListener, **options: Any) -> Server:
    return Server(None, 0, open_listeners=listener.open, **options)


def client_of(listener: MemoryListener, **options: Any) -> Client:
    options.setdefault("backoff", STEADY)
    return Client(ADDRESS, open_stream=listener.open_stream, chance=chances(1.0), **options)


async def settled() -> None:
    await trio.testing.wait_all_tasks_blocked()


def drain(events: Subscription) -> list[tuple[str, str | None]]:
    found: list[tuple[str, str | None]] = []
    while True:
        try:
            event = events.receive_nowait()
        except (trio.WouldBlock, trio.EndOfChannel):
            return found
        found.append((event.type, event.name))


# --- who is there -------------------------------------------------------------------------


async def test_a_peer_comes_and_goes(autojump_clock: MockClock) -> None:
    listener = MemoryListener()
    metadata = {"site": "Ulm", "tags": [1, {"a": None}]}
    async with server_of(listener) as server:
        events = server.events()
        async with client_of(listener, name="edge-1", metadata=metadata) as client:
            received = await events.receive()
            assert client.connection is not None
            id = client.connection.id
            assert received == ConnectionEvent(
                type="ConnectionReceived", connection_id=id, name="edge-1", metadata=metadata
            )
            assert str(uuid.UUID(id, version=4)) == id
            connection = server.connections.by_id(id)
            assert connection is not None
            assert connection.id == id
            assert connection.name == "edge-1"
            assert connection.metadata == metadata
            assert server.connections.by_name("edge-1") is connection
            assert server.connections.by_metadata(dict(reversed(metadata.items()))) == [connection]
            assert list(server.connections) == [connection]
            assert len(server.connections) == 1
        closed = await events.receive()
        assert (closed.type, closed.connection_id, closed.code) == ("ConnectionClosed", id, 1000)
        assert closed.metadata == metadata
        assert len(server.connections) == 0
        assert server.connections.by_id(id) is None
        assert server.connections.by_name("edge-1") is None
        assert server.connections.by_metadata(metadata) == []


async def test_many_peers_with_ids_of_their_own(autojump_clock: MockClock) -> None:
    listener = MemoryListener()
    async with server_of(listener) as server, trio.open_nursery() as nursery:
        stop = trio.Event()
        ids: set[str] = set()

        async def peer(number: int) -> None:
            async with client_of(listener, metadata=number % 3) as client:
                assert client.connection is not None
                ids.add(client.connection.id)
                await stop.wait()

        for number in range(30):
            nursery.start_soon(peer, number)
        await settled()
        assert {connection.id for connection in server.connections} == ids
        assert len(ids) == 30
        assert len(server.connections.by_metadata(1)) == 10
        stop.set()
    assert len(server.connections) == 0


async def test_received_only_after_ready(autojump_clock: MockClock) -> None:
    """Of a peer that stops short of `ready` nothing is told, and its time is limited."""
    listener = MemoryListener()
    options = Options(timeouts=Timeouts(handshake=10))
    async with server_of(listener, options=options) as server:
        events = server.events()
        stream = await listener.open_stream(ADDRESS)
        await stream.send_all(UPGRADE)
        await stream.send_all(text_frame(HELLO))
        answer = b""
        while b"welcome" not in answer:
            answer += await stream.receive_some()
        await settled()
        assert len(server.connections) == 0
        assert drain(events) == []
        start = trio.current_time()
        rest = b""
        while data := await stream.receive_some():
            rest += data
        assert trio.current_time() - start == pytest.approx(10)
        assert (4001).to_bytes(2, "big") in rest
        assert len(server.connections) == 0
        assert drain(events) == []


UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: hub\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    b"Sec-WebSocket-Protocol: restsock.v1\r\n\r\n"
)
HELLO = json.dumps(
    {"type": "hello", "id": str(uuid.uuid4()), "timestamp": 0, "payload": {"version": 1}}
).encode()


def text_frame(payload: bytes) -> bytes:
    """Masked with a key of zeros, which changes nothing."""
    assert len(payload) <= 125
    return bytes((0x81, 0x80 | len(payload))) + bytes(4) + payload


async def test_failure_and_clean_close_are_told_apart(autojump_clock: MockClock) -> None:
    listener = MemoryListener()
    async with server_of(listener) as server:
        events = server.events()
        async with client_of(listener, name="edge") as client:
            await settled()
            assert client.connection is not None
            await trio.aclose_forcefully(client.connection._stream)
            await settled()
            await client.wait_connected()
            await settled()
        await settled()
        assert drain(events) == [
            ("ConnectionReceived", "edge"),
            ("ConnectionFailure", "edge"),
            ("ConnectionReceived", "edge"),
            ("ConnectionClosed", "edge"),
        ]


async def test_a_peer_that_says_nothing_any_more_is_a_failure(autojump_clock: MockClock) -> None:
    listener = MemoryListener()
    options = Options(heartbeat=Heartbeat(interval=15, timeout=10))
    async with server_of(listener, options=options) as server:
        events = server.events()
        stream = await listener.open_stream(ADDRESS)
        # It is never run: no pong, no byte.
        await open_dialed(stream, host="hub", peer=Peer("hub", 0), options=Options())
        assert (await events.receive()).type == "ConnectionReceived"
        (connection,) = server.connections
        start = trio.current_time()
        with pytest.raises(ConnectionClosed) as caught:
            await connection.request("POST", "/")
        assert caught.value.may_have_run is True
        failure = await events.receive()
        assert (failure.type, failure.code) == ("ConnectionFailure", CloseCode.HEARTBEAT_TIMEOUT)
        assert trio.current_time() - start == pytest.approx(25)
        assert len(server.connections) == 0


async def test_the_newer_of_one_name_is_kept(autojump_clock: MockClock) -> None:
    listener = MemoryListener()
    async with server_of(listener) as server:
        events = server.events()
        async with client_of(listener, name="edge", handler=Echo("old")) as older:
            assert (await server.route("edge").request("GET", "/")).text == "old: GET /"
            async with client_of(listener, name="edge", handler=Echo("new")) as newer:
                closed = await older.wait_closed()
                assert (closed.code, closed.by_peer) == (CloseCode.REPLACED, True)
                await settled()
                assert newer.connection is not None
                (connection,) = server.connections
                assert connection.id == newer.connection.id
                assert server.connections.by_name("edge") is connection
                assert (await server.route("edge").request("GET", "/")).text == "new: GET /"
        await settled()
        assert [type for type, _ in drain(events)].count("ConnectionReceived") == 2


async def test_events_that_nobody_reads_do_no_harm(autojump_clock: MockClock) -> None:
    listener = MemoryListener()
    async with server_of(listener) as server:
        slow = server.events(capacity=2)
        for _ in range(4):
            async with client_of(listener):
                pass
            await settled()
        found = [await slow.receive() for _ in range(3)]
        assert [event.type for event in found][2] == "EventsLost"
        assert found[2].lost == 6
        assert len(server.connections) == 0


# --- requests -----------------------------------------------------------------------------


async def test_both_directions(autojump_clock: MockClock) -> None:
    listener = MemoryListener()
    hub, edge = Echo("hub"), Echo("edge")
    async with server_of(listener, handler=hub) as server:
        async with client_of(listener, name="edge", handler=edge) as client:
            assert (await client.request("GET", "/a")).text == "hub: GET /a"
            assert (await server.route("edge").request("PUT", "/b")).text == "edge: PUT /b"
            assert (await server.request("edge", "PUT", "/c", body="x")).text == "edge: PUT /c"
    assert (hub.runs, edge.runs) == (1, 1)
    assert not hub.running_now


async def test_a_route_waits_for_its_peer(autojump_clock: MockClock) -> None:
    listener = MemoryListener()
    async with server_of(listener) as server, trio.open_nursery() as nursery:
        route = server.route("edge")
        assert route.connection is None
        answers = []

        async def ask() -> None:
            answers.append((await route.request("GET", "/")).text)

        nursery.start_soon(ask)
        await trio.sleep(9)
        async with client_of(listener, name="other", handler=Echo("other")):
            async with client_of(listener, name="edge", handler=Echo("edge")):
                await settled()
                assert answers == ["edge: GET /"]
                assert route.connection is server.connections.by_name("edge")


async def test_a_peer_never_seen_and_one_that_has_gone(autojump_clock: MockClock) -> None:
    listener = MemoryListener()
    options = Options(timeouts=Timeouts(connect=3))
    async with server_of(listener, options=options) as server:
        words = r"^peer 'edge' is not connected \(never was\); waited 3 s$"
        with pytest.raises(PeerNotFound, match=words) as unknown:
            await server.route("edge").request("GET", "/")
        assert unknown.value.may_have_run is False
        assert trio.current_time() == 3
        async with client_of(listener, name="edge"):
            await settled()
        words = r"^peer 'edge' is not connected \(it was, and has gone\); waited 0\.5 s$"
        with pytest.raises(PeerUnavailable, match=words) as gone:
            await server.route("edge").request("GET", "/", timeout=0.5)
        assert gone.value.may_have_run is False


async def test_a_route_survives_a_reconnect(autojump_clock: MockClock) -> None:
    listener = MemoryListener()
    async with server_of(listener) as server:
        async with client_of(listener, name="edge", handler=Echo("edge")) as client:
            route = server.route("edge")
            await route.request("GET", "/")
            assert client.connection is not None
            await trio.aclose_forcefully(client.connection._stream)
            await settled()
            assert (await route.request("GET", "/again")).text == "edge: GET /again"


async def test_host_of_a_route() -> None:
    async with listen("127.0.0.1", 0) as server:
        assert server.route("edge-1").authority == "edge-1"
        assert server.route("bücher / 7").authority == "restsock"


# --- closing ------------------------------------------------------------------------------


async def test_closing_lets_the_peers_dial_again(autojump_clock: MockClock) -> None:
    listener = MemoryListener()
    async with trio.open_nursery() as nursery:
        async with server_of(listener) as server:
            events = server.events()

            async def dial(address: Address) -> trio.abc.Stream:
                return await listener.open_stream(address)  # the present one

            async def peer(task_status: trio.TaskStatus[Client]) -> None:
                client = Client(ADDRESS, open_stream=dial, name="e")
                async with client:
                    task_status.started(client)
                    await trio.sleep_forever()

            client: Client = await nursery.start(peer)
            await settled()
        assert [(e.type, e.code) async for e in events] == [
            ("ConnectionReceived", None),
            ("ConnectionClosed", 1001),
        ]
        assert client.connection is None
        assert not client.closed
        listener = MemoryListener()  # a restart
        async with server_of(listener) as server:
            await client.wait_connected()
            await settled()
            assert server.connections.by_name("e") is not None
            nursery.cancel_scope.cancel()


async def test_closing_twice_and_at_the_same_time(autojump_clock: MockClock) -> None:
    listener = MemoryListener()
    async with server_of(listener) as server:
        async with client_of(listener):
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(server.aclose)
            await server.aclose()
            await server.wait_closed()
            assert server.closed
            with pytest.raises(PeerUnavailable, match="the server has closed"):
                await server.route("edge").request("GET", "/")
    await server.aclose()


async def test_closing_ends_what_waits(autojump_clock: MockClock) -> None:
    listener = MemoryListener()
    async with server_of(listener) as server:
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(PeerUnavailable):
                    await server.route("edge").request("GET", "/")

            nursery.start_soon(ask)
            await settled()
            await server.aclose()
        assert trio.current_time() == 0


async def test_closing_with_peers_that_do_not_answer(autojump_clock: MockClock) -> None:
    listener = MemoryListener()
    options = Options(timeouts=Timeouts(close=3), heartbeat=Heartbeat(interval=None))
    async with server_of(listener, options=options) as server:
        events = server.events()
        streams = [await listener.open_stream(ADDRESS) for _ in range(3)]
        for stream in streams[:2]:
            await open_dialed(stream, host="hub", peer=Peer("hub", 0), options=Options())
        await settled()
        assert len(server.connections) == 2
        start = trio.current_time()
    assert trio.current_time() - start <= 3
    assert [type for type, _ in drain(events)][:2] == ["ConnectionReceived"] * 2
    assert len(server.connections) == 0


async def test_a_cancelled_close_drops_all(autojump_clock: MockClock) -> None:
    listener = MemoryListener()
    options = Options(timeouts=Timeouts(close=30), heartbeat=Heartbeat(interval=None))
    async with server_of(listener, options=options) as server:
        events = server.events()
        stream = await listener.open_stream(ADDRESS)
        await open_dialed(stream, host="hub", peer=Peer("hub", 0), options=Options())
        await settled()
        with trio.move_on_after(0):
            await server.aclose()
        await server.aclose()
        assert trio.current_time() == 0
    assert len(server.connections) == 0
    assert [e.type async for e in events] == ["ConnectionReceived", "ConnectionFailure"]


async def test_a_cancellation_does_not_wait(autojump_clock: MockClock) -> None:
    listener = MemoryListener()
    with trio.CancelScope() as scope:
        async with server_of(listener) as server:
            stream = await listener.open_stream(ADDRESS)
            await open_dialed(stream, host="hub", peer=Peer("hub", 0), options=Options())
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert trio.current_time() == 0
    assert server.closed
    assert len(server.connections) == 0


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1012, 1013, 3000, 4999])
async def test_close_codes_that_the_peers_learn(code: int, autojump_clock: MockClock) -> None:
    listener = MemoryListener()
    async with server_of(listener) as server, client_of(listener) as client:
        await settled()
        connection = client.connection
        assert connection is not None
        await server.aclose(code)
        assert (await connection.wait_closed()).code == code


@pytest.mark.parametrize("code", [-1, 0, 999, 1002, 1005, 1006, 1015, 2999, 5000, 70000])
async def test_a_close_code_that_cannot_be_sent_changes_nothing(
    code: int, autojump_clock: MockClock
) -> None:
    listener = MemoryListener()
    server = server_of(listener, handler=Echo("hub"))
    with pytest.raises(ValueError, match="close code"):
        await server.aclose(code)
    assert not server.closed
    async with server, client_of(listener) as client:
        await settled()
        with pytest.raises(ValueError, match="close code"):
            await server.aclose(code)
        assert not server.closed
        assert (await client.request("GET", "/")).status == 200
        async with client_of(listener) as another:
            assert (await another.request("GET", "/")).status == 200


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
async def test_what_the_block_raises_arrives_as_it_is(
    kind: type[BaseException], autojump_clock: MockClock
) -> None:
    listener = MemoryListener()
    error = kind("mine")
    with pytest.raises(kind) as caught:
        async with server_of(listener, handler=Echo()):
            raise error
    assert caught.value is error


# --- strangers ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        b"\x00\xff" * 500,
        b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS to a plain port
        UPGRADE + b"\xff" * 100,
        UPGRADE + text_frame(HELLO.replace(b"hello", b"ready")),
        UPGRADE + text_frame(HELLO.replace(b": 1}", b": 2}")),
        UPGRADE[:20],
        b"",
    ],
)
async def test_a_stranger_disturbs_nobody(
    words: bytes, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "restsock.server")
    listener = MemoryListener()
    async with server_of(listener, handler=Echo("hub")) as server:
        events = server.events()
        async with client_of(listener, name="edge") as client:
            stream = await listener.open_stream(ADDRESS)
            await stream.send_all(words)
            answer = b""
            with trio.move_on_after(60) as scope:
                while data := await stream.receive_some():
                    answer += data
            assert not scope.cancelled_caught
            assert trio.current_time() <= 11
            await stream.aclose()
            await settled()
            assert (await client.request("GET", "/")).text == "hub: GET /"
            assert [c.name for c in server.connections] == ["edge"]
        await settled()
        assert drain(events) == [("ConnectionReceived", "edge"), ("ConnectionClosed", "edge")]
    assert "no connection" in caplog.text or "too long" in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("words", [b"", b"GET / HT", UPGRADE, UPGRADE + text_frame(HELLO)])
async def test_a_newcomer_that_hangs_up_halfway_is_let_go_at_once(
    words: bytes, autojump_clock: MockClock
) -> None:
    listener = MemoryListener()
    async with server_of(listener) as server:
        stream = await listener.open_stream(ADDRESS)
        assert isinstance(stream, trio.abc.HalfCloseableStream)
        if words:
            await stream.send_all(words)
        await stream.send_eof()
        while await stream.receive_some():
            pass
        await stream.aclose()
        await settled()
        assert len(server._newcomers) == 0
        assert trio.current_time() <= 1


async def test_silent_newcomers_block_nobody(autojump_clock: MockClock) -> None:
    listener = MemoryListener()
    async with server_of(listener, handler=Echo("hub")):
        for _ in range(100):
            await listener.open_stream(ADDRESS)
        async with client_of(listener) as client:
            assert (await client.request("GET", "/")).status == 200
            assert trio.current_time() == 0


async def test_too_many_newcomers_push_out_the_oldest(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    listener = MemoryListener()
    options = Options(limits=Limits(max_handshakes=3))
    async with server_of(listener, options=options, handler=Echo("hub")) as server:
        streams = [await listener.open_stream(ADDRESS) for _ in range(3)]
        await settled()
        assert len(server._newcomers) == 3
        async with client_of(listener) as client:
            assert (await client.request("GET", "/")).status == 200
            assert trio.current_time() == 0
            assert await streams[0].receive_some() == b""
            assert trio.current_time() == 0
            # Those who are through do not count.
            assert len(server._newcomers) == 2
    assert "dropped the oldest" in caplog.text


@pytest.mark.parametrize("words", [b"", UPGRADE])
async def test_newcomers_that_come_all_at_once_keep_to_the_limit(
    words: bytes, autojump_clock: MockClock
) -> None:
    """Each pushes out another one, though those pushed out take a moment to end."""
    listener = MemoryListener()
    streams = [await listener.open_stream(ADDRESS) for _ in range(20)]
    for stream in streams:
        await stream.send_all(words)
    options = Options(limits=Limits(max_handshakes=3))
    async with server_of(listener, options=options) as server:
        await settled()
        assert len(server._newcomers) == 3
        for stream in streams[:-3]:
            while await stream.receive_some():
                pass
        assert trio.current_time() < 1
        assert len(server._newcomers) == 3


async def test_a_bug_in_a_connection_ends_that_one_alone(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    listener = MemoryListener()
    real: Callable[[ExchangeTable], None] = ExchangeTable.dispatch

    def dispatch(self: ExchangeTable) -> None:
        if self._connection.name == "bad" and self._connection.peer.host == "memory":
            raise ZeroDivisionError
        real(self)

    monkeypatch.setattr(ExchangeTable, "dispatch", dispatch)
    async with server_of(listener, handler=Echo("hub")) as server:
        events = server.events()
        async with client_of(listener, name="good") as client:
            await settled()
            stream = await listener.open_stream(ADDRESS)
            await open_dialed(
                stream, host="hub", peer=Peer("hub", 0), options=Options(), name="bad"
            )
            await settled()
            assert drain(events) == [
                ("ConnectionReceived", "good"),
                ("ConnectionReceived", "bad"),
                ("ConnectionFailure", "bad"),
            ]
            assert (await client.request("GET", "/")).status == 200
    assert "ZeroDivisionError" in caplog.text


async def test_a_broken_handler_ends_one_request_alone(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Echo):
        def handle(self, exchange: Exchange) -> None:
            if exchange.request.target == b"/broken":
                raise ZeroDivisionError
            super().handle(exchange)

    listener = MemoryListener()
    async with server_of(listener, handler=Broken("hub")):
        async with client_of(listener) as client:
            with pytest.raises(Exception, match="INTERNAL"):
                await client.request("GET", "/broken")
            assert (await client.request("GET", "/")).status == 200
            assert client.statistics().connections == 1
    assert "ZeroDivisionError" in caplog.text


async def test_a_name_too_long_is_refused(autojump_clock: MockClock) -> None:
    listener = MemoryListener()
    async with server_of(listener) as server:
        with pytest.raises(Exception, match=r"name|handshake"):
            async with client_of(listener, name="x" * 1000, backoff=Backoff(tries=1)):
                pass
        assert len(server.connections) == 0


async def test_no_secret_in_the_log(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    listener = MemoryListener()
    async with server_of(listener) as server:
        client = Client(
            parse_url("ws://hub/?token=sesame"),
            open_stream=listener.open_stream,
            headers=[(b"Authorization", b"Bearer sesame")],
            metadata={"key": "sesame"},
            name="edge",
        )
        async with client:
            await settled()
            (connection,) = server.connections
    ours = [r.getMessage() for r in caplog.records if r.name == "restsock.server"]
    assert any(connection.id in line and "edge" in line for line in ours)
    assert not any("\n" in line for line in ours)
    assert "sesame" not in caplog.text


@pytest.mark.parametrize(
    "words",
    [
        b"GET /?token=sesame HTTP/9\r\n\r\n",
        b"GET /x y?token=sesame HTTP/1.1\r\nHost: hub\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer sesame\x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: hub\r\nCookie: a=sesame\r\n\r\n",
        UPGRADE.replace(b"GET / ", b"GET /?token=sesame\xff "),
        UPGRADE.replace(b"GET / ", b"GET /?token=sesame ").replace(b"v1", b"sesame"),
    ],
)
async def test_no_secret_of_a_stranger_in_the_log(
    words: bytes, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    listener = MemoryListener()
    async with server_of(listener):
        stream = await listener.open_stream(ADDRESS)
        await stream.send_all(words)
        await settled()
        await stream.aclose()
        await settled()
    assert "no connection" in caplog.text
    assert "sesame" not in caplog.text


# --- sockets ------------------------------------------------------------------------------


async def test_bind_errors_are_raised() -> None:
    async with listen("127.0.0.1", 0) as server:
        app = Echo()
        second = Server("127.0.0.1", server.address[1], handler=app)
        with pytest.raises(OSError, match=r"(?i)in use"):
            async with second:
                pytest.fail("entered")
        assert not app.running_now
        assert second.closed
        assert [e async for e in second.events()] == []


async def test_an_unknown_host_is_raised() -> None:
    with pytest.raises(OSError, match=r".+"):
        async with listen("256.256.256.256", 0):
            pytest.fail("entered")


async def test_the_address_of_port_0() -> None:
    server = listen("127.0.0.1", 0)
    with pytest.raises(RuntimeError):
        _ = server.address
    with pytest.raises(RuntimeError):
        server.route("edge")
    async with server:
        host, port = server.address
        assert host == "127.0.0.1"
        assert port > 0
        assert server.url == f"ws://127.0.0.1:{port}/"
        assert server.url in repr(server)
        with pytest.raises(RuntimeError):
            async with server:
                pass
    with pytest.raises(OSError, match=r".+"):
        await trio.open_tcp_stream(host, port)


async def test_one_that_was_never_entered() -> None:
    server = listen("127.0.0.1", 0)
    await server.aclose()
    await server.aclose()
    with pytest.raises(RuntimeError):
        async with server:
            pass


async def test_a_server_speaks_http_to_a_browser() -> None:
    async with listen("127.0.0.1", 0) as server:
        stream = await trio.open_tcp_stream(*server.address)
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n")
        answer = b""
        while data := await stream.receive_some():
            answer += data
        await stream.aclose()
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 426 ")
        assert b"restsock" in body


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: listen("127.0.0.1", 65536), ValueError),
        (lambda: listen("127.0.0.1", -1), ValueError),
        (lambda: listen("127.0.0.1", "80"), TypeError),  # type: ignore[arg-type]
        (lambda: listen("127.0.0.1", True), TypeError),
        (lambda: listen(b"127.0.0.1", 0), TypeError),  # type: ignore[arg-type]
        (lambda: listen("127.0.0.1", 0, workers=3), TypeError),
    ],
)
def test_arguments_are_checked(make: Callable[[], Server], error: type[Exception]) -> None:
    with pytest.raises(error):
        make()


async def test_refusal_of_a_wrong_listener() -> None:
    """The client learns from a plain web server that it is none of ours."""

    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        port = listeners[0].socket.getsockname()[1]
        with pytest.raises(HandshakeError) as caught:
            async with Client(parse_url(f"ws://127.0.0.1:{port}/")):
                pytest.fail("entered")
        assert caught.value.status == 200
        nursery.cancel_scope.cancel()
