"""What a toolkit for WebSocket gateways promises of its backends, and the faults it must not have.

Each runs behind a real gateway, with real sockets on either side. The promises are told in the
table of docs/gateway.md.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.lowlevel

import restsock
from restsock.gateway import (
    HTTP,
    Action,
    Balance,
    CallFailed,
    Channel,
    Gateway,
    HTTPMapping,
    JSONIds,
    Message,
    Middleware,
    Pipe,
    Queue,
    QueueMessage,
    RawDialect,
    Reply,
    WebSocket,
)
from restsock.websockets import ClientWebSocket, Endpoint, ServerWebSocket, connect
from tests.apps.forward.upstreams import Peer, scripted
from tests.waiting import until

OK = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n{"a":1}'


@asynccontextmanager
async def gateway(
    backend: Any, middleware: Sequence[Middleware] = (), dialect: Any = None
) -> AsyncIterator[Callable[[], Any]]:
    channel = Channel("/ws", dialect or Action(), Pipe(backend, middleware))
    async with restsock.listen("127.0.0.1", 0, endpoints=Gateway([channel])) as server:
        url = f"ws://127.0.0.1:{server.address[1]}/ws"
        yield lambda: connect(url)


async def ask(websocket: ClientWebSocket, id: int = 1, **body: Any) -> Any:
    await websocket.send(json.dumps({"action": "x", "id": id, **body}))
    return json.loads(await websocket.receive())


@asynccontextmanager
async def websocket_server(serve: Any) -> AsyncIterator[str]:
    async with restsock.listen("127.0.0.1", 0, endpoints={"/up": Endpoint(serve)}) as server:
        yield f"ws://127.0.0.1:{server.address[1]}/up"


class Hasty(Middleware):
    """Gives up on a call after a while, and cancels it."""

    async def __call__(self, message: Message, call_next: Any) -> Reply:
        with trio.move_on_after(0.1):
            reply: Reply = await call_next(message)
            return reply
        raise CallFailed(504, "too slow", may_have_run=True)


# --- HTTP -----------------------------------------------------------------------------------------


async def test_http_an_error_page_is_a_failure_with_its_status() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops")

    async with scripted(script) as there, gateway(HTTP(there.url)) as dial, dial() as websocket:
        said = await ask(websocket)
        assert said["status"] == 500
        assert "error" in said


async def test_http_a_redirect_is_not_followed() -> None:
    async def elsewhere(peer: Peer) -> None:
        await peer.head()
        await peer.send(OK)

    async def script(peer: Peer) -> None:
        await peer.head()
        location = other.url.encode()
        await peer.send(
            b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: %s\r\n\r\n" % location
        )

    async with scripted(elsewhere) as other, scripted(script) as there:
        async with gateway(HTTP(there.url)) as dial, dial() as websocket:
            said = await ask(websocket)
            assert said["status"] == 502
            assert other.peers == []


async def test_http_an_endless_body_is_not_kept_in_memory() -> None:
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await peer.send(b"x" * 100_000)
            sent += 100_000

    async with scripted(script) as there, gateway(HTTP(there.url)) as dial, dial() as websocket:
        said = await ask(websocket)
        assert (said["status"], said["error"]["may_have_run"]) == (502, True)
        await there.peers[0].closed.wait()
        assert sent < 30_000_000


async def test_http_a_json_response_is_a_value_not_text() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(OK)

    async with scripted(script) as there, gateway(HTTP(there.url)) as dial, dial() as websocket:
        assert (await ask(websocket))["body"] == {"a": 1}


async def test_http_connections_to_a_host_are_limited_and_reused() -> None:
    async def script(peer: Peer) -> None:
        while await peer.head():
            await peer.exactly(2)
            await trio.sleep(0.01)
            await peer.send(OK)

    async with scripted(script) as there:
        backend = HTTP(there.url, HTTPMapping(), max_connections=3)
        async with gateway(backend) as dial, dial() as websocket:
            for id in range(20):
                await websocket.send(json.dumps({"action": "x", "id": id}))
            assert {json.loads(await websocket.receive())["id"] for _ in range(20)} == {*range(20)}
        assert len(there.peers) <= 3


async def test_http_a_cancelled_call_also_ends_at_the_server() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.wait_closed()

    async with scripted(script) as there, gateway(HTTP(there.url), [Hasty()]) as dial:
        async with dial() as websocket:
            assert (await ask(websocket))["status"] == 504
            await there.peers[0].closed.wait()
            assert (await ask(websocket, 2))["status"] == 504  # and the client goes on


# --- WebSocket ------------------------------------------------------------------------------------


async def test_websocket_one_upstream_for_each_client_dialed_at_its_first_message() -> None:
    seen: list[ServerWebSocket] = []

    async def serve(websocket: ServerWebSocket) -> None:
        seen.append(websocket)
        async for data in websocket:
            await websocket.send(data)

    async with websocket_server(serve) as url, gateway(WebSocket(url)) as dial:
        async with dial() as one, dial() as other:
            assert seen == []
            for id in range(5):  # at once, and dialed once
                await one.send(json.dumps({"action": "x", "id": id, "n": id}))
            ids = {json.loads(await one.receive())["body"]["n"] for _ in range(5)}
            assert (ids, len(seen)) == ({*range(5)}, 1)
            await ask(other)
            assert len(seen) == 2
        await until(lambda: all(websocket.close_code for websocket in seen))


async def test_websocket_an_answer_of_more_than_32_kib_closes_no_connection() -> None:
    async def serve(websocket: ServerWebSocket) -> None:
        async for data in websocket:
            assert isinstance(data, str)
            await websocket.send(json.dumps({"id": json.loads(data)["id"], "x": "x" * 300_000}))

    async with websocket_server(serve) as url, gateway(WebSocket(url)) as dial:
        async with dial() as websocket:
            assert len((await ask(websocket))["body"]["x"]) == 300_000


async def test_websocket_a_cancelled_call_does_not_close_the_upstream() -> None:
    seen: list[ServerWebSocket] = []

    async def serve(websocket: ServerWebSocket) -> None:
        seen.append(websocket)
        async for data in websocket:
            assert isinstance(data, str)
            if "slow" not in data:
                await websocket.send(data)

    async with websocket_server(serve) as url, gateway(WebSocket(url), [Hasty()]) as dial:
        async with dial() as websocket:
            assert (await ask(websocket, 1, slow=True))["status"] == 504
            assert (await ask(websocket, 2, n=2))["body"]["n"] == 2
            assert len(seen) == 1
            assert seen[0].close_code is None


@pytest.mark.parametrize(("code", "told"), [(4001, 4001), (1000, 1000), (1012, 1012)])
async def test_websocket_the_close_of_either_end_is_passed_on(code: int, told: int) -> None:
    seen: list[ServerWebSocket] = []

    async def serve(websocket: ServerWebSocket) -> None:
        seen.append(websocket)
        async for data in websocket:
            if data == "bye":
                await websocket.aclose(code, "why")

    async with websocket_server(serve) as url:
        async with gateway(WebSocket(url, None), dialect=RawDialect()) as dial:
            async with dial() as websocket:
                await websocket.send("bye")
                with pytest.raises(restsock.WebSocketClosed) as caught:
                    await websocket.receive()
                assert (caught.value.code, caught.value.reason) == (told, "why")
            async with dial() as websocket:
                await websocket.send("hello")
                await until(lambda: len(seen) == 2)
                await websocket.aclose(code, "why")
            await until(lambda: seen[1].close_code)
            assert (seen[1].close_code, seen[1].close_reason) == (told, "why")


async def test_websocket_a_failed_dial_is_answered_with_an_error() -> None:
    async def serve(websocket: ServerWebSocket) -> None:
        await websocket.receive()

    async with websocket_server(serve) as url:
        pass
    async with gateway(WebSocket(url)) as dial, dial() as websocket:
        for id in (1, 2):  # and the client is not closed
            said = await ask(websocket, id)
            assert (said["id"], said["status"]) == (id, 503)
            assert said["error"]["may_have_run"] is False


async def test_websocket_a_client_that_leaves_does_not_fail_others_of_a_pool() -> None:
    async def serve(websocket: ServerWebSocket) -> None:
        async for data in websocket:
            assert isinstance(data, str)
            if "slow" not in data:
                await websocket.send(data)

    async with websocket_server(serve) as url:
        async with gateway(WebSocket(url, JSONIds(), pool=1)) as dial:
            async with dial() as stays:
                async with dial() as leaves:
                    await leaves.send('{"action": "x", "id": 1, "slow": 1}')
                    assert (await ask(stays, 1, n=1))["body"]["n"] == 1
                assert (await ask(stays, 2, n=2))["body"]["n"] == 2


# --- Queue ----------------------------------------------------------------------------------------


async def test_queue_a_duplicate_or_late_answer_is_dropped() -> None:
    calls: list[QueueMessage] = []

    async def publish(call: QueueMessage) -> None:
        calls.append(call)
        queue.answer(call.id, "first")
        queue.answer(call.id, "second")

    queue = Queue(publish)
    async with gateway(queue) as dial, dial() as websocket:
        assert (await ask(websocket))["body"] == "first"
        queue.answer(calls[0].id, "third")
        assert (await ask(websocket, 2))["body"] == "first"
        assert queue.late == 3


async def test_queue_the_id_of_a_call_cannot_be_guessed() -> None:
    ids: list[str] = []

    async def publish(call: QueueMessage) -> None:
        ids.append(call.id)
        queue.answer(call.id)

    queue = Queue(publish)
    async with gateway(queue) as dial, dial() as websocket:
        for id in range(3):
            await ask(websocket, id)
    assert all(uuid.UUID(id).version == 4 for id in ids)
    assert len({*ids}) == 3


# --- Balance --------------------------------------------------------------------------------------


async def test_balance_weights_of_10_and_more_are_shares() -> None:
    seen = {"a": 0, "b": 0}
    go_on = trio.Event()

    def part(name: str) -> Any:
        async def answer(_: Message) -> str:
            seen[name] += 1
            await go_on.wait()
            return name

        return answer

    async with gateway(Balance([(part("a"), 30), (part("b"), 10)])) as dial:
        async with dial() as websocket:
            for id in range(20):
                await websocket.send(json.dumps({"action": "x", "id": id}))
            await until(lambda: sum(seen.values()) == 20)
            assert seen["a"] == pytest.approx(15, abs=1)
            go_on.set()
            for _ in range(20):
                await websocket.receive()


def test_balance_a_total_weight_of_zero_is_refused_at_construction() -> None:
    with pytest.raises(ValueError, match="above 0"):
        Balance([(print, 0), (repr, 0)])


async def test_balance_a_dead_server_is_detected_and_avoided() -> None:
    async def script(peer: Peer) -> None:
        while await peer.head():
            await peer.exactly(2)
            await peer.send(OK)

    async with scripted(script) as dead:
        pass
    async with scripted(script) as there:
        balance = Balance([HTTP(dead.url), HTTP(there.url)], failures=2)
        async with gateway(balance) as dial, dial() as websocket:
            for id in range(20):
                assert (await ask(websocket, id))["status"] == 200  # it has not run there
        assert balance.members[0].ejected
        alone = Balance([HTTP(dead.url)], failures=1)
        async with gateway(alone) as dial, dial() as websocket:
            assert (await ask(websocket))["status"] == 502
            begun = time.perf_counter()
            assert (await ask(websocket, 2))["status"] == 503  # at once, without a try
            assert time.perf_counter() - begun < 5
