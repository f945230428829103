"""Messages that wait at their receiver for those before them are not taken for lost."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from restsock.messaging import Message
from tests.messaging.links import pair

_MESSAGES = 80


@pytest.mark.parametrize("seconds", [10.0, 100.0])
async def test_a_handler_that_takes_its_time_gets_each_message_once_and_in_order(
    seconds: float, autojump_clock: Any
) -> None:
    """64 of them are with the receiver, and have to be acknowledged within 30 seconds."""
    async with pair() as (dialer, listener, _):
        seen: list[Any] = []

        @listener.on("c")
        async def handle(message: Message) -> None:
            if seconds > 30:
                message.working(2 * seconds)
            await trio.sleep(seconds)
            seen.append(message.body)

        channel = dialer.channel("c", delivery="at_least_once")
        for number in range(_MESSAGES):
            await channel.send(number)
        await channel.drain()
        assert seen == [*range(_MESSAGES)]
        assert dialer.dead_letters == []
        assert dialer.statistics().messages_redelivered == 0


async def test_a_long_postponed_message_costs_later_ones_no_attempts(
    autojump_clock: Any,
) -> None:
    async with pair() as (dialer, listener, _):
        seen: list[Any] = []

        @listener.on("c")
        async def handle(message: Message) -> None:
            if not message.body and trio.current_time() < began + 3600:
                message.nack("later", retry_after=3600)
            else:
                seen.append((message.body, message.attempt))

        began = trio.current_time()
        channel = dialer.channel("c", delivery="at_least_once")
        for number in range(5):
            await channel.send(number)
        await channel.drain()
        assert seen == [(0, 2), (1, 1), (2, 1), (3, 1), (4, 1)]
        assert dialer.dead_letters == []
