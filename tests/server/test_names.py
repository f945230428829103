"""Two peers of one name: replaced, rejected or shared, and never both unless they share."""

from __future__ import annotations

import json
import ssl
from contextlib import AsyncExitStack, ExitStack
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
import trustme
from trio.testing import MockClock

from restsock import (
    Backoff,
    Client,
    ConnectionClosed,
    Limits,
    Options,
    PeerUnavailable,
    Server,
    connect,
    listen,
)
from restsock import sync as restsock_sync
from restsock.auth import Principal, Upgrade
from restsock.connection import Connection, Exchange, Request, Response
from restsock.protocol import ResetCode
from restsock.server import Connections
from restsock.server._registrar import objection
from tests.e2e.raw_peer import RawPeer, envelope, hello
from tests.memory_network import Echo, MemoryListener, chances
from tests.server.test_server import ADDRESS, STEADY, drain, server_of, settled
from tests.waiting import until


def client(listener: MemoryListener, handler: Any = None, **options: Any) -> Client:
    options.setdefault("backoff", STEADY)
    return Client(
        ADDRESS,
        open_stream=listener.open_stream,
        chance=chances(1.0),
        name="edge",
        handler=handler,
        **options,
    )


# --- reject -------------------------------------------------------------------------------


async def test_the_newer_is_rejected_until_the_older_has_gone(autojump_clock: MockClock) -> None:
    listener = MemoryListener()
    async with server_of(listener, names="reject") as server, trio.open_nursery() as nursery:
        events = server.events()
        leave = trio.Event()

        async def older(task_status: trio.TaskStatus[None]) -> None:
            async with client(listener, Echo("older")):
                task_status.started()
                await leave.wait()

        async def leave_later() -> None:
            await trio.sleep(10)
            assert [c.name for c in server.connections] == ["edge"]
            assert (await server.request("edge", "GET", "/")).content == b"older: GET /"
            leave.set()

        await nursery.start(older)
        nursery.start_soon(leave_later)
        async with client(listener, Echo("newer")) as newer:
            assert trio.current_time() == pytest.approx(15)  # 0, 1, 3, 7, 15
            assert newer.statistics().failures == 4
            assert (await server.request("edge", "GET", "/")).content == b"newer: GET /"
        await settled()
        # Subscribers hear of nobody who was turned away.
        assert drain(events) == [
            ("ConnectionReceived", "edge"),
            ("ConnectionClosed", "edge"),
            ("ConnectionReceived", "edge"),
            ("ConnectionClosed", "edge"),
        ]
        assert server.limit_log.counts["names"] == 4


async def test_the_words_and_the_code_of_a_rejection() -> None:
    async with listen("127.0.0.1", 0, names="reject") as server:
        async with connect(server.url, name="edge") as older:
            assert older.connection is not None
            await newest_is(server, older.connection.id)
            peer = RawPeer(await trio.open_tcp_stream(*server.address))
            await peer.upgrade()
            await peer.text(hello(name="edge"))
            assert await peer.close_code() == (4006, "the name is taken")
            await peer.close()
            with pytest.raises(Exception, match="4006 the name is taken") as caught:
                async with connect(server.url, name="edge", backoff=Backoff(tries=1)):
                    pass
            assert cast("Any", caught.value).retryable
            # Those without a name, and of another one, are welcome.
            async with connect(server.url), connect(server.url, name="edge-2"):
                pass
            assert older.statistics().connections == 1
            assert server.connections.by_name("edge") is not None


async def test_two_at_once_and_one_gets_it() -> None:
    """Both are past the first look when the other one is entered: the second look counts."""
    async with listen("127.0.0.1", 0, names="reject") as server:
        events = server.events()
        peers = [RawPeer(await trio.open_tcp_stream(*server.address)) for _ in range(2)]
        for peer in peers:
            await peer.upgrade()
            await peer.text(hello(name="edge"))
            welcome = json.loads((await peer.message()).payload)
            peer.connection_id = welcome["payload"]["connection_id"]
        for peer in peers:
            await peer.text(envelope("ready", {"connection_id": peer.connection_id}))
        assert await peers[1].close_code() == (4006, "the name is taken")
        assert [c.id for c in server.connections] == [peers[0].connection_id]
        only = server.connections.by_name("edge")
        assert only is not None
        assert only.id == peers[0].connection_id
        assert drain(events) == [("ConnectionReceived", "edge")]
        for peer in peers:
            await peer.close()


async def newest_is(server: Server, id: str) -> None:
    """Waits until the server has entered a connection, which is a moment behind its client."""
    await until(lambda: [c.id for c in server.connections.all_by_name("edge")][-1:] == [id])


# --- replace ------------------------------------------------------------------------------


async def test_the_newer_replaces_the_older_and_both_are_told() -> None:
    async with listen("127.0.0.1", 0) as server:
        async with connect(server.url, name="edge") as older:
            async with connect(server.url, name="edge") as newer:
                closed = await older.wait_closed()
                assert (closed.code, closed.by_peer) == (4004, True)
                assert newer.connection is not None
                await newest_is(server, newer.connection.id)
                found = server.connections.all_by_name("edge")
                assert [c.id for c in found] == [newer.connection.id]
        assert server.connections.all_by_name("edge") == []


@pytest.mark.parametrize("names", ["replace", "share"])
async def test_a_name_is_not_for_another_principal(names: str) -> None:
    """Whoever proves to be somebody else is turned away, and the older one notices nothing."""

    async def auth(upgrade: Upgrade) -> Principal:
        return Principal(upgrade.header("X-Who") or "?", may_register=["edge"])

    async with listen("127.0.0.1", 0, names=names, auth=auth) as server:
        async with connect(server.url, name="edge", headers={"X-Who": "ann"}) as older:
            assert older.connection is not None
            await newest_is(server, older.connection.id)
            with pytest.raises(Exception, match="the name is taken by another principal"):
                async with connect(
                    server.url,
                    name="edge",
                    headers={"X-Who": "bob"},
                    backoff=Backoff(tries=1),
                ):
                    pass
            assert older.connection is not None
            await newest_is(server, older.connection.id)
            async with connect(server.url, name="edge", headers={"X-Who": "ann"}) as again:
                assert again.connection is not None
                await newest_is(server, again.connection.id)


@pytest.mark.parametrize("names", ["replace", "reject", "share"])
async def test_a_name_is_not_for_another_principal_while_one_is_ending(names: str) -> None:
    """The newest one drains, with a request in flight; another principal may have the name, too."""

    async def auth(upgrade: Upgrade) -> Principal:
        return Principal(upgrade.header("X-Who") or "?", may_register=["edge"])

    inside, go = trio.Event(), trio.Event()

    async def serve(request: Request) -> Response:
        inside.set()
        await go.wait()
        return Response(200, [], b"ok")

    async def attempt(who: str) -> None:
        async with connect(
            server.url, name="edge", headers={"X-Who": who}, backoff=Backoff(tries=1)
        ):
            pass

    async with (
        listen("127.0.0.1", 0, names=names, auth=auth) as server,
        trio.open_nursery() as nursery,
        connect(server.url, name="edge", app=serve, headers={"X-Who": "ann"}) as first,
    ):
        assert first.connection is not None
        await newest_is(server, first.connection.id)
        nursery.start_soon(server.request, "edge", "GET", "/")
        await inside.wait()
        there = server.connections.by_name("edge")
        assert there is not None
        there.drain_soon(1000)
        assert not there.takes_requests
        with pytest.raises(Exception, match="the name is taken by another principal"):
            await attempt("bob")
        await attempt("ann")  # whose own it is
        with pytest.raises(Exception, match="the name is taken by another principal"):
            await attempt("bob")  # though the newest has gone meanwhile
        go.set()
        await until(lambda: not server.connections.holders("edge"))
        await attempt("bob")


def fake(principal: str | None, *, takes_requests: bool = True) -> Connection:
    who = None if principal is None else SimpleNamespace(name=principal)
    return cast("Connection", SimpleNamespace(principal=who, takes_requests=takes_requests))


@pytest.mark.parametrize(
    ("older", "newer", "names", "expected"),
    [
        (None, None, "replace", None),
        (None, None, "share", None),
        (None, None, "reject", "the name is taken"),
        ("ann", "ann", "replace", None),
        ("ann", "ann", "reject", "the name is taken"),
        ("ann", "bob", "replace", "the name is taken by another principal"),
        ("ann", "bob", "share", "the name is taken by another principal"),
        ("ann", None, "replace", "the name is taken by another principal"),
        (None, "bob", "replace", "the name is taken by another principal"),
    ],
)
def test_who_may_have_a_name(
    older: str | None, newer: str | None, names: str, expected: str | None
) -> None:
    principal = fake(newer).principal
    assert objection([], principal, names) is None
    assert objection([fake(older)], principal, names) == expected
    # One that is ending makes room, but for its own principal alone.
    ending = fake(older, takes_requests=False)
    same = older == newer
    assert objection([ending], principal, names) == (None if same else expected)
    # All that are there count, in whatever order they came.
    assert objection([ending, fake(older)], principal, names) == expected
    assert objection([fake(older), ending], principal, names) == expected


@pytest.mark.parametrize("wrong", ["", "Replace", "both", None])
def test_no_such_policy(wrong: Any) -> None:
    with pytest.raises(ValueError, match='names must be "replace", "reject" or "share"'):
        listen("127.0.0.1", 0, names=wrong)


# --- share --------------------------------------------------------------------------------


async def test_each_request_goes_to_exactly_one(autojump_clock: MockClock) -> None:
    listener = MemoryListener()
    echoes = [Echo(f"edge {number}") for number in range(3)]
    async with server_of(listener, names="share") as server:
        async with (
            client(listener, echoes[0]) as one,
            client(listener, echoes[1]) as two,
            client(listener, echoes[2]) as three,
        ):
            await settled()
            ids = [peer.connection.id for peer in (one, two, three) if peer.connection]
            assert [c.id for c in server.connections.all_by_name("edge")] == ids
            newest = server.connections.by_name("edge")
            assert newest is not None
            assert newest.id == ids[2]
            for number in range(30):
                await server.request("edge", "GET", f"/{number}")
            seen = [target for echo in echoes for target in echo.seen]
            assert sorted(seen) == sorted(f"/{number}" for number in range(30))
            assert [len(echo.seen) for echo in echoes] == [10, 10, 10]
        assert server.connections.all_by_name("edge") == []
        assert server.connections.holders("edge") == ()


class Shares:
    """Two peers of each of two names, over a real socket, and how many requests each has got."""

    def __init__(self) -> None:
        self.got: dict[str, list[int]] = {"one": [0, 0], "two": [0, 0]}

    def app(self, name: str, number: int) -> Any:
        async def serve(request: Request) -> Response:
            self.got[name][number] += 1
            return Response(200, [], b"ok")

        return serve

    def check(self) -> None:
        assert self.got == {"one": [5, 5], "two": [5, 5]}


@pytest.fixture(params=["ws", "wss"])
def secured(request: pytest.FixtureRequest) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `listen` and `connect` take for TLS, or for none."""
    if request.param == "ws":
        return {}, {}
    ca = trustme.CA()
    here = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    here.minimum_version = ssl.TLSVersion.TLSv1_2
    ca.issue_cert("127.0.0.1").configure_cert(here)
    there = ssl.create_default_context()
    there.minimum_version = ssl.TLSVersion.TLSv1_2
    ca.configure_trust(there)
    return {"tls": here}, {"tls": there}


async def test_each_gets_its_share(secured: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """One request after the other, to the two names in turn, and the names do not mix."""
    shares = Shares()
    async with listen("127.0.0.1", 0, names="share", **secured[0]) as server:
        async with AsyncExitStack() as stack:
            for name in ("one", "two"):
                for number in range(2):
                    app = shares.app(name, number)
                    await stack.enter_async_context(
                        connect(server.url, name=name, app=app, **secured[1])
                    )
            await until(lambda: len(server.connections) == 4)
            for _ in range(10):
                for name in ("one", "two"):
                    assert server.route(name).connection is server.connections.by_name(name)
                    await server.request(name, "GET", "/")
    shares.check()


def test_each_gets_its_share_from_threads(
    secured: tuple[dict[str, Any], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    picked: list[str] = []
    pick = Connections.pick

    def counted(self: Connections, name: str) -> Connection | None:
        picked.append(name)
        return pick(self, name)

    monkeypatch.setattr(Connections, "pick", counted)
    shares = Shares()
    with (
        restsock_sync.listen("127.0.0.1", 0, names="share", **secured[0]) as server,
        ExitStack() as stack,
    ):
        events = server.events()
        for name in ("one", "two"):
            for number in range(2):
                app = shares.app(name, number)
                stack.enter_context(
                    restsock_sync.connect(server.url, name=name, app=app, **secured[1])
                )
                next(events)
        for _ in range(10):
            for name in ("one", "two"):
                assert server.request(name, "GET", "/").status == 200
    shares.check()
    assert len(picked) == 20  # once for each request


async def test_the_one_with_the_least_to_do(autojump_clock: MockClock) -> None:
    listener = MemoryListener()
    echoes = [Echo("busy"), Echo("free")]
    async with server_of(listener, names="share") as server:
        async with client(listener, echoes[0]) as busy, client(listener, echoes[1]):
            await settled()
            assert busy.connection is not None
            first = server.connections.by_id(busy.connection.id)
            assert first is not None
            async with trio.open_nursery() as nursery:
                nursery.start_soon(first.request, "GET", "/hang")
                await settled()
                for _ in range(10):
                    await server.request("edge", "GET", "/")
                assert len(echoes[1].seen) == 10
                nursery.cancel_scope.cancel()


class Refuser(Echo):
    def handle(self, exchange: Exchange) -> None:
        self.seen.append(exchange.request.target.decode())
        exchange.observer = self._observe
        exchange.reset(ResetCode.REFUSED, "no")


async def test_one_that_refuses_is_skipped(autojump_clock: MockClock) -> None:
    listener = MemoryListener()
    refuser, echo = Refuser(), Echo()
    async with server_of(listener, names="share") as server:
        async with client(listener, refuser), client(listener, echo):
            await settled()
            for _ in range(10):
                response = await server.request("edge", "POST", "/", body=b"once")
                assert response.status == 200
            assert len(echo.seen) == 10
            assert len(refuser.seen) == 1
            await trio.sleep(1.1)  # behind which it has another chance
            for _ in range(10):
                assert (await server.request("edge", "GET", "/")).status == 200
            assert len(refuser.seen) == 2


async def test_one_that_is_leaving_or_gone_is_skipped(autojump_clock: MockClock) -> None:
    listener = MemoryListener()
    first, second = Echo("first"), Echo("second")
    async with server_of(listener, names="share") as server:
        async with client(listener, first) as leaving:
            async with client(listener, second):
                await settled()
                assert leaving.connection is not None
                leaving.connection.multiplexer.send_goaway(1001)
                leaving.connection.writer.wake()
                await settled()
                for _ in range(6):
                    await server.request("edge", "GET", "/")
                assert (len(first.seen), len(second.seen)) == (0, 6)
                assert len(server.connections.all_by_name("edge")) == 2
            # The other one leaves, and only the one that takes nothing is there.
            await settled()
            with pytest.raises(PeerUnavailable):
                await server.request("edge", "GET", "/", timeout=1)


async def test_a_full_one_is_passed_over(autojump_clock: MockClock) -> None:
    listener = MemoryListener()
    small, large = Echo("small"), Echo("large")
    async with server_of(listener, names="share") as server:
        async with (
            client(listener, small, options=Options(limits=Limits(max_streams=1))),
            client(listener, large),
            trio.open_nursery() as nursery,
        ):
            await settled()
            for _ in range(6):
                nursery.start_soon(server.request, "edge", "GET", "/hang")
                await settled()
            assert (len(small.seen), len(large.seen)) == (1, 5)
            nursery.cancel_scope.cancel()


async def test_one_that_is_killed_and_what_is_under_way() -> None:
    """One of two is killed: its request may have run and is not repeated, the others go on."""
    asked: list[str] = []
    go = trio.Event()

    async def serve(request: Request) -> Response:
        asked.append(request.target)
        if request.target == "/wait":
            await go.wait()
        return Response(200, [], b"ok")

    async with listen("127.0.0.1", 0, names="share") as server:
        async with (
            connect(server.url, app=serve, name="edge") as one,
            connect(server.url, app=serve, name="edge"),
        ):
            await until(lambda: len(server.connections) == 2)
            with trio.fail_after(10):
                async with trio.open_nursery() as nursery:

                    async def cut_off() -> None:
                        assert one.connection is not None
                        first = server.connections.by_id(one.connection.id)
                        assert first is not None
                        with pytest.raises(ConnectionClosed) as caught:
                            await first.request("GET", "/wait")
                        assert caught.value.may_have_run

                    nursery.start_soon(cut_off)
                    await until(lambda: asked)
                    assert one.connection is not None
                    await trio.aclose_forcefully(one.connection._stream)
                    for _ in range(20):
                        assert (await server.request("edge", "POST", "/")).status == 200
            assert asked.count("/wait") == 1
            assert asked.count("/") == 20


# --- the registry -------------------------------------------------------------------------


def peer(id: str, name: str | None = "edge") -> Connection:
    return cast(
        "Connection",
        SimpleNamespace(
            id=id,
            name=name,
            metadata=None,
            takes_requests=True,
            outstanding=0,
            turn=0,
            refused_lately=False,
            multiplexer=SimpleNamespace(can_open=True),
        ),
    )


def test_sharing_comes_and_goes() -> None:
    registry = Connections()
    one, two, three = peer("1"), peer("2"), peer("3")
    assert registry.all_by_name("edge") == []
    for each in (one, two, three):
        assert registry.add(each, share=True) is None
    assert registry.all_by_name("edge") == [one, two, three]
    assert registry.by_name("edge") is three
    registry.remove(three)
    assert registry.by_name("edge") is two
    registry.remove(one)
    assert registry.by_name("edge") is two
    assert registry.all_by_name("edge") == [two]
    assert registry.pick("edge") is two
    registry.remove(two)
    assert registry.by_name("edge") is None
    assert registry.pick("edge") is None
    assert registry.all_by_name(7) == []
    assert registry.holders("edge") == ()


def test_pick_prefers() -> None:
    registry = Connections()
    peers = [cast("Any", peer(str(number))) for number in range(4)]
    for each in peers:
        registry.add(each, share=True)
    # Whoever was given one the longest time ago; to look changes nothing.
    for each, turn in zip(peers, (7, 3, 9, 5), strict=True):
        each.turn = turn
    assert all(registry.pick("edge") is peers[1] for _ in range(3))
    peers[1].turn = 10
    next_one: Any = registry.pick("edge")
    assert next_one is peers[3]
    peers[0].refused_lately = True
    peers[1].multiplexer.can_open = False
    peers[2].outstanding = 5
    assert all(registry.pick("edge") is peers[3] for _ in range(8))
    peers[3].takes_requests = False
    assert all(registry.pick("edge") is peers[2] for _ in range(8))
    peers[2].takes_requests = False
    assert all(registry.pick("edge") is peers[1] for _ in range(8))
    registry.remove(peers[1])
    assert all(registry.pick("edge") is peers[0] for _ in range(8))
    peers[0].takes_requests = False
    assert registry.pick("edge") is peers[3]  # the newest, where none is any good


def test_for_threads() -> None:
    with restsock_sync.listen("127.0.0.1", 0, names="share") as server:
        with (
            restsock_sync.connect(server.url, name="edge"),
            restsock_sync.connect(server.url, name="edge"),
        ):
            events = server.events()
            while len(server.connections) < 2:
                next(events)
            assert len(server.connections.all_by_name("edge")) == 2
            assert server.connections.all_by_name("other") == []
