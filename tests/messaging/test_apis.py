"""Messaging in each API, over sockets: trio, threads and asyncio."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import anyio
import pytest

import restsock
import restsock.messaging.aio
import restsock.messaging.sync
from restsock.messaging import (
    AskFailed,
    AskTimeout,
    InvalidMessage,
    MessageTooLarge,
    MessagingClosed,
    MessagingOptions,
    MessagingUnavailable,
    QueueFull,
    Raw,
    SessionClosed,
    SQLiteStore,
    UnknownSession,
)
from tests.apis import API, NATIVE, each_native_api
from tests.messaging.faces import AnyMessaging, connect, joined, listen, messaging, now
from tests.waiting import until


class Kept:
    """A handler that keeps what it gets."""

    def __init__(self, messaging: AnyMessaging, channel: str) -> None:
        self.bodies: list[Any] = []
        messaging.on(channel)(self._handler())

    def _handler(self) -> Any:
        async def keep(message: Any) -> None:
            self.bodies.append(message.body)

        return keep

    async def wait(self, count: int) -> list[Any]:
        await until(lambda: len(self.bodies) >= count)
        return self.bodies


@each_native_api
async def test_messages_reach_handlers_who_reply(api: API) -> None:
    dialer, listener = messaging(api), messaging(api)
    answers = Kept(dialer, "answers")
    seen: list[Any] = []

    @listener.on("readings")
    async def keep(message: Any) -> None:
        seen.append(message)
        message.working(5)
        await message.reply([message.body, message.session.name], channel="answers")

    async with joined(api, dialer, listener):
        for delivery in ("at_least_once", "at_most_once"):
            channel = dialer.channel("readings", delivery=delivery)
            assert (channel.name, channel.to, channel.delivery) == ("readings", "", delivery)
            id = await channel.send({"t": 21.5}, headers={"unit": "C"})
            await channel.drain()
            await answers.wait(1)
            assert answers.bodies.pop() == [{"t": 21.5}, "edge-1"]
            message = seen.pop()
            assert (message.id, message.channel, message.body) == (id, "readings", {"t": 21.5})
            assert (message.seq, message.attempt) == (1, 1)
            assert not message.missed
            assert (message.headers, message.delivery) == ({"unit": "C"}, delivery)
            assert message.reply_to == message.session.id
            assert message.origins == (message.session.id,)
            assert message.timestamp > 0
            assert not message.acknowledged
            assert "readings" in repr(message)
        commands = Kept(dialer, "commands")
        for to in ("edge-1", *listener.sessions):
            await now(listener.channel("commands", to=to).send_nowait(b"\x00"))
        assert await commands.wait(2) == [b"\x00", b"\x00"]


@each_native_api
async def test_what_waits_in_the_store_arrives_after_a_restart(api: API, tmp_path: Path) -> None:
    async with messaging(api, store=SQLiteStore(tmp_path / "out.db")) as first:
        for number in range(10):
            await first.channel("readings", delivery="at_least_once").send(number)
    dialer = messaging(api, SQLiteStore(tmp_path / "out.db"))
    listener = messaging(api, SQLiteStore(tmp_path / "in.db"))
    readings = Kept(listener, "readings")
    async with joined(api, dialer, listener):
        channel = dialer.channel("readings", delivery="at_least_once")
        await channel.send(10)
        await channel.drain()
    assert readings.bodies == list(range(11))


@each_native_api
async def test_an_outage_loses_nothing_and_repeats_nothing(api: API, tmp_path: Path) -> None:
    dialer = messaging(api, SQLiteStore(tmp_path / "out.db"))
    listener = messaging(api, SQLiteStore(tmp_path / "in.db"))
    readings = Kept(listener, "readings")
    channel = dialer.channel("readings", delivery="at_least_once")

    async def send(start: int) -> None:
        for number in range(start, start + 50):
            await channel.send(number)

    async with dialer, listener, listen(api, listener) as first:
        port = first.address[1]
        async with connect(api, first.url, dialer, name="edge-1"):
            await send(0)
            await first.aclose(grace=0)
            await send(50)
            async with listen(api, listener, port) as second:
                await readings.wait(60)
                await send(100)
                await second.aclose(grace=0)
            await send(150)
            async with listen(api, listener, port):
                await channel.drain()
    assert readings.bodies == list(range(200))


@each_native_api
async def test_requests_and_their_answers(api: API) -> None:
    dialer, listener = messaging(api), messaging(api)

    @dialer.method("double")
    async def double(request: Any) -> Any:
        assert request.method == "double"
        assert request.session.name is None
        return 2 * request.number("number")

    @dialer.method("plain")
    def plain(request: Any) -> Any:
        return request.params

    async with joined(api, dialer, listener):
        session = listener.sessions.named("edge-1")
        assert await session.ask("double", {"number": 4}) == 8
        assert await session.ask("plain", ["x"], timeout=5) == ["x"]
        with pytest.raises(AskFailed, match="is not a whole number") as caught:
            await session.ask("double", {"number": "4"})
        assert caught.value.kind == "invalid"
        with pytest.raises(AskTimeout):
            await session.ask("plain", timeout=0)
        with pytest.raises(InvalidMessage):
            await session.ask("plain", {1, 2})
        with pytest.raises(ValueError, match="there is a method"):
            dialer.method("plain")(plain)


@each_native_api
async def test_sessions(api: API) -> None:
    dialer, listener = messaging(api), messaging(api)
    news = Kept(dialer, "news")
    messages = Kept(dialer, "messages")
    async with joined(api, dialer, listener):
        sessions = listener.sessions
        [session] = sessions
        assert session.name == "edge-1"
        assert session.open
        assert session.principal is None
        assert not session.foreign
        assert session.connected_at > 0
        assert session.metadata["peer"]["host"] == "127.0.0.1"
        assert sessions.get(session.id) == session == sessions.named("edge-1")
        assert len({session, sessions.get(session.id)}) == 1
        assert sessions.get("x") is sessions.named("x") is None
        for where in (None, {"peer.host": "127.0.0.1"}, lambda one: one.name == "edge-1"):
            assert sessions.select(where) == [session]
            [sent] = await sessions.broadcast("news", 1, where=where)
            assert sent.ok
            assert (sent.session_id, sent.name) == (session.id, "edge-1")
        assert sessions.select({"name": "edge-2"}) == []
        assert await sessions.broadcast("news", 1, where=lambda one: False) == []
        assert await session.send("news", 2)
        assert await session.send("news", 3, delivery="at_least_once")
        assert sorted(await news.wait(5)) == [1, 1, 1, 2, 3]
        assert await sessions.send(session.id, "one")
        with pytest.raises(UnknownSession):
            await sessions.send("x", "one")
        sent, unknown = await listener.send_to([session.id, "x"], "two")
        assert sent.ok
        assert isinstance(unknown.error, UnknownSession)
        assert await messages.wait(2) == ["one", "two"]
        session.close_soon()
        await until(lambda: not session.open)
        with pytest.raises(SessionClosed):
            await session.send("news", 4)
        with pytest.raises(SessionClosed):
            await session.ask("status")


@each_native_api
async def test_what_is_published(api: API) -> None:
    dialer, listener = messaging(api), messaging(api)
    prices = Kept(dialer, "prices")
    async with joined(api, dialer, listener):
        assert await listener.publish("prices", 1) == 0
        [session] = dialer.sessions
        subscribed = await session.subscribe("prices")
        assert subscribed.missed is None
        [reader] = listener.sessions
        assert reader.subscriptions == {"prices"}
        assert await listener.publish("prices", 2) == 1
        assert (await prices.wait(1))[-1] == 2
        await session.unsubscribe("prices")
        assert await listener.publish("prices", 3) == 0


@each_native_api
async def test_who_comes_back_is_told_what_is_missing(api: API) -> None:
    dialer = messaging(api)
    listener = messaging(api, options=MessagingOptions(history_messages=1))
    prices = Kept(dialer, "prices")
    told: list[Any] = []
    dialer.on_recovery(lambda *what: told.append(what))
    async with dialer, listener, listen(api, listener) as first:
        async with connect(api, first.url, dialer, name="edge-1"):
            await until(lambda: len(dialer.sessions))
            [session] = dialer.sessions
            await session.subscribe("prices")
            await listener.publish("prices", 1)
            await prices.wait(1)
            await first.aclose(grace=0)
            for price in (2, 3, 4):
                await listener.publish("prices", price)
            async with listen(api, listener, first.address[1]):
                await until(lambda: told)
                [(again, channel, missed)] = told
                assert (channel, missed) == ("prices", 2)
                assert again.id != session.id
                assert type(again).__name__.endswith("Session")
                assert await prices.wait(2) == [1, 4]


@each_native_api
async def test_messages_to_iterate_over(api: API) -> None:
    dialer, listener = messaging(api), messaging(api)
    stream = listener.messages("readings", window=2)
    async with joined(api, dialer, listener):
        channel = dialer.channel("readings", delivery="at_least_once")
        for number in range(5):
            await channel.send(number)
        bodies = []
        async for message in stream:
            bodies.append(message.body)
            await message.ack()
            assert message.acknowledged
            if message.body == 4:
                break
        assert bodies == list(range(5))
        await channel.drain()
        stream.close()
        assert [message async for message in stream] == []
        # Nobody handles it, until there is another one.
        await channel.send(5)
        async for message in listener.messages("readings"):
            assert message.body == 5
            await message.ack()
            break
        with pytest.raises(ValueError, match="window"):
            listener.messages("readings", window=0)


@each_native_api
async def test_foreign_peers(api: API) -> None:
    dialer, listener = messaging(api), messaging(api)
    feed = Kept(listener, "feed")
    async with dialer, listener, anyio.create_task_group() as tasks:
        endpoint = listener.endpoint(Raw(channel="feed"), name=lambda websocket: "dialer")
        async with api.listen("127.0.0.1", 0, endpoints={"/feed": endpoint}) as server:
            url = server.url.replace("http", "ws", 1) + "feed"
            tasks.start_soon(dialer.dial, url, Raw(channel="back"))
            await dialer.channel("feed").send("there")
            assert await feed.wait(1) == ["there"]
            back = Kept(dialer, "back")
            await listener.channel("back", to="dialer").send("and back")
            assert await back.wait(1) == ["and back"]
            [session] = dialer.sessions
            assert session.foreign
            tasks.cancel_scope.cancel()


@each_native_api
async def test_a_receipt_tells_what_becomes_of_a_message(api: API) -> None:
    dialer, listener = messaging(api), messaging(api)

    @listener.on("c")
    async def handle(message: Any) -> None:
        if message.body == "bad":
            raise InvalidMessage("never")

    channel = dialer.channel("c", delivery="at_least_once")
    async with dialer:
        waiting = await channel.send_tracked("good", headers={"a": "b"})
        assert waiting.id in repr(waiting)
        if api.in_threads:
            with pytest.raises(TimeoutError, match=r"0\.01 s"):
                await waiting.handled(timeout=0.01)
        async with listener, listen(api, listener) as server, connect(api, server.url, dialer):
            assert await waiting.handled() is True
            bad = await channel.send_tracked("bad")
            assert await bad.handled() is False
            assert [letter.record.id for letter in dialer.dead_letters] == [bad.id]
            assert await waiting.handled() is True
            with pytest.raises(ValueError, match="no receipt"):
                await dialer.channel("c").send_tracked(1)
        late = await channel.send_tracked("late")
    with pytest.raises(MessagingClosed):
        await late.handled()


@each_native_api
async def test_dead_letters(api: API) -> None:
    dialer, listener = messaging(api), messaging(api)
    told: list[Any] = []
    dialer.on_dead_letter(told.append)
    bodies: list[Any] = []

    @listener.on("readings")
    async def refuse(message: Any) -> None:
        bodies.append(message.body)
        if len(bodies) == 1:
            message.nack("never", final=True)

    async with joined(api, dialer, listener):
        channel = dialer.channel("readings", delivery="at_least_once")
        await channel.send("x")
        await channel.drain()
        await until(lambda: told)
        [letter] = dialer.dead_letters
        assert told == [letter]
        assert letter.reason == "never"
        assert await dialer.retry_dead_letters() == 1
        await channel.drain()
        assert bodies == ["x", "x"]
        assert list(dialer.dead_letters) == []


@each_native_api
async def test_who_may_do_what(api: API) -> None:
    asked: list[Any] = []

    def authorize(session: Any, action: str, name: str) -> bool:
        asked.append((session.name, action, name))
        return name != "secret"

    dialer, listener = messaging(api), messaging(api, authorize=authorize)

    @listener.method("secret")
    @listener.method("open")
    async def answer(request: Any) -> Any:
        return 1

    async with joined(api, dialer, listener):
        [session] = dialer.sessions
        assert await session.ask("open") == 1
        with pytest.raises(AskFailed):
            await session.ask("secret")
    assert asked == [("edge-1", "call", "open"), ("edge-1", "call", "secret")]


@each_native_api
async def test_what_cannot_be_sent(api: API) -> None:
    options = MessagingOptions(outbox_messages=1, outbox_full="block", max_message=16384)
    one = messaging(api, options=options)
    assert one.options is options
    channel = one.channel("c", delivery="at_least_once")
    with pytest.raises(MessagingClosed):
        await channel.send(1)
    with pytest.raises(MessagingClosed):
        one.statistics()
    assert not one.health().healthy
    assert len(one.sessions) == 0
    async with one:
        with pytest.raises(InvalidMessage):
            await channel.send({1})
        with pytest.raises(MessageTooLarge):
            await channel.send("x" * 20_000)
        await now(channel.send_nowait(1))
        with pytest.raises(QueueFull):
            await now(channel.send_nowait(2))
        with pytest.raises(ValueError, match="delivery"):
            one.channel("c", delivery="twice")
        for name in ("channel", "on", "messages"):
            with pytest.raises(ValueError, match="printable"):
                getattr(one, name)("")
        assert one.statistics().outbox_messages == 1
        assert one.health().healthy
        with pytest.raises(RuntimeError, match="once"):
            await one.__aenter__()
        async with api.listen("127.0.0.1", 0) as server:
            async with connect(api, server.url, one):
                with pytest.raises(MessagingUnavailable):
                    await channel.send(1)
    with pytest.raises(MessagingClosed):
        await channel.send(1)
    with pytest.raises(MessagingClosed):
        await one.publish("c", 1)
    assert one.statistics().outbox_messages == 1
    assert not one.health().healthy
    assert list(one.sessions) == []
    assert [message async for message in one.messages("c")] == []
    for endpoint in (listen(api, one), connect(api, "ws://127.0.0.1:9/", one)):
        with pytest.raises(RuntimeError, match="not open here"):
            async with endpoint:
                pass


@pytest.mark.parametrize("api", NATIVE[1:], ids=lambda api: api.name)
def test_the_names_and_arguments_are_those_of_the_api_for_trio(api: API) -> None:
    module: Any = restsock.messaging.sync if api.in_threads else restsock.messaging.aio
    for_carriers = {"attach", "unavailable", "note_listening", "note_dialing", "note_gave_up"}
    for_carriers |= {"note_error", "receive", "writable", "detach", "ready", "call_soon", "durable"}
    for_carriers |= {"working", "reply", "send_each", "send_content", "put_back", "give_out"}
    for_carriers |= {"changed", "wait_until", "transact_message"}
    kinds = "Messaging Channel Message MessageStream Receipt Session Sessions"
    for kind in kinds.split():
        ours, theirs = getattr(module, kind), getattr(restsock.messaging, kind)
        public = {name for name in vars(theirs) if not name.startswith("_")}
        missing = public - set(dir(ours)) - for_carriers
        if kind in ("Message", "Receipt"):
            missing -= set(theirs.__slots__)
        if kind == "MessageStream":
            missing -= {"aclose", "closed"}
        assert missing == set(), kind
        for name in public & set(dir(ours)):
            if not inspect.isfunction(getattr(theirs, name)):
                continue
            taken = [*inspect.signature(getattr(ours, name)).parameters]
            wanted = [*inspect.signature(getattr(theirs, name)).parameters]
            if api.in_threads and "timeout" not in wanted and taken[-1] == "timeout":
                taken.pop()
            if not api.in_threads and name in ("on", "method"):
                wanted.remove("loop")
            if name == "dial":
                wanted.remove("task_status")
            assert taken == wanted, f"{kind}.{name}"


@each_native_api
async def test_subscriptions_end_when_they_are_not_allowed_any_more(api: API) -> None:
    allowed = {"prices", "news", "subscribe"}
    dialer = messaging(api)
    listener = messaging(api, authorize=lambda session, action, name: name in allowed)
    async with joined(api, dialer, listener):
        [session] = dialer.sessions
        for channel in ("prices", "news"):
            await session.subscribe(channel)
        assert await now(listener.recheck()) == 0
        allowed.discard("prices")
        assert await now(listener.recheck()) == 1
        assert await listener.publish("prices", 1) == 0
        assert await listener.publish("news", 1) == 1
