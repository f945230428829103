"""Clients of a gateway that mean harm: an honest one is answered beside them, in bounded memory.

How much later it is answered is a figure of the benchmarks (`--only gateway`), and no test.
"""

from __future__ import annotations

import gc
import json
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import trio

from restsock import Heartbeat, Options, Timeouts
from restsock.gateway import (
    DUPLICATE_ID,
    JSONRPC,
    Channel,
    Gateway,
    HTTPDialect,
    Message,
    Pipe,
    Rate,
)
from restsock.protocol import CloseReceived, TextMessage
from tests.gateway.site import Client, Gate, action, connected, echo, served
from tests.waiting import until
from tests.websockets.site import PATIENCE, RawClient, pour, raw_client, request_for

ZERO = b"\0\0\0\0"  # a mask
_MOST = 8 << 20
_SLOTS = 25


def frame(text: bytes, op: int = 0x81) -> bytes:
    """A message of a client, whose mask changes nothing."""
    size = len(text)
    if size < 126:
        return bytes((op, 0x80 | size)) + ZERO + text
    return bytes((op, 0xFE)) + size.to_bytes(2, "big") + ZERO + text


def call(id: object, action: str = "echo", **more: object) -> bytes:
    return frame(json.dumps({"action": action, "id": id, **more}).encode())


@asynccontextmanager
async def honest(server: Any) -> AsyncIterator[None]:
    """A client that is there before and behind whatever goes on, and is answered each time."""
    async with connected(server) as client:
        await _answered(client, "before")
        yield
        await _answered(client, "behind")


async def _answered(client: Client, word: str) -> None:
    for number in range(5):
        id = f"{word}-{number}"
        answer = await client.ask({"action": "echo", "id": id, "word": word})
        assert answer == {"id": id, "status": 200, "body": {"word": word}}


@asynccontextmanager
async def bounded() -> AsyncIterator[None]:
    """Little more memory is needed than before."""
    gc.collect()
    tracemalloc.start()
    try:
        yield
        grown = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert grown < _MOST


FLOODS = {
    "calls": b"".join(map(call, range(50))),
    "calls with one id": call(1) * 50,
    "calls without an id": call(None) * 50,
    "no JSON": frame(b"{" * 100) * 20,
    "nested JSON": frame(b"[" * 20_000) * 2,
    "unknown actions": call(1, "nothing") * 50,
    "ids that are none": frame(b'{"action":"echo","id":[]}') * 50,
    "long answers": call(7, data="x" * 30_000) * 5,
    "large numbers": frame(b'{"action":"echo","id":1,"n":' + b"9" * 4000 + b"}") * 10,
    "binary": frame(b"\xff\x00\xfe" * 30, op=0x82) * 50,
}


@pytest.mark.parametrize("name", FLOODS)
async def test_a_flood_is_bounded_and_others_are_answered(name: str) -> None:
    """It is never read: at some time the gateway reads no more of it, or closes it."""
    gateway = Gateway([action({"echo": echo}, max_queue=256 * 1024)])
    async with served(gateway) as server, honest(server):
        async with raw_client(server) as hostile, trio.open_nursery() as nursery:
            nursery.start_soon(pour, hostile, FLOODS[name])
            await trio.sleep(0.2)
            async with bounded(), honest(server):
                await trio.sleep(0.1)
            assert gateway.statistics().total.in_flight <= _SLOTS
            nursery.cancel_scope.cancel()
        await until(lambda: len(gateway.sessions) == 1)
        assert gateway.statistics().total.in_flight == 0


async def test_no_more_calls_of_a_client_run_than_may() -> None:
    """Further ones wait; others have slots of their own. All are cancelled once it has left."""
    gate = Gate()
    gateway = Gateway([action({"wait": gate, "echo": echo})])
    async with served(gateway) as server, raw_client(server) as hostile:
        async with honest(server):
            await hostile.send(b"".join(call(id, "wait") for id in range(200)))
            await gate.wait(_SLOTS)
            await trio.sleep(0.1)
            assert len(gate.begun) == _SLOTS
        await hostile.stream.aclose()
        await until(lambda: len(gate.cancelled) == _SLOTS)


async def test_a_client_that_leaves_after_many_messages_holds_no_slots() -> None:
    """So many that no more of them is read, and so not that it has left, either."""
    gate = Gate()
    heartbeat = Heartbeat(interval=0.2, timeout=0.2)
    gateway = Gateway([action({"wait": gate, "echo": echo}, heartbeat=heartbeat)])
    async with served(gateway) as server, honest(server):
        async with raw_client(server) as hostile:
            await hostile.send(b"".join(call(id, "wait") for id in range(1000)))
            await gate.wait(_SLOTS)
        await until(lambda: len(gate.cancelled) == _SLOTS)
        await until(lambda: len(gateway.sessions) == 1)
        await until(lambda: gateway.statistics().total.closed == {"1006": 1})


async def test_messages_of_a_client_that_has_left_are_not_begun() -> None:
    """The first answer that nobody takes tells that it is gone; no heartbeat is needed for that."""
    gateway = Gateway([action(heartbeat=Heartbeat(interval=None))])
    async with served(gateway) as server, honest(server):
        before = gateway.statistics().total.messages_received
        async with raw_client(server) as hostile:
            await hostile.send(b"".join(call(id) for id in range(1000)))
        await until(lambda: len(gateway.sessions) == 1)
        total = gateway.statistics().total
        assert total.messages_received - before < 500
        assert total.in_flight == 0


class Ticks(trio.abc.Instrument):
    """Counts the rounds of the loop."""

    count = 0

    def before_io_wait(self, timeout: float) -> None:
        self.count += 1


async def test_of_many_calls_a_few_are_begun_at_a_time() -> None:
    """Else whoever has one call would wait for all those of the others."""
    ticks, gate = Ticks(), Gate()
    begun: Counter[int] = Counter()
    trio.lowlevel.add_instrument(ticks)

    async def note(message: Message) -> Any:
        begun[ticks.count] += 1
        return await gate.call(message)

    channel = action({"wait": gate, "note": note, "echo": echo})
    async with served(channel) as server, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(raw_client(server)) for _ in range(10)]
        for client in clients:
            await client.send(call(0, "wait") + call(1, "wait"))
        await gate.wait(20)
        for client in clients:
            await client.send(b"".join(call(id, "note") for id in range(2, 22)))
        async with honest(server):
            await until(lambda: begun.total() == 200)
        assert max(begun.values()) <= 32  # those of two passes of the loop
    trio.lowlevel.remove_instrument(ticks)


BAD = {
    "no JSON": frame(b"{"),
    "an id that is none": frame(b'{"action":"echo","id":[]}'),
    "an unknown action": call(None, "nothing"),
    "a known id": call(0, "wait"),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_client_with_too_many_faults_is_closed(name: str) -> None:
    gateway = Gateway([action({"wait": Gate(), "echo": echo}, max_faults=5)])
    async with served(gateway) as server, honest(server), raw_client(server) as hostile:
        await hostile.send(call(0, "wait") + BAD[name] * 8)
        for _ in range(6):
            assert isinstance(await hostile.next(), TextMessage)
        event = await hostile.next()
        while isinstance(event, TextMessage):  # those that were under way
            event = await hostile.next()
        assert isinstance(event, CloseReceived)
        assert event.code == 1008
        await until(lambda: gateway.statistics().total.closed == {"1008": 1})


async def test_a_client_with_faults_is_read_more_slowly_until_it_drains() -> None:
    gateway = Gateway([action()])
    async with served(gateway) as server, raw_client(server) as hostile:
        async with honest(server):
            await hostile.send(call(None, "nothing") * 60 + call(7))
            await trio.sleep(0.2)
            assert 10 < gateway.statistics().total.messages_received - 5 < 40
        await gateway.swap([action(path="/other")])
        answers = [await hostile.next() for _ in range(61)]
        assert isinstance(answers[-1], TextMessage)
        assert json.loads(answers[-1].data)["status"] == 503
        event = await hostile.next()
        assert isinstance(event, CloseReceived)
        assert event.code == 1012


async def test_no_bound_of_faults_holds_up_nothing() -> None:
    async with served(action(max_faults=None)) as server, raw_client(server) as client:
        await client.send(frame(b"{") * 300 + call(7))
        answers = [await client.next() for _ in range(301)]
        assert isinstance(answers[-1], TextMessage)


async def test_too_many_messages_slow_a_client_down_and_do_not_close_it() -> None:
    channel = action(middleware=[Rate(1e-3, burst=1, key="session")], max_faults=2)
    async with served(channel) as server, connected(server) as client:
        assert (await client.ask({"action": "echo", "id": 1}))["status"] == 200
        for id in range(8):
            assert (await client.ask({"action": "echo", "id": id}))["status"] == 429


async def pour_once(client: RawClient, data: bytes) -> None:
    try:
        await client.stream.send_all(data)
    except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
        pass


async def test_an_id_that_is_used_again_is_refused_until_it_is_answered() -> None:
    gate = Gate()
    gateway = Gateway([action({"wait": gate, "echo": echo})])
    async with served(gateway) as server, honest(server), connected(server) as client:
        await client.say({"action": "wait", "id": "x"})
        await gate.wait(1)
        for _ in range(14):  # after ten faults, one is looked at each half second
            answer = await client.ask({"action": "wait", "id": "x"})
            assert (answer["id"], answer["error"]["type"]) == ("x", DUPLICATE_ID)
        assert len(gate.begun) == 1
        gate.open()
        assert (await client.hear())["status"] == 200
        assert (await client.ask({"action": "wait", "id": "x"}))["status"] == 200


@pytest.mark.parametrize("announced", [40_000, 1 << 40])
async def test_a_giant_message_is_not_waited_for(announced: int) -> None:
    async with served(action()) as server, honest(server), bounded():
        async with raw_client(server) as hostile:
            short = announced < 65_536
            size = announced.to_bytes(2 if short else 8, "big")
            await hostile.send((b"\x81\xfe" if short else b"\x81\xff") + size + ZERO)
            event = await hostile.next()
            assert isinstance(event, CloseReceived)
            assert event.code == 1009


async def test_endless_fragments_end_at_the_largest_message() -> None:
    async with served(action(max_message=1000)) as server, honest(server), bounded():
        async with raw_client(server) as hostile:
            await pour_once(hostile, frame(b"x", op=0x01) + frame(b"x" * 100, op=0x00) * 11)
            event = await hostile.next()
            assert isinstance(event, CloseReceived)
            assert event.code == 1009


async def test_a_slow_reader_costs_no_more_than_its_queue() -> None:
    """What is pushed to it is dropped, the oldest first; the others have all of it."""
    limit = 64 * 1024
    gateway = Gateway([action(max_queue=limit)])
    async with served(gateway) as server, raw_client(server):
        async with connected(server) as client, bounded():
            for number in range(2000):
                gateway.sessions.broadcast({"n": number, "text": "x" * 1000})
                assert (await client.hear())["n"] == number
            await _answered(client, "behind")
            counted = gateway.statistics().total
            assert counted.pushes_dropped + counted.pushes.get("dropped", 0) > 500


async def test_a_batch_has_no_more_calls_than_it_may() -> None:
    seen = 0

    def count(message: Message) -> Any:
        nonlocal seen
        seen += 1
        return message.body

    channel = Channel("/ws", JSONRPC(max_batch=10), Pipe(count))
    one = b'{"jsonrpc":"2.0","method":"a","id":%d}'
    async with served(channel) as server, raw_client(server) as hostile:
        calls = b",".join(one % id for id in range(11))
        await hostile.send(frame(b"[" + calls + b"]"))
        event = await hostile.next()
        assert isinstance(event, TextMessage)
        assert "error" in event.data
        assert seen == 0


@pytest.mark.parametrize("path", ["/../x", "/%2e%2e/x", "//x", "/a\r\nHost: y", "x", "/\x00"])
async def test_a_path_leads_nowhere_else(path: str) -> None:
    channel = Channel("/ws", HTTPDialect(), Pipe(echo))
    async with served(channel) as server, connected(server) as client:
        answer = await client.ask({"id": 1, "method": "GET", "path": path})
        assert answer["id"] == 1
        if path != "//x":
            assert answer["status"] == 400, answer


HALVES = {
    "nothing": b"",
    "a line": b"GET /ws HTTP/1.1\r\n",
    "half a head": request_for()[:-2],
    "a head that goes on": request_for()[:-2] + b"X: " + b"y" * 20_000,
    "half a frame": request_for() + b"\x81\xfe\x10",
    "half a message": request_for() + frame(b"{", op=0x01),
}


@pytest.mark.parametrize("name", HALVES)
async def test_upgrades_that_stop_half_way_end_in_time(name: str) -> None:
    """Those without a WebSocket are closed by the time-out; all others count as sessions."""
    options = Options(timeouts=Timeouts(handshake=0.3, close=0.2))
    gateway = Gateway([action(max_sessions=200)])
    async with (
        served(gateway, options=options) as server,
        honest(server),
        AsyncExitStack() as stack,
    ):
        streams = []
        for _ in range(50):
            stream = await trio.open_tcp_stream("127.0.0.1", server.address[1])
            stack.push_async_callback(trio.aclose_forcefully, stream)
            await stream.send_all(HALVES[name])
            streams.append(stream)
        async with honest(server):
            pass
        if "frame" in name or "message" in name:
            await until(lambda: len(gateway.sessions) == 51)
            return
        with trio.fail_after(PATIENCE):
            for stream in streams:
                await _drained(stream)
        assert len(gateway.sessions) == 1


async def _drained(stream: trio.SocketStream) -> None:
    try:
        while await stream.receive_some(65536):
            pass
    except trio.BrokenResourceError:
        pass


async def test_there_is_no_room_for_more_sessions_than_may_be() -> None:
    gateway = Gateway([action(max_sessions=10)])
    async with served(gateway) as server, honest(server), AsyncExitStack() as stack:
        for _ in range(9):
            await stack.enter_async_context(raw_client(server))
        for _ in range(30):
            stream = await trio.open_tcp_stream("127.0.0.1", server.address[1])
            async with stream:
                await stream.send_all(request_for())
                answer = bytes(await stream.receive_some(65536))
                assert answer.startswith(b"HTTP/1.1 503 "), answer
                assert b"retry-after" in answer.lower()
        assert len(gateway.sessions) == 10
        assert gateway.statistics().total.turned_away == {"max_websockets": 30}
