"""Iterating over the messages of a channel."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import trio
import trio.testing

from restsock.messaging import Message, Messaging
from tests.messaging.links import connect, pair, until
from tests.messaging.test_channel import AT_LEAST, BadStore


async def test_the_next_one_comes_after_the_ack() -> None:
    async with pair() as (dialer, listener, _):
        stream = listener.messages("c")
        channel = dialer.channel("c", **AT_LEAST)
        await channel.send(1)
        await channel.send(2)
        first = await stream.receive()
        with trio.move_on_after(0.01) as scope:
            await stream.receive()
        assert scope.cancelled_caught
        assert not first.acknowledged
        await first.ack()
        assert first.acknowledged
        second = await stream.receive()
        assert (first.body, second.body) == (1, 2)
        first.nack("too late")  # it was acknowledged
        await second.ack()
        await channel.drain()


async def test_with_a_window_several_are_under_way() -> None:
    async with pair() as (dialer, listener, _):
        stream = listener.messages("c", window=3)
        channel = dialer.channel("c", **AT_LEAST)
        for number in range(6):
            await channel.send(number)
        messages = [await stream.receive() for _ in range(3)]
        with trio.move_on_after(0.01) as scope:
            await stream.receive()
        assert scope.cancelled_caught
        await messages[1].ack()
        assert (await stream.receive()).body == 3
        assert [message.body for message in messages] == [0, 1, 2]


async def test_a_nack_brings_it_again(autojump_clock: Any) -> None:
    async with pair() as (dialer, listener, _):
        stream = listener.messages("c")
        channel = dialer.channel("c", **AT_LEAST)
        await channel.send(1)
        await channel.send(2)
        message = await stream.receive()
        began = trio.current_time()
        message.nack("later", retry_after=7)
        again = await stream.receive()
        assert trio.current_time() - began == pytest.approx(7)
        assert (again.body, again.attempt) == (1, 2)
        await again.ack()
        assert (await stream.receive()).body == 2


async def test_it_is_closed_by_the_messaging_and_by_itself() -> None:
    async with pair() as (dialer, listener, _):
        seen = []
        stream = listener.messages("c")
        await dialer.channel("c").send(1)
        async for message in stream:
            seen.append(message.body)
            await message.ack()
            await stream.aclose()
        assert seen == [1]
        async with listener.messages("d") as other:
            pass
        with pytest.raises(trio.EndOfChannel):
            await other.receive()
        last = listener.messages("e")
    assert [message async for message in last] == []


async def test_what_it_gave_out_and_was_not_taken_comes_again() -> None:
    dialer, listener = Messaging(), Messaging()
    async with trio.open_nursery() as nursery, dialer, listener:
        connect(nursery, dialer, listener)
        stream = listener.messages("c", window=2)
        channel = dialer.channel("c", **AT_LEAST)
        await channel.send(1)
        await channel.send(2)
        assert (await stream.receive()).body == 1
        stream.close()
        await until(lambda: not (dialer.statistics().nacks_received < 2))
        again = listener.messages("c")
        assert (await again.receive()).body == 1
        nursery.cancel_scope.cancel()


async def test_a_loop_that_is_left_is_no_handler_any_more() -> None:
    async with pair() as (dialer, listener, _):
        channel = dialer.channel("c", **AT_LEAST)
        await channel.send(1)
        async for message in listener.messages("c"):
            await message.ack()
            break
        del message
        gc.collect()
        await trio.testing.wait_all_tasks_blocked()
        handled = []

        @listener.on("c")
        async def keep(message: Message) -> None:
            handled.append(message.body)

        await channel.send(2)
        await channel.drain()
        assert handled == [2]


async def test_ack_waits_until_the_store_has_noted_it(autojump_clock: Any) -> None:
    class Slow(BadStore):
        async def mark(self, marks: Any) -> None:
            await trio.sleep(1)
            await super().mark(marks)

    async with pair(listener=Messaging(Slow(durable=True))) as (dialer, listener, _):
        stream = listener.messages("c")
        await dialer.channel("c", **AT_LEAST).send(1)
        message = await stream.receive()
        began = trio.current_time()
        await message.ack()
        assert trio.current_time() - began == pytest.approx(1)
        await dialer.channel("c").send(2)
        message = await stream.receive()  # at most once: there is nothing to note
        began = trio.current_time()
        await message.ack()
        assert trio.current_time() == began
        await message.ack()


async def test_working_asks_for_time(autojump_clock: Any) -> None:
    async with pair() as (dialer, listener, _):
        stream = listener.messages("c")
        channel = dialer.channel("c", **AT_LEAST)
        await channel.send(1)
        message = await stream.receive()
        for _ in range(5):
            message.working(60)
            await trio.sleep(50)
        await message.ack()
        await channel.drain()
        assert dialer.statistics().messages_redelivered == 0
        assert listener.statistics().messages_duplicate == 0
        with pytest.raises(ValueError, match="seconds"):
            message.working(0)
        with pytest.raises(ValueError, match="retry_after"):
            message.nack(retry_after=-1)


async def test_without_it_the_message_comes_again_and_is_not_handled_twice(
    autojump_clock: Any,
) -> None:
    async with pair() as (dialer, listener, _):
        calls = []

        @listener.on("c")
        async def slow(message: Message) -> None:
            calls.append(message.body)
            await trio.sleep(100)

        channel = dialer.channel("c", **AT_LEAST)
        await channel.send(1)
        await channel.drain()
        assert calls == [1]
        assert listener.statistics().messages_duplicate >= 1


async def test_what_is_put_back_is_the_next_one_again() -> None:
    async with pair() as (dialer, listener, _):
        stream = listener.messages("c", window=2)
        for number in range(2):
            await dialer.channel("c", **AT_LEAST).send(number)
        first = await stream.receive()
        stream.put_back(first)
        assert await stream.receive() is first
        stream.close()
        stream.put_back(first)  # it comes again, to another one
        with pytest.raises(trio.EndOfChannel):
            await stream.receive()


async def test_one_that_is_made_after_the_end_is_at_its_end() -> None:
    async with Messaging() as messaging:
        pass
    stream = messaging.messages("c")
    assert stream.closed
    with pytest.raises(trio.EndOfChannel):
        await stream.receive()
