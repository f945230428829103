"""Every fault, quickly: none answered twice, none wrongly, noticed and mended in time."""

from __future__ import annotations

import os
import signal

import pytest
import trio

from tests.faults import network
from tests.faults.field import Family, Row, Side
from tests.faults.scenarios import (
    IN_UVICORN,
    SCENARIOS,
    Scenario,
    closed_and_restarted,
    killed_and_restarted,
    problems,
    random_cuts,
    run,
)

pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork") or not hasattr(signal, "SIGSTOP"), reason="needs fork and SIGSTOP"
)

# A busy machine may be late, never early.
SLACK = 15.0

_FEW = (
    Scenario(
        "cut after any byte, 6 times",
        random_cuts(6),
        IN_UVICORN,
        kinds=("small", "both", "impatient"),
    ),
    killed_and_restarted(4),
    closed_and_restarted(4),
)


@pytest.mark.parametrize(
    "scenario", [pytest.param(scenario, id=scenario.name) for scenario in (*SCENARIOS, *_FEW)]
)
async def test_fault(family: Family, scenario: Scenario) -> None:
    """With the caller at each of the ends, at the same time: they mostly wait."""
    rows: list[Row] = []

    async def try_(side: Side) -> None:
        rows.append(await run(scenario, side, family))

    async with trio.open_nursery() as nursery:
        for side in scenario.sides:
            nursery.start_soon(try_, side)
    for row in rows:
        assert row.counts.answered >= 10
        assert not problems(row, slack=SLACK, no_failures=scenario.no_failures), row.caller


def test_faults_of_a_network() -> None:
    """Packets that are lost, between two network namespaces; the rest with `make faults`."""
    reason = network.why_not()
    if reason:
        pytest.skip(reason)
    rows, found = network.measure("to the peer lost", slack=SLACK)
    assert not found
    assert [row.caller for row in rows] == ["dials", "listens"]
