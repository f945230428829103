"""`Gateway.swap`: other channels, and what becomes of the sessions of those that there were."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import websockets.sync.client

import restsock
from restsock import WebSocketRefused
from restsock.gateway import Backend, Channel, Gateway, Message, Reply, WebSocket
from restsock.websockets import connect
from tests.gateway.site import Gate, Hooks, action, connected, echo, served
from tests.waiting import until
from tests.websockets.site import url_of


class Part(Backend):
    """Says its name, and notes that it begins and ends."""

    def __init__(self, name: str, log: list[str], *, fails: bool = False) -> None:
        self.name = name
        self.log = log
        self.fails = fails

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        if self.fails:
            raise OSError("it cannot be started")
        self.log.append(f"start {self.name}")
        yield
        self.log.append(f"end {self.name}")

    async def call(self, message: Message) -> Reply:
        return Reply(self.name)


def like(channel: Channel, router: Any) -> Channel:
    """The same channel with another router."""

    return dataclasses.replace(channel, router=action(router).router)


async def test_sessions_move_to_another_router_at_their_next_message() -> None:
    log: list[str] = []
    first = action({"name": Part("first", log)})
    gateway = Gateway([first])
    async with served(gateway) as server, connected(server) as client:
        assert (await client.ask({"action": "name", "id": 1}))["body"] == "first"
        second = like(first, {"name": Part("second", log)})
        assert await gateway.swap([second]) == {"/ws": "moved"}
        assert (await client.ask({"action": "name", "id": 1}))["body"] == "second"
        await until(lambda: "end first" in log)
        assert log == ["start first", "start second", "end first"]
        assert gateway.channels == {"/ws": second}
        assert gateway.statistics().channels["/ws"].sessions_total == 1
    assert log[-1] == "end second"


async def test_a_call_under_way_is_answered_by_what_it_went_to() -> None:
    gate, log = Gate(), list[str]()
    first = action({"x": gate, "y": Part("old", log)})
    gateway = Gateway([first])
    async with served(gateway) as server, connected(server) as client:
        await client.say({"action": "x", "id": 1, "data": 7})
        await gate.wait(1)
        await gateway.swap([like(first, {"x": echo})])
        # Another one meanwhile does not end what the first call needs.
        await gateway.swap([like(first, {"x": lambda _: "third"})])
        assert (await client.ask({"action": "x", "id": 2}))["body"] == "third"
        assert log == ["start old"]
        gate.open()
        assert (await client.hear())["id"] == 1
        await until(lambda: log == ["start old", "end old"])


async def test_calls_that_do_not_end_in_the_grace_keep_nothing_running() -> None:
    gate, log = Gate(), list[str]()
    first = action({"x": gate, "y": Part("old", log)})
    gateway = Gateway([first])
    async with served(gateway) as server, connected(server) as client:
        await client.say({"action": "x", "id": 1})
        await gate.wait(1)
        await gateway.swap([like(first, {"x": echo})], grace=0.05)
        await until(lambda: log == ["start old", "end old"])


async def test_one_that_fails_at_its_end_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    class Breaks(Part):
        @asynccontextmanager
        async def running(self) -> AsyncIterator[None]:
            yield
            self.log.append("end")
            raise OSError("it breaks")

    log: list[str] = []
    first = action({"x": Breaks("first", log)})
    gateway = Gateway([first])
    async with served(gateway) as server, connected(server) as client:
        await gateway.swap([like(first, {"x": lambda _: "second"})])
        await until(lambda: log == ["end"])
        assert (await client.ask({"action": "x", "id": 1}))["body"] == "second"
    assert "has failed at its end" in caplog.text
    assert "it breaks" in caplog.text


async def test_what_is_part_of_both_goes_on() -> None:
    log: list[str] = []
    both = Part("both", log)
    first = action({"x": both})
    gateway = Gateway([first])
    async with served(gateway) as server, connected(server) as client:
        await gateway.swap([like(first, {"y": both, "z": Part("new", log)})])
        assert (await client.ask({"action": "y", "id": 1}))["body"] == "both"
        await until(lambda: not gateway._leaving)
        assert log == ["start both", "start new"]


async def test_sessions_of_the_same_channel_stay() -> None:
    hooks = Hooks()
    channel = action(on_disconnect=hooks.disconnect, on_connect=hooks.connect)
    gateway = Gateway([channel])
    async with served(gateway) as server, connected(server) as client:
        assert await gateway.swap([channel]) == {"/ws": "kept"}
        assert (await client.ask({"action": "echo", "id": 1, "data": 1}))["status"] == 200
        assert hooks.ended == []


async def test_limits_of_calls_change_for_sessions_that_are_there() -> None:
    gate = Gate()
    first = action({"x": gate}, in_flight=1)
    gateway = Gateway([first])
    async with served(gateway) as server, connected(server) as client:
        await client.say({"action": "x", "id": 1})
        await client.say({"action": "x", "id": 2})
        await gate.wait(1)

        more = dataclasses.replace(first, in_flight=2, max_sessions=1)
        assert await gateway.swap([more]) == {"/ws": "kept"}
        gate.open()
        assert {(await client.hear())["id"] for _ in range(2)} == {1, 2}
        with pytest.raises(WebSocketRefused, match="503"):
            async with connect(url_of(server, "/ws"), proxy=False):
                pass


async def test_a_channel_with_another_dialect_is_another_one() -> None:
    first = action({"x": echo})
    gateway = Gateway([first])
    async with served(gateway) as server, connected(server) as client:
        second = action({"x": lambda _: "second"})
        assert await gateway.swap([second]) == {"/ws": "replaced"}
        ended = await client.end()
        assert (ended.code, ended.reason) == (1012, "this channel has changed: connect again")
        async with connected(server) as again:
            assert (await again.ask({"action": "x", "id": 1}))["body"] == "second"
        assert gateway.statistics().channels["/ws"].sessions_total == 2


async def test_channels_come_and_go() -> None:
    gate, stays = Gate(), action({"x": echo}, "/stays")
    gateway = Gateway([action({"x": gate}), stays])
    async with served(gateway) as server:
        async with connected(server) as client, connected(server, "/stays") as other:
            await client.say({"action": "x", "id": 1})
            await gate.wait(1)
            changes = await gateway.swap([stays, action({"x": lambda _: "new"}, "/new")])
            assert changes == {"/stays": "kept", "/new": "added", "/ws": "removed"}
            async with connected(server, "/new") as third:
                assert (await third.ask({"action": "x", "id": 1}))["body"] == "new"
            with pytest.raises(WebSocketRefused, match="404"):
                async with connect(url_of(server, "/ws"), proxy=False):
                    pass
            gate.open()  # its call is answered before it is closed
            assert (await client.hear())["id"] == 1
            ended = await client.end()
            assert (ended.code, ended.reason) == (1012, "this channel is gone")
            assert (await other.ask({"action": "x", "id": 1, "data": 5}))["status"] == 200
            assert [*gateway] == ["/stays", "/new"]


async def test_if_a_backend_cannot_start_nothing_has_changed() -> None:
    log: list[str] = []
    first = action({"x": Part("first", log)})
    gateway = Gateway([first])
    async with served(gateway) as server, connected(server) as client:
        with pytest.raises(OSError, match="cannot be started"):
            await gateway.swap(
                [like(first, {"x": Part("good", log), "y": Part("bad", log, fails=True)})]
            )
        assert log == ["start first", "start good", "end good"]
        assert gateway.channels == {"/ws": first}
        assert (await client.ask({"action": "x", "id": 1}))["body"] == "first"


async def test_no_answer_is_lost_when_routes_change_all_the_time() -> None:
    channel = action({"x": lambda message: message.body})
    gateway = Gateway([channel])
    answered: list[Any] = []

    async def ask(client: Any) -> None:
        for number in range(60):
            answer = await client.ask({"action": "x", "id": number, "data": number})
            assert answer["status"] == 200, answer
            answered.append(number)

    async with served(gateway) as server:
        async with connected(server) as one, connected(server) as two:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, one)
                nursery.start_soon(ask, two)
                for _ in range(30):
                    await gateway.swap([like(channel, {"x": lambda message: message.body})])
                    await trio.lowlevel.checkpoint()
    assert len(answered) == 120


async def test_before_it_is_served_there_is_nothing_to_end() -> None:
    gateway = Gateway([action({"x": echo})])
    other = action({"x": echo}, "/other")
    assert await gateway.swap([other]) == {"/other": "added", "/ws": "removed"}
    async with served(gateway) as server, connected(server, "/other") as client:
        assert (await client.ask({"action": "x", "id": 1}))["status"] == 200


async def test_beside_other_endpoints_paths_stay() -> None:
    first = action({"x": echo})
    gateway = Gateway([first])

    async def app(request: Any) -> Any:
        raise NotImplementedError

    endpoints = {**gateway, "/app": app}
    async with restsock.listen("127.0.0.1", 0, endpoints=endpoints) as server:
        async with connected(server) as client:
            with pytest.raises(ValueError, match="endpoints=gateway alone"):
                await gateway.swap([action({"x": echo}, "/new")])
            moved = like(first, {"x": lambda _: "moved"})
            assert await gateway.swap([moved]) == {"/ws": "moved"}
            assert (await client.ask({"action": "x", "id": 1}))["body"] == "moved"


async def test_a_gateway_that_closes_takes_no_channels() -> None:
    gate = Gate()
    first = action({"x": gate})
    gateway = Gateway([first])
    async with served(gateway) as server, connected(server) as client:
        await client.say({"action": "x", "id": 1})
        await gate.wait(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.aclose)
            await until(lambda: gateway["/ws"].draining)
            with pytest.raises(RuntimeError, match="closing"):
                await gateway.swap([first, action({"x": echo}, "/new")])
            gate.open()


def test_threads_swap_too() -> None:
    first = action({"x": lambda _: "first"})
    gateway = Gateway([first])
    with pytest.raises(RuntimeError, match="no listener"):
        gateway.swap_blocking([first])
    with restsock.sync.listen("127.0.0.1", 0, endpoints=gateway) as server:
        url = url_of(server, "/ws")
        with websockets.sync.client.connect(url, proxy=None) as socket:
            moved = like(first, {"x": lambda _: "second"})
            assert gateway.swap_blocking([moved]) == {"/ws": "moved"}
            socket.send('{"action": "x", "id": 1}')
            assert '"second"' in str(socket.recv(timeout=20))


async def test_it_can_be_served_to_a_peer_whole() -> None:

    gateway = Gateway([action({"x": lambda _: "here"})])
    async with restsock.listen("127.0.0.1", 0, app=gateway) as server:
        async with restsock.connect(server.url) as peer:
            answer = await peer.request("GET", "/elsewhere")
            assert answer.status == 404
            assert (await peer.request("GET", "/ws")).status == 426


async def test_an_upstream_that_is_given_up_costs_no_client_its_session() -> None:
    """Nor does it when the server there closes it, clean as that is."""
    opened: list[Any] = []

    async def upstream(websocket: Any) -> None:
        opened.append(websocket)
        async for data in websocket:
            await websocket.send(data)

    endpoints = {"/up": restsock.websockets.Endpoint(upstream)}
    async with restsock.listen("127.0.0.1", 0, endpoints=endpoints) as there:
        first = action({"x": WebSocket(url_of(there, "/up"), proxy=False)})
        gateway = Gateway([first])
        async with served(gateway) as server, connected(server) as client:
            assert (await client.ask({"action": "x", "id": 1, "a": 2}))["status"] == 200
            await gateway.swap([like(first, {"x": lambda _: "moved"})])
            assert (await client.ask({"action": "x", "id": 2}))["body"] == "moved"
            await until(lambda: opened[0].close_code == 1001)
            await there.aclose()
            assert (await client.ask({"action": "x", "id": 3}))["body"] == "moved"
