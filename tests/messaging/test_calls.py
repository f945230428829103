"""How many function calls one message costs, sender and receiver together: a budget, not a time."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import trio

from restsock.messaging import Message
from tests.messaging.links import pair

_MESSAGES = 400

# Calls of functions of restsock.messaging, in Python, for one message that is sent at least once,
# handled and acknowledged. It must only ever go down.
_BUDGET = 120


async def test_one_message_stays_within_its_budget_of_calls() -> None:
    calls: dict[str, int] = {}
    counting = False

    def count(frame: FrameType, event: str, _: Any) -> None:
        if counting and event == "call":
            path = Path(frame.f_code.co_filename)
            if "messaging" in path.parts and "tests" not in path.parts:
                name = f"{path.stem}.{frame.f_code.co_name}"
                calls[name] = calls.get(name, 0) + 1

    async with pair() as (dialer, listener, _):
        handled = 0
        done = trio.Event()

        @listener.on("readings")
        async def keep(message: Message) -> None:
            nonlocal handled
            handled += 1
            if handled % _MESSAGES == 0:
                done.set()

        channel = dialer.channel("readings", delivery="at_least_once")
        for round_ in range(2):  # the first one is not counted
            done = trio.Event()
            counting = round_ == 1
            before = sys.getprofile()
            sys.setprofile(count)
            try:
                for _ in range(_MESSAGES):
                    await channel.send({"t": 21.5, "unit": "C"})
                await done.wait()
                await channel.drain()
            finally:
                sys.setprofile(before)
        assert handled == 2 * _MESSAGES
    each = {name: count / _MESSAGES for name, count in calls.items()}
    most = sorted(each.items(), key=lambda item: -item[1])
    assert sum(each.values()) <= _BUDGET, most
    assert each["_channel._send"] == 1  # it was counted
