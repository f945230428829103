"""Messaging as a whole: two of them in memory, from `send` to the handler and back."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio

from restsock._exceptions import RestsockError
from restsock.messaging import (
    DeadLetter,
    InvalidMessage,
    MemoryStore,
    Message,
    Messaging,
    MessagingClosed,
    MessagingError,
    MessagingOptions,
    MessagingUnavailable,
)
from restsock.messaging import aio as messaging_aio
from restsock.messaging import sync as messaging_sync
from restsock.protocol import Envelope
from tests.messaging.links import ForeignLink, connect, pair, until


async def test_a_message_reaches_its_handler() -> None:
    async with pair() as (dialer, listener, _):
        found: list[Message] = []
        came = trio.Event()

        @listener.on("readings")
        async def keep(message: Message) -> None:
            found.append(message)
            came.set()

        channel = dialer.channel("readings", delivery="at_least_once")
        id = await channel.send({"t": 21.5}, headers={"unit": "C"})
        await came.wait()
        await channel.drain()
        [message] = found
        assert message.body == {"t": 21.5}
        assert message.id == id
        assert message.channel == "readings"
        assert message.headers == {"unit": "C"}
        assert (message.seq, message.attempt, message.missed) == (1, 1, 0)
        assert message.delivery == "at_least_once"
        assert message.session.name == "edge-1"
        assert message.origins == (message.session.id,)
        assert message.reply_to == message.session.id
        assert "readings" in repr(message)


@pytest.mark.parametrize("body", [None, True, 1.5, "ü", [1, [2]], {"a": {}}, b"\x00\xff", b""])
@pytest.mark.parametrize("delivery", ["at_most_once", "at_least_once"])
async def test_any_json_and_bytes_arrive_as_they_are(body: Any, delivery: Any) -> None:
    async with pair() as (dialer, listener, _):
        stream = listener.messages("c")
        await dialer.channel("c", delivery=delivery).send(body)
        message = await stream.receive()
        assert message.body == body
        assert type(message.body) is type(body)
        await message.ack()
        stream.close()


async def test_messages_go_down_to_a_peer_by_its_name() -> None:
    async with pair() as (dialer, listener, _):
        commands = dialer.messages("commands")
        await listener.channel("commands", delivery="at_least_once", to="edge-1").send({"do": 1})
        message = await commands.receive()
        assert message.body == {"do": 1}
        assert message.session.name is None
        await message.ack()
        commands.close()


async def test_what_is_sent_while_nobody_is_connected_arrives_later() -> None:
    dialer, listener = Messaging(), Messaging()
    async with trio.open_nursery() as nursery, dialer, listener:
        sure = dialer.channel("sure", delivery="at_least_once")
        quick = dialer.channel("quick")
        for number in range(3):
            await sure.send(number)
            await quick.send(number)
        stream, others = listener.messages("sure", window=3), listener.messages("quick", window=3)
        connect(nursery, dialer, listener)
        assert [(await stream.receive()).body for _ in range(3)] == [0, 1, 2]
        assert [(await others.receive()).body for _ in range(3)] == [0, 1, 2]
        nursery.cancel_scope.cancel()


async def test_a_message_under_way_survives_a_cut_and_is_handled_once() -> None:
    dialer, listener = Messaging(), Messaging()
    async with trio.open_nursery() as nursery, dialer, listener:
        link = connect(nursery, dialer, listener)
        handled: list[int] = []
        begun, go_on = trio.Event(), trio.Event()

        @listener.on("c")
        async def keep(message: Message) -> None:
            begun.set()
            await go_on.wait()
            handled.append(message.body)

        channel = dialer.channel("c", delivery="at_least_once")
        for number in range(5):
            await channel.send(number)
        await begun.wait()
        link.end("cut")
        connect(nursery, dialer, listener)
        go_on.set()
        await channel.drain()
        assert handled == [0, 1, 2, 3, 4]
        nursery.cancel_scope.cancel()


async def test_a_handler_that_fails_gets_the_message_again(autojump_clock: Any) -> None:
    async with pair() as (dialer, listener, _):
        attempts: list[int] = []

        @listener.on("c")
        async def keep(message: Message) -> None:
            attempts.append(message.attempt)
            if len(attempts) < 3:
                raise ValueError("the database is away")

        channel = dialer.channel("c", delivery="at_least_once")
        await channel.send(1)
        await channel.drain()
        assert attempts == [1, 2, 3]
        assert dialer.statistics().messages_redelivered == 2
        assert listener.statistics().nacks_sent == {"handler": 2}


async def test_after_so_many_attempts_it_is_a_dead_letter(autojump_clock: Any) -> None:
    async with pair() as (dialer, listener, _):
        letters: list[DeadLetter] = []
        dialer.on_dead_letter(letters.append)

        @listener.on("c")
        async def fail(message: Message) -> None:
            raise ValueError

        channel = dialer.channel("c", delivery="at_least_once")
        await channel.send({"a": 1})
        await channel.drain()
        [letter] = letters
        assert letter.reason == "attempts"
        assert letter.record.attempts == 10
        assert [*dialer.dead_letters] == letters
        assert dialer.statistics().messages_dead == {"attempts": 1}


async def test_dead_letters_can_be_sent_again() -> None:
    async with pair() as (dialer, listener, _):
        refuse = True
        found: list[Any] = []

        @listener.on("c")
        async def keep(message: Message) -> None:
            if refuse:
                message.nack("not now, never", final=True)
            else:
                found.append(message.body)

        channel = dialer.channel("c", delivery="at_least_once")
        for number in range(3):
            await channel.send(number)
        await channel.drain()
        assert [letter.reason for letter in dialer.dead_letters] == ["not now, never"] * 3
        refuse = False
        [first, *_] = dialer.dead_letters
        assert await dialer.retry_dead_letters([first.record.id]) == 1
        await channel.drain()
        assert found == [0]
        assert await dialer.retry_dead_letters() == 2
        await channel.drain()
        assert found == [0, 1, 2]
        assert not dialer.dead_letters


async def test_dead_letters_outlive_the_messaging() -> None:
    store = MemoryStore()
    async with pair(Messaging(store)) as (dialer, listener, _):

        @listener.on("c")
        async def refuse(message: Message) -> None:
            message.nack(final=True)

        channel = dialer.channel("c", delivery="at_least_once")
        await channel.send(1)
        await channel.drain()
    async with Messaging(store) as again:
        assert [letter.reason for letter in again.dead_letters] == ["refused"]


async def test_what_was_not_handled_is_sent_by_the_next_messaging_on_the_store() -> None:
    store = MemoryStore()
    async with Messaging(store) as first:
        for number in range(3):
            await first.channel("c", delivery="at_least_once").send(number)
    async with pair(Messaging(store)) as (dialer, listener, _):
        handled = []

        @listener.on("c")
        async def keep(message: Message) -> None:
            handled.append(message.body)

        channel = dialer.channel("c", delivery="at_least_once")
        await channel.send(3)
        await channel.drain()
        assert handled == [0, 1, 2, 3]


async def test_a_receiver_that_begins_anew_on_its_store_handles_nothing_twice() -> None:
    sender_store, store = MemoryStore(), MemoryStore()
    handled: list[int] = []

    async def keep(message: Message) -> None:
        handled.append(message.body)

    dialer = Messaging(sender_store)
    async with trio.open_nursery() as nursery, dialer:
        channel = dialer.channel("c", delivery="at_least_once")
        async with Messaging(store) as listener:
            listener.on("c")(keep)
            link = connect(nursery, dialer, listener)
            back = link.other
            back.stalled = True  # its acks do not arrive
            for number in range(3):
                await channel.send(number)
            await until(lambda: not (len(handled) < 3))
        link.end("the listener has gone")
        async with Messaging(store) as listener:
            listener.on("c")(keep)
            connect(nursery, dialer, listener)
            await channel.send(3)
            await channel.drain()
            assert handled == [0, 1, 2, 3]
        nursery.cancel_scope.cancel()


async def test_all_handlers_get_a_message_and_one_failing_stops_no_other(
    autojump_clock: Any,
) -> None:
    async with pair() as (dialer, listener, _):
        calls: list[str] = []

        @listener.on("c")
        async def good(message: Message) -> None:
            calls.append("good")

        @listener.on("c")
        async def bad(message: Message) -> None:
            calls.append("bad")
            if calls.count("bad") == 1:
                raise ValueError

        @listener.on("c", required=False)
        async def optional(message: Message) -> None:
            calls.append("optional")
            raise ValueError

        channel = dialer.channel("c", delivery="at_least_once")
        await channel.send(1)
        await channel.drain()
        # The one that has handled it is not called again.
        assert calls.count("good") == 1
        assert calls.count("bad") == 2
        assert calls.count("optional") >= 1


async def test_plain_functions_run_in_threads_and_asyncio_ones_on_asyncio() -> None:
    async with pair() as (dialer, listener, _):
        import asyncio
        import threading

        found: dict[str, Any] = {}

        @listener.on("thread")
        def in_thread(message: messaging_sync.Message) -> None:
            found["thread"] = threading.current_thread()
            message.working(30)
            message.reply("done")

        @listener.on("asyncio", loop="asyncio")
        async def on_asyncio(message: messaging_aio.Message) -> None:
            await asyncio.sleep(0)
            found["asyncio"] = message.body
            await message.reply("done", channel="thread")

        @listener.method("sum", loop="asyncio")
        async def add(request: messaging_aio.Request) -> int:
            await asyncio.sleep(0)
            return sum(request.params)

        answers = dialer.messages("thread", window=2)
        for name in ("thread", "asyncio"):
            channel = dialer.channel(name, delivery="at_least_once")
            await channel.send(name)
            await channel.drain()
        assert found["thread"] is not threading.current_thread()
        assert found["asyncio"] == "asyncio"
        assert (await answers.receive()).body == "done"
        assert (await answers.receive()).body == "done"
        [session] = dialer.sessions
        assert await session.ask("sum", [1, 2, 3]) == 6
        answers.close()


async def test_an_error_that_is_invalid_is_final_and_a_fatal_one_ends_it_all() -> None:
    class Broken(MessagingError):
        kind = "fatal"

    async with pair() as (dialer, listener, _):

        @listener.on("c")
        async def keep(message: Message) -> None:
            raise InvalidMessage("no such unit")

        channel = dialer.channel("c", delivery="at_least_once")
        await channel.send(1)
        await channel.drain()
        assert [letter.reason for letter in dialer.dead_letters] == ["no such unit"]

    link = ForeignLink()
    with pytest.raises(Broken, match="the disk is gone"):
        async with Messaging() as listener:

            @listener.on("c")
            async def end(message: Message) -> None:
                raise Broken("the disk is gone")

            link.session = listener.attach(link)
            payload = {"channel": "c", "delivery": "at_least_once", "body": 1}
            link.session.receive(Envelope("data", "1", 0, payload), 100)
            await trio.sleep_forever()
    [nack] = await link.wait_sent("nack")
    assert nack.payload["reason"] == "closing"  # so it comes again


async def test_half_a_character_in_what_a_handler_says_harms_nobody() -> None:
    """JSON can have it, so a peer can have a handler say it."""
    async with pair() as (dialer, listener, _):

        @listener.on("c")
        async def keep(message: Message) -> None:
            half = json.loads('"\\ud800"')
            if message.body == 1:
                raise InvalidMessage(f"no such unit: {half}" + 300 * "x")
            message.nack(f"no: {half}" + 300 * "x", final=True)

        channel = dialer.channel("c", delivery="at_least_once")
        for number in (1, 2):
            await channel.send(number)
        await channel.drain()
        reasons = [letter.reason for letter in dialer.dead_letters]
        assert [reason.rstrip("x") for reason in reasons] == ["no such unit: ?", "no: ?"]
        assert [*map(len, reasons)] == [255, 255]


async def test_without_a_handler_nothing_is_lost(autojump_clock: Any) -> None:
    async with pair() as (dialer, listener, _):
        channel = dialer.channel("c", delivery="at_least_once")
        await channel.send(1)
        await trio.sleep(3600)
        found = []

        @listener.on("*")
        async def keep(message: Message) -> None:
            found.append(message.channel)

        await channel.drain()
        assert found == ["c"]
        await dialer.channel("d").send(1)
        await trio.sleep(1)
        assert found == ["c", "d"]
        assert listener.statistics().nacks_sent["no_handler"] > 10


async def test_it_has_to_be_open_and_is_entered_once() -> None:
    messaging = Messaging()
    channel = messaging.channel("c")
    for call in (channel.send(1), messaging.publish("c", 1), messaging.sessions.broadcast("c", 1)):
        with pytest.raises(MessagingClosed, match="async with"):
            await call
    with pytest.raises(MessagingClosed):
        channel.send_nowait(1)
    with pytest.raises(MessagingClosed):
        messaging.statistics()
    assert not messaging.health()
    async with messaging:
        assert messaging.health()
        assert "0 sessions" in repr(messaging)
    with pytest.raises(RuntimeError, match="entered once"):
        await messaging.__aenter__()
    with pytest.raises(MessagingClosed):
        await channel.send(1)


def test_on_asyncio_it_says_what_to_use_instead() -> None:
    import asyncio

    async def main() -> None:
        async with Messaging():
            pass

    with pytest.raises(RestsockError, match="trio"):
        asyncio.run(main())


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
async def test_an_error_of_the_block_comes_out_as_it_is(error: type[BaseException]) -> None:
    with pytest.raises(error):
        async with Messaging():
            raise error


async def test_handlers_may_end_within_the_grace(autojump_clock: Any) -> None:
    ended = []
    async with pair(listener=Messaging(options=MessagingOptions(grace=2))) as (dialer, listener, _):

        @listener.on("c")
        async def slow(message: Message) -> None:
            try:
                await trio.sleep(message.body)
            finally:
                ended.append((message.body, trio.current_time()))

        for seconds in (1, 5):
            await dialer.channel(f"{seconds}").send(seconds)
        listener.on("1")(slow)
        listener.on("5")(slow)
        began = trio.current_time()
        await trio.testing.wait_all_tasks_blocked()
    assert [(body, round(at - began)) for body, at in ended] == [(1, 1), (5, 2)]


async def test_a_peer_without_messaging_is_refused_at_once() -> None:
    async with trio.open_nursery() as nursery, Messaging() as dialer, Messaging() as listener:
        listener.unavailable("edge-1", dialed=False)
        channel = listener.channel("c", to="edge-1")
        with pytest.raises(MessagingUnavailable, match="edge-1"):
            await channel.send(1)
        listener.unavailable("edge-1", dialed=False, connected=False)
        await channel.send(0)
        listener.unavailable("edge-1", dialed=False)
        with pytest.raises(MessagingUnavailable, match="edge-1"):
            channel.send_nowait(1)
        connect(nursery, dialer, listener)
        await channel.send(1)
        dialer.unavailable(None, dialed=True)  # it is connected, and that one is another one
        await dialer.channel("c").send(1)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("name", ["", "a\nb", "a" * 256, None, 3])
async def test_names_are_checked(name: Any) -> None:
    messaging = Messaging()
    with pytest.raises(ValueError, match="printable"):
        messaging.channel(name)
    with pytest.raises(ValueError, match="printable"):
        messaging.on(name)
    with pytest.raises(ValueError, match="printable"):
        messaging.messages(name)
    with pytest.raises(ValueError, match=r"printable|already"):
        messaging.method(name)(lambda request: None)


def test_arguments_are_checked() -> None:
    messaging = Messaging()
    with pytest.raises(ValueError, match="delivery"):
        messaging.channel("c", delivery="exactly_once")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="loop"):
        messaging.on("c", loop="curio")
    with pytest.raises(ValueError, match="window"):
        messaging.messages("c", window=0)
    with pytest.raises(ValueError, match="name"):
        messaging.channel("c", to="a\nb")
    messaging.method("m")(lambda request: None)
    with pytest.raises(ValueError, match="already"):
        messaging.method("m")(lambda request: None)
    with pytest.raises(TypeError, match="function"):
        messaging.on("c")("no function")  # type: ignore[type-var]
