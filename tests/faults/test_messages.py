"""Every fault of messages, quickly: none lost, none handled twice, in order, back in time."""

from __future__ import annotations

import os
import signal

import pytest
import trio

from tests.faults.field import Family
from tests.faults.messages.field import Delivery, MessageRow, Side
from tests.faults.messages.scenarios import (
    SHORT,
    MessageScenario,
    message_problems,
    run_messages,
)

pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork") or not hasattr(signal, "SIGSTOP"), reason="needs fork and signals"
)

# A busy machine may be late, never early.
SLACK = 15.0


@pytest.mark.parametrize("scenario", [pytest.param(one, id=one.name) for one in SHORT])
async def test_fault_of_messages(family: Family, scenario: MessageScenario) -> None:
    """With each promise and the sender at either end, at the same time: they mostly wait."""
    rows: list[MessageRow] = []

    async def try_(delivery: Delivery, side: Side) -> None:
        rows.append(await run_messages(scenario, delivery, side, family))

    async with trio.open_nursery() as nursery:
        for delivery in scenario.deliveries:
            for side in scenario.sides:
                nursery.start_soon(try_, delivery, side)
    for row in rows:
        assert row.counts.handled >= 20
        assert not message_problems(row, slack=SLACK), (row.delivery, row.sender)
