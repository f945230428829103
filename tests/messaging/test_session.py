"""Sessions: requests and replies, subscriptions, and what becomes of them when they end."""

from __future__ import annotations

import re
from typing import Any

import pytest
import trio
import trio.testing

from restsock.messaging import (
    AskFailed,
    AskTimeout,
    InvalidMessage,
    MessageTooLarge,
    Messaging,
    MessagingError,
    MessagingOptions,
    Request,
    SessionClosed,
)
from restsock.protocol import Envelope
from tests.messaging.links import ForeignLink, connect, pair, until


def only(messaging: Messaging) -> Any:
    [session] = messaging.sessions
    return session


async def test_a_request_is_answered() -> None:
    async with pair() as (dialer, listener, _):

        @dialer.method("status")
        def status(request: Request) -> Any:
            assert "status" in repr(request)
            return {"of": request.session.name, "params": request.params}

        @listener.method("add")
        async def add(request: Request) -> Any:
            return sum(request.params)

        assert await only(listener).ask("status", {"a": 1}) == {"of": None, "params": {"a": 1}}
        assert await only(dialer).ask("add", [1, 2]) == 3
        statistics = dialer.statistics()
        assert statistics.requests_sent == {"add": 1}
        assert statistics.requests_received == {"status": 1}
        assert statistics.replies_received == {"ok": 1}
        counts, seconds = statistics.request_seconds["add"]
        assert counts[-1] == 1
        assert seconds > 0


async def test_an_error_of_a_method_is_told_without_its_words() -> None:
    class Invalid(MessagingError):
        kind = "invalid"

    async with pair() as (dialer, listener, _):

        @listener.method("secret")
        async def secret(request: Request) -> Any:
            raise ValueError("the password is 1234")

        @listener.method("told")
        async def told(request: Request) -> Any:
            raise Invalid("no such unit")

        @listener.method("no json")
        async def no_json(request: Request) -> Any:
            return {1, 2}

        @listener.method("half")
        async def half(request: Request) -> Any:
            return {"a": "\ud800"}

        @listener.method("says half")
        async def says_half(request: Request) -> Any:
            raise Invalid("\ud800" + 2000 * "x")

        session = only(dialer)
        for method, error, kind in [
            ("half", "failed: its result is not JSON", "transient"),
            ("says half", "?" + 999 * "x", "invalid"),
            ("secret", "failed: ValueError", "transient"),
            ("told", "no such unit", "invalid"),
            ("no json", "failed: its result is not JSON", "transient"),
            ("nothing", "unknown method", "invalid"),
        ]:
            with pytest.raises(AskFailed, match=re.escape(error)) as info:
                await session.ask(method)
            assert (info.value.error, info.value.kind) == (error, kind)
        assert dialer.statistics().replies_received == {"error": 6}
        assert listener.statistics().requests_received["unknown"] == 1


async def test_no_answer_in_time(autojump_clock: Any) -> None:
    async with pair() as (dialer, listener, _):

        @listener.method("slow")
        async def slow(request: Request) -> Any:
            await trio.sleep(request.params)
            return "late"

        session = only(dialer)
        began = trio.current_time()
        with pytest.raises(AskTimeout, match=r"5\.0 s") as info:
            await session.ask("slow", 6)
        assert isinstance(info.value, TimeoutError)
        assert trio.current_time() - began == pytest.approx(5)
        with pytest.raises(AskTimeout):
            await session.ask("slow", 6, timeout=1)
        await trio.sleep(10)
        statistics = dialer.statistics()
        assert statistics.request_timeouts == 2
        assert statistics.replies_late == 2
        assert await session.ask("slow", 1) == "late"


async def test_so_many_requests_at_once_and_the_others_in_turn(autojump_clock: Any) -> None:
    options = MessagingOptions(ask_limit=3)
    async with pair(Messaging(options=options)) as (dialer, listener, _):
        running = most = 0

        @listener.method("slow")
        async def slow(request: Request) -> Any:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await trio.sleep(1)
            running -= 1
            return None

        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(9):
                nursery.start_soon(only(dialer).ask, "slow")
        assert most == 3
        assert trio.current_time() - began == pytest.approx(3)


async def test_a_peer_that_asks_too_much_is_told(autojump_clock: Any) -> None:
    link = ForeignLink()
    async with Messaging(options=MessagingOptions(ask_limit=2)) as messaging:

        @messaging.method("slow")
        async def slow(request: Request) -> Any:
            await trio.sleep(1)

        link.session = messaging.attach(link)
        for number in range(4):
            request = Envelope("request", str(number), 0, {"method": "slow"})
            link.session.receive(request, 10)
        link.session.receive(Envelope("request", "0", 0, {"method": "slow"}), 10)
        replies = await link.wait_sent("reply", 4)
        errors = {reply.id for reply in replies if reply.payload["status"] == "error"}
        assert errors == {"2", "3"}
        assert replies[0].payload["error"] == "too many requests at once"
        assert messaging.statistics().errors == {"request_twice": 1}


async def test_a_session_that_ends_fails_its_requests(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with pair() as (dialer, listener, link):
        asked = trio.Event()

        @listener.method("stuck")
        async def stuck(request: Request) -> Any:
            asked.set()
            await trio.sleep_forever()

        session = only(dialer)

        async def cut() -> None:
            await asked.wait()
            link.end("cut")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(cut)
            with pytest.raises(SessionClosed, match="has gone") as info:
                await session.ask("stuck")
            assert info.value.may_have_run
        assert not session.open
        assert "closed" in repr(session)
        for call in (session.ask("stuck"), session.send("c", 1)):
            with pytest.raises(SessionClosed) as info:
                await call
            assert info.value.may_have_run is False


async def test_parameters_are_checked() -> None:
    async with pair() as (dialer, _, _link):
        session = only(dialer)
        with pytest.raises(InvalidMessage):
            await session.ask("m", {1, 2})
        with pytest.raises(InvalidMessage):
            await session.ask("m", "\ud800")
        with pytest.raises(MessageTooLarge):
            await session.ask("m", "x" * 70_000)
        with pytest.raises(ValueError, match="printable"):
            await session.ask("")
        with pytest.raises(ValueError, match="printable"):
            await session.send("", 1)
        with pytest.raises(ValueError, match="delivery"):
            await session.send("c", 1, delivery="twice")


async def test_a_result_that_is_too_large_is_an_error() -> None:
    async with pair() as (dialer, listener, _):

        @listener.method("large")
        async def large(request: Request) -> Any:
            return "x" * 70_000

        with pytest.raises(AskFailed, match="too large"):
            await only(dialer).ask("large")


async def test_a_nameless_peer_has_its_messages_at_least_once_while_it_is_here() -> None:
    async with pair(name=None) as (dialer, listener, link):
        stream = dialer.messages("c")
        session = only(listener)
        await session.send("c", 1, delivery="at_least_once")
        message = await stream.receive()
        assert (message.body, message.delivery) == (1, "at_least_once")
        await message.ack()
        await until(lambda: not (listener.statistics().outbox_messages))
        link.other.stalled = True
        await session.send("c", 2, delivery="at_least_once")
        link.end("cut")
        assert [letter.reason for letter in listener.dead_letters] == ["closed"]
        with pytest.raises(SessionClosed):
            await session.send("c", 3, delivery="at_least_once")


async def test_subscriptions() -> None:
    async with pair() as (dialer, listener, _):
        stream = dialer.messages("news", window=10)
        assert await listener.publish("news", "before") == 0
        subscribed = await only(dialer).subscribe("news")
        assert (subscribed.recovered, subscribed.missed) == (False, None)
        assert await listener.publish("news", "one", headers={"a": "b"}) == 1
        message = await stream.receive()
        assert (message.body, message.headers, message.missed) == ("one", {"a": "b"}, 0)
        await only(dialer).unsubscribe("news")
        assert await listener.publish("news", "two") == 0


async def test_a_subscription_is_made_anew_and_says_what_is_missing() -> None:
    listener = Messaging(options=MessagingOptions(history_messages=2))
    dialer = Messaging()
    async with trio.open_nursery() as nursery, dialer, listener:
        missing: list[tuple[str, int | None]] = []
        dialer.on_recovery(lambda session, channel, missed: missing.append((channel, missed)))
        stream = dialer.messages("news", window=10)
        link = connect(nursery, dialer, listener)
        await only(dialer).subscribe("news")
        await listener.publish("news", 1)
        assert (await stream.receive()).body == 1
        link.end("cut")
        for number in range(2, 4):
            await listener.publish("news", number)
        link = connect(nursery, dialer, listener)
        messages = [await stream.receive() for _ in range(2)]
        assert [(one.body, one.missed) for one in messages] == [(2, 0), (3, 0)]
        link.end("cut")
        for number in range(4, 9):
            await listener.publish("news", number)
        connect(nursery, dialer, listener)
        messages = [await stream.receive() for _ in range(2)]
        assert [(one.body, one.missed) for one in messages] == [(7, 3), (8, 0)]
        await until(lambda: bool(missing))
        assert missing == [("news", 3)]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "answer",
    [
        None,
        1,
        {},
        {"epoch": "e", "seq": -1, "missed": 0, "replayed": 0},
        {"epoch": "", "seq": 1, "missed": 0, "replayed": 0},
        {"epoch": "e", "seq": 1, "missed": "x", "replayed": 0},
        {"epoch": "e", "seq": 1, "missed": None, "replayed": 2},
    ],
)
async def test_an_answer_to_a_subscription_is_checked(answer: Any) -> None:
    async with pair() as (dialer, listener, _):

        @listener.method("subscribe")
        async def subscribe(request: Request) -> Any:
            return answer

        with pytest.raises(AskFailed, match="none"):
            await only(dialer).subscribe("news")


async def test_built_in_methods() -> None:
    async with pair() as (dialer, listener, _):
        session = only(dialer)
        backpressure = await session.ask("backpressure")
        assert backpressure == {"queue_depth": 0, "queue_capacity": 64, "utilization": 0.0}
        status = await session.ask("status")
        assert status["healthy"] is True
        assert status["details"]["connections"] == {"active": 1, "total": 1}
        await listener.publish("news", 1)
        stream = dialer.messages("news")
        found = await session.ask("replay", {"channel": "news", "epoch": "another", "seq": 7})
        assert (found["missed"], found["replayed"], found["seq"]) == (None, 1, 1)
        assert (await stream.receive()).body == 1
        empty = await session.ask("replay", {"channel": "nothing"})
        assert (empty["seq"], empty["replayed"]) == (0, 0)
        assert await listener.publish("news", 2) == 0
        for params in (None, {}, {"channel": ""}, {"channel": "c", "seq": "x"}, {"channel": 3}):
            for method in ("subscribe", "replay"):
                with pytest.raises(AskFailed) as info:
                    await session.ask(method, params)
                assert info.value.kind == "invalid"


async def test_a_peer_may_not_have_too_many_subscriptions() -> None:
    async with pair(listener=Messaging(options=MessagingOptions(max_channels=2))) as (dialer, _, _):
        session = only(dialer)
        for channel in ("a", "b", "a"):
            await session.subscribe(channel)
        with pytest.raises(AskFailed, match="too many"):
            await session.subscribe("c")
        await session.unsubscribe("a")
        await session.subscribe("c")


async def test_what_peers_may_do_is_for_the_program_to_say(autojump_clock: Any) -> None:
    asked: list[tuple[str, str]] = []

    def authorize(session: Any, action: str, name: str) -> bool:
        asked.append((action, name))
        if name == "broken":
            raise ValueError
        return name in ("good", "subscribe", "replay")

    async with pair(listener=Messaging(authorize=authorize)) as (dialer, listener, _):
        stream = listener.messages("good")
        await dialer.channel("good").send(1)
        assert (await stream.receive()).body == 1
        for name in ("bad", "broken"):
            channel = dialer.channel(name, delivery="at_least_once")
            await channel.send(1)
            await channel.drain()
            await dialer.channel(name).send(1)
        assert [letter.reason for letter in dialer.dead_letters] == ["not allowed"] * 2
        session = only(dialer)
        await session.subscribe("good")
        for call in (session.subscribe("bad"), session.ask("status")):
            with pytest.raises(AskFailed, match="not allowed"):
                await call
        assert listener.statistics().messages_dropped == {"not_allowed": 2}
        assert ("subscribe", "bad") in asked
        assert ("call", "status") in asked


async def test_close_soon_closes_the_connection() -> None:
    async with pair() as (dialer, listener, link):
        only(listener).close_soon(4000, "enough")
        await until(lambda: bool(link.cut))
        assert len(dialer.sessions) == 0


async def test_messaging_that_is_closed_says_goodbye() -> None:
    async with pair() as (_dialer, _listener, link):
        pass
    assert link.other.closed == (1001, "going away")
