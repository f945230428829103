"""Sessions and groups: who is there, and what is sent without being asked."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
import trio

from restsock.gateway import (
    JSONRPC,
    Channel,
    Delivery,
    Gateway,
    Message,
    Pipe,
    RawDialect,
    Session,
)
from restsock.protocol import CloseReceived, TextMessage
from tests.gateway.site import Client, Gate, action, connected, echo, served
from tests.waiting import until
from tests.websockets.site import PATIENCE, in_thread, raw_client


class Named:
    """An `on_connect` that gives sessions what their query says as a name and a group."""

    def __init__(self) -> None:
        self.sessions: dict[str, Session] = {}

    async def connect(self, session: Session) -> None:
        name, _, group = session.request.query.partition("-")
        session.metadata["name"] = name
        if group:
            session.groups.add(group)
        self.sessions[name] = session

    def __getitem__(self, name: str) -> Session:
        return self.sessions[name]


async def test_a_push_reaches_its_client() -> None:
    named = Named()
    gateway = Gateway([action(on_connect=named.connect)])
    async with served(gateway) as server, connected(server, "/ws?a") as client:
        await until(lambda: "a" in named.sessions)
        assert await named["a"].send({"tick": 1}) is Delivery.SENT
        assert gateway.sessions.send(named["a"].id, {"tick": 2}) is Delivery.SENT
        assert [await client.hear(), await client.hear()] == [{"tick": 1}, {"tick": 2}]
        assert gateway.sessions.send("nobody", 1) is Delivery.GONE
    assert gateway.statistics().total.pushes == {"sent": 2}
    assert str(Delivery.SENT) == "sent"


async def test_a_push_to_one_that_has_left_is_gone() -> None:
    named = Named()
    gateway = Gateway([action(on_connect=named.connect)])
    async with served(gateway) as server:
        async with connected(server, "/ws?a-g"):
            await until(lambda: len(gateway.sessions) == 1)
        await until(lambda: not len(gateway.sessions))
        assert await named["a"].send(1) is Delivery.GONE
        assert named["a"].closed
        assert set(named["a"].groups) == {"g"}  # it is still known where it was
        assert gateway.groups.members("g") == []
        named["a"].close(4000)  # harmless


async def test_sessions_are_found_by_id_and_by_what_is_known_of_them() -> None:
    named = Named()
    gateway = Gateway([action(on_connect=named.connect), action(echo, "/other")])
    async with served(gateway) as server:
        async with connected(server, "/ws?a"), connected(server, "/ws?b"):
            async with connected(server, "/other"):
                await until(lambda: len(gateway.sessions) == 3)
                one = named["a"]
                assert gateway.sessions.get(one.id) is one
                assert one in gateway.sessions
                assert one.id in gateway.sessions
                assert gateway.sessions.where(name="a") == [one]
                assert gateway.sessions.where(name="a", other=1) == []
                other = gateway.sessions.where(lambda each: each.channel == "/other")
                assert len(other) == 1
                assert len([*gateway.sessions]) == 3
                assert repr(gateway.sessions) == "<Sessions, 3>"
                assert gateway.sessions.get("x") is None
        assert "2 sessions" not in repr(one)


async def test_a_group_gets_what_is_sent_to_it_but_for_some() -> None:
    named = Named()
    gateway = Gateway([action(on_connect=named.connect)])
    async with served(gateway) as server:
        async with (
            connected(server, "/ws?a-cats") as a,
            connected(server, "/ws?b-cats") as b,
            connected(server, "/ws?c-dogs") as c,
        ):
            await until(lambda: len(gateway.sessions) == 3)
            groups = gateway.groups
            sent = groups.send("cats", {"n": 1}, except_=[named["a"].id])
            assert sent == {named["b"].id: Delivery.SENT}
            assert await b.hear() == {"n": 1}
            assert groups.send("birds", 1) == {}
            assert sorted(groups) == ["cats", "dogs"]
            assert ("cats" in groups, "birds" in groups, len(groups)) == (True, False, 2)
            # Members come and go.
            assert groups.add("cats", named["c"])
            assert groups.add("cats", named["c"].id)
            assert groups.members("cats") == [named["a"], named["b"], named["c"]]
            assert groups.remove("cats", named["a"].id)
            assert not groups.remove("cats", named["a"])
            assert not groups.add("cats", "nobody")
            assert set(groups.send("cats", {"n": 2})) == {named["b"].id, named["c"].id}
            assert [await b.hear(), await c.hear()] == [{"n": 2}, {"n": 2}]
            assert not named["a"].groups
            assert set(named["c"].groups) == {"cats", "dogs"}
            assert set(gateway.sessions.broadcast({"n": 3}, except_={named["c"].id})) == {
                named["a"].id,
                named["b"].id,
            }
            assert [await a.hear(), await b.hear()] == [{"n": 3}, {"n": 3}]
    assert gateway.statistics().groups == 0


async def test_the_groups_of_a_session_are_a_set() -> None:
    named = Named()
    gateway = Gateway([action(on_connect=named.connect)])
    async with served(gateway) as server, connected(server, "/ws?a"):
        await until(lambda: len(gateway.sessions) == 1)
        session = named["a"]
        session.groups |= {"x", "y"}
        assert set(gateway.groups) == {"x", "y"}
        session.groups = {"y", "z"}
        assert set(gateway.groups) == {"y", "z"}
        session.groups.discard("no")
        session.groups.clear()
        assert not gateway.groups
        for wrong, error in [("", ValueError), ("x" * 256, ValueError), (1, TypeError)]:
            with pytest.raises(error, match="name of a group"):
                session.groups.add(wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="not one name"):
            session.groups = "cats"


async def test_a_broadcast_is_encoded_once_for_each_dialect() -> None:
    class Counting(RawDialect):
        pushed = 0

        def push(self, body: Any) -> str | bytes:
            Counting.pushed += 1
            return super().push(body)

    gateway = Gateway(
        [Channel("/ws", Counting(), Pipe(echo)), Channel("/rpc", JSONRPC(), Pipe(echo))]
    )
    async with served(gateway) as server:
        async with (
            connected(server) as a,
            connected(server) as b,
            connected(server, "/rpc") as c,
        ):
            await until(lambda: len(gateway.sessions) == 3)
            assert len(gateway.sessions.broadcast({"n": 1})) == 3
            assert Counting.pushed == 1
            assert [await a.hear(), await b.hear()] == [{"n": 1}, {"n": 1}]
            assert (await c.hear())["method"] == "push"
            with pytest.raises(TypeError):
                gateway.sessions.broadcast({"n": object()})


async def test_everything_can_be_called_from_any_thread() -> None:
    named = Named()
    gateway = Gateway([action(on_connect=named.connect)])
    async with served(gateway) as server, connected(server, "/ws?a-g") as client:
        await until(lambda: len(gateway.sessions) == 1)

        def work() -> None:
            session = gateway.sessions.where(name="a")[0]
            assert session.send_nowait({"n": 1}) is Delivery.SENT
            assert gateway.groups.send("g", {"n": 2}) == {session.id: Delivery.SENT}
            assert gateway.sessions.broadcast({"n": 3}) == {session.id: Delivery.SENT}
            session.groups.add("h")
            assert gateway.groups.members("h") == [session]
            assert [*gateway.sessions] == [session]
            assert gateway.statistics().total.sessions_active == 1
            session.close(4000, "enough")
            with pytest.raises(ValueError, match="close code"):
                session.close(1)

        await in_thread(work)
        assert [(await client.hear())["n"] for _ in range(3)] == [1, 2, 3]
        assert (await client.end()).code == 4000


async def test_a_function_in_a_thread_can_push_to_its_session() -> None:
    def work(message: Message) -> str:
        assert message.session.send_nowait({"progress": 50}) is Delivery.SENT
        return threading.current_thread().name

    async with served(action(work)) as server, connected(server) as client:
        assert await client.ask({"id": 1}) == {"progress": 50}
        assert (await client.hear())["status"] == 200


async def fill(session: Session, size: int = 10_000) -> int:
    """Sends numbered messages until the system takes no more of them; gives how many it took."""
    number = 0
    while (await session.send({"n": number, "pad": "x" * size})) is Delivery.SENT:
        number += 1
    return number + 1


async def test_pushes_to_a_client_that_does_not_read_drop_the_oldest() -> None:
    named = Named()
    gateway = Gateway([action(on_connect=named.connect, max_queue=100_000)])
    async with served(gateway) as server, raw_client(server, path="/ws?a") as client:
        session = named["a"]
        taken = await fill(session)
        for number in range(taken, taken + 50):
            assert await session.send({"n": number, "pad": "x" * 10_000}) is Delivery.QUEUED
        assert session.dropped > 30
        # One that is larger than all that may wait has no place.
        assert await session.send("x" * 200_000) is Delivery.DROPPED
        assert gateway.statistics().total.pushes["dropped"] == 1
        assert gateway.statistics().total.pushes_dropped == session.dropped - 1
        last = {"n": taken + 49}
        numbers: list[int] = []
        while not numbers or numbers[-1] != last["n"]:
            event = await client.next()
            assert isinstance(event, TextMessage)
            numbers.append(json.loads(event.data)["n"])
        # What the system had taken has come, and of the others the newest, in order.
        assert numbers == sorted(numbers)
        assert len(numbers) == taken + 50 - (session.dropped - 1)
        assert numbers[:5] == [0, 1, 2, 3, 4]


async def test_answers_are_not_dropped_for_pushes() -> None:
    named = Named()
    gate = Gate()
    channel = action({"gate": gate}, on_connect=named.connect, max_queue=100_000)
    async with served(channel) as server, raw_client(server, path="/ws?a") as client:
        client.websocket.send_text('{"action": "gate", "id": 7}')
        await client.flush()
        await gate.wait(1)
        await fill(named["a"])
        gate.open()
        await until(lambda: not named["a"].in_flight)
        for number in range(30):
            await named["a"].send({"n": number, "pad": "x" * 10_000})
        assert named["a"].dropped
        ids = []
        while 7 not in ids:
            event = await client.next()
            assert isinstance(event, TextMessage)
            ids.append(json.loads(event.data).get("id"))


async def test_what_waits_leaves_before_a_close() -> None:
    named = Named()
    channel = action(on_connect=named.connect)
    async with served(channel) as server, raw_client(server, path="/ws?a") as client:
        taken = await fill(named["a"])
        await named["a"].send({"n": "last"})
        named["a"].close(4000, "that was all")
        seen = []
        while not isinstance(event := await client.next(), CloseReceived):
            assert isinstance(event, TextMessage)
            seen.append(json.loads(event.data)["n"])
        assert seen == [*range(taken), "last"]
        assert event == CloseReceived(4000, "that was all")
        await client.leave()


async def test_a_stalled_client_does_not_hold_up_a_group() -> None:
    named = Named()
    gateway = Gateway([action(on_connect=named.connect, max_queue=50_000)])
    async with (
        served(gateway) as server,
        raw_client(server, path="/ws?slow-g"),
        connected(server, "/ws?quick-g") as quick,
    ):
        await until(lambda: len(gateway.sessions) == 2)
        for number in range(300):
            gateway.groups.send("g", {"n": number, "pad": "x" * 10_000})
            assert (await quick.hear())["n"] == number


async def test_greetings_are_bounded() -> None:
    async def connect(session: Session) -> None:
        for number in range(150):
            session.send_nowait({"n": number})

    gateway = Gateway([action(on_connect=connect)])
    async with served(gateway) as server, connected(server) as client:
        numbers = [(await client.hear())["n"] for _ in range(100)]
    assert numbers == [*range(50, 150)]
    assert gateway.statistics().total.pushes_dropped == 50


async def test_on_connect_may_close_once_it_has_said_why() -> None:
    async def connect(session: Session) -> None:
        await session.send({"sorry": 1})
        session.close(4100, "another time")

    async with served(action(on_connect=connect)) as server, connected(server) as client:
        assert await client.hear() == {"sorry": 1}
        assert (await client.end()).code == 4100


async def test_a_session_tells_of_itself() -> None:
    seen: list[Any] = []

    async def look(message: Message) -> None:
        session = message.session
        seen.append((session.channel, session.in_flight, session.closed, session.request.path))
        assert repr(session) == f"<Session {session.id}>"
        assert session.request.peer.host == "127.0.0.1"

    async with served(action(look)) as server, connected(server) as client:
        await client.ask({})
        assert isinstance(client, Client)
    assert seen == [("/ws", 1, False, "/ws")]


async def test_a_push_is_cancelled_before_it_is_sent_or_not_at_all() -> None:
    named = Named()
    async with (
        served(action(on_connect=named.connect)) as server,
        connected(server, "/ws?a") as client,
    ):
        await until(lambda: "a" in named.sessions)
        with trio.CancelScope() as scope:
            scope.cancel()
            await named["a"].send({"n": 1})
        assert scope.cancelled_caught
        with trio.fail_after(PATIENCE):
            await named["a"].send({"n": 2})
        assert await client.hear() == {"n": 2}
