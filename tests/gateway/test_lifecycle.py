"""From before the upgrade to after the end: who gets in, who is told, and how it ends."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
import trio.testing

import restsock
from restsock import Heartbeat, Principal, WebSocketRefused
from restsock.auth import BearerTokens, Refused
from restsock.gateway import (
    JSONRPC,
    Channel,
    Delivery,
    Gateway,
    Message,
    Pipe,
    Reply,
    Router,
    Session,
)
from restsock.protocol import CloseReceived, Pong, TextMessage
from tests.gateway.site import Gate, Hooks, action, connected, echo, in_memory, served
from tests.waiting import until
from tests.websockets.site import PATIENCE, RawClient, raw_client, request_for

QUIET = Heartbeat(interval=None)


async def refusal_of(server: Any, path: str = "/ws", **options: Any) -> WebSocketRefused:
    with pytest.raises(WebSocketRefused) as caught:
        async with connected(server, path, **options):
            pass
    return caught.value


# --- on_connect -----------------------------------------------------------------------------------


async def test_on_connect_may_say_who_it_is_and_send_a_greeting() -> None:
    seen: list[Any] = []

    async def connect(session: Session) -> None:
        session.principal = Principal("tom", claims={"role": "admin"})
        session.metadata["city"] = session.request.query
        session.stash["n"] = 7
        session.groups = {"cats", "all"}
        assert await session.send({"hello": 1}) is Delivery.QUEUED

    async def look(message: Message) -> str:
        session = message.session
        assert session.principal is not None
        seen.append((session.principal.name, session.metadata, session.stash, set(session.groups)))
        return "ok"

    gateway = Gateway([action({"a": look}, on_connect=connect)])
    async with served(gateway) as server, connected(server, "/ws?Ulm") as client:
        assert await client.hear() == {"hello": 1}
        await client.ask({"action": "a"})
        assert seen == [("tom", {"city": "Ulm"}, {"n": 7}, {"cats", "all"})]
        assert [each.metadata for each in gateway.groups.members("cats")] == [{"city": "Ulm"}]
    assert not gateway.groups


@pytest.mark.parametrize(
    ("verdict", "status"),
    [(Refused(402, "Pay first."), 402), (False, 403), (RuntimeError("secret"), 500)],
)
async def test_on_connect_may_refuse_before_the_upgrade(verdict: Any, status: int) -> None:
    hooks = Hooks()

    async def connect(session: Session) -> Any:
        session.groups.add("g")
        if isinstance(verdict, Exception):
            raise verdict
        return verdict

    channel = action(on_connect=connect, on_disconnect=hooks.disconnect)
    gateway = Gateway([channel])
    async with served(gateway) as server:
        refused = await refusal_of(server)
        assert refused.status == status
        assert refused.response is not None
        assert b"secret" not in refused.response.body
        assert not gateway.groups
        assert not len(gateway.sessions)
    assert hooks.ended == []
    assert gateway.statistics().total.turned_away == {str(status): 1}
    assert gateway.statistics().total.sessions_total == 0


async def test_on_connect_that_takes_too_long_refuses() -> None:
    options = restsock.Options(timeouts=restsock.Timeouts(handshake=0.2))
    channel = action(on_connect=sleep)
    async with served(channel, options=options) as server:
        assert (await refusal_of(server)).status == 503


async def sleep(session: Session) -> None:
    await trio.sleep_forever()


async def test_hooks_may_be_functions_that_block() -> None:
    names: list[str] = []
    done = threading.Event()

    def connect(session: Session) -> None:
        names.append(threading.current_thread().name)
        session.groups.add("g")
        session.send_nowait({"hello": 1})

    def disconnect(session: Session, code: int, reason: str) -> None:
        names.append(threading.current_thread().name)
        assert set(session.groups) == {"g"}
        assert session.send_nowait("too late") is Delivery.GONE
        done.set()

    channel = action(on_connect=connect, on_disconnect=disconnect)
    async with served(channel) as server, connected(server) as client:
        assert await client.hear() == {"hello": 1}
    assert await trio.to_thread.run_sync(done.wait, PATIENCE)
    assert threading.current_thread().name not in names


# --- on_disconnect --------------------------------------------------------------------------------


async def test_on_disconnect_has_the_code_and_the_reason_of_the_client() -> None:
    hooks = Hooks()
    channel = action(on_connect=hooks.connect, on_disconnect=hooks.disconnect)
    async with served(channel) as server, connected(server) as client:
        await client.websocket.aclose(4321, "bye")
        assert await hooks.wait() == [4321]
        assert hooks.ended == [(4321, "bye")]


async def test_on_disconnect_comes_when_a_client_vanishes() -> None:
    hooks = Hooks()
    channel = action(on_connect=hooks.connect, on_disconnect=hooks.disconnect)
    async with served(channel) as server, raw_client(server) as client:
        await trio.aclose_forcefully(client.stream)
        assert await hooks.wait() == [1006]


async def test_on_disconnect_comes_when_the_gateway_closes_it() -> None:
    hooks = Hooks()
    gateway = Gateway([action(on_connect=hooks.connect, on_disconnect=hooks.disconnect)])
    async with served(gateway) as server, connected(server) as client:
        await until(lambda: len(gateway.sessions) == 1)
        [session] = gateway.sessions
        assert gateway.sessions.close(session.id, 4000, "enough")
        assert (await client.end()).code == 4000
        assert await hooks.wait() == [4000]
        assert not gateway.sessions.close(session.id)
    assert gateway.statistics().total.closed == {"4000": 1}


async def test_on_disconnect_comes_for_a_client_that_left_during_on_connect() -> None:
    hooks = Hooks()
    go, came = trio.Event(), trio.Event()

    async def connect(session: Session) -> None:
        came.set()
        await go.wait()
        await hooks.connect(session)

    channel = action(on_connect=connect, on_disconnect=hooks.disconnect)
    async with served(channel) as server:
        stream = await trio.open_tcp_stream("127.0.0.1", server.address[1])
        await stream.send_all(request_for())
        await came.wait()
        await trio.aclose_forcefully(stream)
        await trio.sleep(0.05)
        go.set()
        assert await hooks.wait() == [1006]


async def test_on_disconnect_comes_once_when_the_listener_is_cancelled() -> None:
    hooks = Hooks()

    async def disconnect(session: Session, code: int, reason: str) -> None:
        await trio.sleep(0.01)  # it has its time
        await hooks.disconnect(session, code, reason)

    gate = Gate()
    channel = action(gate, on_connect=hooks.connect, on_disconnect=disconnect)
    ready: list[Any] = []
    scope = trio.CancelScope()

    async def run(task_status: trio.TaskStatus[None]) -> None:
        with scope:
            async with served(channel) as server:
                ready.append(server)
                task_status.started()
                await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        await nursery.start(run)
        async with raw_client(ready[0]) as client:
            client.websocket.send_text('{"id": 1}')
            await client.flush()
            await gate.wait(1)
            scope.cancel()
            assert len(await hooks.wait()) == 1
    assert len(hooks.ended) == 1
    assert gate.cancelled


async def test_on_disconnect_that_hangs_is_given_up(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def hang(session: Session, code: int, reason: str) -> None:
        await trio.sleep_forever()

    async with in_memory(action(on_disconnect=hang)) as memory:
        client = await memory.open()
        await client.stream.aclose()
        await trio.sleep(10)
    assert "took more than 5 s" in caplog.text


async def test_on_disconnect_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def fail(session: Session, code: int, reason: str) -> None:
        raise RuntimeError("no")

    async with served(action(on_disconnect=fail)) as server:
        for _ in range(2):
            async with connected(server) as client:
                assert (await client.ask({"action": "echo"}))["status"] == 200
    assert caplog.text.count("on_disconnect failed") == 2


async def test_a_task_of_a_session_that_fails_closes_it(caplog: pytest.LogCaptureFixture) -> None:
    hooks = Hooks()

    async def fail() -> None:
        raise RuntimeError("no")

    async def start(message: Message) -> str:
        message.session.start_soon(fail)
        return "ok"

    channel = action(start, on_connect=hooks.connect, on_disconnect=hooks.disconnect)
    async with served(channel) as server, connected(server) as client:
        await client.say({})
        assert (await client.end()).code == 1011
        assert await hooks.wait() == [1011]
    assert "a task of <Session" in caplog.text
    with pytest.raises(RuntimeError, match="not connected"):
        hooks.connected[0].start_soon(fail)


async def test_tasks_of_a_session_end_with_it() -> None:
    ended = trio.Event()

    async def tick(session: Session) -> None:
        try:
            while True:
                await session.send({"tick": 1})
                await trio.sleep(0.01)
        finally:
            ended.set()

    async def start(message: Message) -> str:
        message.session.start_soon(tick, message.session)
        return "ok"

    async with served(action(start)) as server:
        async with connected(server) as client:
            await client.say({})
            assert {json.dumps(await client.hear()) for _ in range(3)} >= {'{"tick": 1}'}
        with trio.fail_after(PATIENCE):
            await ended.wait()


# --- how many, how long ---------------------------------------------------------------------------


async def test_above_the_limit_newcomers_get_a_503_before_the_upgrade() -> None:
    gateway = Gateway([action(max_sessions=1)])
    async with served(gateway) as server:
        async with connected(server) as client:
            await client.ask({"action": "echo"})
            refused = await refusal_of(server)
            assert refused.status == 503
            assert refused.response is not None
            assert refused.response.header("retry-after") == "5"
            assert gateway.health().reasons == ("/ws has as many sessions as it may have",)
        await until(lambda: not len(gateway.sessions))
        async with connected(server) as client:
            await client.ask({"action": "echo"})
    assert gateway.statistics().total.turned_away == {"max_websockets": 1}


async def test_the_limit_holds_for_those_who_come_together() -> None:
    """A place is taken before `on_connect`, however long that takes."""
    go = trio.Event()

    async def connect(session: Session) -> None:
        await go.wait()

    gateway = Gateway([action(max_sessions=3, on_connect=connect)])
    outcomes: list[int] = []
    inside = trio.Event()

    async def come(server: Any) -> None:
        try:
            async with connected(server):
                outcomes.append(101)
                await inside.wait()
        except WebSocketRefused as exc:
            outcomes.append(exc.status)

    async with served(gateway) as server, trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(come, server)
        await until(lambda: len(outcomes) == 7)
        assert outcomes == [503] * 7
        go.set()
        await until(lambda: len(outcomes) == 10)
        assert sorted(outcomes) == [101] * 3 + [503] * 7
        assert len(gateway.sessions) == 3
        inside.set()


async def test_an_idle_session_is_closed_with_1001_though_it_answers_pings(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with in_memory(action(idle=100)) as memory:
        client = await memory.open()
        begun = trio.current_time()
        with trio.fail_after(200):
            assert (await close_of(client))[0] == 1001
        assert 100 <= trio.current_time() - begun <= 115


async def close_of(client: RawClient) -> tuple[int, str]:
    """As `next_close`, on a clock that jumps: without a patience of its own."""
    while True:
        while (event := client.websocket.next_event()) is None:
            await client.stream.send_all(client.websocket.data_to_send())
            data = bytes(await client.stream.receive_some(65536))
            assert data
            client.websocket.receive_data(data)
        if isinstance(event, CloseReceived):
            await client.stream.send_all(client.websocket.data_to_send())
            return event.code, event.reason


async def test_a_session_whose_call_is_under_way_is_not_idle(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def slow(message: Message) -> str:
        await trio.sleep(300)
        return "done"

    async with in_memory(action(slow, idle=100)) as memory:
        client = await memory.open()
        client.websocket.send_text('{"id": 1}')
        begun = trio.current_time()
        assert (await close_of(client))[0] == 1001
        assert 400 <= trio.current_time() - begun <= 415


async def test_a_dead_peer_is_noticed_in_interval_and_timeout(
    autojump_clock: trio.testing.MockClock,
) -> None:
    hooks = Hooks()
    channel = action(
        heartbeat=Heartbeat(interval=20, timeout=10),
        on_connect=hooks.connect,
        on_disconnect=hooks.disconnect,
    )
    async with in_memory(channel) as memory:
        client = await memory.open()
        begun = trio.current_time()
        while not hooks.ended:  # noqa: ASYNC110
            await trio.sleep(1)
        assert trio.current_time() - begun == pytest.approx(30, abs=2)
        assert hooks.ended[0][0] == 1011
        await trio.aclose_forcefully(client.stream)


async def test_an_old_session_answers_what_is_under_way_and_ends_with_1012(
    autojump_clock: trio.testing.MockClock,
) -> None:
    gate = Gate()
    async with in_memory(action(gate, max_age=1000, heartbeat=QUIET)) as memory:
        client = await memory.open()
        begun = trio.current_time()
        await trio.sleep(899)
        client.websocket.send_text('{"id": 1}')
        await client.stream.send_all(client.websocket.data_to_send())
        # After ten more seconds the call is cancelled, and answered so.
        events = []
        with trio.fail_after(300):
            while True:
                data = bytes(await client.stream.receive_some(65536))
                client.websocket.receive_data(data)
                while (event := client.websocket.next_event()) is not None:
                    events.append(event)
                if any(isinstance(event, CloseReceived) for event in events):
                    break
                await client.stream.send_all(client.websocket.data_to_send())
        await client.stream.send_all(client.websocket.data_to_send())
        assert 900 <= trio.current_time() - begun <= 1115
        answers = [json.loads(each.data) for each in events if isinstance(each, TextMessage)]
        by_id = {each["id"]: each for each in answers}
        assert by_id[1]["status"] == 503
        assert by_id[1]["error"]["may_have_run"] is True
        closes = [each for each in events if isinstance(each, CloseReceived)]
        assert closes[0].code == 1012


async def test_sessions_that_began_together_do_not_end_together(
    autojump_clock: trio.testing.MockClock,
) -> None:
    hooks = Hooks()
    ends: list[float] = []

    async def disconnect(session: Session, code: int, reason: str) -> None:
        ends.append(trio.current_time())

    channel = action(
        max_age=1000, heartbeat=QUIET, on_connect=hooks.connect, on_disconnect=disconnect
    )
    async with in_memory(channel) as memory:
        clients = [await memory.open() for _ in range(20)]
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(close_of, client)
            while len(ends) < 20:  # noqa: ASYNC110
                await trio.sleep(1)
            for client in clients:
                await trio.aclose_forcefully(client.stream)
    assert max(ends) - min(ends) > 50


# --- who it is ------------------------------------------------------------------------------------


async def test_a_stranger_gets_a_401_and_the_principal_is_known() -> None:
    async def who(message: Message) -> str:
        assert message.session.principal is not None
        return message.session.principal.name

    channel = action(who, auth=BearerTokens({"secret": "tom"}))
    async with served(channel) as server:
        refused = await refusal_of(server)
        assert refused.status == 401
        async with connected(server, auth=restsock.auth.Bearer("secret")) as client:
            assert (await client.ask({"id": 1}))["body"] == "tom"


async def test_credentials_that_are_over_close_with_4005_after_an_answer() -> None:
    async def connect(session: Session) -> None:
        session.principal = Principal("tom", claims={"exp": time.time() + 0.15})

    hooks = Hooks()
    channel = action(echo, on_connect=connect)
    async with served(channel) as server, connected(server) as client:
        assert (await client.ask({"id": 1}))["status"] == 200
        assert (await client.end()).code == 4005
    assert hooks.ended == []


async def test_credentials_can_be_renewed_while_it_lives() -> None:
    async def connect(session: Session) -> None:
        session.principal = Principal("tom", claims={"exp": time.time() + 0.15})

    async def renew(message: Message) -> str:
        message.session.principal = Principal("tom", claims={"exp": time.time() + 1000})
        return "renewed"

    async with served(action(renew, on_connect=connect)) as server:
        async with connected(server) as client:
            await client.ask({"id": 1})
            await trio.sleep(0.3)
            assert (await client.ask({"id": 2}))["status"] == 200


async def test_a_message_with_credentials_that_are_over_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is checked with each message, whatever the timer says."""

    async def connect(session: Session) -> None:
        session.principal = Principal("tom", claims={"exp": time.time() + 1000})

    gate = Gate()
    gateway = Gateway([action({"echo": echo, "gate": gate}, on_connect=connect)])
    async with served(gateway) as server, connected(server) as client:
        assert (await client.ask({"action": "echo", "id": 1}))["status"] == 200
        [session] = gateway.sessions
        assert session.principal is not None
        session.principal = Principal("tom", claims={"exp": time.time() - 1})
        told = await client.ask({"action": "echo", "id": 2})
        assert (told["id"], told["status"]) == (2, 401)
        assert (await client.end()).code == 4005
    assert gateway.statistics().total.refused == {"expired": 1}


async def test_those_that_wait_are_answered_before_credentials_that_are_over_close() -> None:
    async def connect(session: Session) -> None:
        session.principal = Principal("tom")

    gate = Gate()
    gateway = Gateway([action(gate, on_connect=connect)])
    async with served(gateway) as server, connected(server) as client:
        await client.say({"n": 1})
        await client.say({"n": 2})
        await gate.wait(1)
        [session] = gateway.sessions
        session.principal = Principal("tom", claims={"exp": 1})
        await client.say({"n": 3})
        await until(lambda: session.in_flight == 3)
        gate.open()
        assert [(await client.hear())["status"] for _ in range(3)] == [200, 200, 401]
        assert (await client.end()).code == 4005


async def test_credentials_that_are_withdrawn_close_with_4005(tmp_path: Any) -> None:
    tokens = tmp_path / "tokens.json"
    tokens.write_text('{"secret": "tom", "other": "ann"}')
    channel = action(echo, auth=BearerTokens(file=tokens))
    async with served(channel) as server:
        async with connected(server, auth=restsock.auth.Bearer("secret")) as client:
            assert (await client.ask({"id": 1}))["status"] == 200
            tokens.write_text('{"other": "ann"}')
            assert (await client.end()).code == 4005


# --- the end of the listener ----------------------------------------------------------------------


async def test_a_drain_answers_what_runs_refuses_what_comes_and_closes_with_1012() -> None:
    gate = Gate()
    hooks = Hooks()
    channel = action(
        {"gate": gate}, in_flight=2, on_connect=hooks.connect, on_disconnect=hooks.disconnect
    )
    gateway = Gateway([channel])
    async with served(gateway) as server, raw_client(server) as client:
        late = await trio.open_tcp_stream("127.0.0.1", server.address[1])
        await late.send_all(request_for()[:20])
        await trio.sleep(0.05)
        for number in range(5):  # 2 run, 3 wait
            client.websocket.send_text(json.dumps({"action": "gate", "id": number}))
        await client.flush()
        await gate.wait(2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.aclose)
            waited = [await answer_of(client) for _ in range(3)]
            assert [each["id"] for each in waited] == [2, 3, 4]
            assert all(each["status"] == 503 for each in waited)
            assert all(each["error"]["may_have_run"] is False for each in waited)
            assert not gateway.health().ok
            # What comes now is answered as well, and so are pings.
            client.websocket.send_text(json.dumps({"action": "gate", "id": 9}))
            client.websocket.send_ping(b"x")
            await client.flush()
            assert await client.next() == Pong(b"x")
            assert (await answer_of(client))["status"] == 503
            await late.send_all(request_for()[20:])
            assert (await late.receive_some(100)).startswith(b"HTTP/1.1 503 ")
            await late.aclose()
            gate.open()
            ran = [await answer_of(client) for _ in range(2)]
            assert sorted(each["id"] for each in ran) == [0, 1]
            assert all(each["status"] == 200 for each in ran)
            event = await client.next()
            assert isinstance(event, CloseReceived)
            assert event.code == 1012
            await client.leave()
    assert hooks.ended[0][0] == 1012
    total = gateway.statistics().total
    assert (total.refused, total.calls) == ({"draining": 4}, {"ok": 2})


async def answer_of(client: RawClient) -> Any:
    event = await client.next()
    assert isinstance(event, TextMessage), event
    return json.loads(event.data)


async def test_those_without_ids_are_answered_in_order_when_it_drains() -> None:
    gate = Gate()
    async with served(action({"gate": gate})) as server, raw_client(server) as client:
        for _ in range(3):
            client.websocket.send_text('{"action": "gate"}')
        await client.flush()
        await gate.wait(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.aclose)
            await trio.sleep(0.05)
            gate.open()
            assert [(await answer_of(client))["status"] for _ in range(3)] == [200, 503, 503]
            await client.leave()


async def test_what_does_not_end_in_its_grace_is_answered_and_cancelled() -> None:
    gate = Gate()
    async with served(action({"gate": gate}, grace=0.2)) as server, raw_client(server) as client:
        client.websocket.send_text('{"action": "gate", "id": 1}')
        client.websocket.send_text('{"action": "gate"}')
        client.websocket.send_text('{"action": "gate"}')
        await client.flush()
        await gate.wait(2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.aclose)
            told = [await answer_of(client) for _ in range(3)]
            assert [each["status"] for each in told] == [503, 503, 503]
            ran = [each["error"]["may_have_run"] for each in told]
            assert sorted(ran) == [False, True, True]
            event = await client.next()
            assert isinstance(event, CloseReceived)
            assert event.code == 1012
            await client.leave()
    assert len(gate.cancelled) == 2


async def test_one_that_is_let_in_while_it_drains_is_turned_away_and_told_of() -> None:
    hooks = Hooks()
    go, came = trio.Event(), trio.Event()

    async def connect(session: Session) -> None:
        came.set()
        await go.wait()
        await hooks.connect(session)

    gateway = Gateway([action(on_connect=connect, on_disconnect=hooks.disconnect)])
    async with served(gateway) as server:
        stream = await trio.open_tcp_stream("127.0.0.1", server.address[1])
        await stream.send_all(request_for())
        await came.wait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.aclose)
            await trio.sleep(0.05)
            go.set()
            assert (await stream.receive_some(4096)).startswith(b"HTTP/1.1 503 ")
            assert await hooks.wait() == [1006]
            await stream.aclose()
    assert gateway.statistics().total.turned_away == {"draining": 1}


async def test_a_batch_is_answered_whole_when_it_drains() -> None:
    gate = Gate()
    channel = Channel("/ws", JSONRPC(), Router({"gate": gate}), in_flight=2)
    async with served(channel) as server, raw_client(server) as client:
        call = {"jsonrpc": "2.0", "method": "gate", "params": []}
        client.websocket.send_text(json.dumps([{**call, "id": number} for number in range(4)]))
        await client.flush()
        await gate.wait(2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.aclose)
            await trio.sleep(0.05)
            gate.open()
            told = await answer_of(client)
            assert sorted(each["id"] for each in told if "result" in each) == [0, 1]
            refused = [each for each in told if "error" in each]
            assert [each["id"] for each in refused] == [2, 3]
            assert {each["error"]["data"]["status"] for each in refused} == {503}
            await client.leave()


async def test_an_answer_in_parts_ends_with_a_failure_when_its_grace_is_over() -> None:
    async def endless(message: Message) -> Reply:
        async def parts() -> AsyncIterator[Any]:
            while True:
                yield 1
                await trio.sleep(0.05)

        return Reply(None, parts=parts())

    async with served(action(endless, grace=0.2)) as server, raw_client(server) as client:
        client.websocket.send_text('{"id": 1}')
        await client.flush()
        assert (await answer_of(client))["more"]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.aclose)
            while (told := await answer_of(client)).get("more"):
                pass
            assert (told["id"], told["status"]) == (1, 503)
            await client.leave()


async def test_clients_are_not_sent_away_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[float] = []

    async def disconnect(session: Session, code: int, reason: str) -> None:
        ends.append(trio.current_time())
        assert code == 1012

    monkeypatch.setattr("restsock.gateway._endpoint._CLOSED_A_SECOND", 40)
    gateway = Gateway([action(on_disconnect=disconnect)])
    async with served(gateway) as server, trio.open_nursery() as nursery:

        async def stay() -> None:
            async with connected(server) as client:
                assert (await client.end()).code == 1012

        for _ in range(20):
            nursery.start_soon(stay)
        await until(lambda: len(gateway.sessions) == 20)
        begun = trio.current_time()
        await server.aclose()
    assert len(ends) == 20
    assert max(ends) - min(ends) > 0.1
    assert max(ends) - begun < 15


async def test_the_code_of_the_listener_wins_if_it_says_something() -> None:
    async with served(action()) as server, raw_client(server) as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.aclose, 4242, "moved")
            assert await client.next() == CloseReceived(4242, "moved")
            await client.leave()


async def test_without_grace_it_ends_at_once() -> None:
    gate = Gate()
    async with served(action(gate)) as server, raw_client(server) as client:
        client.websocket.send_text('{"id": 1}')
        await client.flush()
        await gate.wait(1)
        begun = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: server.aclose(grace=0))
            assert (await answer_of(client))["status"] == 503
            event = await client.next()
            assert isinstance(event, CloseReceived)
            await client.leave()
        assert trio.current_time() - begun < 15  # far less than the grace


async def test_a_backend_that_fails_does_not_end_the_session(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(message: Message) -> None:
        raise ValueError("no")

    caplog.set_level(logging.CRITICAL)
    async with served(action({"fail": Pipe(fail), "echo": echo})) as server:
        async with connected(server) as client:
            for number in range(5):
                assert (await client.ask({"action": "fail", "id": number}))["status"] == 500
            assert (await client.ask({"action": "echo", "id": 9}))["status"] == 200
