"""Every fault of gateways, quickly: each call is answered, none runs twice, no socket is lost."""

from __future__ import annotations

import os
import signal

import pytest

from tests.faults.field import Family
from tests.faults.gateway.rows import GatewayCounts, GatewayRow, judge_calls
from tests.faults.gateway.scenarios import SHORT, GatewayScenario, gateway_problems, run_gateway
from tests.faults.gateway.table import gateway_table

needs_fork = pytest.mark.skipif(
    not hasattr(os, "fork") or not hasattr(signal, "SIGSTOP"), reason="needs fork and signals"
)

# A busy machine may be late, never early.
SLACK = 15.0


@needs_fork
@pytest.mark.timeout(90)
@pytest.mark.parametrize("scenario", [pytest.param(one, id=one.name) for one in SHORT])
async def test_fault_of_a_gateway(family: Family, scenario: GatewayScenario) -> None:
    row = await run_gateway(scenario, family)
    assert row.counts.answered >= 20
    assert not gateway_problems(row, slack=SLACK)


def test_the_judge_counts_what_ran_more_often_than_once() -> None:
    row = GatewayRow("x")
    judge_calls(row, ["orders.add/a", "orders.add/b", "orders.add/a", "quotes.get/a"])
    assert (row.counts.twice, row.counts.again) == (1, 0)
    judge_calls(row, ["quotes.get/a", "quotes.get/a", "quotes.get/a"])
    assert (row.counts.twice, row.counts.again) == (1, 1)
    assert gateway_problems(row, slack=0) == ["1 twice"]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (GatewayRow("x", GatewayCounts(unanswered=2)), "2 unanswered"),
        (GatewayRow("x", GatewayCounts(wrong=1)), "1 wrong"),
        (GatewayRow("x", GatewayCounts(lost=1)), "1 lost"),
        (GatewayRow("x", GatewayCounts(failed=3), may_fail=False), "3 failed"),
        (GatewayRow("x", limit=0.2), "back behind None s, not 0.20 s"),
        (GatewayRow("x", limit=0.2, back=0.4), "back behind 0.4 s, not 0.20 s"),
        (GatewayRow("x", opens=True), "the circuit breaker opened behind None s, not 0.50 s"),
        (GatewayRow("x", refused=[0.001, 0.02, 0.03]), "refused within 30.0 ms, not 5 ms"),
    ],
)
def test_what_is_not_as_promised(row: GatewayRow, problem: str) -> None:
    assert gateway_problems(row, slack=0) == [problem]


def test_rows_are_a_table() -> None:
    row = GatewayRow("cut", GatewayCounts(sent=1200, answered=1199, failed=1), [0.001, 0.002])
    text = gateway_table([row], markdown=True)
    cells = "| cut | 1200 | 1199 | 1 | 0 | 0 | 0 | 0 | 0 | 0 | 2.0 | 2.0 | - | - | - | - | - |"
    assert cells in text
    assert text.endswith("1,200 calls: 0 without an answer, 0 executed twice, 0 sockets lost.")
    assert gateway_table([row]).count("\n") == 2
