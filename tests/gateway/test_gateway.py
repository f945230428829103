"""A gateway as a whole: on all kinds of listeners, beside others, and what it runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from prometheus_client import CollectorRegistry
from websockets.sync.client import connect as foreign_connect

import restsock
import restsock.aio
import restsock.sync
from restsock.gateway import (
    Action,
    Backend,
    Call,
    CallFailed,
    Channel,
    Delivery,
    Gateway,
    Message,
    Middleware,
    Peers,
    Pipe,
    Reply,
    Router,
    Session,
)
from restsock.instruments.prometheus import GatewayCollector
from tests.gateway.site import Hooks, action, connected, echo, served
from tests.waiting import until
from tests.websockets.site import PATIENCE, foreign_answers, in_thread, url_of


class Part(Backend):
    """Notes what happens to it."""

    def __init__(self, name: str, log: list[str], inner: Iterable[Any] = ()) -> None:
        self.name = name
        self.log = log
        self.inner = inner
        self.peers: Peers | None = None
        self.loop: Any = None

    def bind(self, peers: Peers, loop: asyncio.AbstractEventLoop | None) -> None:
        self.log.append(f"bind {self.name}")
        self.peers, self.loop = peers, loop

    def parts(self) -> Iterable[Any]:
        return self.inner

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.log.append(f"start {self.name}")
        async with trio.open_nursery():
            yield
        self.log.append(f"end {self.name}")

    async def call(self, message: Message) -> Reply:
        assert self.peers is not None
        return Reply(self.name)


class Before(Middleware):
    """Notes what happens to it."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name = name
        self.log = log

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.log.append(f"start {self.name}")
        yield
        self.log.append(f"end {self.name}")

    async def __call__(self, message: Message, call_next: Call) -> Reply:
        return await call_next(message)


async def test_backends_and_middleware_are_started_once_each_and_end_after_the_sessions() -> None:
    log: list[str] = []
    inner = Part("inner", log)
    shared = Part("shared", log, [inner])
    limit, own = Before("limit", log), Before("own", log)

    async def disconnect(session: Session, code: int, reason: str) -> None:
        log.append("gone")

    gateway = Gateway(
        [
            action(
                {"a": shared, "b": Pipe(inner, [own, limit])},
                middleware=[limit],
                on_disconnect=disconnect,
            ),
            action({"c": shared, "d": Part("last", log)}, "/other", middleware=[limit]),
        ]
    )
    async with served(gateway) as server:
        async with connected(server) as client, connected(server, "/other") as other:
            assert (await client.ask({"action": "a"}))["body"] == "shared"
            assert (await client.ask({"action": "b"}))["body"] == "inner"
            assert (await other.ask({"action": "d"}))["body"] == "last"
            async with trio.open_nursery() as nursery:
                nursery.start_soon(server.aclose)
                await client.end()
                await other.end()
    order = ["limit", "inner", "shared", "own", "last"]
    assert log == [
        *("bind inner", "bind shared", "bind last"),
        *(f"start {name}" for name in order),
        "gone",
        *(f"end {name}" for name in reversed(order)),
    ]
    assert shared.peers is not None


async def test_a_backend_calls_peers_of_the_listener_on_the_same_port() -> None:
    async def app(request: restsock.Request) -> restsock.Response:
        return restsock.Response(200, body=b"from behind NAT")

    class ToPeer(Part):
        async def call(self, message: Message) -> Reply:
            assert self.peers is not None
            response = await self.peers.route(message.body["peer"]).request("GET", "/")
            return Reply(response.body)

    gateway = Gateway([action(ToPeer("peer", []))])
    options = restsock.Options(timeouts=restsock.Timeouts(connect=0.05, close=0.5))
    async with (
        served(gateway, options=options) as server,
        restsock.connect(server.url, app=app, name="edge-1"),
        connected(server) as client,
    ):
        assert (await client.ask({"peer": "edge-1"}))["body"] == "ZnJvbSBiZWhpbmQgTkFU"
        told = await client.ask({"peer": "edge-2", "id": 1})
        assert (told["status"], told["error"]["retry_after"]) == (503, 1)


async def test_it_stands_beside_other_endpoints_and_plain_requests_do_no_harm() -> None:
    async def app(request: restsock.Request) -> restsock.Response:
        return restsock.Response(200, body=b"plain")

    gateway = Gateway([action()])
    async with restsock.listen(
        "127.0.0.1", 0, endpoints={**gateway, "/x": app}, health_path="/health"
    ) as server:
        for path, status in [("/x", b"200"), ("/ws", b"426"), ("/health", b"200"), ("/y", b"404")]:
            stream = await trio.open_tcp_stream("127.0.0.1", server.address[1])
            request = f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
            await stream.send_all(request.encode())
            answer = bytes(await stream.receive_some(65536))
            assert answer.split()[1] == status
            await stream.aclose()
        async with connected(server) as client:
            assert (await client.ask({"action": "echo"}))["status"] == 200


async def test_a_path_below_a_channel_is_none() -> None:
    async with served(action()) as server:
        with pytest.raises(restsock.WebSocketRefused) as caught:
            async with connected(server, "/ws/below"):
                pass
        assert caught.value.status == 404


async def test_a_foreign_client_over_tls() -> None:
    from tests.tls_pair import contexts

    async with served(action(), tls=contexts()[1]) as server:

        def talk() -> None:
            asked = json.dumps({"action": "echo", "id": 1, "pad": "x" * 10_000})
            (told,) = foreign_answers(server, [asked])
            assert json.loads(told)["body"] == {"pad": "x" * 10_000}

        await in_thread(talk)


def test_on_a_listener_for_threads() -> None:
    def blocking(message: Message) -> Any:
        message.session.groups.add("g")
        return message.body

    gateway = Gateway([action(blocking)])
    with restsock.sync.listen("127.0.0.1", 0, endpoints=gateway) as server:
        with foreign_connect(url_of(server), proxy=None) as client:
            client.send('{"id": 1, "n": 2}')
            assert json.loads(client.recv(PATIENCE)) == {"id": 1, "status": 200, "body": {"n": 2}}
            [(_, delivery)] = gateway.groups.send("g", {"pushed": 1}).items()
            assert delivery is Delivery.SENT
            assert json.loads(client.recv(PATIENCE)) == {"pushed": 1}
            assert gateway.health().ok
    assert not gateway.health().ok
    assert gateway.sessions.broadcast(1) == {}


def test_on_a_listener_for_asyncio() -> None:
    hooks: list[Any] = []

    async def connect(session: Session) -> None:
        await asyncio.sleep(0)
        hooks.append(asyncio.get_running_loop())
        assert await session.send({"hello": 1}) is Delivery.QUEUED

    async def disconnect(session: Session, code: int, reason: str) -> None:
        await asyncio.sleep(0)
        hooks.append(code)

    async def answer(message: Message) -> Any:
        await asyncio.sleep(0)
        assert await message.session.send({"progress": 1}) is Delivery.SENT
        return message.body

    part = Part("part", [])
    gateway = Gateway(
        [action({"a": answer, "b": part}, on_connect=connect, on_disconnect=disconnect)]
    )

    async def main() -> None:
        async with restsock.aio.listen("127.0.0.1", 0, endpoints=gateway) as server:
            from restsock.websockets.aio import connect

            async with connect(url_of(server), proxy=False) as client:
                assert json.loads(await client.receive()) == {"hello": 1}
                await client.send('{"action": "a", "id": 1, "n": 2}')
                assert json.loads(await client.receive()) == {"progress": 1}
                told = json.loads(await client.receive())
                assert told == {"id": 1, "status": 200, "body": {"n": 2}}
                assert len(gateway.sessions.broadcast({"x": 1})) == 1
                assert json.loads(await client.receive()) == {"x": 1}
            assert part.loop is asyncio.get_running_loop()
        assert hooks == [asyncio.get_running_loop(), 1000]

    asyncio.run(main())


async def test_it_can_be_served_to_a_peer() -> None:
    """Without a listener there are no peers to call, and all else works."""

    class ToPeer(Part):
        async def call(self, message: Message) -> Reply:
            assert self.peers is not None
            return Reply(self.peers.route("a").name)

    gateway = Gateway([action({"echo": echo, "peer": ToPeer("peer", [])})])
    async with restsock.listen("127.0.0.1", 0) as server:
        client = restsock.connect(server.url, app=gateway["/ws"], name="edge")
        async with client, server.route("edge").websocket("/ws") as websocket:
            await websocket.send('{"action": "echo", "id": 1}')
            assert json.loads(await websocket.receive())["status"] == 200
            await websocket.send('{"action": "peer", "id": 2}')
            assert json.loads(await websocket.receive())["status"] == 503


async def test_one_gateway_serves_one_listener_at_a_time_and_another_one_after_it() -> None:
    gateway = Gateway([action()])
    for _ in range(2):
        async with served(gateway) as server, connected(server) as client:
            assert (await client.ask({"action": "echo"}))["status"] == 200
            with pytest.raises(RuntimeError, match="another listener"):
                restsock.listen("127.0.0.1", 0, endpoints=gateway)
    assert gateway.statistics().total.sessions_total == 2


async def test_what_it_counts() -> None:
    async def fail(message: Message) -> None:
        raise CallFailed(503, "no")

    hooks = Hooks()
    gateway = Gateway(
        [
            action({"echo": echo, "fail": fail}, on_disconnect=hooks.disconnect),
            action({"echo": echo}, "/other"),
        ]
    )
    assert gateway.health().reasons == (
        "the gateway is not served: give it to listen(endpoints=...)",
    )
    async with served(gateway) as server:
        async with connected(server) as client, connected(server, "/other") as other:
            for asked in ("echo", "echo", "fail", "none"):
                await client.ask({"action": asked})
            await client.ask('{"action": 1}')
            await other.ask({"action": "echo"})
            assert gateway.health() == restsock.Health(True)
            found = gateway.statistics()
            assert found.channels["/ws"].calls == {"ok": 2, "client_error": 1, "server_error": 1}
            assert found.channels["/ws"].refused == {"malformed": 1}
            assert found.channels["/other"].calls == {"ok": 1}
            assert found.total.calls == {"ok": 3, "client_error": 1, "server_error": 1}
            assert (found.total.sessions_active, found.total.sessions_total) == (2, 2)
            assert (found.total.messages_received, found.total.in_flight) == (6, 0)
            await client.websocket.aclose(3999)
            await other.websocket.aclose()
            await until(lambda: gateway.statistics().total.sessions_active == 0)
    assert gateway.statistics().total.closed == {"other": 1, "1000": 1}


async def test_prometheus_can_fetch_it() -> None:
    gateway = Gateway([action()])
    collector = GatewayCollector(gateway.statistics)
    registry = CollectorRegistry()
    registry.register(collector)
    async with served(gateway) as server, connected(server) as client:
        await client.ask({"action": "echo"})
        await client.ask({"action": "none"})
        [session] = gateway.sessions
        session.groups.add("g")
        await session.send(1)
        text = (await in_thread(collector.exposition)).decode()
    for line in (
        'restsock_gateway_sessions_active{channel="/ws"} 1.0',
        'restsock_gateway_sessions_total{channel="/ws"} 1.0',
        'restsock_gateway_calls_total{channel="/ws",outcome="ok"} 1.0',
        'restsock_gateway_calls_total{channel="/ws",outcome="client_error"} 1.0',
        'restsock_gateway_pushes_total{channel="/ws",delivery="sent"} 1.0',
        "restsock_gateway_groups 1.0",
    ):
        assert f"{line}\n" in text


def test_a_gateway_is_a_mapping_of_paths() -> None:
    gateway = Gateway([action(), action(echo, "/other")])
    assert list(gateway) == ["/ws", "/other"]
    assert len(gateway) == 2
    assert gateway["/ws"].channel is gateway.channels["/ws"]
    assert repr(gateway) == "<Gateway of /ws, /other, 0 sessions>"
    with pytest.raises(KeyError):
        gateway["/no"]


@pytest.mark.parametrize(
    ("channels", "error", "words"),
    [
        ([], ValueError, "needs a channel"),
        ([action(), action()], ValueError, "two channels"),
        ([1], TypeError, "object of Channel"),
    ],
)
def test_wrong_channels_are_refused(channels: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Gateway(channels)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"path": 1}, TypeError),
        ({"path": "ws"}, ValueError),
        ({"dialect": "action"}, TypeError),
        ({"router": {}}, TypeError),
        ({"router": echo}, TypeError),
        ({"middleware": [echo]}, TypeError),
        ({"on_connect": 1}, TypeError),
        ({"on_disconnect": "x"}, TypeError),
        ({"in_flight": 0}, ValueError),
        ({"in_flight": True}, ValueError),
        ({"max_message": 1.5}, ValueError),
        ({"max_queue": -1}, ValueError),
        ({"max_sessions": 0}, ValueError),
        ({"idle": 0}, ValueError),
        ({"max_age": 0}, ValueError),
        ({"max_age": "1h"}, ValueError),
        ({"grace": -1}, ValueError),
        ({"compression": 1}, TypeError),
        ({"subprotocols": "a"}, TypeError),
        ({"origins": ["nonsense"]}, ValueError),
        ({"auth": 1}, TypeError),
        ({"trusted_proxies": "x"}, ValueError),
    ],
)
def test_options_of_channels_are_checked(options: Any, error: type[Exception]) -> None:
    right: dict[str, Any] = {"path": "/ws", "dialect": Action(), "router": Router({"a": echo})}
    with pytest.raises(error):
        Channel(**{**right, **options})


def test_a_channel_cannot_be_changed() -> None:
    channel = action()
    assert repr(channel) == "<Channel '/ws'>"
    with pytest.raises(AttributeError):
        channel.in_flight = 1  # type: ignore[misc]
