"""`WebSocket`: one upstream for each client, or a few for all, over real sockets."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from restsock.gateway import CallFailed, JSONIds, Message, Reply, WebSocket
from restsock.gateway.backends._link import code_for_client, code_for_server
from restsock.protocol import CLOSE_CODES
from restsock.websockets import Endpoint, Reconnect, ServerWebSocket
from tests.gateway.stand_in import Client, client, message, running
from tests.waiting import until
from tests.websockets.site import listening, url_of

Serve = Callable[[ServerWebSocket], Awaitable[None]]
QUICK = Reconnect(initial=0.01, cap=0.02, jitter=False)


class Upstream:
    """A server of JSON with ids.

    Attributes:
        sockets: Its clients, also those that have left.
        held: Calls that it was told to hold, by what they ask.
    """

    def __init__(self) -> None:
        self.sockets: list[ServerWebSocket] = []
        self.held: dict[int, Any] = {}

    async def serve(self, websocket: ServerWebSocket) -> None:
        self.sockets.append(websocket)
        async for data in websocket:
            asked = json.loads(data)
            if asked.get("do") == "hold":
                self.held[asked.get("n")] = asked
            elif asked.get("do") == "close":
                await websocket.aclose(asked["code"], asked["reason"])
            elif asked.get("do") == "large":
                await websocket.send(json.dumps({"id": asked["id"], "x": "x" * 100_000}))
            elif asked.get("do") == "junk":
                for junk in ("{", "[1]", "7", b"\xff", '{"id": 7}'):
                    await websocket.send(junk)
                await websocket.send(json.dumps({"id": asked["id"]}))
            elif asked.get("do") == "twice":
                for n in (1, 2):
                    await websocket.send(json.dumps({"id": asked["id"], "n": n}))
            else:
                await websocket.send(json.dumps({**asked, "echo": True}))

    async def release(self, n: int, socket: int = 0) -> None:
        await self.sockets[socket].send(json.dumps({**self.held[n], "late": True}))


@asynccontextmanager
async def upstream(serve: Serve | None = None) -> AsyncIterator[tuple[Upstream, str]]:
    server = Upstream()
    async with listening(Endpoint(serve or server.serve)) as listener:
        yield server, url_of(listener)


async def test_each_client_has_one_of_its_own_dialed_at_its_first_message() -> None:
    async with upstream() as (server, url):
        backend = WebSocket(url)
        async with running(backend), client("a") as a, client("b") as b:
            assert server.sockets == []
            async with trio.open_nursery() as nursery:  # single flight
                for n in range(10):
                    nursery.start_soon(backend.call, message({"n": n}, session=a))
            assert len(server.sockets) == 1
            reply = await backend.call(message({"n": 1, "id": "mine"}, session=b))
            assert reply.body == {"n": 1, "id": "mine", "echo": True}
            assert len(server.sockets) == 2


async def test_answers_may_overtake_each_other() -> None:
    async with upstream() as (server, url):
        backend = WebSocket(url)
        replies: list[Any] = []

        async def call(n: int) -> None:
            asked = message({"do": "hold", "n": n}, session=session)
            replies.append((await backend.call(asked)).body["n"])

        async with running(backend), client() as session, trio.open_nursery() as nursery:
            for n in (1, 2):
                nursery.start_soon(call, n)
            await until(lambda: len(server.held) == 2)
            await server.release(2)
            await until(lambda: replies)
            await server.release(1)
        assert replies == [2, 1]


async def test_what_answers_nothing_is_pushed_to_its_client() -> None:
    async with upstream() as (server, url):
        backend = WebSocket(url)
        async with running(backend), client("a") as a, client("b") as b:
            await backend.call(message({}, session=a))
            await backend.call(message({}, session=b))
            await server.sockets[0].send('{"tick": 1}')
            await until(lambda: a.sent)
            await backend.call(message({"do": "junk"}, session=a))
            assert a.sent == [{"tick": 1}, [1], 7, {"id": 7}]
            assert b.sent == []


async def test_a_cancelled_call_leaves_the_upstream_open_and_its_answer_is_dropped() -> None:
    async with upstream() as (server, url):
        backend = WebSocket(url)
        async with running(backend), client() as session:
            with trio.move_on_after(0.1):
                await backend.call(message({"do": "hold", "n": 1}, session=session))
            with pytest.raises(CallFailed) as caught:
                asked = message({"do": "hold", "n": 2}, session=session, within=0.1)
                await backend.call(asked)
            assert (caught.value.status, caught.value.may_have_run) == (504, True)
            await server.release(1)
            await server.release(2)
            assert (await backend.call(message({"n": 3}, session=session))).body["n"] == 3
            assert len(server.sockets) == 1
            assert backend.late == 2
            assert session.sent == []


async def test_an_answer_that_comes_twice_counts_once() -> None:
    async with upstream() as (_, url):
        backend = WebSocket(url)
        async with running(backend), client() as session:
            assert (await backend.call(message({"do": "twice"}, session=session))).body == {"n": 1}
            await backend.call(message({}, session=session))
            assert backend.late == 1
            assert session.sent == []


@pytest.mark.parametrize(("code", "told"), [(4001, 4001), (1000, 1000), (1013, 1013)])
async def test_the_close_of_the_server_is_passed_on(code: int, told: int) -> None:
    async with upstream() as (_, url):
        backend = WebSocket(url)
        async with running(backend), client() as session:
            with pytest.raises(CallFailed) as caught:
                body = {"do": "close", "code": code, "reason": "bye"}
                await backend.call(message(body, session=session))
            assert (caught.value.status, caught.value.may_have_run) == (502, True)
            await until(lambda: session.closings)
            assert session.closings == [(told, "bye")]


@pytest.mark.parametrize(("code", "told"), [(4001, 4001), (1000, 1000), (1006, 1001)])
async def test_the_close_of_the_client_is_passed_on(code: int, told: int) -> None:
    async with upstream() as (server, url):
        backend = WebSocket(url)
        async with running(backend):
            async with client() as session:
                await backend.call(message({}, session=session))
                session.end_with(code, "bye")
            await until(lambda: server.sockets[0].close_code)
        assert (server.sockets[0].close_code, server.sockets[0].close_reason) == (told, "bye")


async def test_what_has_ended_is_dialed_again_at_the_next_message() -> None:
    scopes: list[trio.CancelScope] = []
    inner = Upstream()

    async def serve(websocket: ServerWebSocket) -> None:
        with trio.CancelScope() as scope:
            scopes.append(scope)
            await inner.serve(websocket)

    async with upstream(serve) as (_, url):
        backend = WebSocket(url, closes="never", reconnect=QUICK)
        async with running(backend), client() as session:
            for _ in range(2):
                assert (await backend.call(message({"n": 1}, session=session))).body["n"] == 1
                scopes.pop().cancel()
                await until(lambda: not backend._links)
            assert session.closings == []


async def test_a_server_that_cannot_be_reached_is_a_503_and_not_dialed_by_each_message() -> None:
    async with upstream() as (_, url):
        pass
    backend = WebSocket(url, reconnect=Reconnect(initial=30, jitter=False))
    async with running(backend), client() as session:
        for _ in range(3):
            with pytest.raises(CallFailed) as caught:
                await backend.call(message({}, session=session))
            assert (caught.value.status, caught.value.may_have_run) == (503, False)
            assert 10 < (caught.value.retry_after or 0) <= 30
        assert backend._failures == 1
        assert session.closings == []  # it stays, and may ask others


async def test_an_answer_that_is_too_large_ends_the_call_and_not_the_client() -> None:
    async with upstream() as (_, url):
        backend = WebSocket(url, max_message=10_000)
        async with running(backend), client() as session:
            with pytest.raises(CallFailed) as caught:
                await backend.call(message({"do": "large"}, session=session))
            assert caught.value.status == 502
            assert (await backend.call(message({"n": 1}, session=session))).body["n"] == 1
            assert session.closings == []
        large = WebSocket(url)  # more than the 32 KiB of others
        async with running(large), client() as session:
            reply = await large.call(message({"do": "large"}, session=session))
            assert len(reply.body["x"]) == 100_000


async def test_messages_as_they_are_both_ways() -> None:
    async def shout(websocket: ServerWebSocket) -> None:
        async for data in websocket:
            await websocket.send(data.upper())

    async with upstream(shout) as (_, url):
        backend = WebSocket(url, None)
        async with running(backend), client() as session:
            reply = await backend.call(message("hello", "text", session=session))
            assert (reply.silent, reply.body) == (True, None)
            await backend.call(message(b"bytes", "binary", session=session))
            await until(lambda: len(session.sent) == 2)
            assert session.sent == ["HELLO", b"BYTES"]


async def test_the_end_of_the_gateway_closes_all_upstreams() -> None:
    async with upstream() as (server, url):
        backend = WebSocket(url)
        pooled = WebSocket(url, pool=2)
        async with client() as session:
            async with running(backend), running(pooled):
                await backend.call(message({}, session=session))
                await pooled.call(message({}, session=session))
                await until(lambda: len(server.sockets) == 3)
            await until(lambda: all(one.close_code for one in server.sockets))
            assert {one.close_code for one in server.sockets} == {1001}
        with pytest.raises(CallFailed, match="not open"):
            await backend.call(message({}))


async def test_a_pool_is_shared_by_all_and_the_ids_are_its_own() -> None:
    async with upstream() as (server, url):
        backend = WebSocket(url, pool=2, reconnect=QUICK)
        replies: list[Reply] = []

        async def call(session: Client, n: int) -> None:
            asked = message({"do": "hold", "n": n, "id": "same"}, session=session)
            replies.append(await backend.call(asked))

        async with running(backend):
            await until(lambda: len(server.sockets) == 2)
            async with trio.open_nursery() as nursery:
                for n in range(4):  # two for each
                    nursery.start_soon(call, Client(str(n)), n)
                await until(lambda: len(server.held) == 4)
                assert len({asked["id"] for asked in server.held.values()}) == 4
                for n in range(4):
                    for one in server.sockets:
                        await one.send(json.dumps(server.held[n]))
            assert all(reply.body["id"] == "same" for reply in replies)
            assert sorted(reply.body["n"] for reply in replies) == [0, 1, 2, 3]
            assert backend.unasked == 4  # the other one knows nothing of it
            with pytest.raises(CallFailed) as caught:
                await backend.call(message({"do": "close", "code": 4000, "reason": ""}))
            assert caught.value.may_have_run
            for n in range(5):
                assert (await backend.call(message({"n": n}))).body["n"] == n


async def test_a_pool_that_is_not_connected_is_waited_for() -> None:
    async with upstream() as (_, url):
        pass
    backend = WebSocket(url, pool=1, reconnect=QUICK)
    async with running(backend):
        with pytest.raises(CallFailed) as caught:
            await backend.call(message({}, within=0.1))
        assert (caught.value.status, caught.value.may_have_run) == (503, False)


async def test_calls_that_wait_are_bounded() -> None:
    async with upstream() as (server, url):
        backend = WebSocket(url, max_waiting=1)
        async with running(backend), client() as session, trio.open_nursery() as nursery:
            nursery.start_soon(backend.call, message({"do": "hold", "n": 1}, session=session))
            await until(lambda: server.held)
            with pytest.raises(CallFailed, match="too many") as caught:
                await backend.call(message({}, session=session))
            assert (caught.value.status, caught.value.may_have_run) == (503, False)
            nursery.cancel_scope.cancel()


def test_no_code_is_sent_that_may_not_be() -> None:
    for code in range(65536):
        assert code_for_client(code) in CLOSE_CODES
        assert code_for_server(code) in CLOSE_CODES


def test_codes_that_stand_for_no_code_are_told_in_words_of_their_own() -> None:
    assert [code_for_client(code) for code in (1005, 1006, 1015, 1010, 1001, 4999)] == [
        1000, 1014, 1011, 1011, 1001, 4999,
    ]  # fmt: skip
    assert [code_for_server(code) for code in (1005, 1006, 1015, 1009, 3000)] == [
        1000, 1001, 1001, 1009, 3000,
    ]  # fmt: skip


RPC = JSONIds(key="method", body="params", answer="result", error="error", extra={"jsonrpc": "2.0"})


@pytest.mark.parametrize(
    ("ids", "asked", "sent"),
    [
        (JSONIds(), message({"a": 1, "id": 7}), {"a": 1, "id": "x"}),
        (JSONIds(), message([1]), {"body": [1], "id": "x"}),
        (JSONIds(), message(None), {"id": "x"}),
        (JSONIds("ref", key="action"), message({"id": 7}, "go"),
         {"id": 7, "action": "go", "ref": "x"}),
        (RPC, message([1], "go"), {"jsonrpc": "2.0", "method": "go", "params": [1], "id": "x"}),
    ],
)  # fmt: skip
def test_calls_are_written_as_the_server_has_them(ids: JSONIds, asked: Message, sent: Any) -> None:
    assert json.loads(ids.encode(asked, "x")) == sent


def test_answers_are_read_as_the_server_has_them() -> None:
    assert RPC.reply_to(message(), {"jsonrpc": "2.0", "id": "x", "result": 7}) == Reply(7)
    failed = RPC.reply_to(message(), {"id": "x", "error": {"code": -1}})
    assert (failed.status, failed.body) == (502, {"code": -1})
    action = JSONIds(status="status", answer="body", error="error")
    assert action.reply_to(message(), {"id": "x", "status": 201, "body": [1]}) == Reply([1], 201)
    failed = action.reply_to(message(), {"id": "x", "status": 404, "error": "no"})
    assert (failed.status, failed.body) == (404, "no")
    for status in (0, 700, "200", True, None):
        with pytest.raises(CallFailed):
            action.reply_to(message(), {"id": "x", "status": status})


def test_what_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ValueError, match="one name"):
        JSONIds("id", key="id")
    with pytest.raises(ValueError, match="needs ids"):
        WebSocket("ws://127.0.0.1:1", None, pool=1)
    with pytest.raises(ValueError, match="pool"):
        WebSocket("ws://127.0.0.1:1", pool=0)
    with pytest.raises(ValueError, match="closes"):
        WebSocket("ws://127.0.0.1:1", closes="maybe")
    with pytest.raises(ValueError, match="ws"):
        WebSocket("http://127.0.0.1:1")
    with pytest.raises(TypeError):
        WebSocket("ws://127.0.0.1:1", colour="red")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="JSONIds"):
        WebSocket("ws://127.0.0.1:1", "id")  # type: ignore[arg-type]
