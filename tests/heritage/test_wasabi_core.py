"""What Wasabi's server, channels, dispatcher and connections promise, and what they get wrong.

Each test is one promise, or one fault that this does not have. Over real sockets; where time has to
be exact, in memory and by a clock that jumps.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
import trio.testing

import restsock
from restsock import Heartbeat, WebSocketRefused
from restsock.auth import BasicUsers, BearerTokens, Refused
from restsock.gateway import Channel, Delivery, Gateway, Message, Pipe, RawDialect, Router, Session
from restsock.protocol import CloseReceived, Pong, TextMessage
from restsock.websockets import Endpoint
from tests.gateway.site import Gate, Hooks, action, connected, echo, in_memory, served
from tests.tls_pair import contexts
from tests.waiting import until
from tests.websockets.site import PATIENCE, raw_client, request_for


async def refusal_of(server: Any, **options: Any) -> WebSocketRefused:
    with pytest.raises(WebSocketRefused) as caught:
        async with connected(server, **options):
            pass
    return caught.value


async def answers(client: Any, count: int) -> list[Any]:
    found = []
    for _ in range(count):
        event = await client.next()
        assert isinstance(event, TextMessage), event
        found.append(json.loads(event.data))
    return found


# --- W1: server, channels, dispatcher, registry, connection ---------------------------------------


async def test_a_server_has_channels_at_paths_with_and_without_tls() -> None:
    gateway = Gateway([action({"a": echo}), Channel("/raw", RawDialect(), Pipe(echo))])
    for tls in (None, contexts()[1]):
        async with served(gateway, tls=tls) as server:
            async with raw_client(server) as client:
                client.websocket.send_text('{"action": "a", "id": 1}')
                await client.flush()
                assert (await answers(client, 1))[0]["id"] == 1
            async with raw_client(server, path="/raw") as client:
                client.websocket.send_text("x")
                await client.flush()
                assert await client.next() == TextMessage("x")


async def test_a_router_chooses_by_key_and_has_a_default() -> None:
    async def other(message: Message) -> str:
        return f"default for {message.key!r}"

    gateway = Gateway([action(Router({"a": echo}, default=other))])
    async with served(gateway) as server, connected(server) as client:
        assert (await client.ask({"action": "a", "n": 1}))["body"] == {"n": 1}
        assert (await client.ask({"action": "b"}))["body"] == "default for 'b'"
        assert (await client.ask("not JSON at all"))["body"] == "default for ''"
    with pytest.raises(ValueError, match="twice"):
        Router([("a", echo), ("a", echo)])


async def test_a_pipe_gives_one_backend_text_and_binary_messages() -> None:
    async def kind(message: Message) -> str:
        return message.key

    async with served(Channel("/ws", RawDialect(), Pipe(kind))) as server:
        async with connected(server) as client:
            await client.websocket.send("x")
            await client.websocket.send(b"x")
            assert [await client.websocket.receive() for _ in range(2)] == ["text", "binary"]


async def test_connections_are_registered_with_hooks_and_found_by_id() -> None:
    hooks = Hooks()
    gateway = Gateway([action(on_connect=hooks.connect, on_disconnect=hooks.disconnect)])
    async with served(gateway) as server:
        async with connected(server) as client:
            await client.ask({"action": "echo"})
            [session] = gateway.sessions
            assert gateway.sessions.get(session.id) is session is hooks.connected[0]
            await client.websocket.aclose(4001, "bye")
            await hooks.wait()
        assert hooks.ended == [(4001, "bye")]
        assert gateway.sessions.get(session.id) is None


async def test_a_connection_can_send_and_close_with_code_and_reason() -> None:
    async def leave(message: Message) -> str:
        await message.session.send({"last": "words"})
        message.session.close(4002, "that was it")
        return "never sent"

    async with served(action(leave)) as server, connected(server) as client:
        await client.say({"id": 1})
        assert await client.hear() == {"last": "words"}
        closed = await client.end()
        assert (closed.code, closed.reason) == (4002, "that was it")


# --- W2: before the upgrade -----------------------------------------------------------------------


async def test_basic_auth_before_the_upgrade() -> None:
    channel = action(auth=BasicUsers({"tom": "secret"}))
    async with served(channel) as server:
        refused = await refusal_of(server)
        assert refused.status == 401
        assert refused.response is not None
        assert "Basic" in (refused.response.header("www-authenticate") or "")
        wrong = restsock.auth.Basic("tom", "wrong")
        assert (await refusal_of(server, auth=wrong)).status == 401
        async with connected(server, auth=restsock.auth.Basic("tom", "secret")) as client:
            assert (await client.ask({"action": "echo"}))["status"] == 200


@pytest.mark.parametrize(
    "field", ["B", "Bearer", "Bearer ", "Basic c2VjcmV0", "bearer", "secret", ""]
)
async def test_a_token_that_is_cut_short_or_of_another_scheme_is_refused(field: str) -> None:
    """Slicing off a scheme that is not there would fail, or let another scheme in."""
    async with served(action(auth=BearerTokens({"secret": "tom"}))) as server:
        stream = await trio.open_tcp_stream("127.0.0.1", server.address[1])
        await stream.send_all(request_for("/ws", f"Authorization: {field}"))
        assert (await stream.receive_some(4096)).split()[1] in (b"400", b"401")
        await stream.aclose()
        async with connected(server, auth=restsock.auth.Bearer("secret")) as client:
            assert (await client.ask({"action": "echo"}))["status"] == 200


@pytest.mark.parametrize(
    ("trusted", "field", "expected"),
    [
        ((), "X-Forwarded-For: 198.51.100.7", "127.0.0.1"),
        (("127.0.0.1",), "X-Forwarded-For: 6.6.6.6, 198.51.100.7", "198.51.100.7"),
        (("127.0.0.1",), "X-Forwarded-For: 2001:db8::7", "2001:db8::7"),
    ],
)
async def test_the_address_of_a_client_comes_from_a_trusted_proxy(
    trusted: tuple[str, ...], field: str, expected: str
) -> None:
    async def where(message: Message) -> str:
        return message.session.request.peer.host

    async with served(action(where, trusted_proxies=trusted)) as server:
        async with raw_client(server, field) as client:
            client.websocket.send_text("{}")
            await client.flush()
            assert (await answers(client, 1))[0]["body"] == expected


async def test_each_connection_has_a_stash() -> None:
    async def connect(session: Session) -> None:
        session.stash["n"] = int(session.request.query)

    async def count(message: Message) -> int:
        message.session.stash["n"] += 1
        number: int = message.session.stash["n"]
        return number

    async with served(action(count, on_connect=connect)) as server:
        async with connected(server, "/ws?10") as a, connected(server, "/ws?20") as b:
            assert [(await a.ask({}))["body"] for _ in range(2)] == [11, 12]
            assert (await b.ask({}))["body"] == 21


async def test_pages_of_other_origins_are_refused_unless_they_are_named() -> None:
    """The default there is to let all in."""
    for origins, status in [(None, b"403"), ("*", b"101"), (["https://ui.example"], b"101")]:
        async with served(action(origins=origins)) as server:
            stream = await trio.open_tcp_stream("127.0.0.1", server.address[1])
            await stream.send_all(request_for("/ws", "Origin: https://ui.example"))
            assert (await stream.receive_some(4096)).split()[1] == status
            await trio.aclose_forcefully(stream)


# --- W4: limits -----------------------------------------------------------------------------------


async def test_25_requests_of_a_connection_run_at_once_and_further_ones_wait() -> None:
    gate = Gate()
    async with served(action(gate)) as server, raw_client(server) as client:
        for number in range(30):
            client.websocket.send_text(json.dumps({"id": number}))
        client.websocket.send_ping(b"still there?")
        await client.flush()
        # Pings are answered though no further message is looked at.
        assert await client.next() == Pong(b"still there?")
        await gate.wait(25)
        await trio.sleep(0.02)
        assert len(gate.begun) == 25
        gate.open()
        assert sorted(each["id"] for each in await answers(client, 30)) == [*range(30)]


async def test_a_message_of_more_than_32_kib_closes_with_1009() -> None:
    async with served(action()) as server, connected(server) as client:
        await client.say("x" * 32 * 1024)
        assert (await client.hear())["status"] == 404
        await client.say("x" * (32 * 1024 + 1))
        assert (await client.end()).code == 1009


async def test_an_idle_connection_is_closed_with_1001(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with in_memory(action(idle=60, heartbeat=Heartbeat(interval=None))) as memory:
        client = await memory.open()
        begun = trio.current_time()
        client.websocket.receive_data(bytes(await client.stream.receive_some(1000)))
        event = client.websocket.next_event()
        assert isinstance(event, CloseReceived)
        assert event.code == 1001
        assert 60 <= trio.current_time() - begun <= 70
        await client.stream.send_all(client.websocket.data_to_send())


async def test_connections_above_the_limit_get_a_503_even_in_a_race() -> None:
    """Checking first and counting later would let in more than there is room for."""
    gateway = Gateway([action(max_sessions=2)])
    statuses: list[int] = []
    done = trio.Event()

    async def come(server: Any) -> None:
        try:
            async with connected(server):
                statuses.append(101)
                await done.wait()
        except WebSocketRefused as exc:
            statuses.append(exc.status)

    async with served(gateway) as server, trio.open_nursery() as nursery:
        for _ in range(12):
            nursery.start_soon(come, server)
        await until(lambda: len(statuses) == 12)
        assert sorted(statuses) == [101, 101, *[503] * 10]
        done.set()


async def test_a_peer_that_silently_disappears_is_detected(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """There are no pings there, so a half-open connection stays for ever."""
    hooks = Hooks()
    channel = action(on_connect=hooks.connect, on_disconnect=hooks.disconnect)
    async with in_memory(channel) as memory:
        client = await memory.open()
        await trio.sleep(60)
        assert hooks.ended[0][0] == 1011
        await trio.aclose_forcefully(client.stream)


async def test_shutdown_drains_then_closes_with_1012_and_new_clients_get_a_503() -> None:
    gate = Gate()
    gateway = Gateway([action(gate)])
    async with served(gateway) as server, raw_client(server) as client:
        client.websocket.send_text('{"id": 1}')
        await client.flush()
        await gate.wait(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.aclose)
            await trio.sleep(0.02)
            late = await trio.open_tcp_stream("127.0.0.1", server.address[1])
            await late.send_all(request_for())
            assert (await late.receive_some(4096)).startswith(b"HTTP/1.1 503 ")
            await late.aclose()
            gate.open()
            assert (await answers(client, 1))[0]["status"] == 200
            event = await client.next()
            assert isinstance(event, CloseReceived)
            assert event.code == 1012
            assert event.reason
            await client.leave()


# --- faults of others -----------------------------------------------------------------------------


async def test_messages_that_arrive_during_the_close_hold_no_slot() -> None:
    """There each keeps its slot: after 25 nothing is read, and nobody is told of the end."""
    gate = Gate()
    hooks = Hooks()
    channel = action(gate, on_connect=hooks.connect, on_disconnect=hooks.disconnect)
    gateway = Gateway([channel])
    async with served(gateway) as server, raw_client(server) as client:
        client.websocket.send_text('{"id": "first"}')
        await client.flush()
        await gate.wait(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.aclose)
            await trio.sleep(0.02)
            for number in range(100):
                client.websocket.send_text(json.dumps({"id": number}))
            await client.flush()
            told = await answers(client, 100)
            assert [each["id"] for each in told] == [*range(100)]
            assert {each["status"] for each in told} == {503}
            gate.open()
            assert (await answers(client, 1))[0]["status"] == 200
            assert isinstance(await client.next(), CloseReceived)
            await client.leave()
    assert await hooks.wait() == [1012]
    assert len(gateway.sessions) == 0


async def test_the_client_is_told_of_errors_and_of_malformed_messages(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """There errors are only logged, and what the parser does not know vanishes."""

    async def fail(message: Message) -> None:
        raise RuntimeError("inside")

    async with served(action({"a": fail})) as server, connected(server) as client:
        assert (await client.ask({"action": "a", "id": 1}))["status"] == 500
        assert (await client.ask({"action": "b", "id": 2}))["status"] == 404
        assert (await client.ask('{"action": 1, "id": 3}'))["status"] == 400
        assert (await client.ask("{"))["status"] == 404
    assert "inside" in caplog.text


async def test_answers_of_a_client_without_ids_do_not_overtake_each_other() -> None:
    """There each message runs by itself, and only the application could tell the answers apart."""

    async def slower_at_first(message: Message) -> int:
        number: int = message.body["n"]
        await trio.sleep(0.05 - number * 0.01)
        return number

    async with served(action(slower_at_first)) as server, connected(server) as client:
        for number in range(5):
            await client.say({"n": number})
        assert [(await client.hear())["body"] for _ in range(5)] == [0, 1, 2, 3, 4]


async def test_calls_with_ids_are_not_serial() -> None:
    gate = Gate()
    async with served(action({"slow": gate, "quick": echo})) as server:
        async with connected(server) as client:
            await client.say({"action": "slow", "id": 1})
            await gate.wait(1)
            assert (await client.ask({"action": "quick", "id": 2}))["id"] == 2


async def test_an_ordinary_request_to_a_channel_leaves_it_alive() -> None:
    async with served(action()) as server:
        for _ in range(3):
            stream = await trio.open_tcp_stream("127.0.0.1", server.address[1])
            await stream.send_all(b"GET /ws HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await stream.receive_some(4096)).startswith(b"HTTP/1.1 426 ")
            await stream.aclose()
            async with connected(server) as client:
                assert (await client.ask({"action": "echo"}))["status"] == 200


@pytest.mark.parametrize("end", ["close", "vanish", "too large", "garbage", "kicked", "drain"])
async def test_the_end_of_a_connection_is_reported_once_whatever_its_cause(end: str) -> None:
    hooks = Hooks()
    gate = Gate()
    channel = action(gate, on_connect=hooks.connect, on_disconnect=hooks.disconnect)
    gateway = Gateway([channel])
    async with served(gateway) as server, raw_client(server) as client:
        for number in range(30):  # with all slots taken
            client.websocket.send_text(json.dumps({"id": number}))
        await client.flush()
        await gate.wait(25)
        if end == "close":
            client.websocket.close(4000, "")
            await client.flush()
        elif end == "vanish":
            await trio.aclose_forcefully(client.stream)
        elif end == "too large":
            client.websocket.send_text("x" * 40_000)
            await client.flush()
        elif end == "garbage":
            await client.send(b"\xff" * 100)
        elif end == "kicked":
            hooks.connected[0].close(4001, "")
        else:
            gate.open()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(server.aclose)
                await client.leave()
        code = {"close": 4000, "vanish": 1006, "too large": 1009, "garbage": 1002, "kicked": 4001}
        assert await hooks.wait() == [code.get(end, 1012)]
        await until(lambda: not len(gateway.sessions))
        assert gateway.statistics().total.in_flight == 0


async def test_publishing_without_receivers_says_so() -> None:
    gateway = Gateway([action()])
    async with served(gateway):
        assert gateway.groups.send("nobody", {"a": 1}) == {}
        assert gateway.sessions.send("nobody", {"a": 1}) is Delivery.GONE
        assert gateway.sessions.broadcast({"a": 1}) == {}


async def test_a_refusal_before_the_upgrade_has_its_own_status() -> None:
    async def connect(session: Session) -> None:
        raise Refused(402, "Pay first.", headers={"X-Price": "7"})

    async with served(action(on_connect=connect)) as server:
        refused = await refusal_of(server)
        assert refused.status == 402
        assert refused.response is not None
        assert refused.response.header("x-price") == "7"


async def test_a_listener_has_tls_in_whatever_order_it_is_configured() -> None:
    """There an option of TLS that comes before the server is made fails."""
    gateway = Gateway([action()])
    async with restsock.listen(
        "127.0.0.1", 0, tls=contexts()[1], endpoints={**gateway, "/x": Endpoint(_never)}
    ) as server:
        async with raw_client(server) as client:
            client.websocket.send_text('{"action": "echo", "id": 1}')
            await client.flush()
            with trio.fail_after(PATIENCE):
                assert (await answers(client, 1))[0]["status"] == 200


async def _never(websocket: Any) -> None:
    raise NotImplementedError
