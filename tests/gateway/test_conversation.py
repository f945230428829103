"""Messages and answers: what is asked is answered, in parallel or in order, within limits."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

from restsock.gateway import (
    DUPLICATE_ID,
    JSONRPC,
    Action,
    CallFailed,
    Channel,
    Gateway,
    HTTPDialect,
    Message,
    Pipe,
    RawDialect,
    Reply,
    Router,
)
from restsock.protocol import Pong, TextMessage
from tests.gateway.site import Gate, action, connected, echo, served
from tests.waiting import until
from tests.websockets.site import raw_client


async def test_a_call_is_answered_with_its_id() -> None:
    async with served(action()) as server, connected(server) as client:
        assert await client.ask({"action": "echo", "id": "a", "n": 1}) == {
            "id": "a",
            "status": 200,
            "body": {"n": 1},
        }


async def test_a_backend_sees_the_message_as_it_was_parsed() -> None:
    seen: list[Message] = []

    async def look(message: Message) -> Reply:
        seen.append(message)
        return Reply({"ok": True}, 201, {"x-a": "b"})

    channel = Channel("/ws", HTTPDialect(), Router({"/pets/*": look}))
    async with served(channel) as server, connected(server) as client:
        request = {"id": 1, "method": "PUT", "path": "/pets/7?a=b", "headers": {"X-Y": "z"}}
        told = await client.ask({**request, "body": [1]})
    assert told == {"id": 1, "status": 201, "headers": {"x-a": "b"}, "body": {"ok": True}}
    [message] = seen
    assert (message.key, message.path, message.method) == ("/pets/7", "/pets/7?a=b", "PUT")
    assert (message.id, message.body, dict(message.headers)) == (1, [1], {"x-y": "z"})
    assert message.session.channel == "/ws"


async def test_calls_with_ids_run_together_and_overtake_each_other() -> None:
    gate = Gate()
    async with (
        served(action({"gate": gate, "echo": echo})) as server,
        connected(server) as client,
    ):
        await client.say({"action": "gate", "id": 1})
        await client.say({"action": "gate", "id": 2})
        assert (await client.ask({"action": "echo", "id": 3}))["id"] == 3
        await gate.wait(2)
        gate.open()
        assert {(await client.hear())["id"] for _ in range(2)} == {1, 2}


async def test_calls_without_ids_run_one_after_the_other_and_are_answered_in_order() -> None:
    running = 0

    async def slow(message: Message) -> Any:
        nonlocal running
        running += 1
        assert running == 1
        await trio.sleep(0.02 / (message.body["n"] + 1))
        running -= 1
        return message.body["n"]

    async with served(action(slow)) as server, connected(server) as client:
        for number in range(5):
            await client.say({"n": number})
        assert [(await client.hear())["body"] for _ in range(5)] == [0, 1, 2, 3, 4]


async def test_what_is_malformed_is_answered_in_its_turn() -> None:
    gate = Gate()
    async with served(action(gate)) as server, connected(server) as client:
        await client.say({"n": 0})
        await client.say('{"a": 1, "a": 2}')
        await client.say({"n": 1})
        await gate.wait(1)
        gate.open()
        assert [(await client.hear())["status"] for _ in range(3)] == [200, 400, 200]


async def test_raw_messages_are_answered_in_order() -> None:
    async def shout(message: Message) -> Any:
        await trio.sleep(0.01 if message.body == "a" else 0)
        return message.body.upper()

    async with served(Channel("/ws", RawDialect(), Pipe(shout))) as server:
        async with connected(server) as client:
            for text in ("a", "b", b"c"):
                await client.websocket.send(text)
            assert [await client.websocket.receive() for _ in range(3)] == ["A", "B", b"C"]


async def test_an_unknown_key_is_never_met_with_silence() -> None:
    async with served(action({"a": echo})) as server, connected(server) as client:
        for asked, id in [({"action": "b", "id": 1}, 1), ({"action": "b"}, None), ({}, None)]:
            told = await client.ask(asked)
            assert (told["status"], told.get("id")) == (404, id)
        assert (await client.ask("no json"))["status"] == 404


async def test_a_failure_is_told_and_hides_the_inside(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(message: Message) -> None:
        raise RuntimeError("the password is 1234")

    async def refuse(message: Message) -> None:
        raise CallFailed(429, "too much", retry_after=3)

    router = {"fail": fail, "refuse": refuse, "echo": echo}
    async with served(action(router)) as server, connected(server) as client:
        told = await client.ask({"action": "fail", "id": 1})
        assert (told["id"], told["status"]) == (1, 500)
        assert "1234" not in json.dumps(told)
        assert "1234" in caplog.text
        told = await client.ask({"action": "refuse", "id": 2})
        assert (told["status"], told["error"]["retry_after"]) == (429, 3)
        assert (await client.ask({"action": "echo", "id": 3}))["status"] == 200


@pytest.mark.parametrize("body", [object(), float("nan"), {1: {2}}, Reply(object(), 404)])
async def test_an_answer_that_cannot_be_said_is_a_failure(
    body: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def give(message: Message) -> Any:
        return body

    async with served(action({"a": give})) as server, connected(server) as client:
        told = await client.ask({"action": "a", "id": 1})
        assert (told["id"], told["status"]) == (1, 500)
    assert "cannot be sent" in caplog.text


async def test_a_backend_that_gives_no_reply_is_a_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Wrong(Gate):
        async def call(self, message: Message) -> Reply:
            return None  # type: ignore[return-value]

    async with served(action({"a": Wrong()})) as server, connected(server) as client:
        assert (await client.ask({"action": "a", "id": 1}))["status"] == 500
    assert "gives a Reply" in caplog.text


async def test_an_id_that_is_in_use_is_refused_and_can_be_used_again() -> None:
    gate = Gate()
    async with served(action({"gate": gate})) as server, connected(server) as client:
        await client.say({"action": "gate", "id": 1, "first": True})
        await gate.wait(1)
        told = await client.ask({"action": "gate", "id": 1})
        assert (told["id"], told["status"]) == (1, 409)
        assert told["error"]["type"] == DUPLICATE_ID
        assert (len(gate.begun), gate.begun[0]) == (1, {"first": True})
        gate.open()
        assert (await client.hear())["status"] == 200
        assert (await client.ask({"action": "gate", "id": 1}))["status"] == 200


async def test_a_text_and_a_number_are_two_ids() -> None:
    gate = Gate()
    async with served(action({"gate": gate})) as server, connected(server) as client:
        await client.say({"action": "gate", "id": 1})
        await client.say({"action": "gate", "id": "1"})
        await gate.wait(2)


async def test_with_all_slots_taken_messages_wait_and_pings_are_answered() -> None:
    gate = Gate()
    gateway = Gateway([action({"gate": gate}, in_flight=2)])
    async with served(gateway) as server, raw_client(server) as client:
        for number in range(4):
            client.websocket.send_text(json.dumps({"action": "gate", "id": number}))
        client.websocket.send_ping(b"alive?")
        await client.flush()
        assert await client.next() == Pong(b"alive?")
        await gate.wait(2)
        await trio.sleep(0.02)
        assert len(gate.begun) == 2
        assert gateway.statistics().total.in_flight == 2
        gate.open()
        answers = [await client.next() for _ in range(4)]
        ids = [json.loads(each.data)["id"] for each in answers if isinstance(each, TextMessage)]
        assert sorted(ids) == [0, 1, 2, 3]


async def test_those_without_an_id_take_slots_too() -> None:
    gate = Gate()
    async with (
        served(action({"gate": gate}, in_flight=2)) as server,
        connected(server) as client,
    ):
        for _ in range(3):
            await client.say({"action": "gate"})
        await client.say({"action": "gate", "id": 1})
        await gate.wait(1)
        await trio.sleep(0.02)
        assert len(gate.begun) == 1
        gate.open()
        assert [(await client.hear())["status"] for _ in range(4)] == [200] * 4


async def test_a_message_that_is_too_large_closes_with_1009() -> None:
    async with served(action()) as server, connected(server) as client:
        assert (await client.ask({"action": "echo", "x": "a" * 32_000}))["status"] == 200
        await client.say({"action": "echo", "x": "a" * 33_000})
        assert (await client.end()).code == 1009


async def test_notifications_are_not_answered_whatever_becomes_of_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen: list[str] = []

    async def note(message: Message) -> None:
        seen.append(message.key)
        if message.key == "fail":
            raise RuntimeError("no")

    router = Router({"note": note, "fail": note, "last": echo})
    async with (
        served(Channel("/ws", JSONRPC(), router)) as server,
        connected(server) as client,
    ):
        for method in ("note", "fail", "unknown"):
            await client.say({"jsonrpc": "2.0", "method": method})
        told = await client.ask({"jsonrpc": "2.0", "method": "last", "params": [], "id": 1})
        assert told == {"jsonrpc": "2.0", "id": 1, "result": []}
        await until(lambda: seen == ["note", "fail"])


async def test_a_batch_is_answered_in_one_message() -> None:
    async def double(message: Message) -> Any:
        return message.body[0] * 2

    router = Router({"double": double})
    async with (
        served(Channel("/ws", JSONRPC(), router, in_flight=2)) as server,
        connected(server) as client,
    ):
        calls: list[Any] = [
            {"jsonrpc": "2.0", "method": "double", "params": [number], "id": number}
            for number in range(5)
        ]
        notification = {"jsonrpc": "2.0", "method": "double", "params": [1]}
        told = await client.ask([*calls, notification, 7, {**calls[0], "method": "x", "id": 9}])
        results = {each["id"]: each.get("result", each.get("error")) for each in told}
        assert len(told) == 7
        assert [results[number] for number in range(5)] == [0, 2, 4, 6, 8]
        assert results[None]["code"] == -32600
        assert results[9]["code"] == -32601
        # Nothing at all is said to a batch of notifications.
        await client.say([notification, notification])
        assert (await client.ask(calls[1]))["result"] == 2


class Parts:
    """Three parts, and then it fails or not. Notes that it was ended."""

    def __init__(self, *, fail: bool = False, endless: bool = False) -> None:
        self.fail = fail
        self.endless = endless
        self.ended = False

    async def stream(self) -> AsyncIterator[Any]:
        try:
            for number in range(3):
                yield number
            if self.fail:
                raise CallFailed(502, "broken off")
            while self.endless:
                await trio.sleep(0.001)
                yield "x" * 10_000
        finally:
            self.ended = True

    async def __call__(self, message: Message) -> Reply:
        return Reply("end", parts=self.stream())


async def test_an_answer_in_parts_comes_as_several_messages() -> None:
    parts = Parts()
    async with served(action({"a": parts})) as server, connected(server) as client:
        await client.say({"action": "a", "id": 1})
        for number in range(3):
            told = await client.hear()
            assert told == {"id": 1, "status": 200, "body": number, "more": True}
        assert await client.hear() == {"id": 1, "status": 200, "body": "end"}
    assert parts.ended


async def test_an_answer_that_breaks_off_ends_with_a_failure() -> None:
    async with served(action({"a": Parts(fail=True)})) as server, connected(server) as client:
        await client.say({"action": "a", "id": 1})
        assert [(await client.hear()).get("more") for _ in range(3)] == [True] * 3
        told = await client.hear()
        assert (told["id"], told["status"]) == (1, 502)


async def test_parts_end_with_the_session(caplog: pytest.LogCaptureFixture) -> None:
    parts = Parts(endless=True)
    gateway = Gateway([action({"a": parts})])
    with caplog.at_level(logging.WARNING, "restsock.gateway"):
        async with served(gateway) as server:
            async with connected(server) as client:
                await client.say({"action": "a", "id": 1})
                await client.hear()
            await until(lambda: parts.ended)
            await until(lambda: gateway.statistics().total.calls == {"cancelled": 1})
    assert "restsock.gateway" not in {record.name for record in caplog.records}


async def test_parts_go_no_quicker_than_the_client_reads() -> None:
    """They wait for it, and do not fill the memory."""
    parts = Parts(endless=True)
    sent = 0

    async def counted(message: Message) -> Reply:
        async def count() -> AsyncIterator[Any]:
            nonlocal sent
            async for part in parts.stream():
                sent += 1
                yield part

        return Reply("end", parts=count())

    async with served(action({"a": counted})) as server, raw_client(server) as client:
        client.websocket.send_text('{"action": "a", "id": 1}')
        await client.flush()
        before = -1
        while sent != before:  # it comes to a stop, however large the buffers of the system are
            before = sent
            await trio.sleep(0.1)
        assert sent > 3


async def test_calls_end_with_their_session_and_are_no_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate = Gate()
    gateway = Gateway([action({"gate": gate})])
    async with served(gateway) as server:
        async with connected(server) as client:
            await client.say({"action": "gate", "id": 1})
            await client.say({"action": "gate"})
            await client.say({"action": "gate"})
            await gate.wait(2)
        await until(lambda: len(gate.cancelled) == 2)
        await until(lambda: gateway.statistics().total.in_flight == 0)
    assert gateway.statistics().total.calls == {"cancelled": 2}
    assert "restsock.gateway" not in {record.name for record in caplog.records}


async def test_functions_that_block_run_in_threads() -> None:
    import threading

    def where(message: Message) -> str:
        return threading.current_thread().name

    async with served(action({"a": where})) as server, connected(server) as client:
        told = await client.ask({"action": "a", "id": 1})
        assert told["body"] != threading.current_thread().name


async def test_one_client_does_not_wait_for_another() -> None:
    gate = Gate()
    async with served(action({"gate": gate, "echo": echo}, in_flight=1)) as server:
        async with connected(server) as busy, connected(server) as other:
            await busy.say({"action": "gate", "id": 1})
            await gate.wait(1)
            assert (await other.ask({"action": "echo", "id": 1}))["status"] == 200


async def test_the_dialect_is_the_channels() -> None:
    gateway = Gateway(
        [
            action(),
            Channel("/rpc", JSONRPC(), Pipe(echo)),
            Channel("/raw", RawDialect(), Pipe(echo)),
        ]
    )
    async with served(gateway) as server:
        async with connected(server, "/rpc") as client:
            told = await client.ask({"jsonrpc": "2.0", "method": "a", "params": [1], "id": 1})
            assert told["result"] == [1]
        async with connected(server, "/raw") as client:
            await client.websocket.send("x")
            assert await client.websocket.receive() == "x"
    assert isinstance(gateway.channels["/ws"].dialect, Action)


async def test_answers_that_a_client_does_not_take_close_it_with_1013() -> None:
    async def large(message: Message) -> str:
        return "x" * 300_000

    gateway = Gateway([action({"a": large}, max_queue=500_000)])
    async with served(gateway) as server, raw_client(server) as client:
        for number in range(100):
            client.websocket.send_text(json.dumps({"action": "a", "id": number}))
        await client.flush()
        await until(lambda: gateway.statistics().total.closed == {"1013": 1})


@pytest.mark.parametrize("status", ["404", 404.5, None, 99])
async def test_a_reply_without_a_status_is_a_failure_and_others_go_on(
    status: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        served(action({"odd": lambda _: Reply("x", status), "echo": echo})) as server,
        connected(server) as client,
    ):
        told = await client.ask({"action": "odd", "id": 1})
        assert (told["id"], told["status"]) == (1, 500)
        assert (await client.ask({"action": "echo", "id": 2}))["status"] == 200
    assert "a status" in caplog.text


async def test_text_that_utf_8_has_not_is_a_failure_and_others_go_on() -> None:
    async def half(message: Message) -> str:
        return "half a pair: \ud83d" if message.body == "half" else message.body

    async with (
        served(Channel("/ws", RawDialect(), Pipe(half))) as server,
        connected(server) as client,
    ):
        await client.say("half")
        assert (await client.hear())["status"] == 500
        await client.say("whole")
        assert await client.websocket.receive() == "whole"


async def test_answers_that_wait_for_a_batch_have_a_bound() -> None:
    gate = Gate()
    routes: dict[str, Any] = {"gate": gate, "large": lambda _: "x" * 1000}
    router = Router(routes)
    channel = Channel("/ws", JSONRPC(), router, max_queue=2500)
    async with served(channel) as server, connected(server) as client:
        calls = [{"jsonrpc": "2.0", "id": n, "method": "large"} for n in range(5)]
        await client.say([*calls, {"jsonrpc": "2.0", "id": "last", "method": "gate"}])
        await gate.wait(1)
        gate.open()
        answers = {each["id"]: each for each in await client.hear()}
        assert len(answers) == 6
        failed = [each["error"] for each in answers.values() if "error" in each]
        assert [each["data"]["may_have_run"] for each in failed] == [True] * 3
        assert "too large together" in failed[0]["message"]
        # One by itself is sent whatever its size, and what was held is free again.
        for _ in range(5):
            (answer,) = await client.ask([{"jsonrpc": "2.0", "id": 1, "method": "large"}])
            assert "result" in answer


async def test_functions_that_hang_in_threads_keep_nobody_out() -> None:
    release = threading.Event()

    def hang(message: Message) -> None:
        release.wait(60)

    def let_in(session: Any) -> None:
        """In a thread, too."""

    try:
        channel = action({"hang": hang}, on_connect=let_in)
        async with served(channel) as server:
            async with connected(server) as one, connected(server) as other:
                for client in (one, other):
                    for number in range(25):
                        await client.say({"action": "hang", "id": number})
                await until(lambda: threading.active_count() > 30)
                async with connected(server) as third:
                    assert (await third.ask({"action": "x", "id": 1}))["status"] == 404
                release.set()
    finally:
        release.set()
